//! The one thing of a request's target that nobody can see later: the `#`. The library cuts a fragment off before anything
//! of ours runs, while a service behind the gateway may read on; what is judged would not be what is served.
//!
//! So the bytes are looked at as they come, above TLS. A target never holds one (RFC 9112 section 3.2), and whatever
//! stands between a `#` and ` HTTP/1.` without a blank may be the end of a request's first line. Where messages begin and
//! end is not known here; what stands before the `#` tells whether it was the line of the request that is being answered
//! ([`Fragments::are_of`]). Elsewhere, in a body, it means nothing, but the connection ends with that request: nothing that
//! comes after is held to it, and nothing hides behind it.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use hyper::{Method, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::vitals::Vitals;

const VERSION: &[u8] = b" HTTP/1.";
/// What every connection of HTTP/2 begins with, and no request of HTTP/1.1 (RFC 9113 section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0";

/// What is kept of the line before a `#`, in bytes, and how many of them are kept. Beyond, every request is in doubt.
const KEPT_BYTES: usize = 1024;
const KEPT: usize = 16;

/// A `#` that may have stood in a target: what was read of its line before it. The default may stand in any.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Fragment {
    before: Vec<u8>,
    /// Whether the line began in the same read; otherwise this may be only the end of what stood before.
    from_its_begin: bool,
}

/// All that came on a connection.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    any: AtomicBool,
    kept: Mutex<Vec<Fragment>>,
}

impl Fragments {
    /// Whether one came.
    pub(super) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Whether one that came so far may be in the first line of this request. Asked as soon as its headers were read: what
    /// stands in its own line came by then.
    pub(super) fn are_of(&self, method: &Method, target: &Uri) -> bool {
        let is_of = |fragment: &Fragment| fragment.is_of(method, target);
        self.any() && self.kept.lock().unwrap_or_else(PoisonError::into_inner).iter().any(is_of)
    }

    fn note(&self, fragment: Fragment) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.len() {
            0..KEPT => kept.push(fragment),
            KEPT => kept.push(Fragment::default()),
            _ => {}
        }
        self.any.store(true, Ordering::Relaxed);
    }
}

impl Fragment {
    fn new(before: &[u8]) -> Self {
        let begin = before.iter().rposition(u8::is_ascii_control).map(|end| end + 1);
        let line = before.get(begin.unwrap_or(0)..).unwrap_or_default();
        let cut = line.len().saturating_sub(KEPT_BYTES);
        Self { before: line.get(cut..).unwrap_or_default().to_vec(), from_its_begin: begin.is_some() && cut == 0 }
    }

    /// Whether this may be the first line of this request, which was read up to its body before: in doubt it is.
    fn is_of(&self, method: &Method, target: &Uri) -> bool {
        let line = format!("{method} {}", target.path_and_query().map_or("", |shown| shown.as_str()));
        if !self.from_its_begin && line.as_bytes().ends_with(&self.before) {
            return true;
        }
        let rest = self.before.strip_prefix(method.as_str().as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
        // What is no path may be shown in another way than it came.
        rest.is_some_and(|target| self.before == line.as_bytes() || !target.starts_with(b"/"))
    }
}

/// A stream that notes fragments in what it reads.
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
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// A `#`, and no blank since.
    Fragment(Fragment),
    /// After it so many bytes of [`VERSION`].
    Version(Fragment, usize),
}

impl Seen {
    /// Reads on; hands out the fragments whose lines ended.
    fn read(&mut self, bytes: &[u8], mut found: impl FnMut(Fragment)) {
        // The usual case, as quick as the machine can look.
        if *self == Self::Nothing && !bytes.contains(&b'#') {
            return;
        }
        for (at, byte) in bytes.iter().enumerate() {
            *self = match (std::mem::replace(self, Self::Nothing), *byte) {
                (Self::Nothing | Self::Version(..), b'#') => {
                    Self::Fragment(Fragment::new(bytes.get(..at).unwrap_or_default()))
                }
                (Self::Nothing, _) => Self::Nothing,
                (Self::Fragment(fragment), b' ') => Self::Version(fragment, 1),
                (Self::Fragment(_), 0..b' ' | 0x7f) => Self::Nothing,
                (Self::Fragment(fragment), _) => Self::Fragment(fragment),
                (Self::Version(fragment, length), byte) if VERSION.get(length) == Some(&byte) => {
                    if length + 1 == VERSION.len() {
                        found(fragment);
                        Self::Nothing
                    } else {
                        Self::Version(fragment, length + 1)
                    }
                }
                (Self::Version(..), _) => Self::Nothing,
            };
        }
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
            let watched = &mut *self;
            watched.multiplexed.get_or_insert(came.starts_with(PREFACE));
            watched.seen.read(came, |fragment| watched.vitals.fragments.note(fragment));
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
                let mut found = false;
                [first, second].iter().for_each(|read| seen.read(read, |_| found = true));
                found
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

    fn fragment(reads: [&str; 2]) -> Fragment {
        let (mut seen, mut all) = (Seen::Nothing, Vec::new());
        reads.iter().for_each(|read| seen.read(read.as_bytes(), |fragment| all.push(fragment)));
        all.pop().expect("a fragment")
    }

    #[test]
    fn of_too_many_every_request_may_be_one() {
        let fragments = Fragments::default();
        let asked = || fragments.are_of(&Method::GET, &Uri::from_static("/a"));
        for _ in 0..KEPT {
            fragments.note(fragment(["\nx#b HTTP/1.1", ""]));
            assert!(!asked());
        }
        fragments.note(fragment(["\nx#b HTTP/1.1", ""]));
        assert!(asked());
    }

    #[test]
    fn the_line_of_a_request_is_known_however_it_was_cut() {
        let line = "GET /a?b#c HTTP/1.1\r\n";
        let target = Uri::from_static("/a?b");
        for cut in 0..line.len() {
            let (first, second) = line.split_at(cut);
            assert!(fragment([first, second]).is_of(&Method::GET, &target), "{cut}");
        }
        // Another request's line, after the end of a line or in the same read.
        for before in ["POST /x HTTP/1.1\r\n\r\n", "{}\n"] {
            let fragment = fragment([before, line]);
            assert!(fragment.is_of(&Method::GET, &target));
            assert!(!fragment.is_of(&Method::POST, &target) && !fragment.is_of(&Method::GET, &Uri::from_static("/x")));
        }
    }

    #[test]
    fn what_is_no_path_counts_whatever_was_made_of_it() {
        for line in ["OPTIONS *#x HTTP/1.1", "OPTIONS #x HTTP/1.1", "OPTIONS x:1#y HTTP/1.1"] {
            assert!(fragment([line, ""]).is_of(&Method::OPTIONS, &Uri::from_static("*")), "{line}");
            assert!(fragment(["x: y\r\n", line]).is_of(&Method::OPTIONS, &Uri::from_static("*")), "{line}");
        }
    }

    #[test]
    fn what_stands_in_a_body_or_a_header_is_of_no_request() {
        for text in ["\r\n\r\n#x HTTP/1.1", "{\"log\": \"GET /a#b HTTP/1.1\"}", "referer: http://a/#b HTTP/1.1"] {
            assert!(!fragment([text, ""]).is_of(&Method::GET, &Uri::from_static("/a")), "{text}");
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
