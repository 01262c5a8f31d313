//! Child processes: started, watched through `/proc`, and stopped by their own id.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::statistics::Stopwatch;
use crate::workload::Failure;

/// How long a server may take to become ready, and to end.
const START: Duration = Duration::from_secs(120);
const END: Duration = Duration::from_secs(10);
/// The gate's Unix socket, in the data folder.
pub const SOCKET: &str = "gate.sock";

/// A child that does not outlive its owner, or one that somebody else owns.
pub struct Process {
    child: Option<Child>,
    id: u32,
}

/// Where a child runs.
pub enum Cores {
    /// Where its parent does.
    Same,
    One(usize),
    /// Anywhere, whatever its parent keeps to.
    All,
}

impl From<Option<usize>> for Cores {
    fn from(core: Option<usize>) -> Self {
        core.map_or(Self::Same, Self::One)
    }
}

impl Process {
    /// Starts a command.
    pub fn start(program: &Path, arguments: &[&str], cores: impl Into<Cores>, output: Stdio) -> Result<Self, Failure> {
        let cores = match cores.into() {
            Cores::Same => None,
            Cores::One(core) => Some(core.to_string()),
            Cores::All => Some(std::fs::read_to_string("/sys/devices/system/cpu/online")?.trim().to_owned()),
        };
        let mut command = match cores {
            Some(cores) => {
                // `taskset` becomes the program, so the id stays the child's.
                let mut command = Command::new("taskset");
                command.args(["-c", &cores]).arg(program);
                command
            }
            None => Command::new(program),
        };
        // A log line for each event would be measured as well; what goes wrong is shown.
        command.env("CEDARGATE_LOG__FILTER", "warn");
        let child = command.args(arguments).stdin(Stdio::piped()).stdout(output).stderr(Stdio::inherit()).spawn()?;
        Ok(Self { id: child.id(), child: Some(child) })
    }

    /// The process id.
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// The same process, to look at.
    pub const fn watched(&self) -> Self {
        Self { child: None, id: self.id }
    }

    /// The child's output, once.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.as_mut()?.stdout.take()
    }

    /// Resident memory now, in MiB.
    pub fn resident_mb(&self) -> Result<f64, Failure> {
        Ok(f64::from(u32::try_from(kibibytes(self.id, "VmRSS")?)?) / 1024.0)
    }

    /// An error where the child has ended.
    pub fn running(&mut self) -> Result<(), Failure> {
        match self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
            None => Ok(()),
            Some(status) => Err(format!("the server ended by itself ({status})").into()),
        }
    }

    /// Processor time of all threads until now.
    pub fn processor_time(&self) -> Result<Duration, Failure> {
        let mut nanoseconds = 0;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.id()))? {
            // A thread may end between the listing and the look.
            let text = std::fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            nanoseconds += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(nanoseconds))
    }

    /// Waits until the process has been idle for a while: its own checks of the start are over.
    pub fn settle(&mut self) -> Result<(), Failure> {
        let waited = Stopwatch::start();
        while waited.elapsed() < START {
            self.running()?;
            let before = self.processor_time()?;
            pause(Duration::from_millis(500));
            if self.processor_time()?.saturating_sub(before) < Duration::from_millis(5) {
                return Ok(());
            }
        }
        Err("the server does not come to rest".into())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(child) = &mut self.child else { return };
        if !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        let _ = Command::new("kill").args(["-TERM", &self.id.to_string()]).status();
        let waited = Stopwatch::start();
        while waited.elapsed() < END {
            if !matches!(child.try_wait(), Ok(None)) {
                return;
            }
            pause(Duration::from_millis(10));
        }
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// The real server on a data folder.
pub struct Server {
    pub process: Process,
    /// Its data folder.
    pub data: std::path::PathBuf,
    /// What `addresses.json` says.
    addresses: Value,
    /// From the start of the process until `/readyz` said yes.
    pub ready_after: Duration,
}

impl Server {
    /// Starts the built binary on the shipped policies and waits until it is ready.
    pub fn start(data: &Path, core: Option<usize>) -> Result<Self, Failure> {
        Self::start_with(data, core, Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")), "")
    }

    /// As [`Self::start`], on other policies and with the text of a settings file.
    pub fn start_with(data: &Path, cores: impl Into<Cores>, policies: &Path, settings: &str) -> Result<Self, Failure> {
        let started = Stopwatch::start();
        let text = |path: &Path| path.to_str().map(str::to_owned).ok_or("the temporary folder's name is not UTF-8");
        let (folder, policies, socket) = (&*text(data)?, &*text(policies)?, &*text(&data.join(SOCKET))?);
        let config = data.join("cedargate.toml");
        std::fs::write(&config, settings)?;
        let any = "127.0.0.1:0";
        let arguments = [
            "serve",
            "--config",
            &text(&config)?,
            "--gate-socket",
            socket,
            "--data",
            folder,
            "--store",
            folder,
            "--policies",
            policies,
            "--front",
            any,
            "--gate",
            any,
            "--ops",
            any,
        ];
        let program = Path::new(env!("CARGO_BIN_EXE_cedargate"));
        let mut process = Process::start(program, &arguments, cores, Stdio::null())?;
        let file = data.join("addresses.json");
        loop {
            process.running()?;
            if let Ok(text) = std::fs::read_to_string(&file) {
                let addresses: Value = serde_json::from_str(&text)?;
                let ops = address(&addresses, "ops")?;
                if exchange(ops, "GET /readyz HTTP/1.1\r\n", "").is_ok() {
                    let (data, ready_after) = (data.to_owned(), started.elapsed());
                    return Ok(Self { process, data, addresses, ready_after });
                }
            }
            if started.elapsed() > START {
                return Err("the server does not become ready".into());
            }
            pause(Duration::from_millis(2));
        }
    }

    /// The address of a listener: `front`, `gate` or `ops`.
    pub fn address(&self, listener: &str) -> Result<SocketAddr, Failure> {
        address(&self.addresses, listener)
    }
}

fn address(addresses: &Value, listener: &str) -> Result<SocketAddr, Failure> {
    let url = addresses.get(listener).and_then(Value::as_str).ok_or("addresses.json lacks a listener")?;
    Ok(url.trim_start_matches("http://").parse()?)
}

/// One request on a connection of its own; the whole answer, which must be a 200.
pub fn exchange(address: SocketAddr, request_line: &str, body: &str) -> Result<String, Failure> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let length = body.len();
    let rest = format!("host: bench\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(format!("{request_line}{rest}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if answer.starts_with("HTTP/1.1 200") { Ok(answer) } else { Err(format!("not a 200: {answer}").into()) }
}

/// A line of a process's status, in kibibytes, for example `VmRSS` (resident now) or `VmHWM` (at most until now).
pub fn kibibytes(process: u32, line: &str) -> Result<u64, Failure> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let value = status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let value = value.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok());
    value.ok_or_else(|| format!("/proc/{process}/status has no {line}").into())
}

/// Rests. Only while nothing is measured.
#[expect(clippy::disallowed_methods, reason = "there is nothing to wait on in another process but its state")]
pub fn pause(time: Duration) {
    std::thread::sleep(time);
}
