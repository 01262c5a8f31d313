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
async fn a_body_may_hold_what_looks_like_one_and_is_the_last_of_its_connection() {
    let router = echo().route(
        Method::POST,
        "/read",
        stream(|_, mut body| async move {
            let mut whole = Vec::new();
            while let Ok(Some(bytes)) = body.chunk().await {
                whole.extend_from_slice(&bytes);
            }
            respond(StatusCode::OK, "text/plain", whole)
        }),
    );
    let server = Running::start(router, Limits::default());
    let bodies = ["#x HTTP/1.1", "a#b HTTP/1.1 ", "GET /hello#x HTTP/1.1\r\n", "{\"log\":\n\"GET /hello#x HTTP/1.1\"}"];
    for (path, body) in ["/echo", "/later", "/read"].into_iter().flat_map(|path| bodies.map(|body| (path, body))) {
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n", body.len());
        // At once, with another request behind it that nobody may answer; or after its headers.
        let bad = "GET /hello#x HTTP/1.1\r\nhost: x\r\n\r\n";
        for (first, second) in [(format!("{head}{body}{bad}"), ""), (head, body)] {
            let mut stream = server.connect().await;
            stream.set_nodelay(true).unwrap();
            stream.write_all(first.as_bytes()).await.unwrap();
            stream.write_all(second.as_bytes()).await.unwrap();
            let text = read_all(&mut stream).await;
            assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with(body), "{path} {body:?}: {text}");
            assert!(text.contains("connection: close\r\n"), "{path} {body:?}: {text}");
            assert_eq!(text.matches("HTTP/1.1 200 ").count(), 1, "{text}");
        }
    }
}

#[tokio::test]
async fn on_http2_it_means_nothing() {
    let server = Running::start(echo(), Limits::default());
    let stream = server.connect().await;
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    // One connection carries many clients' questions.
    for _ in 0..2 {
        let request = hyper::Request::post("http://x/echo").body(Full::new(Bytes::from("a#b HTTP/1.1"))).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), StatusCode::OK);
    }
}
