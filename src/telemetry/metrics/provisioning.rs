//! The figures of identity providers' connections, asked for when somebody looks.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::domain::Timestamp;

/// One connection's figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnectionFigures {
    /// Its id.
    pub connection: String,
    /// Requests since the start, by class of outcome.
    pub requests: Vec<(&'static str, u64)>,
    /// When a request last succeeded.
    pub last_success: Option<Timestamp>,
    /// The share of requests that fails, 0 to 1, over the last cycle.
    pub failure_ratio: f64,
    /// Whether an alarm stands.
    pub alarm: bool,
}

/// All of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProvisioningFigures {
    /// By connection; their number bounds the labels.
    pub connections: Vec<ConnectionFigures>,
    /// Events of the provisioning log that could not be written.
    pub lost_events: u64,
}

/// Looks the figures up; must neither wait nor touch a disk.
pub type ProvisioningSource = Box<dyn Fn() -> ProvisioningFigures + Send + Sync>;

/// The source, once somebody has set it.
#[derive(Default)]
pub(super) struct Provisioning(pub(super) OnceLock<ProvisioningSource>);

impl fmt::Debug for Provisioning {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Provisioning").finish_non_exhaustive()
    }
}

/// The registry's handle on it.
#[derive(Debug)]
pub(super) struct ProvisioningCollector(pub(super) Arc<Provisioning>);

impl Collector for ProvisioningCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(source) = self.0.0.get() else { return Ok(()) };
        let figures = source();
        let all = &figures.connections;

        let help = "SCIM requests since the start by connection and outcome";
        let mut family = encoder.encode_descriptor("scim_connection_requests", help, None, MetricType::Counter)?;
        for one in all {
            for (outcome, count) in &one.requests {
                let labels = [("connection", one.connection.as_str()), ("outcome", *outcome)];
                family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(count, None)?;
            }
        }
        let help = "When a connection's request last succeeded, in seconds since 1970";
        let name = "scim_connection_last_success_timestamp_seconds";
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for one in all {
            if let Some(at) = one.last_success {
                let labels = [("connection", one.connection.as_str())];
                family.encode_family(&labels)?.encode_gauge(&at.0.div_euclid(1_000))?;
            }
        }
        let help = "Share of a connection's requests that failed within the last 40 minutes, 0 to 1";
        let mut family = encoder.encode_descriptor("scim_connection_failure_ratio", help, None, MetricType::Gauge)?;
        for one in all {
            family.encode_family(&[("connection", one.connection.as_str())])?.encode_gauge(&one.failure_ratio)?;
        }
        let help = "Whether a connection's deactivations raised an alarm that nobody has settled";
        let mut family = encoder.encode_descriptor("scim_connection_alarm", help, None, MetricType::Gauge)?;
        for one in all {
            let raised = i64::from(one.alarm);
            family.encode_family(&[("connection", one.connection.as_str())])?.encode_gauge(&raised)?;
        }
        let help = "Events of the provisioning log that could not be written";
        encoder
            .encode_descriptor("scim_events_lost", help, None, MetricType::Counter)?
            .encode_counter::<NoLabelSet, _, u64>(&figures.lost_events, None)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Metrics;
    use super::*;

    #[test]
    fn the_figures_are_asked_for_when_somebody_looks() {
        let metrics = Metrics::new(&[]);
        assert!(!metrics.render().unwrap().contains("scim_connection"));
        metrics.provisioning(Box::new(|| ProvisioningFigures {
            connections: vec![ConnectionFigures {
                connection: "c1".into(),
                requests: vec![("success", 7), ("refused", 1)],
                last_success: Some(Timestamp(1_700_000_000_999)),
                failure_ratio: 0.125,
                alarm: true,
            }],
            lost_events: 3,
        }));
        let text = metrics.render().unwrap();
        for line in [
            "cedargate_scim_connection_requests_total{connection=\"c1\",outcome=\"success\"} 7",
            "cedargate_scim_connection_requests_total{connection=\"c1\",outcome=\"refused\"} 1",
            "cedargate_scim_connection_last_success_timestamp_seconds{connection=\"c1\"} 1700000000",
            "cedargate_scim_connection_failure_ratio{connection=\"c1\"} 0.125",
            "cedargate_scim_connection_alarm{connection=\"c1\"} 1",
            "cedargate_scim_events_lost_total 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in:\n{text}");
        }
    }
}
