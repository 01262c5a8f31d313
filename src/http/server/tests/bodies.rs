//! Bodies on their way: what they may take, and that those which never come starve nobody.

use hyper::client::conn::http2::{SendRequest, handshake};

use super::*;
use crate::http::body::Chunks;

#[tokio::test]
async fn larger_bodies_share_a_memory_that_is_given_back() {
    let limits = Limits { body_bytes: 200_000, body_memory: 150_000, ..Limits::default() };
    let server = Running::start(echo(), limits);
    let client = server.client();
    let send = |length: usize| client.send(Method::POST, "/echo", None, Bytes::from(vec![b'a'; length]));
    assert_eq!(send(160_000).await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    for _ in 0..5 {
        assert_eq!(send(140_000).await.unwrap().status, StatusCode::OK);
    }
}

#[tokio::test]
async fn bodies_that_do_not_come_take_no_slot_from_complete_requests() {
    let server = Running::start(echo(), Limits { requests: 1, ..Limits::default() });
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut stream = server.connect().await;
        let head = "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // Said once the body is being waited for.
        read_until(&mut stream, "100 Continue").await;
        waiting.push(stream);
    }
    let reply = server.client().send(Method::POST, "/echo", None, Bytes::from("abc")).await.unwrap();
    assert_eq!(reply.text(), "abc");
    for stream in &mut waiting {
        stream.write_all(b"abc").await.unwrap();
        assert!(read_until(stream, "abc").await.contains("HTTP/1.1 200 OK"), "late, and answered all the same");
    }
}

async fn multiplexed(server: &Running) -> SendRequest<Body> {
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(server.connect().await)).await.unwrap();
    tokio::spawn(connection);
    sender
}

/// A request whose body begins with this and goes on as it is told; its answer's status comes by the channel.
async fn begin(sender: &SendRequest<Body>, first: Bytes, statuses: &mpsc::Sender<StatusCode>) -> Chunks {
    let (chunks, body) = Body::chunks(1);
    if !first.is_empty() {
        chunks.send(first).await.unwrap();
    }
    let (mut sender, statuses) = (sender.clone(), statuses.clone());
    tokio::spawn(async move {
        let request = hyper::Request::post("http://x/echo").body(body).unwrap();
        statuses.send(sender.send_request(request).await.unwrap().status()).await.unwrap();
    });
    chunks
}

#[tokio::test]
async fn bodies_that_are_waited_for_are_bounded_and_each_connection_has_some_of_its_own() {
    let server = Running::start(echo(), Limits { waiting_bodies: 4, ..Limits::default() });
    let (statuses, mut answered) = mpsc::channel(32);
    let greedy = multiplexed(&server).await;
    let mut open = Vec::new();
    for _ in 0..12 {
        open.push(begin(&greedy, Bytes::new(), &statuses).await);
    }
    for _ in 0..4 {
        assert_eq!(answered.recv().await, Some(StatusCode::SERVICE_UNAVAILABLE));
    }
    // Everything is taken; whoever comes now may wait all the same, and is answered.
    let modest = begin(&multiplexed(&server).await, Bytes::new(), &statuses).await;
    modest.finish();
    assert_eq!(answered.recv().await, Some(StatusCode::OK));
    open.into_iter().for_each(Chunks::finish);
    for _ in 0..8 {
        assert_eq!(answered.recv().await, Some(StatusCode::OK));
    }
}

#[tokio::test]
async fn a_connection_that_only_asks_for_more_places_is_cut() {
    let server = Running::start(echo(), Limits { waiting_bodies: 4, ..Limits::default() });
    // 64 requests at once, none with its body: some wait, more are refused, and none comes to anything.
    let mut greedy = server.connect().await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for number in 0..64_u8 {
        // HEADERS of POST /echo (RFC 7541 without a table), with END_HEADERS.
        bytes.extend([0, 0, 12, 1, 4, 0, 0, 0, 2 * number + 1, 0x83, 0x86, 0x44, 5]);
        bytes.extend(b"/echo\x41\x01x");
    }
    greedy.write_all(&bytes).await.unwrap();
    let _ended = greedy.read_to_end(&mut Vec::new()).await;
    assert!(server.counts("cedargate_http_connections_cut_total{listener=\"test\",reason=\"flood\"} 1"));
    let (statuses, mut answered) = mpsc::channel(1);
    begin(&multiplexed(&server).await, Bytes::new(), &statuses).await.finish();
    assert_eq!(answered.recv().await, Some(StatusCode::OK), "others are served");
}

#[tokio::test]
async fn held_bytes_are_bounded_and_each_connection_has_some_of_its_own() {
    let limits = Limits { body_bytes: 10_000, body_memory: 20_000, ..Limits::default() };
    let server = Running::start(echo(), limits);
    let (statuses, mut answered) = mpsc::channel(32);
    let piece = || Bytes::from(vec![b'a'; 9_000]);
    // One connection may hold as much as one body, whatever others do.
    let first = multiplexed(&server).await;
    let mut open = vec![begin(&first, piece(), &statuses).await, begin(&first, piece(), &statuses).await];
    assert_eq!(answered.recv().await, Some(StatusCode::SERVICE_UNAVAILABLE));
    let second = multiplexed(&server).await;
    open.push(begin(&second, piece(), &statuses).await);
    let third = multiplexed(&server).await;
    open.push(begin(&third, piece(), &statuses).await);
    assert_eq!(answered.recv().await, Some(StatusCode::SERVICE_UNAVAILABLE), "more than all may hold");
    let small = begin(&third, Bytes::from("a"), &statuses).await;
    small.send("b").await.unwrap();
    small.finish();
    assert_eq!(answered.recv().await, Some(StatusCode::OK));
    open.into_iter().for_each(Chunks::finish);
    for _ in 0..2 {
        assert_eq!(answered.recv().await, Some(StatusCode::OK));
    }
}
