//! The log: one event a line, JSON for machines and plain for a terminal, times in RFC 3339 UTC, to standard error.
//!
//! A thread of its own writes. Between it and everybody else stands a queue of [`QUEUE`] lines: when the
//! reader of the log is slow or gone, lines are lost and counted, and nobody waits.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::TryInitError;

/// Lines that may wait for the writer.
pub const QUEUE: usize = 8192;

/// How long the end of the process waits for the last lines to be written.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How events look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// Plain on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Plain,
}

/// How the log is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Directives as of `tracing_subscriber::EnvFilter`: `info`, `warn,cedargate::scim=debug`.
    pub filter: String,
    /// How events look.
    pub format: LogFormat,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Auto }
    }
}

/// Why the log could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter is not one.
    #[error("log.filter cannot be read: {0}; write a level (error, warn, info, debug, trace) or target=level pairs")]
    Filter(#[from] ParseError),
    /// Something else has set a log up in this process.
    #[error("the log is already set up in this process: {0}")]
    Already(#[from] TryInitError),
    /// No thread.
    #[error("the log's writer thread cannot start: {0}")]
    Thread(#[from] io::Error),
}

/// Reads a filter, so that configuration can refuse a bad one before anything starts.
///
/// # Errors
/// [`LogError::Filter`] where a directive is not one.
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    EnvFilter::try_new(filter).map(|_| ()).map_err(LogError::from)
}

/// Sets the process's log up, to standard error. Keep the guard to the end of the process.
///
/// # Errors
/// A filter that cannot be read; a log that is already set up; no thread.
pub fn start(config: &LogConfig, lost: Counter) -> Result<LogGuard, LogError> {
    let filter = EnvFilter::try_new(&config.filter)?;
    let terminal = io::stderr().is_terminal();
    let (lines, guard) = Lines::start(io::stderr(), QUEUE, lost)?;
    let json = match config.format {
        LogFormat::Json => true,
        LogFormat::Plain => false,
        LogFormat::Auto => !terminal,
    };
    let (json, plain) = if json {
        (
            Some(tracing_subscriber::fmt::layer().json().flatten_event(true).with_span_list(false).with_writer(lines)),
            None,
        )
    } else {
        (None, Some(tracing_subscriber::fmt::layer().with_ansi(terminal && colour_wanted()).with_writer(lines)))
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(json).with(plain);
    tracing_subscriber::util::SubscriberInitExt::try_init(subscriber)?;
    // The default hook writes to standard error itself: it would wait for a reader that is gone.
    std::panic::set_hook(Box::new(|panic| {
        let at = panic.location().map(ToString::to_string);
        let cause = panic.payload_as_str().unwrap_or("unknown");
        tracing::error!(at, cause, "a thread panicked");
    }));
    Ok(guard)
}

/// `NO_COLOR` (no-color.org): present and not empty means none.
fn colour_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Waits at the end, for at most a second, until what was logged is written.
#[derive(Debug)]
pub struct LogGuard {
    queue: SyncSender<Entry>,
    done: Receiver<()>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        // A full queue means a writer that hangs: there is nothing to wait for.
        if self.queue.try_send(Entry::End).is_ok() {
            match self.done.recv_timeout(LAST_WORDS) {
                Ok(()) | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
        }
    }
}

enum Entry {
    Line(Vec<u8>),
    End,
}

/// Hands lines to the writer thread, or counts them as lost.
#[derive(Clone, Debug)]
struct Lines {
    queue: SyncSender<Entry>,
    lost: Counter,
}

impl Lines {
    fn start(sink: impl Write + Send + 'static, capacity: usize, lost: Counter) -> io::Result<(Self, LogGuard)> {
        let (queue, entries) = sync_channel(capacity);
        let (finished, done) = sync_channel(1);
        let losses = lost.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || {
            write_all(&entries, sink, &losses);
            // Nobody waits where the guard is gone.
            let _ = finished.try_send(());
        })?;
        Ok((Self { queue: queue.clone(), lost }, LogGuard { queue, done }))
    }
}

fn write_all(entries: &Receiver<Entry>, mut sink: impl Write, lost: &Counter) {
    while let Ok(Entry::Line(line)) = entries.recv() {
        if sink.write_all(&line).and_then(|()| sink.flush()).is_err() {
            lost.inc();
        }
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line { lines: self, bytes: Vec::new() }
    }
}

/// One event on its way; it joins the queue whole when it is complete.
struct Line<'a> {
    lines: &'a Lines,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let line = std::mem::take(&mut self.bytes);
        if line.is_empty() {
            return;
        }
        match self.lines.queue.try_send(Entry::Line(line)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.lines.lost.inc();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A pipe that nobody reads: each write waits until the test lets go.
    struct Blocked(Receiver<()>);

    impl Write for Blocked {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_was_logged_is_written_before_the_guard_lets_go() {
        let sink = Shared::default();
        let (lines, guard) = Lines::start(sink.clone(), 16, Counter::default()).unwrap();
        let subscriber = tracing_subscriber::registry()
            .with(tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(lines));
        tracing::subscriber::with_default(subscriber, || tracing::info!(user = "u1\n", "deactivated"));
        drop(guard);
        let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 1, "one event is one line: {text}");
        let event: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(event["message"], "deactivated");
        assert_eq!(event["user"], "u1\n");
        assert!(event["timestamp"].as_str().unwrap().ends_with('Z'));
    }

    #[test]
    fn a_blocked_reader_costs_lines_and_never_time() {
        let (release, gate) = sync_channel(0);
        let lost = Counter::default();
        let (lines, guard) = Lines::start(Blocked(gate), 4, lost.clone()).unwrap();
        // Would never return if a full queue made the caller wait: nobody reads.
        for _ in 0..100 {
            lines.make_writer().write_all(b"line\n").unwrap();
        }
        // At most four wait, and one is in the writer's hand.
        assert!(lost.get() >= 95, "{} lost", lost.get());
        drop(release);
        drop(guard);
    }

    #[test]
    fn a_bad_filter_is_refused() {
        assert!(check_filter("info,cedargate::scim=debug").is_ok());
        assert!(check_filter("cedargate=loudly").is_err());
    }
}
