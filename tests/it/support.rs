//! A real server to test against, and the doors through which tests talk to it.
//!
//! Everything goes over plain HTTP/1.1 with a client of our own, so that the product's client cannot hide a
//! fault of the product's server.

mod api;
mod http;
mod process;
mod seed;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

pub use api::{Answer, Asker, Operator, Provisioner, question};
pub use http::{Client, Reply, read as read_reply};
pub use process::InProcess;
pub use seed::{Dice, days_ago, report, test_seed};
#[allow(unused_imports, reason = "the gateway and conformance tests are its users")]
pub use tools::outside_program;

/// How often a starting server is looked at, and how many times.
const GLANCE: Duration = Duration::from_millis(5);
const GLANCES: u32 = 12_000;

/// Where a server's three listeners are, and what opens them.
#[derive(Clone, Debug)]
pub struct Doors {
    /// `HOST:PORT` of the listener for identity providers.
    pub front: String,
    /// `HOST:PORT` of the listener for gateways.
    pub gate: String,
    /// `HOST:PORT` of the listener for operators.
    pub ops: String,
    operator_token: String,
}

impl Doors {
    /// Reads `addresses.json` and `operator.token` of a data folder.
    pub fn read(data: &Path) -> Option<(Self, u32)> {
        let addresses: Value =
            serde_json::from_str(&std::fs::read_to_string(data.join("addresses.json")).ok()?).ok()?;
        let at = |name: &str| Some(addresses[name].as_str()?.split_once("://")?.1.to_owned());
        let operator_token = std::fs::read_to_string(data.join("operator.token")).ok()?.trim().to_owned();
        let doors = Self { front: at("front")?, gate: at("gate")?, ops: at("ops")?, operator_token };
        Some((doors, u32::try_from(addresses["pid"].as_u64()?).ok()?))
    }

    /// Access with the operator token.
    pub fn operator(&self) -> Operator {
        Operator::new(Client::new(&self.ops).bearer(&self.operator_token))
    }

    /// Access with the token of a connection.
    pub fn provisioner(&self, token: &str) -> Provisioner {
        Provisioner::new(Client::new(&self.front).bearer(token))
    }

    /// Questions to the gate.
    pub fn asker(&self) -> Asker {
        Asker::new(Client::new(&self.gate))
    }

    /// No credential, on one of the listeners by name.
    pub fn anonymous(&self, listener: &str) -> Client {
        Client::new(match listener {
            "front" => &self.front,
            "ops" => &self.ops,
            _ => &self.gate,
        })
    }
}

/// The real binary on a data folder of its own; killed when dropped.
pub struct TestServer {
    child: Child,
    data: PathBuf,
    doors: Doors,
    _folder: Option<tempfile::TempDir>,
}

impl TestServer {
    /// On a new, empty folder.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self::start_on(&folder.path().join("data"));
        server._folder = Some(folder);
        server
    }

    /// On a folder that may hold the data of an earlier server.
    pub fn start_on(data: &Path) -> Self {
        Self::start_with(data, &[])
    }

    /// As [`Self::start_on`], with variables of the environment.
    pub fn start_with(data: &Path, environment: &[(&str, &str)]) -> Self {
        std::fs::create_dir_all(data).unwrap();
        let log = data.with_extension("log");
        let mut child = Command::new(env!("CARGO_BIN_EXE_cedargate"))
            .arg("serve")
            .arg("--data")
            .arg(data)
            .args(["--front", "127.0.0.1:0", "--gate", "127.0.0.1:0", "--ops", "127.0.0.1:0"])
            .current_dir(data)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).unwrap())
            .spawn()
            .unwrap();
        for _ in 0..GLANCES {
            // Addresses of a server that was killed are still there, with its process id.
            match Doors::read(data) {
                Some((doors, pid)) if pid == child.id() => {
                    return Self { child, data: data.to_owned(), doors, _folder: None };
                }
                _ => {}
            }
            if let Some(status) = child.try_wait().unwrap() {
                panic!("the server ended with {status}:\n{}", std::fs::read_to_string(&log).unwrap());
            }
            glance();
        }
        let _gone = child.kill();
        panic!("the server did not start:\n{}", std::fs::read_to_string(&log).unwrap());
    }

    /// Its doors.
    pub const fn doors(&self) -> &Doors {
        &self.doors
    }

    /// Its data folder.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// Ends it as a power cut would, and waits until it is gone.
    pub fn kill(&mut self) {
        let _already_gone = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

#[expect(clippy::disallowed_methods, reason = "the start of another process can only be looked for")]
fn glance() {
    std::thread::sleep(GLANCE);
}
