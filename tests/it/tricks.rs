//! The trick corpus (`tests/cases/tricks`): requests that a gateway, we and a service might read in different ways.
//!
//! Each trick goes over a raw socket through a real gateway, and after it its control: a plain request that must pass.
//! Three things hold for whatever reaches the service, trick or control:
//! it was permitted for exactly this method, path and host; under no lenient reading is it a protected route; the
//! headers that name the caller are ours alone.

mod readings;

use std::collections::BTreeSet;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde::Deserialize;

use crate::gateways::program::Gateway;
use crate::gateways::upstream::Seen;
use crate::gateways::wire::{Wire, request};
use crate::gateways::world::{World, bearer};
use crate::support::{read_reply, report};

/// How long an answer to a trick is waited for before the test hangs up: many tricks leave a gateway waiting.
const SHORT: Duration = Duration::from_millis(400);
/// How often the log is read before the test gives up on a decision.
const LOOKS: u32 = 1_000;
/// How many send at once.
const WORKERS: usize = 8;
/// The fewest tricks that count as a corpus.
const FEWEST: usize = 300;

const PERMITTED: &str = "/api/accounts/100/orders";
const HOST: &str = "api.bandwidth.com";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// What the tricks of this file have in common.
    class: String,
    #[serde(rename = "trick")]
    tricks: Vec<Trick>,
}

/// One trick. In every text `\xHH` is a byte, `{authorization}` the caller's credential, `{other}` a forged one,
/// `{id}` the id that tells this trick's requests apart.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Trick {
    name: String,
    #[serde(default = "get")]
    method: String,
    #[serde(default = "permitted")]
    target: String,
    /// Header lines after `X-Trick` and `X-Request-Id`.
    #[serde(default)]
    headers: Vec<String>,
    /// Lines in the place of `Host`.
    host: Option<Vec<String>>,
    /// Lines in the place of `Authorization`.
    authorization: Option<Vec<String>>,
    /// `HTTP/1.1`.
    #[serde(default = "http_1_1")]
    version: String,
    /// After the headers.
    #[serde(default)]
    body: String,
}

fn get() -> String {
    "GET".to_owned()
}

fn permitted() -> String {
    PERMITTED.to_owned()
}

fn http_1_1() -> String {
    "HTTP/1.1".to_owned()
}

impl Trick {
    /// The bytes on the wire; `id` tells the trick's own requests.
    fn bytes(&self, id: &str, authorization: &str, other: &str) -> Vec<u8> {
        let mut text = format!("{} {} {}\n", self.method, self.target, self.version);
        let host = self.host.clone().unwrap_or_else(|| vec![format!("Host: {HOST}")]);
        let own = vec!["Authorization: {authorization}".to_owned()];
        let authorization_lines = self.authorization.clone().unwrap_or(own);
        let marks = vec![format!("X-Trick: {id}"), format!("X-Request-Id: {id}")];
        for line in [host, authorization_lines, marks, self.headers.clone()].concat() {
            text.push_str(&line);
            text.push('\n');
        }
        let head = text.replace('\n', "\\x0d\\x0a") + "\\x0d\\x0a";
        let whole = (head + &self.body).replace("{id}", id);
        unescape(&whole.replace("{authorization}", authorization).replace("{other}", other))
    }
}

/// `\xHH` to its byte.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        bytes.push(u8::from_str_radix(&rest[at + 2..at + 4], 16).expect("two hexadecimal digits"));
        rest = &rest[at + 4..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn corpus() -> Vec<(String, Trick)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/tricks");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let mut tricks = Vec::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let file: File = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        tricks.extend(file.tricks.into_iter().map(|trick| (file.class.clone(), trick)));
    }
    tricks
}

#[test]
fn the_corpus_is_large_and_no_trick_is_there_twice() {
    let corpus = corpus();
    let distinct: BTreeSet<Vec<u8>> = corpus.iter().map(|(_, trick)| trick.bytes("id", "a", "b")).collect();
    assert_eq!(distinct.len(), corpus.len(), "two tricks are the same on the wire");
    assert!(corpus.len() >= FEWEST, "{} tricks", corpus.len());
    let names: BTreeSet<_> = corpus.iter().map(|(class, trick)| (class, &trick.name)).collect();
    assert_eq!(names.len(), corpus.len(), "two tricks have one name");
}

/// Every trick with its control through one gateway.
pub fn run(world: &World, gateway: &Gateway) {
    let corpus = corpus();
    let start = world.upstream.count();
    let next = AtomicUsize::new(0);
    let mut faults: Vec<String> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(|| work(world, gateway, &corpus, &next))).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let seen = world.upstream.since(start);
    let marked = |mark: &str| {
        let ids = seen.iter().flat_map(|seen| seen.all("x-trick"));
        ids.filter(|id| id.starts_with(mark)).map(ToOwned::to_owned).collect::<BTreeSet<String>>()
    };
    assert_eq!(marked("control-").len(), corpus.len(), "a control did not reach the service");
    let judged = judged(world, &seen);
    for seen in &seen {
        let index = seen.all("x-trick").iter().find_map(|id| id.strip_prefix("trick-")?.parse::<usize>().ok());
        let who =
            index.map_or_else(|| "a control, or nobody".into(), |at| corpus[at].0.clone() + ": " + &corpus[at].1.name);
        let plain = Seen {
            headers: seen.headers.iter().filter(|(_, value)| value.len() < 100).cloned().collect(),
            ..seen.clone()
        };
        faults.extend(fault_in(seen, &judged).map(|fault| format!("{who}: {fault}: {plain:?}")));
    }
    let reached = marked("trick-").len();
    report(&format!("{:?}: {} tricks, {reached} reached the service as permitted", gateway.kind, corpus.len()));
    assert!(faults.is_empty(), "{:?}: {} faults\n{}", gateway.kind, faults.len(), faults.join("\n"));
}

/// One of those who send: tricks in turn, each with its control after it. Answers with controls that failed.
fn work(world: &World, gateway: &Gateway, corpus: &[(String, Trick)], next: &AtomicUsize) -> Vec<String> {
    let other = bearer("root");
    let mut faults = Vec::new();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some((class, trick)) = corpus.get(index) else { return faults };
        send(&gateway.address, &trick.bytes(&format!("trick-{index}"), world.authorization(), &other));
        let id = format!("control-{index}");
        let headers =
            [("Host", HOST), ("Authorization", world.authorization()), ("X-Trick", &id), ("X-Request-Id", &id)];
        let control = Wire::open(&gateway.address).ask(&request("GET", PERMITTED, &headers));
        let status = control.map(|reply| reply.status);
        if status != Some(200) {
            faults.push(format!("{class}: {}: the control after it got {status:?}", trick.name));
        }
    }
}

/// What is wrong with a request that reached the service.
fn fault_in(seen: &Seen, judged: &Judgements) -> Option<String> {
    let path = seen.target.split('?').next().unwrap_or_default();
    let hosts = seen.all("host");
    let [host] = hosts[..] else { return Some(format!("{} hosts", hosts.len())) };
    let Some(id) = seen.only("x-request-id") else { return Some("not one request id".into()) };
    let request = (seen.method.clone(), path.to_owned(), host.to_ascii_lowercase());
    let permitted = judged.get(id).is_some_and(|all| all.iter().any(|one| one.permit && one.request == request));
    if !permitted {
        return Some(format!("judged was {:?}", judged.get(id)));
    }
    if let Some(reading) = readings::protected(seen) {
        return Some(format!("can be read as {reading}"));
    }
    if seen.all("authorization").len() > 1 {
        return Some("the service may read another credential".into());
    }
    if seen.all("cedargate-user") != ["mchen"] {
        return Some("the caller's name is not ours alone".into());
    }
    let ours = |name: &str| name.starts_with("cedargate-") && name != "cedargate-gate-token";
    let foreign = seen.headers.iter().find(|(name, _)| readings::folded(name).starts_with("cedargate") && !ours(name));
    foreign.map(|(name, _)| format!("the header {name} passed"))
}

type Judgements = std::collections::BTreeMap<String, Vec<crate::gateways::world::Judged>>;

/// The log's decisions, once they cover everything that reached the service: the log is written by a thread of its own.
fn judged(world: &World, seen: &[Seen]) -> Judgements {
    let mut judged = world.judged();
    for _ in 0..LOOKS {
        if seen.iter().filter_map(|seen| seen.only("x-request-id")).all(|id| judged.contains_key(id)) {
            break;
        }
        glance();
        judged = world.judged();
    }
    judged
}

/// Sends a trick on a connection of its own, and takes whatever comes until the gateway is done with it.
fn send(address: &str, bytes: &[u8]) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(SHORT)).unwrap();
    let mut stream = BufReader::new(stream);
    let _refused_early = stream.get_mut().write_all(bytes);
    let answered = read_reply(&mut stream, "").is_ok();
    // More than one request may hide in the bytes, and a gateway that waits for more must learn that none comes.
    let _closed = stream.get_ref().shutdown(Shutdown::Write);
    if !answered {
        let _whatever = stream.read(&mut [0; 1024]);
    }
}

#[expect(clippy::disallowed_methods, reason = "the log of another process can only be looked for")]
fn glance() {
    std::thread::sleep(Duration::from_millis(5));
}
