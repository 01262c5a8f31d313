//! Targets with a `#`, which the library would cut off.

use super::*;

#[tokio::test]
async fn a_target_with_a_fragment_is_refused_and_ends_its_connection() {
    let server = Running::start(echo(), Limits::default());
    let good = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}";
    for target in ["/hello#", "/hello#x", "/hello?a#b", "/hello#/../../admin", "#/hello"] {
        let mut stream = server.connect().await;
        let bad = format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(good.as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "{}").await.starts_with("HTTP/1.1 200 "), "its control");
        stream.write_all(format!("{bad}{good}").as_bytes()).await.unwrap();
        let text = read_all(&mut stream).await;
        assert!(text.starts_with("HTTP/1.1 400 ") && text.contains("connection: close"), "{target}: {text}");
        assert!(!text.contains("HTTP/1.1 200 "), "nothing after it is answered: {text}");
    }
    // Sent at once, the first request may be answered; the one with the fragment never is.
    let mut stream = server.connect().await;
    stream.write_all(format!("{good}GET /hello#x HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    assert!(!read_all(&mut stream).await.contains("hello"));
}

#[tokio::test]
async fn what_only_looks_like_one_costs_nobody_else_an_answer() {
    let server = Running::start(echo(), Limits::default());
    let text = "a#b HTTP/1.1";
    // In a body of HTTP/1 it is refused with the request that it came with, and with that one alone.
    let reply = server.client().send(Method::POST, "/echo", None, Bytes::from(text)).await.unwrap();
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(server.client().get("/hello").await.unwrap().status, StatusCode::OK);
    // On HTTP/2, where one connection carries many clients' questions, it means nothing.
    let stream = server.connect().await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    for _ in 0..2 {
        let request = hyper::Request::post("http://x/echo").body(Full::new(Bytes::from(text))).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::OK);
    }
}
