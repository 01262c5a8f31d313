//! What every gateway must do with every answer of ours, and without one: the service is reached exactly when the
//! decision is a permit.

use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Empty;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;

use super::program::{Gateway, Kind};
use super::wire::{Wire, request};
use super::world::{GATE_TOKEN, REQUESTS, World, unsettled};
use crate::support::{Client, Reply};

/// May be read by `mchen`.
pub const PERMITTED: &str = "/api/accounts/100/orders";
/// May be neither read nor written: an account that is not granted.
const NOT_GRANTED: &str = "/api/accounts/200/orders";
/// May be written by anybody.
const PUBLIC: &str = "/api/v1/oauth2/token";
/// May not be written: a role that is missing.
const NO_ROLE: &str = "/api/accounts/100/disconnects";
const HOST: &str = "api.bandwidth.com";

/// How often a state of another process is looked at before the test gives up.
const LOOKS: u32 = 2_000;

/// The statuses that `docs/gateways/README.md` promises where nothing was decided: refused, slow, down.
const fn without_a_decision(kind: Kind) -> (u16, u16, u16) {
    match kind {
        Kind::EnvoyGrpc | Kind::EnvoyJwt => (503, 503, 503),
        Kind::EnvoyHttp => (403, 503, 503),
        Kind::Traefik => (503, 500, 500),
        Kind::Caddy => (503, 504, 502),
        Kind::Nginx => (403, 500, 500),
        Kind::Haproxy => (403, 403, 403),
    }
}

/// The contract while our server answers.
pub fn run(world: &World, gateway: &Gateway) {
    settles(world, gateway, (200, true));
    decisions(world, gateway);
    identity(world, gateway);
    credentials(world, gateway);
    sizes(world, gateway);
    reuse(world, gateway);
    passwords(world, gateway);
    http2(world, gateway);
    if matches!(gateway.kind, Kind::EnvoyGrpc | Kind::EnvoyJwt) {
        metadata(world, gateway);
    }
}

/// A gateway that is not admitted gets no permit for anybody.
pub fn nothing_passes(world: &World, gateway: &Gateway, status: u16) {
    settles(world, gateway, (status, false));
    assert_eq!(ask(world, gateway, "GET", NOT_GRANTED, &[]), (status, false), "{}", gateway.log());
    assert_eq!(ask(world, gateway, "POST", PUBLIC, &[("Content-Length", "0")]), (status, false));
}

/// The contract while it refuses, does not answer in time, and is gone.
pub fn without_us(world: &mut World, gateway: &Gateway) {
    let (refused, slow, down) = without_a_decision(gateway.kind);
    // Over TLS only Envoy itself comes in; what it makes of a refusal is the same with and without.
    if gateway.kind != Kind::EnvoyJwt {
        crowded(world, || assert_eq!(ask(world, gateway, "GET", PERMITTED, &[]), (refused, false), "refused"));
        recovers(world, gateway);
    }

    world.stop();
    let outcome = ask(world, gateway, "GET", PERMITTED, &[]);
    world.signal("-CONT");
    assert_eq!(outcome, (slow, false), "slow");
    recovers(world, gateway);

    world.server.kill();
    for _ in 0..2 {
        assert_eq!(ask(world, gateway, "GET", PERMITTED, &[]), (down, false), "down");
    }
}

fn decisions(world: &World, gateway: &Gateway) {
    assert_eq!(ask(world, gateway, "GET", PERMITTED, &[]), (200, true), "{}", gateway.log());
    assert_eq!(ask(world, gateway, "GET", &format!("{PERMITTED}?page=1&x=%2f..%2f"), &[]), (200, true));
    assert_eq!(ask(world, gateway, "GET", NOT_GRANTED, &[]), (403, false));
    assert_eq!(ask(world, gateway, "DELETE", PERMITTED, &[]), (403, false));
    assert_eq!(ask(world, gateway, "GET", "/api/not/there", &[]), (403, false));
    let body = [("Content-Length", "0")];
    assert_eq!(ask(world, gateway, "POST", NO_ROLE, &body), (403, false));
    assert_eq!(ask(world, gateway, "POST", PERMITTED, &body), (200, true));
    // No option is read from the client's query.
    assert_eq!(ask(world, gateway, "GET", &format!("{NOT_GRANTED}?channel=dashboard&explain=1"), &[]), (403, false));

    let reply = reply(world, gateway, "GET", NOT_GRANTED, &[]);
    let told: Vec<_> = reply.headers.iter().filter(|(name, _)| name.starts_with("cedargate")).collect();
    assert!(told.is_empty(), "the client learns why: {told:?}");
    assert!(!reply.text().contains("granted"), "{}", reply.text());
}

/// The service learns who it is from us and from nobody else.
fn identity(world: &World, gateway: &Gateway) {
    let spoofed = [
        ("Cedargate-User", "root"),
        ("cedargate-user-id", "1"),
        ("Cedargate-Reason", "sign-in"),
        ("X-HTTP-Method-Override", "DELETE"),
    ];
    for sent in [&spoofed[..], &[]] {
        let before = world.upstream.count();
        assert_eq!(ask(world, gateway, "GET", PERMITTED, sent), (200, true));
        let [seen] = &world.upstream.since(before)[..] else { panic!("reached more than once") };
        assert_eq!(seen.all("cedargate-user"), ["mchen"], "{seen:?}");
        assert_eq!(seen.only("cedargate-user-id").map(str::len), Some(36), "{seen:?}");
        assert_eq!(seen.all("cedargate-decision"), ["permit"], "{seen:?}");
        assert!(!seen.all("cedargate-reason").contains(&"sign-in"), "{seen:?}");
        assert_eq!(seen.only("cedargate-decision-id").map(str::len), Some(36), "{seen:?}");
        assert!(seen.all("cedargate-gate-token").is_empty(), "the service sees the gate's token: {seen:?}");
        assert!(seen.all("x-http-method-override").is_empty(), "{seen:?}");
        assert_eq!(seen.target, PERMITTED);
        // Where anybody may ask, nobody looked at who asks: nothing is said, whatever the client shows or claims.
        let before = world.upstream.count();
        let sent = [sent, &[("Content-Length", "0")]].concat();
        assert_eq!(ask(world, gateway, "POST", PUBLIC, &sent), (200, true));
        let [seen] = &world.upstream.since(before)[..] else { panic!("reached more than once") };
        assert_eq!(seen.all("cedargate-reason"), ["public"], "{seen:?}");
        for name in ["cedargate-user", "cedargate-user-id"] {
            assert!(seen.all(name).iter().all(|value| value.is_empty()), "{seen:?}");
        }
    }
}

fn credentials(world: &World, gateway: &Gateway) {
    let none = request("GET", PERMITTED, &[("Host", HOST)]);
    let bad = request("GET", PERMITTED, &[("Host", HOST), ("Authorization", "Bearer nonsense")]);
    let forged = format!("{}x", world.authorization());
    let forged = request("GET", PERMITTED, &[("Host", HOST), ("Authorization", &forged)]);
    let before = world.upstream.count();
    for bytes in [none, bad, forged] {
        let reply = Wire::open(&gateway.address).ask(&bytes).expect("an answer");
        assert_eq!(reply.status, 401);
        let challenge = reply.header("www-authenticate").unwrap();
        // Envoy's own filter says more of a token that does not hold.
        assert!(
            challenge == "Bearer" || gateway.kind == Kind::EnvoyJwt && challenge.starts_with("Bearer "),
            "{challenge}"
        );
    }
    assert_eq!(world.upstream.count(), before);
}

/// HTTP Basic, where the gateway leaves it to us to say who asks.
fn passwords(world: &World, gateway: &Gateway) {
    let mut operator = world.server.doors().operator();
    operator.call("PUT", "users/mchen/password", &json!({"password": "correct horse"})).expect(&[204]);
    let accepted = gateway.kind != Kind::EnvoyJwt;
    for (password, holds) in [("correct horse", accepted), ("wrong", false), ("correct horse", accepted)] {
        let basic = format!("Basic {}", STANDARD.encode(format!("mchen:{password}")));
        let bytes = request("GET", PERMITTED, &[("Host", HOST), ("Authorization", &basic)]);
        // To compare a password may take longer on a busy machine than a gateway waits; the next one finds it compared.
        until(password, || {
            let before = world.upstream.count();
            let reply = Wire::open(&gateway.address).ask(&bytes).expect("an answer");
            let reached = world.upstream.since(before);
            assert_eq!(reached.len(), usize::from(reply.status == 200 && holds), "{password}: {}", gateway.log());
            assert!(reached.iter().all(|seen| seen.all("cedargate-user") == ["mchen"]), "{reached:?}");
            if reply.status == 401 {
                let challenge = if accepted { "Bearer, Basic realm=\"api\", charset=\"UTF-8\"" } else { "Bearer" };
                assert_eq!(reply.header("www-authenticate"), Some(challenge));
            }
            reply.status == if holds { 200 } else { 401 }
        });
    }
}

fn sizes(world: &World, gateway: &Gateway) {
    let large = "a".repeat(4 * 1024);
    let headers = [("Cookie", large.as_str()), ("X-One", &large), ("X-Two", &large)];
    assert_eq!(ask(world, gateway, "GET", PERMITTED, &headers), (200, true), "12 KiB of headers");
    let huge = "a".repeat(2 * 1024 * 1024);
    let before = world.upstream.count();
    let bytes =
        request("GET", PERMITTED, &[("Host", HOST), ("Authorization", world.authorization()), ("X-One", &huge)]);
    let reply = Wire::open(&gateway.address).ask(&bytes);
    assert!(reply.is_none_or(|reply| reply.status >= 400), "2 MiB of headers");
    assert_eq!(world.upstream.count(), before);
}

/// One connection, decisions in turn: nothing of one request counts for the next.
fn reuse(world: &World, gateway: &Gateway) {
    let mut wire = Wire::open(&gateway.address);
    let with = [("Host", HOST), ("Authorization", world.authorization())];
    let without = [("Host", HOST)];
    for round in 0..3 {
        for (target, headers, status) in [
            (PERMITTED, &with[..], 200),
            (NOT_GRANTED, &with, 403),
            (PERMITTED, &without, 401),
            (PERMITTED, &with, 200),
        ] {
            let before = world.upstream.count();
            let Some(reply) = wire.ask(&request("GET", target, headers)) else {
                panic!("round {round}: the connection was closed before {target}");
            };
            assert_eq!((reply.status, world.upstream.count() - before), (status, usize::from(status == 200)));
            if reply.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close")) {
                wire = Wire::open(&gateway.address);
            }
        }
    }
}

fn http2(world: &World, gateway: &Gateway) {
    let statuses = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let stream = tokio::net::TcpStream::connect(&gateway.http2).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut statuses = Vec::new();
        for (target, authorization) in
            [(PERMITTED, world.authorization()), (NOT_GRANTED, world.authorization()), (PERMITTED, "Bearer x")]
        {
            let before = world.upstream.count();
            let request = hyper::Request::get(format!("http://{HOST}{target}"))
                .header("authorization", authorization)
                .body(Empty::<Bytes>::new())
                .unwrap();
            let reply = sender.send_request(request).await.unwrap();
            statuses.push((reply.status().as_u16(), world.upstream.count() - before));
        }
        statuses
    });
    assert_eq!(statuses, [(200, 1), (403, 0), (401, 0)], "HTTP/2");
}

/// Envoy's own access log tells the decision behind each request.
fn metadata(world: &World, gateway: &Gateway) {
    assert_eq!(ask(world, gateway, "GET", NOT_GRANTED, &[]), (403, false));
    let told = |log: &str| {
        let lines = log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let lines: Vec<_> = lines.filter(|line| line["reason"] == "account-not-granted").collect();
        lines.iter().any(|line| {
            line["decision"] == "deny"
                && line["user"] == "mchen"
                && line["revision"].is_string()
                && line["policies"].is_array()
        })
    };
    until("Envoy's access log", || told(&gateway.log()));
}

/// Takes every place at the gate, so that the next question is refused as `overloaded`: questions that wait for the keys
/// of an issuer that never answers.
fn crowded(world: &World, work: impl FnOnce()) {
    let client = || Client::new(&world.server.doors().gate).bearer(GATE_TOKEN);
    let question = |authorization: &str| json!({"subject": {"authorization": authorization}, "request": {"method": "GET", "path": PERMITTED}});
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 * REQUESTS {
            scope.spawn(|| {
                let (mut client, question) = (client(), question(&unsettled()));
                while !over.load(Ordering::SeqCst) {
                    // Who finds no place tries again, until others are through.
                    client.try_json("POST", "/v1/authorize", &question).unwrap();
                }
            });
        }
        let mut asker = client();
        until("a full gate", || {
            asker.try_json("POST", "/v1/authorize", &question(world.authorization())).unwrap().status == 503
        });
        work();
        over.store(true, Ordering::SeqCst);
    });
}

/// The gateway asks again and passes on again.
fn recovers(world: &World, gateway: &Gateway) {
    settles(world, gateway, (200, true));
}

/// A gateway whose connection to us is still on its way does not wait for it: no answer in time is a no.
fn settles(world: &World, gateway: &Gateway, as_told: (u16, bool)) {
    until("an answer of ours", || {
        let outcome = ask(world, gateway, "GET", PERMITTED, &[]);
        assert!(as_told.1 || !outcome.1, "the service was reached: {}", gateway.log());
        outcome == as_told
    });
}

/// Status and whether the service was reached.
fn ask(world: &World, gateway: &Gateway, method: &str, target: &str, headers: &[(&str, &str)]) -> (u16, bool) {
    let before = world.upstream.count();
    let status = reply(world, gateway, method, target, headers).status;
    let reached = world.upstream.count() - before;
    assert!(reached <= 1, "reached {reached} times");
    (status, reached == 1)
}

fn reply(world: &World, gateway: &Gateway, method: &str, target: &str, headers: &[(&str, &str)]) -> Reply {
    let mut all = vec![("Host", HOST), ("Authorization", world.authorization())];
    all.extend_from_slice(headers);
    let bytes = request(method, target, &all);
    let reply = Wire::open(&gateway.address).ask(&bytes);
    reply.unwrap_or_else(|| panic!("{:?} gave no answer to {method} {target}:\n{}", gateway.kind, gateway.log()))
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..LOOKS {
        if holds() {
            return;
        }
        glance();
    }
    panic!("{what}: not seen");
}

#[expect(clippy::disallowed_methods, reason = "the state of another process can only be looked for")]
fn glance() {
    std::thread::sleep(std::time::Duration::from_millis(5));
}
