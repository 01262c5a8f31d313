//! The gateways: the files of `docs/gateways` with the addresses of this test, and the programs that read them.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::wire::{Wire, request};
use super::world::World;
use crate::support::outside_program;

/// How often a starting gateway is looked at, and how many times.
const GLANCE: Duration = Duration::from_millis(10);
const GLANCES: u32 = 4_000;

/// Which gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Envoy, ext_authz over gRPC.
    EnvoyGrpc,
    /// The same with TLS on both sides, and jwt_authn to say who asks.
    EnvoyJwt,
    /// Envoy, ext_authz over HTTP.
    EnvoyHttp,
    /// Traefik, ForwardAuth.
    Traefik,
    /// Caddy, forward_auth.
    Caddy,
    /// nginx, auth_request.
    Nginx,
    /// HAProxy, Lua.
    Haproxy,
}

/// A gateway that runs; killed when dropped.
pub struct Gateway {
    /// Which.
    pub kind: Kind,
    /// `127.0.0.1:PORT`.
    pub address: String,
    /// Where it speaks HTTP/2: the same, except with nginx.
    pub http2: String,
    child: Child,
    log: PathBuf,
}

impl Kind {
    /// Starts it in front of the world's recorder, asking the world's server.
    pub fn start(self, world: &World) -> Gateway {
        // The gateway binds by itself, so a port must be found first; another process may be quicker.
        for _ in 0..5 {
            let found = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
            let ports = found.each_ref().map(|listener| listener.local_addr().unwrap().port());
            drop(found);
            if let Some(gateway) = self.try_start(world, ports) {
                return gateway;
            }
        }
        panic!("{self:?} found no port");
    }

    fn try_start(self, world: &World, ports: [u16; 2]) -> Option<Gateway> {
        let folder = world.path("gateway");
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str| write(name, &folder, world, ports);
        let mut command = match self {
            Self::EnvoyGrpc | Self::EnvoyHttp | Self::EnvoyJwt => {
                let config = file(match self {
                    Self::EnvoyGrpc => "envoy-grpc.yaml",
                    Self::EnvoyJwt => "envoy-mtls-jwt.yaml",
                    _ => "envoy-http.yaml",
                });
                let mut command = Command::new(outside_program("envoy", "envoy"));
                command.arg("-c").arg(config).args([
                    "--concurrency",
                    "1",
                    "--use-dynamic-base-id",
                    "-l",
                    "warn",
                    "--file-flush-interval-msec",
                    "50",
                ]);
                command
            }
            Self::Traefik => {
                file("traefik/dynamic.yaml");
                let mut command = Command::new(outside_program("traefik", "traefik"));
                command.arg(format!("--configfile={}", file("traefik/traefik.yaml").display()));
                command
            }
            Self::Caddy => {
                let mut command = Command::new(outside_program("caddy", "caddy"));
                command.args(["run", "--adapter", "caddyfile", "--config"]).arg(file("Caddyfile"));
                command.env("HOME", &folder).env("XDG_DATA_HOME", &folder).env("XDG_CONFIG_HOME", &folder);
                command
            }
            Self::Nginx => {
                let mut command = Command::new(outside_program("nginx", "nginx"));
                command.arg("-p").arg(&folder).arg("-c").arg(file("nginx.conf"));
                command.args(["-e", "stderr", "-g", "daemon off; master_process off;"]);
                command
            }
            Self::Haproxy => {
                file("cedargate.lua");
                let mut command = Command::new(outside_program("haproxy", "haproxy"));
                command.arg("-f").arg(file("haproxy.cfg")).arg("-db");
                command
            }
        };
        let log = world.path("gateway.log");
        let output = std::fs::File::create(&log).unwrap();
        let child = command.current_dir(&folder).stdin(Stdio::null()).stdout(output.try_clone().unwrap());
        let child = child.stderr(output).spawn().unwrap();
        let [address, http2] = ports.map(|port| format!("127.0.0.1:{port}"));
        let http2 = if self == Self::Nginx { http2 } else { address.clone() };
        let mut gateway = Gateway { kind: self, address, http2, child, log };
        for _ in 0..GLANCES {
            if gateway.child.try_wait().unwrap().is_some() {
                let said = gateway.log();
                assert!(said.contains("in use"), "{self:?} ended:\n{said}");
                return None;
            }
            if gateway.answers() {
                return Some(gateway);
            }
            glance();
        }
        panic!("{self:?} did not start:\n{}", gateway.log());
    }
}

impl Gateway {
    /// Whether it passes requests on by now: Traefik listens before it has read its routes, and says 404 until then.
    fn answers(&self) -> bool {
        if TcpStream::connect(&self.address).is_err() {
            return false;
        }
        let reply = Wire::open(&self.address).ask(&request("GET", "/", &[("Host", "gateway")]));
        self.kind != Kind::Traefik || reply.is_some_and(|reply| reply.status != 404)
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let _already_gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// Copies a file of `docs/gateways` with the addresses of this test in it.
fn write(name: &str, folder: &Path, world: &World, [port, http2]: [u16; 2]) -> PathBuf {
    let original = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/gateways").join(name);
    let mut text = std::fs::read_to_string(&original).unwrap();
    let (gate, service) = (world.server.doors().gate.clone(), world.upstream.address.clone());
    let split = |address: &str| {
        let (host, port) = address.split_once(':').unwrap();
        format!("address: {host}, port_value: {port}")
    };
    for (documented, here) in [
        ("127.0.0.1:8181", gate.clone()),
        ("127.0.0.1:9000", service.clone()),
        ("address: 127.0.0.1, port_value: 8181", split(&gate)),
        ("address: 127.0.0.1, port_value: 9000", split(&service)),
        ("address: 0.0.0.0, port_value: 8000", format!("address: 127.0.0.1, port_value: {port}")),
        ("/etc/envoy", world.folder.path().display().to_string()),
        ("listen 8000", format!("listen 127.0.0.1:{port}")),
        ("listen 8001", format!("listen 127.0.0.1:{http2}")),
        ("\":8000\"", format!("\"127.0.0.1:{port}\"")),
        ("bind :8000", format!("bind 127.0.0.1:{port}")),
        ("\n:8000 {", format!("\nhttp://:{port} {{\n\tbind 127.0.0.1\n")),
    ] {
        text = text.replace(documented, &here);
    }
    for left in ["8181", "9000", "8000"] {
        assert!(!text.contains(&format!(":{left}")), "{name} holds an address that the test does not know: {left}");
    }
    let path = folder.join(Path::new(name).file_name().unwrap());
    std::fs::write(&path, text).unwrap();
    path
}

#[expect(clippy::disallowed_methods, reason = "the start of another process can only be looked for")]
fn glance() {
    std::thread::sleep(GLANCE);
}
