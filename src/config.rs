//! Settings: `cedargate.toml`, below `CEDARGATE_SECTION__KEY`, below flags.
//!
//! Reading is all or nothing: every fault is reported at once, with its file and line, variable or flag, and
//! a process with a fault does not start (exit code 3). Unknown keys are faults. This room reads settings and
//! the files that hold secrets; it starts nothing and knows no room beyond the types of its settings.

mod gate;
mod read;
mod reader;
mod source;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

pub use source::{ConfigFile, Origin, read_file};

use crate::gate::authzen::PublicUrl;
use crate::gate::credentials::GateConfig;
use crate::http::server::{Limits, ListenerAddress, TlsFiles};
use crate::telemetry::LogConfig;
use crate::token::TokenConfig;

/// Everything that can be set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where to listen, with which limits.
    pub listeners: Listeners,
    /// `data.folder`: where the ledger, the operator token and `addresses.json` live.
    pub data: PathBuf,
    /// `store.location`: where the ledger is kept.
    pub store: StoreLocation,
    /// `policies.folder`; `None`: `./policies` if it stands there, else the built-in bundle.
    pub policies: Option<PathBuf>,
    /// `policies.watch`, `policies.poll`: how changes of the folder are noticed.
    pub watch: PolicyWatch,
    /// `scim`: the front door.
    pub scim: ScimConfig,
    /// `gate`: who may ask.
    pub gate: GateConfig,
    /// `decision`: how questions are answered.
    pub decision: DecisionConfig,
    /// `token`: whose tokens are believed, and whom credentials name.
    pub tokens: TokenConfig,
    /// `log`.
    pub log: LogConfig,
    settings: Vec<Setting>,
}

/// The listeners.
#[derive(Clone, Debug)]
pub struct Listeners {
    /// `front`: SCIM.
    pub front: Listener,
    /// `gate`: questions.
    pub gate: Listener,
    /// `gate.socket`: questions over a Unix socket as well, with the gate's limits.
    pub gate_socket: Option<PathBuf>,
    /// `gate.public_url`: where AuthZEN's clients reach the gate, for its metadata; `None`: there is none.
    pub gate_public_url: Option<PublicUrl>,
    /// `ops`: operators, metrics, health.
    pub ops: Listener,
}

/// One listener's settings.
#[derive(Clone, Debug)]
pub struct Listener {
    /// `….address`.
    pub address: ListenerAddress,
    /// `….tls`; `None`: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// `….limits`.
    pub limits: Limits,
}

/// Where the ledger is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreLocation {
    /// A SQLite ledger in this folder.
    Sqlite(PathBuf),
}

/// How changes of the policies folder are noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyWatch {
    /// `policies.watch`: whether the folder is watched at all; else only SIGHUP and the manage API reload.
    pub watch: bool,
    /// `policies.poll`: how often the folder's contents are compared as well, for file systems that tell nothing.
    pub poll: std::time::Duration,
}

/// The front door's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScimConfig {
    /// `scim.public_url`: what SCIM locations begin with, without a slash at the end; `None`: the bound address.
    pub public_url: Option<String>,
    /// `scim.schemas`; `None`: `./scim-schemas` if it stands there, else the built-in ones.
    pub schemas: Option<PathBuf>,
    /// `scim.username_change`: what a changed SCIM `userName` does.
    pub username_change: UsernameChange,
    /// `scim.event_count`: the newest events of each connection that the provisioning log keeps.
    pub event_count: u64,
    /// `scim.event_days`: how many days it keeps any.
    pub event_days: u32,
}

/// What a changed SCIM `userName` does to a person's login.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UsernameChange {
    /// The IdP's login is renamed; the dashboard username stays.
    #[default]
    Alias,
    /// The change is refused.
    Reject,
}

/// How questions are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionConfig {
    /// `decision.cache_entries`: decisions kept whose policies read identity or context; 0 keeps none.
    pub cache_entries: u64,
    /// `decision.strict_hosts`: a host that the catalogue does not name matches no route.
    pub strict_hosts: bool,
    /// `decision.self_check_every`: one decision in so many is compared with plain Cedar's; 0: none.
    pub self_check_every: u64,
}

/// The command line's say; it wins over the environment and the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--data`.
    pub data: Option<String>,
    /// `--policies`.
    pub policies: Option<String>,
    /// `--scim-schemas`.
    pub scim_schemas: Option<String>,
    /// `--store`.
    pub store: Option<String>,
    /// `--front`.
    pub front: Option<String>,
    /// `--gate`.
    pub gate: Option<String>,
    /// `--gate-socket`.
    pub gate_socket: Option<String>,
    /// `--ops`.
    pub ops: Option<String>,
    /// `--log`.
    pub log: Option<String>,
}

/// An effective setting, for `config show`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// `gate.address`.
    pub key: String,
    /// The value as one would write it; `(none)` where there is none. Secrets are not here, only their files.
    pub value: String,
    /// Who said so.
    pub origin: Origin,
}

/// One thing wrong with the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who said so; `None` where it follows from several settings.
    pub origin: Option<Origin>,
    /// What is wrong and what to write instead.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Some(origin) => write!(formatter, "{origin}: {}", self.message),
            None => formatter.write_str(&self.message),
        }
    }
}

/// Everything wrong with the settings; one line each. The process ends with exit code 3.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n")?;
            }
            fault.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

impl Config {
    /// Reads and checks everything: the file below the environment below the flags. Also `config check`.
    ///
    /// `environment` is the whole environment; only names that begin with `CEDARGATE_` and have a double
    /// underscore are settings (orchestrators inject others, such as `CEDARGATE_PORT`).
    ///
    /// # Errors
    /// Every fault at once.
    pub fn load(
        file: Option<&ConfigFile>,
        environment: &BTreeMap<String, String>,
        overrides: &Overrides,
    ) -> Result<Self, Faults> {
        let (entries, faults) = source::merge(file, environment, overrides);
        read::config(reader::Reader::new(entries, faults))
    }

    /// The effective settings in alphabetical order, each with its origin: `config show`.
    pub fn settings(&self) -> &[Setting] {
        &self.settings
    }
}
