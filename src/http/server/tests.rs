//! Real sockets on port 0. Limits are short, so that what must end ends soon; nothing sleeps to be in time.

mod alike;
mod bodies;
mod peer;
mod target;
mod tls;
mod unsent;

use std::net::{Shutdown, SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::*;
use crate::http::client::Client;
use crate::http::{Body, Method, Reply, Router, StatusCode, here, later, now, respond, stream};
use crate::telemetry::{Metrics, Stopwatch};

struct Running {
    address: ListenerAddress,
    metrics: Metrics,
    stop: Option<oneshot::Sender<()>>,
    ended: JoinHandle<Ending>,
}

impl Running {
    fn start(router: Router, limits: Limits) -> Self {
        Self::start_at(ListenerAddress::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))), router, limits)
    }

    fn start_at(address: ListenerAddress, router: Router, limits: Limits) -> Self {
        Self::start_as(&ListenerConfig { name: "test", address, tls: None }, router, limits)
    }

    fn start_as(config: &ListenerConfig, router: Router, limits: Limits) -> Self {
        Self::start_with(config, router, limits, Sources::system())
    }

    fn start_with(config: &ListenerConfig, router: Router, limits: Limits, sources: Sources) -> Self {
        let metrics = Metrics::new(&[]);
        let service = Service {
            table: Arc::new(router.build().unwrap()),
            limits,
            metrics: metrics.listener("test"),
            sources,
            request_ids: true,
        };
        let bound = Bound::bind(config).unwrap();
        let address = bound.address().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(bound.serve(service, async {
            let _ = stopped.await;
        }));
        Self { address, metrics, stop: Some(stop), ended }
    }

    fn client(&self) -> Client {
        Client::new(&self.address.to_string()).unwrap()
    }

    async fn connect(&self) -> TcpStream {
        let ListenerAddress::Tcp(address) = &self.address else { panic!("TCP") };
        TcpStream::connect(address).await.unwrap()
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    fn counts(&self, line: &str) -> bool {
        self.metrics.render().unwrap().lines().any(|found| found == line)
    }
}

fn short() -> Limits {
    Limits {
        header_deadline: Duration::from_millis(300),
        body_deadline: Duration::from_millis(300),
        drain: Duration::from_secs(20),
        ..Limits::default()
    }
}

fn echo() -> Router {
    Router::new()
        .route(Method::GET, "/hello", now(|_| respond(StatusCode::OK, "text/plain", "hello")))
        .route(Method::POST, "/echo", now(|request| respond(StatusCode::OK, "text/plain", request.body)))
        .route(
            Method::POST,
            "/later",
            later(|request| async move { respond(StatusCode::OK, "text/plain", request.body) }),
        )
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset after the answer is as good as an end.
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// Reads as far as the first occurrence of a text.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.contains(end) {
        let mut buffer = [0; 1024];
        let length = stream.read(&mut buffer).await.unwrap();
        assert!(length > 0, "the connection ended after {text:?}");
        text.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
    }
    text
}

#[tokio::test]
async fn requests_are_answered_and_connections_kept() {
    let server = Running::start(echo(), Limits::default());
    let client = server.client();
    for path in ["/echo", "/later"] {
        let reply = client.send(Method::POST, path, None, Bytes::from("abc")).await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (StatusCode::OK, "abc"));
        assert_eq!(reply.header("cedargate-request-id").unwrap().len(), 36);
    }
    assert_eq!(client.get("/nothing").await.unwrap().status, StatusCode::NOT_FOUND);
    let wrong = client.get("/echo").await.unwrap();
    assert_eq!((wrong.status, wrong.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("POST")));
    assert!(server.counts("cedargate_http_requests_total{listener=\"test\",status=\"200\"} 2"));
    assert!(server.counts("cedargate_http_connections{listener=\"test\"} 1"), "one connection served all");
    assert!(server.counts("cedargate_http_requests_in_flight{listener=\"test\"} 0"));
}

#[tokio::test]
async fn head_has_the_headers_of_get_and_no_body() {
    let server = Running::start(echo(), Limits::default());
    let mut stream = server.connect().await;
    stream.write_all(b"HEAD /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let text = read_all(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("content-length: 5\r\n"), "{text}");
    assert!(text.ends_with("\r\n\r\n"), "{text}");
}

#[tokio::test]
async fn request_ids_are_uuids_of_version_7_that_never_repeat() {
    let ids = service::Ids::new(&Sources::system());
    let all: std::collections::HashSet<String> = (0..10_000).map(|_| ids.next()).collect();
    assert_eq!(all.len(), 10_000);
    assert!(all.iter().all(|id| uuid::Uuid::parse_str(id).unwrap().get_version_num() == 7));
}

#[tokio::test]
async fn slow_headers_are_told_so_and_cut() {
    let server = Running::start(echo(), short());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: ").await.unwrap();
    let text = read_all(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    assert!(text.contains("\"code\":\"timeout\""), "{text}");
    assert!(server.counts("cedargate_http_connections_cut_total{listener=\"test\",reason=\"slow-head\"} 1"));
}

#[tokio::test]
async fn trickled_headers_are_cut_although_bytes_keep_coming() {
    let server = Running::start(echo(), short());
    let stream = server.connect().await;
    let (mut reader, mut writer) = stream.into_split();
    writer.write_all(b"GET /hello HTTP/1.1\r\nX-Slow: ").await.unwrap();
    let drip = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while writer.write_all(b"a").await.is_ok() {
            ticks.tick().await;
        }
    });
    let mut answer = Vec::new();
    let _ = reader.read_to_end(&mut answer).await;
    assert!(answer.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&answer));
    drip.await.unwrap();
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_cut() {
    let server = Running::start(echo(), short());
    let mut stream = server.connect().await;
    assert_eq!(read_all(&mut stream).await, "");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let limits = Limits { idle: Duration::from_millis(200), ..Limits::default() };
    let release = Arc::new(Notify::new());
    let waiting = Arc::clone(&release);
    let router = echo().route(
        Method::GET,
        "/slow",
        later(move |_| {
            let waiting = Arc::clone(&waiting);
            async move {
                waiting.notified().await;
                respond(StatusCode::OK, "text/plain", "done")
            }
        }),
    );
    let server = Running::start(router, limits);
    let (mut idle, mut busy) = (server.connect().await, server.connect().await);
    idle.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(read_all(&mut idle).await.ends_with("hello"), "answered, then closed");
    release.notify_one();
    assert!(read_all(&mut busy).await.ends_with("done"), "older than the idle limit by now, and answered all the same");
    assert!(server.counts("cedargate_http_connections_cut_total{listener=\"test\",reason=\"idle\"} 2"));
}

#[tokio::test]
async fn too_many_or_too_long_headers_are_431() {
    let server = Running::start(echo(), Limits::default());
    let many = "X-H: 1\r\n".repeat(200);
    let long = format!("X-H: {}\r\n", "a".repeat(100_000));
    for headers in [many, long] {
        let mut stream = server.connect().await;
        let _ = stream.write_all(format!("GET /hello HTTP/1.1\r\nHost: x\r\n{headers}\r\n").as_bytes()).await;
        let text = read_until(&mut stream, "\r\n").await;
        assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    }
}

#[tokio::test]
async fn a_body_declared_too_large_is_413_before_it_is_sent() {
    let server = Running::start(echo(), Limits { body_bytes: 1024, ..Limits::default() });
    let mut stream = server.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n").await.unwrap();
    let text = read_until(&mut stream, "}}").await;
    assert!(text.starts_with("HTTP/1.1 413 ") && text.contains("connection: close"), "{text}");

    let fits = server.client().send(Method::POST, "/echo", None, Bytes::from(vec![b'a'; 1024])).await.unwrap();
    assert_eq!(fits.status, StatusCode::OK);
    let over = server.client().send(Method::POST, "/echo", None, Bytes::from(vec![b'a'; 1025])).await.unwrap();
    assert_eq!(over.status, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn a_client_that_sends_ten_megabytes_before_it_reads_still_sees_the_413() {
    let server = Running::start(echo(), Limits { body_bytes: 1024, ..Limits::default() });
    let mut stream = server.connect().await;
    let length = 10 * 1024 * 1024;
    let head = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![b'a'; length]).await.unwrap();
    assert!(read_all(&mut stream).await.starts_with("HTTP/1.1 413 "));
}

#[tokio::test]
async fn an_endless_body_is_not_read_to_its_end() {
    let server = Running::start(echo(), Limits { body_bytes: 1024, ..Limits::default() });
    let mut stream = server.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", "a".repeat(65_536));
    let mut sent = 0_usize;
    while stream.write_all(chunk.as_bytes()).await.is_ok() {
        sent += chunk.len();
        assert!(sent < 256 * 1024 * 1024, "the server reads on and on");
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_408() {
    let server = Running::start(echo(), short());
    for begun in ["", "abc"] {
        let mut stream = server.connect().await;
        let request = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{begun}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let text = read_until(&mut stream, "}}").await;
        assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
    }
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut() {
    let big = Bytes::from(vec![b'a'; 64 * 1024 * 1024]);
    let router = echo().route(Method::GET, "/big", now(move |_| respond(StatusCode::OK, "text/plain", big.clone())));
    let server = Running::start(router, Limits { write_stall: Duration::from_millis(200), ..Limits::default() });
    let mut stream = server.connect().await;
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut ticks = tokio::time::interval(Duration::from_millis(10));
    while !server.counts("cedargate_http_connections_cut_total{listener=\"test\",reason=\"slow-reader\"} 1") {
        ticks.tick().await;
    }
    assert!(read_all(&mut stream).await.len() < 64 * 1024 * 1024);
}

#[tokio::test]
async fn a_panic_is_a_500_and_the_process_lives() {
    let router = echo()
        .route(Method::GET, "/now", now(|_| panic!("at once")))
        .route(Method::GET, "/here", here(|_| Reply::Later(Box::pin(async { panic!("in a while") }))))
        .route(Method::GET, "/later", later(|_| async { panic!("in a while") }));
    let server = Running::start(router, Limits::default());
    let client = server.client();
    for path in ["/now", "/here", "/later"] {
        let reply = client.get(path).await.unwrap();
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
        assert!(reply.text().contains("\"code\":\"internal\"") && !reply.text().contains("while"), "{}", reply.text());
    }
    assert_eq!(client.get("/hello").await.unwrap().status, StatusCode::OK);
    assert!(server.counts("cedargate_http_panics_total{listener=\"test\"} 3"));
    assert!(server.counts("cedargate_http_requests_in_flight{listener=\"test\"} 0"), "no slot is lost");
}

/// A handler at `/slow` that says when it runs and goes on when it is let.
fn gated() -> (Router, Arc<Notify>, Arc<Notify>, Arc<AtomicBool>) {
    let (started, release, finished) =
        (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let parts = (Arc::clone(&started), Arc::clone(&release), Arc::clone(&finished));
    let router = echo().route(
        Method::GET,
        "/slow",
        later(move |_| {
            let (started, release, finished) = parts.clone();
            async move {
                started.notify_one();
                release.notified().await;
                finished.store(true, Ordering::SeqCst);
                respond(StatusCode::OK, "text/plain", "done")
            }
        }),
    );
    (router, started, release, finished)
}

#[tokio::test]
async fn a_drain_finishes_what_is_in_flight_and_takes_nothing_new() {
    let (router, started, release, _) = gated();
    let mut server = Running::start(router, short());
    let client = server.client();
    let idle = client.get("/hello").await.unwrap();
    assert_eq!(idle.status, StatusCode::OK);
    let asking = client.clone();
    let in_flight = tokio::spawn(async move { asking.get("/slow").await });
    started.notified().await;
    server.stop();
    let ListenerAddress::Tcp(address) = server.address.clone() else { panic!("TCP") };
    // The listener closes a moment after the signal.
    while TcpStream::connect(address).await.is_ok() {}
    assert!(!server.ended.is_finished());
    release.notify_one();
    assert_eq!(in_flight.await.unwrap().unwrap().text(), "done");
    assert_eq!(server.ended.await.unwrap(), Ending::Clean);
}

#[tokio::test]
async fn a_drain_cuts_what_does_not_finish() {
    let (router, started, _release, _) = gated();
    let mut server = Running::start(router, Limits { drain: Duration::from_millis(100), ..Limits::default() });
    let client = server.client();
    let in_flight = tokio::spawn(async move { client.get("/slow").await });
    started.notified().await;
    server.stop();
    assert_eq!(server.ended.await.unwrap(), Ending::Cut);
    assert!(in_flight.await.unwrap().is_err());
}

#[tokio::test]
async fn a_handler_runs_to_its_end_when_the_client_hangs_up_and_the_drain_waits_for_it() {
    let (router, started, release, finished) = gated();
    let mut server = Running::start(router, short());
    let mut stream = server.connect().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    started.notified().await;
    drop(stream);
    server.stop();
    release.notify_one();
    assert_eq!(server.ended.await.unwrap(), Ending::Clean);
    assert!(finished.load(Ordering::SeqCst));
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_503() {
    let (router, _started, release, _) = gated();
    let server = Running::start(router, Limits { handler_deadline: Duration::from_millis(50), ..Limits::default() });
    let reply = server.client().get("/slow").await.unwrap();
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
    assert!(server.counts("cedargate_http_requests_in_flight{listener=\"test\"} 1"), "it still counts: it still runs");
    release.notify_one();
}

#[tokio::test]
async fn one_request_too_many_is_refused_at_once() {
    let (router, started, release, _) = gated();
    let server = Running::start(router, Limits { requests: 1, ..Limits::default() });
    let client = server.client();
    let asking = client.clone();
    let first = tokio::spawn(async move { asking.get("/slow").await });
    started.notified().await;
    let second = client.get("/hello").await.unwrap();
    assert_eq!(second.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(second.text().contains("overloaded"));
    release.notify_one();
    assert_eq!(first.await.unwrap().unwrap().status, StatusCode::OK);
    assert_eq!(client.get("/hello").await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn beyond_the_connection_limit_those_who_ask_nothing_make_room() {
    let server = Running::start(echo(), Limits { connections: 3, ..Limits::default() });
    let mut squatters = Vec::new();
    for _ in 0..3 {
        let mut stream = server.connect().await;
        stream.write_all(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        read_until(&mut stream, "hello").await;
        squatters.push(stream);
    }
    // Idle connections have 75 s otherwise; the client's deadline is 30 s.
    let watch = Stopwatch::start();
    assert_eq!(server.client().get("/hello").await.unwrap().status, StatusCode::OK);
    assert!(watch.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn http2_by_prior_knowledge_works_with_the_same_limits() {
    let server = Running::start(echo(), Limits { body_bytes: 1024, ..Limits::default() });
    let stream = server.connect().await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let ListenerAddress::Tcp(address) = &server.address else { panic!("TCP") };
    for (length, status) in [(3, StatusCode::OK), (100_000, StatusCode::PAYLOAD_TOO_LARGE), (3, StatusCode::OK)] {
        let request = hyper::Request::post(format!("http://{address}/echo"))
            .body(Full::new(Bytes::from(vec![b'a'; length])))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!((response.version(), response.status()), (hyper::Version::HTTP_2, status));
        response.into_body().collect().await.unwrap();
    }
}

#[tokio::test]
async fn a_unix_socket_works_and_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    // What a killed process leaves behind.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let address = ListenerAddress::Unix(path.clone());
    let mut server = Running::start_at(address.clone(), echo(), short());
    let reply = server.client().send(Method::POST, "/echo", None, Bytes::from("abc")).await.unwrap();
    assert_eq!(reply.text(), "abc");
    let taken = Bound::bind(&ListenerConfig { name: "second", address: address.clone(), tls: None }).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    assert!(taken.to_string().starts_with("cannot bind second to unix:"), "{taken}");
    let stream = UnixStream::connect(&path).await.unwrap();
    stream.into_std().unwrap().shutdown(Shutdown::Both).unwrap();
    server.stop();
    assert_eq!(server.ended.await.unwrap(), Ending::Clean);
    assert!(!path.exists());
    std::fs::write(&path, "precious").unwrap();
    assert!(Bound::bind(&ListenerConfig { name: "third", address, tls: None }).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious", "only a socket is removed");
}

#[tokio::test]
async fn streams_flow_both_ways_without_being_held_whole() {
    let router = Router::new().stream(
        Method::POST,
        "/import",
        stream(|_, mut body| async move {
            let (chunks, answer) = Body::chunks(1);
            tokio::spawn(async move {
                let mut count = 0;
                while let Ok(Some(line)) = body.line(100).await {
                    count += 1;
                    if line.starts_with(b"bad") {
                        let _ = chunks.send(format!("{{\"line\":{count}}}\n")).await;
                    }
                }
                let _ = chunks.send(format!("{{\"summary\":{count}}}\n")).await;
                chunks.finish();
            });
            hyper::Response::new(answer)
        }),
    );
    let server = Running::start(router, Limits { body_bytes: 10, ..Limits::default() });
    let (chunks, body) = Body::chunks(1);
    let mut reply = server.client().post_stream("/import", "application/jsonl", body).await.unwrap();
    chunks.send("good\nba").await.unwrap();
    chunks.send("d\n").await.unwrap();
    // The failure is there before the import is over.
    assert_eq!(reply.body.line(100).await.unwrap().unwrap(), "{\"line\":2}");
    for _ in 0..1000 {
        chunks.send("good\n").await.unwrap();
    }
    // More than a connection may send while nothing comes of it.
    for _ in 0..60 {
        chunks.send(format!("{}\n", "g".repeat(98)).repeat(500)).await.unwrap();
    }
    chunks.finish();
    assert_eq!(reply.body.line(100).await.unwrap().unwrap(), "{\"summary\":31002}");
    assert_eq!(reply.body.line(100).await.unwrap(), None);
}
