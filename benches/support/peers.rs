//! Two other SCIM servers, in memory, under the same creates and look-ups: SCIMMY (npm) and scim2-server (PyPI).
//!
//! Installed below `target/peers` at the first run. They keep nothing on disk, so creates flatter them.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use crate::http::Connection;
use crate::process::{Process, pause};
use crate::statistics::{Stopwatch, median, rounded};
use crate::workload::{Failure, mix};
use crate::{MEDIA_TYPE, new_person};

const PACKAGES: [&str; 3] = ["scimmy@1.3.5", "scimmy-routers@1.3.2", "express@5.2.1"];
const WHEEL: &str = "scim2-server==0.8.3";
/// Clients that create side by side.
const CLIENTS: usize = 8;
/// Look-ups at each size.
const LOOKUPS: u64 = 30;

/// Creates and look-ups a second of both, by the number of people.
pub fn measure(quick: bool) -> Result<Value, Failure> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
    std::fs::create_dir_all(&folder)?;
    install(&folder)?;
    let sizes: &[u64] = if quick { &[1_000] } else { &[1_000, 10_000, 100_000] };
    let script = folder.join("scimmy.mjs");
    std::fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers/scimmy.mjs"), &script)?;
    let scimmy = {
        let port = free_port()?;
        let arguments = [script.to_str().unwrap_or_default().to_owned(), port.to_string()];
        one(Path::new("node"), &arguments, port, "/scim/Users", sizes)?
    };
    let scim2 = {
        let port = free_port()?;
        let arguments = ["--bearer-token", "bench", "--port", &port.to_string()].map(str::to_owned);
        one(&folder.join("python/bin/scim2-server"), &arguments, port, "/v2/Users", sizes)?
    };
    Ok(json!({"scimmy": scimmy, "scim2_server": scim2}))
}

fn install(folder: &Path) -> Result<(), Failure> {
    let run = |program: &Path, arguments: &[&str]| -> Result<(), Failure> {
        let status = Command::new(program).args(arguments).current_dir(folder).stdout(Stdio::null()).status()?;
        if status.success() { Ok(()) } else { Err(format!("{} failed: {status}", program.display()).into()) }
    };
    if !folder.join("node_modules/scimmy-routers").is_dir() {
        crate::say("installing SCIMMY from npm");
        std::fs::write(folder.join("package.json"), r#"{"private": true}"#)?;
        let arguments: Vec<&str> =
            ["install", "--no-fund", "--no-audit", "--silent"].into_iter().chain(PACKAGES).collect();
        run(Path::new("npm"), &arguments)?;
    }
    if !folder.join("python/bin/scim2-server").is_file() {
        crate::say("installing scim2-server from PyPI");
        run(Path::new("python3"), &["-m", "venv", "python"])?;
        let pip: PathBuf = folder.join("python/bin/pip");
        run(&pip, &["install", "--quiet", "--disable-pip-version-check", WHEEL])?;
    }
    Ok(())
}

fn free_port() -> Result<u16, Failure> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// One peer: filled up to each size in turn.
fn one(program: &Path, arguments: &[String], port: u16, users: &str, sizes: &[u64]) -> Result<Value, Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut process = Process::start(program, &arguments, None, Stdio::null())?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    wait_for(&mut process, address)?;
    let next = AtomicU64::new(0);
    let mut result = serde_json::Map::new();
    for size in sizes {
        let started = Stopwatch::start();
        let before = next.load(Ordering::Relaxed);
        let filled: Vec<Result<(), Failure>> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| fill(address, users, &next, *size))).collect();
            clients.into_iter().map(|one| one.join().unwrap_or_else(|_| Err("a client failed".into()))).collect()
        });
        filled.into_iter().collect::<Result<Vec<()>, Failure>>()?;
        let seconds = started.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let creates = (size - before) as f64 / seconds;
        let mut connection = Connection::new(address, "bench", MEDIA_TYPE);
        let mut times = Vec::new();
        for turn in 0..LOOKUPS {
            let name = format!("new{:08}@example.com", mix(turn, 22) % size);
            let asking = Stopwatch::start();
            let target = format!("{users}?filter=userName%20eq%20%22{name}%22");
            let found = connection.json("GET", &target, &Value::Null)?;
            times.push(asking.elapsed().as_secs_f64());
            if found["totalResults"] != 1 {
                return Err(format!("{name} is not found once: {found}").into());
            }
        }
        result.insert(
            size.to_string(),
            json!({"creates_per_s": rounded(creates), "user_name_eq_per_s": rounded(1.0 / median(&times))}),
        );
    }
    Ok(Value::Object(result))
}

fn fill(address: SocketAddr, users: &str, next: &AtomicU64, size: u64) -> Result<(), Failure> {
    let mut connection = Connection::new(address, "bench", MEDIA_TYPE);
    loop {
        let claimed = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |at| (at < size).then_some(at + 1));
        let Ok(number) = claimed else { return Ok(()) };
        connection.send("POST", users, &new_person(number))?.expect(201..202)?;
    }
}

fn wait_for(process: &mut Process, address: SocketAddr) -> Result<(), Failure> {
    for _ in 0..600 {
        process.running()?;
        if std::net::TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        pause(Duration::from_millis(50));
    }
    Err("the peer does not listen".into())
}
