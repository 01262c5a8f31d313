//! Bodies: of answers, whole or in chunks; of requests, read piece by piece within limits.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::sync::mpsc;

use super::Refusal;

/// The body of an answer (or of a request that our own client sends).
#[derive(Debug)]
pub struct Body(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Bytes),
    Trailed { bytes: Bytes, trailers: Option<HeaderMap> },
    Chunks { chunks: mpsc::Receiver<Bytes>, finished: Arc<AtomicBool> },
}

impl Body {
    /// No bytes.
    pub const fn empty() -> Self {
        Self(Kind::Whole(Bytes::new()))
    }

    /// A body that somebody writes while it is being sent. At most `capacity` chunks wait; then the writer does.
    pub fn chunks(capacity: usize) -> (Chunks, Self) {
        let (sender, chunks) = mpsc::channel(capacity.max(1));
        let finished = Arc::new(AtomicBool::new(false));
        (Chunks { sender, finished: Arc::clone(&finished) }, Self(Kind::Chunks { chunks, finished }))
    }

    /// A whole body with trailers after it, as gRPC wants them; HTTP/1.1 clients that did not ask for trailers get none.
    pub fn with_trailers(bytes: impl Into<Bytes>, trailers: HeaderMap) -> Self {
        Self(Kind::Trailed { bytes: bytes.into(), trailers: Some(trailers) })
    }

    /// The bytes, where the body is whole and nothing follows them.
    pub const fn whole(&self) -> Option<&Bytes> {
        match &self.0 {
            Kind::Whole(bytes) => Some(bytes),
            Kind::Trailed { .. } | Kind::Chunks { .. } => None,
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self(Kind::Whole(bytes))
    }
}

/// The writer dropped its end without [`Chunks::finish`]: what was sent so far is not the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off before its end")]
pub struct BrokenOff;

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match &mut self.0 {
            Kind::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Kind::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Trailed { bytes, trailers } if bytes.is_empty() => {
                Poll::Ready(trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Kind::Trailed { bytes, .. } => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Kind::Chunks { chunks, finished } => chunks.poll_recv(context).map(|chunk| match chunk {
                Some(bytes) => Some(Ok(Frame::data(bytes))),
                // An aborted transfer is visible to the client; a short body that looks whole would not be.
                None => (!finished.load(Ordering::Acquire)).then_some(Err(BrokenOff)),
            }),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.whole().is_some_and(Bytes::is_empty)
    }

    fn size_hint(&self) -> SizeHint {
        match self.whole() {
            Some(bytes) => SizeHint::with_exact(bytes.len() as u64),
            None => SizeHint::default(),
        }
    }
}

/// The writing end of [`Body::chunks`].
#[derive(Debug)]
pub struct Chunks {
    sender: mpsc::Sender<Bytes>,
    finished: Arc<AtomicBool>,
}

/// Nobody reads the body any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the other side stopped reading")]
pub struct Closed;

impl Chunks {
    /// Sends a chunk; waits while the reader is behind.
    ///
    /// # Errors
    /// [`Closed`] where the reader is gone.
    pub async fn send(&self, chunk: impl Into<Bytes>) -> Result<(), Closed> {
        self.sender.send(chunk.into()).await.map_err(|_| Closed)
    }

    /// Ends the body. Without it the transfer is aborted, so that the reader cannot take a part for the whole.
    pub fn finish(self) {
        self.finished.store(true, Ordering::Release);
    }
}

/// The body of a request, read piece by piece: never more in memory than a piece.
#[derive(Debug)]
pub struct BodyReader {
    source: Source,
    /// Read, not yet handed out.
    rest: BytesMut,
    left: u64,
    most: u64,
    deadline: Duration,
    _held: Option<Held>,
}

/// Something that goes when a body is not read any more.
struct Held(#[expect(dead_code, reason = "held for its end")] Box<dyn Send + Sync>);

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Held")
    }
}

#[derive(Debug)]
enum Source {
    Wire(Incoming),
    Whole(Bytes),
    Ended,
}

impl BodyReader {
    /// At most `most` bytes in all; each piece must come within the deadline.
    pub(super) fn new(incoming: Incoming, most: u64, deadline: Duration) -> Self {
        Self { source: Source::Wire(incoming), rest: BytesMut::new(), left: most, most, deadline, _held: None }
    }

    /// Keeps this as long as the body is read, which may be longer than its handler runs: the answer may come first.
    pub(super) fn holding(self, held: impl Send + Sync + 'static) -> Self {
        Self { _held: Some(Held(Box::new(held))), ..self }
    }

    /// A body that is already there, for tests of handlers.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        let most = u64::MAX;
        let (source, rest) = (Source::Whole(bytes.into()), BytesMut::new());
        Self { source, rest, left: most, most, deadline: Duration::MAX, _held: None }
    }

    /// The next bytes as they come; `None` at the end.
    ///
    /// # Errors
    /// 413 beyond the limit, 408 when nothing came in time, 400 when the client broke off.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, Refusal> {
        if !self.rest.is_empty() {
            return Ok(Some(self.rest.split().freeze()));
        }
        self.receive().await
    }

    /// The next line without its line ending; `None` at the end. The last line may lack its ending.
    ///
    /// # Errors
    /// As [`Self::chunk`], and 413 for a line of more than `longest` bytes. After an error there is nothing more.
    pub async fn line(&mut self, longest: usize) -> Result<Option<Bytes>, Refusal> {
        let mut searched = 0;
        loop {
            if let Some(end) = self.rest.iter().skip(searched).position(|byte| *byte == b'\n') {
                let line = self.rest.split_to(searched + end + 1).freeze();
                return self.within(trimmed(line), longest).map(Some);
            }
            searched = self.rest.len();
            if searched > longest.saturating_add(1) {
                return Err(self.too_long(longest));
            }
            match self.receive().await? {
                Some(bytes) => self.rest.extend_from_slice(&bytes),
                None if self.rest.is_empty() => return Ok(None),
                None => {
                    let line = self.rest.split().freeze();
                    return self.within(trimmed(line), longest).map(Some);
                }
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Refusal> {
        let received = match std::mem::replace(&mut self.source, Source::Ended) {
            Source::Ended => None,
            Source::Whole(bytes) => (!bytes.is_empty()).then_some(bytes),
            Source::Wire(mut incoming) => {
                let next = tokio::time::timeout(self.deadline, next_data(&mut incoming)).await;
                let bytes = next.unwrap_or_else(|_| Err(body_too_slow(self.deadline)))?;
                if bytes.is_some() {
                    self.source = Source::Wire(incoming);
                }
                bytes
            }
        };
        if let Some(bytes) = &received {
            let Some(left) = self.left.checked_sub(bytes.len() as u64) else {
                self.source = Source::Ended;
                return Err(body_too_large(self.most));
            };
            self.left = left;
        }
        Ok(received)
    }

    fn within(&mut self, line: Bytes, longest: usize) -> Result<Bytes, Refusal> {
        if line.len() > longest { Err(self.too_long(longest)) } else { Ok(line) }
    }

    fn too_long(&mut self, longest: usize) -> Refusal {
        self.source = Source::Ended;
        self.rest.clear();
        Refusal::too_large(format!("a line has more than {longest} bytes; send shorter lines"))
    }
}

/// The next data frame; trailers are passed over, they mean nothing here.
pub(super) async fn next_data(incoming: &mut Incoming) -> Result<Option<Bytes>, Refusal> {
    loop {
        match incoming.frame().await {
            None => return Ok(None),
            Some(Err(cause)) => return Err(broken_off(&cause)),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

pub(super) fn body_too_large(most: u64) -> Refusal {
    Refusal::too_large(format!("the body has more than {most} bytes; send less at a time"))
}

pub(super) fn body_too_slow(deadline: Duration) -> Refusal {
    Refusal::timeout(format!("the body did not arrive within {deadline:?}; send it again"))
}

fn broken_off(cause: &hyper::Error) -> Refusal {
    Refusal::bad_request(format!("the body could not be read to its end: {cause}"))
}

fn trimmed(mut line: Bytes) -> Bytes {
    if line.last() == Some(&b'\n') {
        line.truncate(line.len() - 1);
    }
    if line.last() == Some(&b'\r') {
        line.truncate(line.len() - 1);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(text: &'static str, longest: usize) -> Vec<Result<String, u16>> {
        let mut reader = BodyReader::from_bytes(text);
        let mut lines = Vec::new();
        loop {
            match reader.line(longest).await {
                Ok(Some(line)) => lines.push(Ok(String::from_utf8(line.to_vec()).unwrap())),
                Ok(None) => return lines,
                Err(refusal) => {
                    lines.push(Err(refusal.status.as_u16()));
                }
            }
        }
    }

    #[tokio::test]
    async fn lines_end_in_any_way_and_the_last_may_lack_its_end() {
        assert_eq!(lines("a\r\n\nb", 9).await, [Ok("a".to_owned()), Ok(String::new()), Ok("b".to_owned())]);
        assert!(lines("", 9).await.is_empty());
    }

    #[tokio::test]
    async fn a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(lines("abc\nabc", 3).await, [Ok("abc".to_owned()), Ok("abc".to_owned())]);
        assert_eq!(lines("abc\nabcd\nab", 3).await, [Ok("abc".to_owned()), Err(413)]);
        assert_eq!(lines("abcdefgh", 3).await, [Err(413)]);
    }

    #[tokio::test]
    async fn an_unfinished_body_is_an_error_and_a_finished_one_ends() {
        let (chunks, body) = Body::chunks(2);
        chunks.send("one").await.unwrap();
        chunks.finish();
        assert_eq!(body.collect().await.unwrap().to_bytes(), "one");

        let (chunks, body) = Body::chunks(2);
        chunks.send("one").await.unwrap();
        drop(chunks);
        assert_eq!(body.collect().await.unwrap_err(), BrokenOff);
    }

    #[tokio::test]
    async fn trailers_come_after_the_bytes_and_once() {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", hyper::header::HeaderValue::from_static("0"));
        let collected = Body::with_trailers("one", trailers.clone()).collect().await.unwrap();
        assert_eq!(collected.trailers(), Some(&trailers));
        assert_eq!(collected.to_bytes(), "one");
    }
}
