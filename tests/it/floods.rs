//! Floods against the real binary, in raw frames over TCP: attackers are cut, honest clients keep being answered,
//! memory stays flat.
//!
//! The tests that run always are small; the large ones print their figures:
//! `cargo nextest run --run-ignored only -E 'test(/^floods/)' --no-capture` (wants `ulimit -n 8192`).

mod frames;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{TestServer, report};
use frames::{ATTACKS, Attack};

/// What an attacker may send before the test gives the server up.
const BUDGET: usize = 256 * 1024 * 1024;
/// What a flood may cost at most: the listener's limits allow a little for each connection.
const MEMORY: u64 = 64 * 1024 * 1024;

struct Stopped {
    cut: bool,
    bytes: usize,
}

/// Floods on one connection until the server ends it or the budget is spent.
fn flood(gate: &str, attack: &Attack) -> Stopped {
    let mut stream = TcpStream::connect(gate).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
    // Whatever the server says is taken away, so that it never waits for its own answers to leave.
    let mut answers = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while answers.read(&mut buffer).is_ok_and(|length| length > 0) {}
    });
    let mut bytes = 0;
    let mut cut = stream.write_all(&attack.opening()).is_err();
    let mut turn = 0;
    while !cut && bytes < BUDGET {
        let chunk = (attack.more)(turn);
        turn += 1;
        bytes += chunk.len();
        cut = stream.write_all(&chunk).is_err();
    }
    let _over = stream.shutdown(Shutdown::Both);
    reader.join().unwrap();
    Stopped { cut, bytes }
}

/// Resident bytes of the server.
fn memory(pid: u64) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn pid(server: &TestServer) -> u64 {
    let addresses = std::fs::read_to_string(server.data().join("addresses.json")).unwrap();
    serde_json::from_str::<Value>(&addresses).unwrap()["pid"].as_u64().unwrap()
}

/// What honest clients saw while something else went on.
struct Honest {
    answers: usize,
    slowest: Duration,
}

/// Asks on a kept connection and, each time, on a new one as well, while the work goes on; every answer must be right.
/// A kept connection that was let go while it had nothing to ask is opened again, as any client does.
#[expect(clippy::disallowed_methods, reason = "the time is printed, never asserted")]
fn beside<T: Send>(server: &TestServer, work: impl FnOnce() -> T + Send) -> (T, Honest) {
    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let question = json!({"subject": {"user": "nobody"},
                "request": {"method": "POST", "path": "/api/v1/oauth2/token"}});
            let mut kept = server.doors().anonymous("gate");
            let mut slowest = Duration::ZERO;
            // At least once, however short the flood is.
            while answers.load(Ordering::SeqCst) < 20 || !over.load(Ordering::SeqCst) {
                for client in [&mut kept, &mut server.doors().anonymous("gate")] {
                    let begun = Instant::now();
                    let mut ask = || client.try_json("POST", "/v1/authorize", &question);
                    let reply = ask().or_else(|_let_go| ask()).unwrap().expect(&[200]).json();
                    assert_eq!((&reply["decision"], &reply["reason"]["code"]), (&json!("permit"), &json!("public")));
                    slowest = slowest.max(begun.elapsed());
                    answers.fetch_add(1, Ordering::SeqCst);
                }
            }
            slowest
        });
        let done = work();
        over.store(true, Ordering::SeqCst);
        let slowest = asking.join().unwrap();
        (done, Honest { answers: answers.load(Ordering::SeqCst), slowest })
    })
}

fn floods(connections: usize) {
    let server = TestServer::start();
    let pid = pid(&server);
    // Once, so that buffers and threads that any traffic brings are there.
    let ((), _) = beside(&server, || ());
    let before = memory(pid);
    let mut most = before;
    for attack in ATTACKS {
        let gate = server.doors().gate.clone();
        let (stopped, honest) = beside(&server, || {
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..connections).map(|_| scope.spawn(|| flood(&gate, attack))).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
            })
        });
        let after = memory(pid);
        most = most.max(after);
        let sent: usize = stopped.iter().map(|one| one.bytes).sum();
        report(&format!(
            "{:<34} {} connections cut after {:>9} bytes each; honest: {} answers, slowest {:?}; memory {:+} KiB",
            attack.name,
            stopped.iter().filter(|one| one.cut).count(),
            sent / connections,
            honest.answers,
            honest.slowest,
            (after.cast_signed() - before.cast_signed()) / 1024
        ));
        assert!(stopped.iter().all(|one| one.cut), "{}: the attacker went on after {sent} bytes", attack.name);
    }
    assert!(most - before.min(most) < MEMORY, "memory grew from {before} to {most} bytes");
}

#[test]
fn attackers_are_cut_and_honest_clients_are_answered() {
    floods(2);
}

#[test]
#[ignore = "large: prints its figures"]
fn many_attackers_are_cut_and_honest_clients_are_answered() {
    floods(32);
}

/// Connections that begin a request and never end it, or do not take its answer.
fn slow(server: &TestServer, count: usize) -> Vec<TcpStream> {
    let kinds = [
        Vec::new(),
        b"POST /v1/authorize HTTP/1.1\r\nho".to_vec(),
        b"POST /v1/authorize HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{".to_vec(),
        b"PRI * HTTP/2.0\r\n".to_vec(),
        frames::closed_window(),
        frames::bodies_that_never_come(),
    ];
    let open = |at: usize| {
        let mut stream = TcpStream::connect(&server.doors().gate).unwrap();
        // One that was cut already cannot write: as good.
        let _written = stream.write_all(&kinds[at % kinds.len()]);
        stream
    };
    (0..count).map(open).collect()
}

fn ended(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut buffer = [0; 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(cause) => return cause.kind() == std::io::ErrorKind::ConnectionReset,
        }
    }
}

fn slow_connections(count: usize) {
    let folder = tempfile::tempdir().unwrap();
    let limits = ["HEADER_DEADLINE", "BODY_DEADLINE", "WRITE_STALL", "IDLE"]
        .map(|limit| (format!("CEDARGATE_GATE__LIMITS__{limit}"), "2s"));
    let limits = limits.each_ref().map(|(name, value)| (name.as_str(), *value));
    let server = TestServer::start_with(&folder.path().join("data"), &limits);
    let pid = pid(&server);
    let before = memory(pid);
    let (cut, honest) = beside(&server, || {
        let mut all = slow(&server, count);
        all.iter_mut().filter_map(|stream| ended(stream).then_some(())).count()
    });
    let grown = memory(pid).saturating_sub(before);
    let (answers, slowest) = (honest.answers, honest.slowest);
    report(&format!(
        "{count} slow connections, {cut} cut; honest: {answers} answers, slowest {slowest:?}; memory +{} KiB",
        grown / 1024
    ));
    assert_eq!(cut, count);
    assert!(grown < MEMORY, "{grown} bytes");
}

#[test]
fn slow_connections_are_cut() {
    slow_connections(200);
}

#[test]
#[ignore = "large: prints its figures"]
fn two_thousand_slow_connections_are_cut() {
    slow_connections(2000);
}

/// The server has few file descriptors left; silent connections take them all.
fn descriptors(limit: usize, attackers: usize) {
    let folder = tempfile::tempdir().unwrap();
    let server = TestServer::start_with(&folder.path().join("data"), &[]);
    let pid = pid(&server);
    // The first answers, before descriptors are short.
    let ((), _) = beside(&server, || ());
    let shown = format!("--nofile={limit}:{limit}");
    assert!(Command::new("prlimit").args(["--pid", &pid.to_string(), &shown]).status().unwrap().success());
    let before = memory(pid);
    let (held, honest) = beside(&server, || {
        let all: Vec<TcpStream> = (0..attackers).map(|_| TcpStream::connect(&server.doors().gate).unwrap()).collect();
        all.into_iter().map(|mut stream| ended(&mut stream)).filter(|ended| *ended).count()
    });
    let grown = memory(pid).saturating_sub(before);
    let (answers, slowest) = (honest.answers, honest.slowest);
    report(&format!(
        "{attackers} silent connections on {limit} descriptors, {held} cut; honest: {answers} answers, slowest {slowest:?}; \
         memory +{} KiB",
        grown / 1024
    ));
    assert_eq!(held, attackers);
    assert!(grown < MEMORY, "{grown} bytes");
    // Writing goes on as well: the ledger's file was open all the time.
    server.doors().operator().organization("after");
}

#[test]
fn a_connection_flood_beyond_the_descriptor_limit_ends() {
    descriptors(96, 150);
}

#[test]
#[ignore = "large: prints its figures"]
fn a_large_connection_flood_beyond_the_descriptor_limit_ends() {
    descriptors(256, 1000);
}
