//! Bad credentials and bad manners of connections.

use std::io::{BufReader, Read, Write};

use serde_json::{Value, json};

use super::{Scene, USER};
use crate::support::{Client, read_reply};

#[test]
fn tokens_that_prove_nothing() {
    let mut scene = Scene::new();
    let doors = scene.server.doors().clone();
    let operator_token = std::fs::read_to_string(scene.server.data().join("operator.token")).unwrap();
    let operator_token = operator_token.trim().to_owned();
    scene.unchanged("tokens", |scene| {
        let truncated = &scene.token[..scene.token.len() - 1];
        let mut last = scene.token.clone();
        let other = if last.ends_with('A') { 'B' } else { 'A' };
        last.pop();
        last.push(other);
        let longer = format!("{}A", scene.token);
        let doubled = format!("{0} {0}", scene.token);
        let bad = ["", " ", "nonsense", truncated, &last, &longer, &doubled, &operator_token, "\u{7f}"];
        let body = json!({"schemas": [USER], "userName": "eve"});
        for token in bad {
            let reply = Client::new(&doors.front).bearer(token).json("POST", "/scim/v2/Users", &body);
            assert!(matches!(reply.status, 400 | 401), "{token:?}: {} {}", reply.status, reply.text());
        }
        for scheme in ["Basic", "Token", ""] {
            let header = format!("{scheme} {}", scene.token);
            let reply =
                Client::new(&doors.front).header("Authorization", &header).json("POST", "/scim/v2/Users", &body);
            assert_eq!(reply.status, 401, "{scheme}: {}", reply.text());
            assert!(reply.header("www-authenticate").is_some(), "{scheme}");
        }
        let twice = Client::new(&doors.front).bearer(&scene.token).bearer("nonsense");
        assert_eq!({ twice }.json("POST", "/scim/v2/Users", &body).status, 401, "two credentials");
        for token in ["", "nonsense", &operator_token[1..], &scene.token] {
            let reply =
                Client::new(&doors.ops).bearer(token).json("PUT", "/manage/v1/organizations/x", &json!({"name": "x"}));
            assert_eq!(reply.status, 401, "{token:?}: {}", reply.text());
        }
    });
}

#[test]
fn another_organizations_token_sees_nothing() {
    let mut scene = Scene::new();
    let (user, group) = (format!("Users/{}", scene.ada), format!("Groups/{}", scene.group));
    scene.unchanged("foreign", |scene| {
        let off = json!({"schemas": ["urn:ietf:params:scim:api:messages:2.0:PatchOp"],
            "Operations": [{"op": "replace", "value": {"active": false}}]});
        for path in [&user, &group] {
            for (method, body) in [("GET", &Value::Null), ("PATCH", &off), ("DELETE", &Value::Null)] {
                let reply = scene.foreign.call(method, path, body);
                assert_eq!(reply.status, 404, "{method} {path}: {}", reply.text());
            }
        }
        let put = json!({"schemas": [USER], "userName": "ada", "active": false});
        scene.foreign.call("PUT", &user, &put).expect(&[404]);
        for kind in ["Users", "Groups"] {
            let list = scene.foreign.call("GET", kind, &Value::Null).expect(&[200]).json();
            assert_eq!(list["totalResults"], 0, "{list}");
        }
        let member = json!({"schemas": [super::GROUP], "displayName": "Spies", "members": [{"value": scene.ada}]});
        let reply = scene.foreign.call("POST", "Groups", &member);
        assert!(matches!(reply.status, 400 | 404), "{}", reply.text());
    });
}

#[test]
fn slow_and_broken_requests_are_cut() {
    let mut scene = Scene::new();
    scene.unchanged("slow", |scene| {
        let doors = scene.server.doors().clone();
        // Every one of them waits for the server's deadline, all at the same time.
        std::thread::scope(|scope| {
            for address in [&doors.front, &doors.gate, &doors.ops] {
                for begun in ["POST /v1/auth", "GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: "] {
                    scope.spawn(move || {
                        let mut stream = Client::new(address).raw();
                        stream.write_all(begun.as_bytes()).unwrap();
                        let mut rest = Vec::new();
                        // Ends when the server closes; the client's own patience would be an error.
                        stream
                            .read_to_end(&mut rest)
                            .unwrap_or_else(|error| panic!("{begun:?} was never cut: {error}"));
                        assert!(
                            rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"),
                            "{}",
                            String::from_utf8_lossy(&rest)
                        );
                    });
                }
                scope.spawn(move || {
                    let mut stream = Client::new(address).raw();
                    let head = "POST /v1/authorize HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"subject\"";
                    stream.write_all(head.as_bytes()).unwrap();
                    let mut rest = Vec::new();
                    stream.read_to_end(&mut rest).unwrap_or_else(|error| panic!("a slow body was never cut: {error}"));
                    assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 4"), "{}", String::from_utf8_lossy(&rest));
                });
            }
        });
        for head in [
            "GARBAGE\r\n\r\n".to_owned(),
            format!("GET /livez HTTP/1.1\r\nHost: x\r\nX-Long: {}\r\n\r\n", "x".repeat(1 << 20)),
            format!("GET /livez HTTP/1.1\r\nHost: x\r\n{}\r\n", "X-Many: x\r\n".repeat(10_000)),
            format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "x".repeat(1 << 20)),
            "GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello".to_owned(),
        ] {
            let mut stream = Client::new(&doors.ops).raw();
            let shown: String = head.chars().take(60).collect();
            // The server may hang up before it has read everything.
            if stream.write_all(head.as_bytes()).is_ok()
                && let Ok(reply) = read_reply(&mut BufReader::new(stream), "GET")
            {
                assert!((400..500).contains(&reply.status), "{shown}: {}", reply.status);
            }
        }
    });
}
