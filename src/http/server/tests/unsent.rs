//! Answers that the client has no room for, over HTTP/2, where it may close its window.

use http_body_util::BodyExt;

use super::*;

/// An answer that is begun and goes on when it is told.
fn written_slowly() -> (Router, Arc<Notify>) {
    let release = Arc::new(Notify::new());
    let waiting = Arc::clone(&release);
    let router = echo().route(
        Method::GET,
        "/slow",
        later(move |_| {
            let waiting = Arc::clone(&waiting);
            async move {
                let (chunks, body) = Body::chunks(1);
                tokio::spawn(async move {
                    let _ = chunks.send("begun ").await;
                    waiting.notified().await;
                    let _ = chunks.send("done").await;
                    chunks.finish();
                });
                hyper::Response::new(body)
            }
        }),
    );
    (router, release)
}

#[tokio::test]
async fn a_client_with_a_closed_window_is_cut_and_a_slow_writer_is_not() {
    let (router, release) = written_slowly();
    let server = Running::start(router, Limits { write_stall: Duration::from_millis(200), ..Limits::default() });
    let writing = server.client();
    let slow = tokio::spawn(async move { writing.get("/slow").await });

    let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    builder.initial_stream_window_size(0).initial_connection_window_size(0);
    let (mut sender, connection) = builder.handshake(TokioIo::new(server.connect().await)).await.unwrap();
    let connection = tokio::spawn(connection);
    let request = hyper::Request::get("http://x/hello").body(Full::new(Bytes::new())).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "headers need no window");
    assert!(answer.into_body().collect().await.is_err(), "the answer never comes");
    let _ended = connection.await.unwrap();
    assert!(server.counts("cedargate_http_connections_cut_total{listener=\"test\",reason=\"slow-reader\"} 1"));
    // As long as that, the other answer had nothing to send; that is our own doing.
    release.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().text(), "begun done");
    assert!(server.counts("cedargate_http_connections_cut_total{listener=\"test\",reason=\"slow-reader\"} 1"));
}

const LARGE: usize = 6 * 1024 * 1024;

/// A large answer in one piece: whole, or written by somebody who is done with it at once.
fn large() -> Router {
    echo().route(Method::GET, "/whole", now(|_| respond(StatusCode::OK, "text/plain", vec![b'a'; LARGE]))).route(
        Method::GET,
        "/chunk",
        later(|_| async {
            let (chunks, body) = Body::chunks(1);
            let _ = chunks.send(vec![b'a'; LARGE]).await;
            chunks.finish();
            hyper::Response::new(body)
        }),
    )
}

#[tokio::test]
async fn a_reader_who_is_slow_but_steady_gets_the_whole_answer() {
    // Far longer than either limit: the last piece leaves long after the answer was handed over.
    let limits =
        Limits { idle: Duration::from_millis(300), write_stall: Duration::from_millis(300), ..Limits::default() };
    let server = Running::start(large(), limits);
    for path in ["/whole", "/chunk"] {
        let mut stream = server.connect().await;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut piece = vec![0; 64 * 1024];
        let (mut read, mut turns) = (0, tokio::time::interval(Duration::from_millis(15)));
        while read < LARGE {
            turns.tick().await;
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "{path}: cut after {read} bytes");
            read += length;
        }
    }
}

#[tokio::test]
async fn over_http2_as_well() {
    let limits =
        Limits { idle: Duration::from_millis(300), write_stall: Duration::from_millis(300), ..Limits::default() };
    let server = Running::start(large(), limits);
    for path in ["/whole", "/chunk"] {
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(64 * 1024).initial_connection_window_size(64 * 1024);
        let (mut sender, connection) = builder.handshake(TokioIo::new(server.connect().await)).await.unwrap();
        tokio::spawn(connection);
        let request = hyper::Request::get(format!("http://x{path}")).body(Full::new(Bytes::new())).unwrap();
        let mut body = sender.send_request(request).await.unwrap().into_body();
        let (mut read, mut turns) = (0, tokio::time::interval(Duration::from_millis(4)));
        while let Some(frame) = body.frame().await {
            turns.tick().await;
            read += frame.unwrap_or_else(|_| panic!("{path}: cut after {read} bytes")).into_data().unwrap().len();
        }
        assert!(read >= LARGE, "{path}: {read}");
    }
}
