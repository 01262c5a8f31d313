//! The one thing of a request's target that nobody can see later: the `#`. The library cuts a fragment off before anything
//! of ours runs, while a service behind the gateway may read on; what is judged would not be what is served.
//!
//! So the bytes are looked at as they come, above TLS. A target never holds one (RFC 9112 section 3.2), and whatever
//! stands between a `#` and ` HTTP/1.` without a blank is taken for the end of a request's first line, wherever it stands:
//! where messages begin and end is not known here, and need not be.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::vitals::Vitals;

const VERSION: &[u8] = b" HTTP/1.";
/// What every connection of HTTP/2 begins with, and no request of HTTP/1.1 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// A stream that notes a fragment in what it reads.
pub(super) struct Watched<S> {
    stream: S,
    vitals: Arc<Vitals>,
    seen: Seen,
    /// How the first bytes look; `None` before them.
    multiplexed: Option<bool>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, vitals: Arc<Vitals>) -> Self {
        Self { stream, vitals, seen: Seen::Nothing, multiplexed: None }
    }
}

/// How much of a fragment and what follows it has been read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// A `#`, and no blank since.
    Fragment,
    /// After it so many bytes of [`VERSION`].
    Version(usize),
}

impl Seen {
    /// Reads on; whether the end of a first line with a fragment came.
    fn read(&mut self, bytes: &[u8]) -> bool {
        // The usual case, as quick as the machine can look.
        if *self == Self::Nothing && !bytes.contains(&b'#') {
            return false;
        }
        for byte in bytes {
            *self = match (*self, *byte) {
                (Self::Nothing | Self::Version(_), b'#') => Self::Fragment,
                (Self::Nothing, _) => Self::Nothing,
                (Self::Fragment, b' ') => Self::Version(1),
                (Self::Fragment, 0..b' ' | 0x7f) => Self::Nothing,
                (Self::Fragment, _) => Self::Fragment,
                (Self::Version(length), byte) if VERSION.get(length) == Some(&byte) => Self::Version(length + 1),
                (Self::Version(_), _) => Self::Nothing,
            };
            if *self == Self::Version(VERSION.len()) {
                return true;
            }
        }
        false
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        // HTTP/2 has no first lines.
        if result.is_ready() && !self.vitals.is_multiplexed() {
            let came = buffer.filled().get(before..).unwrap_or_default();
            self.multiplexed.get_or_insert(came.starts_with(PREFACE));
            if self.seen.read(came) {
                self.vitals.fragment();
            }
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    /// Where writes are not vectored, the library copies small answers of HTTP/2 together, and sends many in one write.
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored() && self.multiplexed != Some(true)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However the bytes are cut.
    fn holds_a_fragment(text: &str) -> bool {
        let answers: Vec<bool> = (0..=text.len())
            .map(|cut| {
                let (first, second) = text.as_bytes().split_at(cut);
                let mut seen = Seen::Nothing;
                seen.read(first) || seen.read(second)
            })
            .collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{text:?}");
        answers[0]
    }

    #[test]
    fn a_fragment_in_a_first_line_is_seen() {
        for text in [
            "GET /a#b HTTP/1.1\r\n",
            "GET /a# HTTP/1.0\r\n",
            "GET # HTTP/1.1",
            "GET /a?b##c#d HTTP/1.1\n",
            "GET /a#\u{fc} HTTP/1.1\r\n",
            "GET /a HTTP/1.1\r\n\r\nGET /b#/../c HTTP/1.1\r\n",
            "POST /a HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}GET /b#c HTTP/1.1\r\n",
            "# #b HTTP/1.1",
        ] {
            assert!(holds_a_fragment(text), "{text:?}");
        }
    }

    #[test]
    fn elsewhere_it_is_nobodys_affair() {
        for text in [
            "",
            "GET /a%23b HTTP/1.1\r\nx: #1 of 2\r\nreferer: http://x/#y\r\n\r\n",
            "POST /a HTTP/1.1\r\n\r\n{\"note\":\"room #7 HTTP/2\"}",
            "# GET /a HTTP/1.1",
            "a#b\r\n HTTP/1.1",
            "a#b HTTP HTTP/1.1",
        ] {
            assert!(!holds_a_fragment(text), "{text:?}");
        }
    }
}
