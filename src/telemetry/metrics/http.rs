//! The counters of one listener.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Upper bounds of the duration buckets in seconds: from 10 µs, where a cached decision lives.
const BOUNDS: [f64; 16] =
    [1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.5, 1.0, 5.0];

/// The lowest status that HTTP knows, and how many there are (RFC 9110 section 15: three digits, five classes).
const FIRST_STATUS: u16 = 100;
const STATUSES: usize = 500;

/// Why a connection was cut or could not be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The headers did not arrive in time.
    SlowHead,
    /// It had nothing to ask for too long.
    Idle,
    /// It did not read its answer.
    SlowReader,
    /// The drain's grace period was over.
    Drain,
    /// It could not be accepted (no file descriptor left, …).
    Accept,
    /// TLS did not come about: no certificate, one that does not hold, or no TLS at all.
    Handshake,
    /// It sent much of which nothing came: pings, settings, empty frames.
    Flood,
}

impl Cut {
    const ALL: [Self; 7] =
        [Self::SlowHead, Self::Idle, Self::SlowReader, Self::Drain, Self::Accept, Self::Handshake, Self::Flood];

    /// The label.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SlowHead => "slow-head",
            Self::Idle => "idle",
            Self::SlowReader => "slow-reader",
            Self::Drain => "drain",
            Self::Accept => "accept",
            Self::Handshake => "handshake",
            Self::Flood => "flood",
        }
    }
}

/// What one listener counts: atomics only.
#[derive(Debug)]
pub struct ListenerMetrics {
    name: &'static str,
    statuses: Box<[AtomicU64]>,
    /// One more than the bounds: the last is everything slower.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    nanoseconds: AtomicU64,
    in_flight: AtomicI64,
    queue_delay: AtomicU64,
    connections: AtomicI64,
    panics: AtomicU64,
    cuts: [AtomicU64; Cut::ALL.len()],
}

impl ListenerMetrics {
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            name,
            statuses: (0..STATUSES).map(|_| AtomicU64::new(0)).collect(),
            buckets: std::array::from_fn(|_| AtomicU64::new(0)),
            nanoseconds: AtomicU64::new(0),
            in_flight: AtomicI64::new(0),
            queue_delay: AtomicU64::new(0),
            connections: AtomicI64::new(0),
            panics: AtomicU64::new(0),
            cuts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The listener's name, as in the label.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// A request is being worked on; answers how many are, this one included.
    pub fn begin(&self) -> i64 {
        self.in_flight.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// A request is worked on no longer.
    pub fn end(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// How many requests are being worked on.
    pub fn in_flight(&self) -> i64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A request was answered with this HTTP status after this time.
    pub fn answered(&self, status: u16, took: Duration) {
        if let Some(counter) = self.statuses.get(usize::from(status.wrapping_sub(FIRST_STATUS))) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        if let Some(counter) = self.buckets.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.nanoseconds.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(0), Ordering::Relaxed);
    }

    /// How long requests have to wait for a processor at present.
    pub fn queue_delay(&self, delay: Duration) {
        self.queue_delay.store(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A connection came.
    pub fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection went.
    pub fn disconnected(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// A connection was cut, or could not be taken.
    pub fn cut(&self, why: Cut) {
        if let Some(counter) = self.cuts.get(why as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A handler panicked.
    pub fn panicked(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes the families of all listeners.
pub(super) fn encode(listeners: &[Arc<ListenerMetrics>], mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    statuses(listeners, &mut encoder)?;
    durations(listeners, &mut encoder)?;
    cuts(listeners, &mut encoder)?;

    let help = "Requests being worked on";
    let mut family = encoder.encode_descriptor("http_requests_in_flight", help, None, MetricType::Gauge)?;
    for listener in listeners {
        family.encode_family(&[("listener", listener.name)])?.encode_gauge(&listener.in_flight())?;
    }
    let mut family = encoder.encode_descriptor("http_connections", "Open connections", None, MetricType::Gauge)?;
    for listener in listeners {
        let open = listener.connections.load(Ordering::Relaxed);
        family.encode_family(&[("listener", listener.name)])?.encode_gauge(&open)?;
    }
    let help = "How long requests wait for a processor, in seconds: the least of the last tenth of a second";
    let mut family = encoder.encode_descriptor("http_queue_delay_seconds", help, None, MetricType::Gauge)?;
    for listener in listeners {
        let delay = Duration::from_nanos(listener.queue_delay.load(Ordering::Relaxed)).as_secs_f64();
        family.encode_family(&[("listener", listener.name)])?.encode_gauge(&delay)?;
    }
    let help = "Handlers that panicked";
    let mut family = encoder.encode_descriptor("http_panics", help, None, MetricType::Counter)?;
    for listener in listeners {
        let panics = listener.panics.load(Ordering::Relaxed);
        family.encode_family(&[("listener", listener.name)])?.encode_counter::<NoLabelSet, _, u64>(&panics, None)?;
    }
    Ok(())
}

fn statuses(listeners: &[Arc<ListenerMetrics>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Answered requests by HTTP status";
    let mut family = encoder.encode_descriptor("http_requests", help, None, MetricType::Counter)?;
    for listener in listeners {
        for (status, counter) in (FIRST_STATUS..).zip(&listener.statuses) {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                let labels = [("listener", listener.name.to_owned()), ("status", status.to_string())];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
    }
    Ok(())
}

fn durations(listeners: &[Arc<ListenerMetrics>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "From the complete headers to the answer, in seconds";
    let name = "http_request_duration_seconds";
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for listener in listeners {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        let buckets: Vec<(f64, u64)> =
            bounds.zip(listener.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed))).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = Duration::from_nanos(listener.nanoseconds.load(Ordering::Relaxed)).as_secs_f64();
        family
            .encode_family(&[("listener", listener.name)])?
            .encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

fn cuts(listeners: &[Arc<ListenerMetrics>], encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    let help = "Connections cut or not taken, by reason";
    let mut family = encoder.encode_descriptor("http_connections_cut", help, None, MetricType::Counter)?;
    for listener in listeners {
        for (why, counter) in Cut::ALL.into_iter().zip(&listener.cuts) {
            let count = counter.load(Ordering::Relaxed);
            if count > 0 {
                let labels = [("listener", listener.name), ("reason", why.name())];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_that_holds_it() {
        let metrics = ListenerMetrics::new("gate");
        metrics.answered(200, Duration::from_micros(10));
        metrics.answered(200, Duration::from_micros(11));
        metrics.answered(200, Duration::from_secs(60));
        let counts: Vec<u64> = metrics.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        assert_eq!((counts[0], counts[1], counts[BOUNDS.len()]), (1, 1, 1));
    }

    #[test]
    fn an_unheard_of_status_is_not_counted_elsewhere() {
        let metrics = ListenerMetrics::new("gate");
        metrics.answered(99, Duration::ZERO);
        metrics.answered(600, Duration::ZERO);
        assert!(metrics.statuses.iter().all(|counter| counter.load(Ordering::Relaxed) == 0));
    }
}
