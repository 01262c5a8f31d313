//! What handlers learn of the other side.

use super::*;
use crate::http::{Peer, PeerProcess};

#[tokio::test]
async fn handlers_see_who_connected() {
    let who = || {
        Router::new().route(
            Method::GET,
            "/who",
            now(|request| respond(StatusCode::OK, "text/plain", format!("{:?}", request.peer))),
        )
    };
    let server = Running::start(who(), Limits::default());
    let mut stream = server.connect().await;
    let own = stream.local_addr().unwrap();
    stream.write_all(b"GET /who HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let answer = read_all(&mut stream).await;
    let expected = Peer { address: Some(own), ..Peer::default() };
    assert!(answer.ends_with(&format!("{expected:?}")), "{answer}");

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = Running::start_at(ListenerAddress::Unix(path.clone()), who(), Limits::default());
    let own = UnixStream::pair().unwrap().0.peer_cred().unwrap();
    let process = PeerProcess { user: own.uid(), group: own.gid(), id: own.pid() };
    let expected = Peer { process: Some(process), ..Peer::default() };
    assert_eq!(server.client().get("/who").await.unwrap().text(), format!("{expected:?}"));
}
