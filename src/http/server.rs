//! A listener: bind first, serve later, drain at the end.
//!
//! Our own accept loop over hyper, because every wait needs a limit: on headers, bodies, idle connections, slow
//! readers, connections, requests. HTTP/1.1 and HTTP/2 (prior knowledge, or by ALPN) on TCP, TLS or a Unix socket.
//! Binding and serving are separate, so that nothing is answered before everything is known to be good.

mod admission;
mod alike;
mod certificate;
mod heads;
mod limits;
mod receive;
mod seldom;
mod service;
mod socket;
mod steady;
mod streams;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod transport;
mod turns;
mod vitals;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_rustls::TlsAcceptor;

pub use limits::Limits;
pub use socket::{Bound, ListenerAddress, ListenerConfig};
pub use tls::{ClientAuthorities, Tls, TlsFault, TlsFiles};

use super::{Peer, PeerProcess, RouteTable};
use crate::clock::Sources;
use crate::telemetry::ListenerMetrics;
use crate::telemetry::metrics::Cut;
use alike::{Alike, Learning};
use receive::Tally;
use seldom::Seldom;
use service::{Connection, Listener};
use socket::{Accepted, Socket};
use steady::Steady;
use streams::Streams;
use target::Watched;
use transport::{Crowd, Guarded};
use vitals::Vitals;

/// How long the accept loop rests after an error of the machine (no file descriptor left): first and at most.
const REST: Duration = Duration::from_millis(20);
const LONGEST_REST: Duration = Duration::from_secs(1);

/// What a listener answers with.
pub struct Service {
    /// The routes. Two listeners may share a table (the gate's TCP and Unix sockets do).
    pub table: Arc<RouteTable>,
    /// The limits.
    pub limits: Limits,
    /// Where it counts.
    pub metrics: Arc<ListenerMetrics>,
    /// Time and randomness for request ids.
    pub sources: Sources,
    /// Whether each answer carries `Cedargate-Request-Id`.
    pub request_ids: bool,
}

/// How serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Everything in flight was answered.
    Clean,
    /// The grace period was over before everything was.
    Cut,
}

/// Where a listener is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No new requests; those in flight are finished.
    Draining,
    /// Whatever is left is dropped.
    Over,
}

impl Bound {
    /// Serves until `shutdown` is done; then closes the listener, finishes what is in flight and cuts what is
    /// left after [`Limits::drain`]. Runs the drain for handlers whose clients have hung up as well.
    pub async fn serve(self, service: Service, shutdown: impl Future<Output = ()> + Send) -> Ending {
        let drain = service.limits.drain;
        let (phase, phases) = watch::channel(Phase::Serving);
        // Every connection, and every handler that outlives one, holds a sender: `recv` ends when all are gone.
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let (socket, file, tls) = self.into_parts();
        let queue_delay = service.limits.queue_delay;
        let shared = Arc::new(Shared::new(service, tls));
        let listener = Arc::clone(&shared.listener);
        let accepting = accept(socket, shared, phases, alive);
        tokio::select! {
            () = accepting => {}
            () = listener.admission.watch(queue_delay, &listener.metrics) => {}
            () = shutdown => {}
        }
        listener.admission.rest();
        // The loop is gone, and with it the listening socket: who comes now is refused by the machine.
        drop(file);
        phase.send_replace(Phase::Draining);
        if tokio::time::timeout(drain, gone.recv()).await.is_ok() {
            return Ending::Clean;
        }
        phase.send_replace(Phase::Over);
        Ending::Cut
    }
}

/// What all connections of a listener share.
struct Shared {
    listener: Arc<Listener>,
    crowd: Arc<Crowd>,
    tls: Option<Arc<Tls>>,
}

impl Shared {
    fn new(service: Service, tls: Option<Arc<Tls>>) -> Self {
        let permits = Arc::new(Semaphore::new(service.limits.connections.min(Semaphore::MAX_PERMITS)));
        let Service { table, limits, metrics, sources, request_ids } = service;
        let ids = service::Ids::new(&sources);
        let admission = admission::Admission::default();
        let listener = Listener { table, limits, metrics, ids, request_ids, bodies: Tally::default(), admission };
        let crowd = Crowd { permits, refused: AtomicBool::new(false) };
        Self { listener: Arc::new(listener), crowd: Arc::new(crowd), tls }
    }
}

fn builder(limits: &Limits, streams: Streams) -> auto::Builder<Streams> {
    let mut builder = auto::Builder::new(streams);
    // Deadlines are kept by `transport`, which knows the wait before the first byte and tells idle from slow.
    builder.http1().header_read_timeout(None).max_buf_size(limits.header_bytes.max(Limits::LEAST_HEADER_BYTES));
    if limits.headers != Limits::default().headers {
        // hyper keeps its default number on the stack and any other on the heap.
        builder.http1().max_headers(limits.headers);
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(limits.pending_resets);
    builder
}

/// Takes connections for ever. A connection beyond the limit waits in the machine's queue; meanwhile waiting
/// connections lose their patience (see [`transport`]), so that those who have something to ask get in.
async fn accept(socket: Socket, shared: Arc<Shared>, phases: watch::Receiver<Phase>, alive: mpsc::Sender<()>) {
    let mut rest = REST;
    loop {
        // The semaphore is never closed.
        let Ok(permit) = Arc::clone(&shared.crowd.permits).acquire_owned().await else { return };
        match socket.accept().await {
            Ok(accepted) => {
                rest = REST;
                shared.crowd.refused.store(false, Ordering::Relaxed);
                let (shared, phases, alive) = (Arc::clone(&shared), phases.clone(), alive.clone());
                match accepted {
                    Accepted::Tcp(stream, address) => {
                        // Answers are small and complete: waiting for more to send would only delay them.
                        let _ = stream.set_nodelay(true);
                        let peer = Peer { address: Some(address), ..Peer::default() };
                        tokio::spawn(converse(stream, peer, shared, phases, alive, permit));
                    }
                    Accepted::Unix(stream) => {
                        let peer = Peer { process: process(&stream), ..Peer::default() };
                        tokio::spawn(converse(stream, peer, shared, phases, alive, permit));
                    }
                }
            }
            Err(cause) if is_of_the_connection(&cause) => {}
            Err(cause) => {
                let listener = shared.listener.metrics.name();
                tracing::warn!(listener, %cause, "cannot take connections; trying again");
                shared.listener.metrics.cut(Cut::Accept);
                shared.crowd.refused.store(true, Ordering::Relaxed);
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(LONGEST_REST);
            }
        }
    }
}

/// Whether an error of `accept` concerns only the connection that was about to be taken (accept(2)).
fn is_of_the_connection(cause: &io::Error) -> bool {
    matches!(
        cause.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

/// Who is at the other end of a Unix socket; nobody known where the machine does not say.
fn process(stream: &UnixStream) -> Option<PeerProcess> {
    let known = stream.peer_cred().ok()?;
    Some(PeerProcess { user: known.uid(), group: known.gid(), id: known.pid() })
}

/// One connection from its first byte to its last.
async fn converse<S>(
    stream: S,
    peer: Peer,
    shared: Arc<Shared>,
    mut phases: watch::Receiver<Phase>,
    alive: mpsc::Sender<()>,
    permit: OwnedSemaphorePermit,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = Arc::clone(&shared.listener.metrics);
    metrics.connected();
    let vitals = Arc::new(Vitals::new());
    let patience = shared.listener.limits.patience();
    let plain = shared.tls.is_none();
    let guarded =
        Guarded::new(stream, Arc::clone(&vitals), patience, Arc::clone(&metrics), Arc::clone(&shared.crowd), plain);
    let bodies = Tally::default();
    let connection = |peer| Connection {
        listener: Arc::clone(&shared.listener),
        vitals,
        peer,
        bodies,
        learning: Learning::default(),
        _alive: alive,
    };
    match &shared.tls {
        None => talk(guarded, connection(Arc::new(peer)), &shared, &mut phases).await,
        // On the heap: a connection without TLS need not be as large as one with it.
        Some(tls) => Box::pin(secured(guarded, peer, tls, connection, &shared, &mut phases)).await,
    }
    metrics.disconnected();
    drop(permit);
}

/// A handshake, and then requests and answers. Below TLS the guard keeps the same deadlines: until the first request is
/// whole, all of it is the head.
async fn secured<S>(
    guarded: Guarded<S>,
    mut peer: Peer,
    tls: &Tls,
    connection: impl FnOnce(Arc<Peer>) -> Connection,
    shared: &Shared,
    phases: &mut watch::Receiver<Phase>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = &shared.listener.metrics;
    let shaken = tokio::select! {
        shaken = TlsAcceptor::from(tls.config()).accept(guarded) => Some(shaken),
        _ = phases.wait_for(|phase| *phase >= Phase::Draining) => None,
    };
    match shaken {
        Some(Ok(stream)) => {
            peer.certificate = tls::client_certificate(stream.get_ref().1);
            talk(stream, connection(Arc::new(peer)), shared, phases).await;
        }
        Some(Err(cause)) => {
            metrics.cut(Cut::Handshake);
            tracing::debug!(listener = metrics.name(), %cause, "no TLS connection came about");
        }
        None => metrics.cut(Cut::Drain),
    }
}

/// Requests and answers, to the end of the connection or of the listener.
async fn talk<S>(stream: S, connection: Connection, shared: &Shared, phases: &mut watch::Receiver<Phase>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let metrics = Arc::clone(&connection.listener.metrics);
    let vitals = Arc::clone(&connection.vitals);
    let connection = Arc::new(connection);
    let certificate_ends = certificate_ends(connection.certificate_lasts());
    let enough = Seldom::new(async {
        tokio::select! {
            _ = phases.wait_for(|phase| *phase >= Phase::Draining) => {}
            () = certificate_ends => {}
        }
    });
    let stream = Alike::new(Watched::new(stream, vitals), Arc::clone(&connection));
    let service = service_fn(move |request| service::answer(Arc::clone(&connection), request));
    let (streams, steady) = (Streams::default(), Steady::default());
    let builder = builder(&shared.listener.limits, streams.clone());
    let conversation = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(conversation);

    let outcome = tokio::select! {
        biased;
        outcome = turns(&steady, &streams, conversation.as_mut()) => Some(outcome),
        () = enough => None,
    };
    let outcome = match outcome {
        Some(outcome) => Some(outcome),
        None => {
            conversation.as_mut().graceful_shutdown();
            tokio::select! {
                biased;
                outcome = turns(&steady, &streams, conversation.as_mut()) => Some(outcome),
                _ = phases.wait_for(|phase| *phase >= Phase::Over) => None,
            }
        }
    };
    match outcome {
        Some(Ok(())) => {}
        // Whatever goes wrong on a connection is the other side's doing or has been counted already.
        Some(Err(cause)) => tracing::debug!(listener = metrics.name(), %cause, "connection ended early"),
        None => metrics.cut(Cut::Drain),
    }
}

/// A connection's turns, to its end.
async fn turns<C: Future>(steady: &Steady, streams: &Streams, mut conversation: Pin<&mut C>) -> C::Output {
    poll_fn(|context| steady.poll(context, |context| streams.poll(conversation.as_mut(), context))).await
}

/// Ends with the client's certificate, so that the client connects again with its next one; never where it has none.
async fn certificate_ends(lasts: Option<Duration>) {
    match lasts {
        Some(lasts) => tokio::time::sleep(lasts).await,
        None => std::future::pending().await,
    }
}
