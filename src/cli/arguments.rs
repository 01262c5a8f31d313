//! The command line as types: verbs, flags, and what `--help` says of them.

mod connection;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::connection::{AddConnection, Connection, Events, SetConnection};
use super::exit;
use super::output::OutputFormat;
use super::policy::{diff::Diff, format::Format, matrix::MatrixFlags, test::Test};
use super::search::{WhatCan, WhoCan};

/// Authorization sidecar: identity providers push people in over SCIM, Cedar policies decide, gateways ask.
#[derive(Debug, Parser)]
#[command(name = "cedargate", version, after_help = exit::TABLE, arg_required_else_help = true)]
#[command(subcommand_required = true, disable_help_subcommand = true)]
pub struct Arguments {
    /// Flags that every verb takes.
    #[command(flatten)]
    pub common: Common,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// Flags that every verb takes.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Common options")]
pub struct Common {
    /// Where the server's data is; also how a running server is found [default: ./cedargate-data]
    #[arg(long, global = true, value_name = "FOLDER")]
    pub data: Option<PathBuf>,
    /// The running server's listener to ask, instead of the one in the data folder's addresses.json: the ops
    /// listener, for `can` the gate
    #[arg(long, global = true, value_name = "URL")]
    pub server: Option<String>,
    /// A file with the token for the server, instead of CEDARGATE_OPERATOR_TOKEN (for `can`:
    /// CEDARGATE_GATE_TOKEN) or the data folder's operator.token
    #[arg(long, global = true, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// How data is written to stdout: table or json
    #[arg(long, short, global = true, value_enum, default_value_t, hide_possible_values = true)]
    pub output: OutputFormat,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Run the server
    Serve(Serve),
    /// Run a self-contained demonstration: a temporary server, two identity providers, real questions
    Demo {
        /// Stop after the questions; fails if any answer differs from its case file
        #[arg(long)]
        once: bool,
    },
    /// Ask a running server whether it is ready (exit 0), or not (7)
    Healthcheck,
    /// May this person do this? Asks the gate (exit 0 permit, 5 deny, 7 not fresh)
    #[command(after_help = CAN_EXAMPLES)]
    Can(Can),
    /// Why may they, or why not, and what would change it? (exit 0 permit, 5 deny, 1 unknown person or endpoint)
    #[command(after_help = WHY_EXAMPLES)]
    Why(Can),
    /// Who can do this? (exit 0 somebody, 5 nobody)
    #[command(after_help = WHO_EXAMPLES)]
    WhoCan(WhoCan),
    /// What can this person do, or on what? (exit 0 something, 5 nothing)
    #[command(after_help = WHAT_EXAMPLES)]
    WhatCan(WhatCan),
    /// Organizations: the walls between customers
    #[command(subcommand)]
    Organization(Organization),
    /// Accounts and their products
    #[command(subcommand)]
    Account(Account),
    /// Identity providers and their tokens
    #[command(subcommand)]
    Connection(Connection),
    /// People
    #[command(subcommand)]
    User(User),
    /// Bring people and groups in from JSON lines; safe to run again (exit 0 all in, 6 some lines failed)
    #[command(after_help = IMPORT_EXAMPLES)]
    Import(Import),
    /// Write the people and groups of an organization as JSON lines for `import` (exit 6 where something is left out)
    Export(Export),
    /// The policies folder
    #[command(subcommand)]
    Policy(Policy),
    /// The configuration
    #[command(subcommand)]
    Config(Config),
    /// The ledger
    #[command(subcommand)]
    Ledger(Ledger),
    /// Print completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write one for each verb
    Man {
        /// Write `cedargate.1` and one page for each verb into this folder
        #[arg(long, value_name = "FOLDER")]
        directory: Option<PathBuf>,
    },
    /// Print the version
    Version,
}

const CAN_EXAMPLES: &str = "\
Examples:
  cedargate can jdoe GET /api/accounts/100/orders
  cedargate can jdoe --action createOrder --resource Account::100
  cedargate can jdoe --action signIn --channel dashboard";

const WHY_EXAMPLES: &str = "\
Examples:
  cedargate why jdoe POST /api/accounts/100/orders
  cedargate why jdoe --action updateUser --resource User::mia";

const WHO_EXAMPLES: &str = "\
Examples:
  cedargate who-can POST /api/accounts/100/orders
  cedargate who-can --action createUser --resource Organization::acme -o json";

const WHAT_EXAMPLES: &str = "\
Examples:
  cedargate what-can jdoe --resource Account::100
  cedargate what-can jdoe --action createOrder --type Account";

const IMPORT_EXAMPLES: &str = "\
Each line is one SCIM-shaped User or Group. Users are matched by userName, groups by displayName.

Examples:
  cedargate import people.jsonl --organization acme
  cedargate import people.jsonl --organization acme --failures left.jsonl
  some-export | cedargate import - --organization acme -o json > failed.jsonl";

/// `ledger`
#[derive(Debug, Subcommand)]
pub enum Ledger {
    /// Check every page, the whole hash chain and all indexes of a ledger that no server has open
    Check(Serve),
}

/// Flags of `serve` and `config`.
#[derive(Clone, Debug, Default, Args)]
pub struct Serve {
    /// The configuration file [default: ./cedargate.toml where it stands there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The policies folder [default: ./policies where it stands there, else the built-in ones]
    #[arg(long, value_name = "FOLDER")]
    pub policies: Option<PathBuf>,
    /// The listener for identity providers [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub front: Option<String>,
    /// The listener for gateways [default: 127.0.0.1:8181]
    #[arg(long, value_name = "ADDRESS")]
    pub gate: Option<String>,
    /// The listener for operators [default: 127.0.0.1:9191]
    #[arg(long, value_name = "ADDRESS")]
    pub ops: Option<String>,
    /// A Unix socket for gateways, beside the gate's listener
    #[arg(long, value_name = "PATH")]
    pub gate_socket: Option<String>,
    /// The SCIM schemas folder [default: ./scim-schemas where it stands there, else the built-in ones]
    #[arg(long, value_name = "FOLDER")]
    pub scim_schemas: Option<String>,
    /// What is logged, such as `info` or `cedargate=debug` [default: info]
    #[arg(long, value_name = "FILTER")]
    pub log: Option<String>,
    /// Where the ledger is: a folder, or postgres://… [default: the data folder]
    #[arg(long, value_name = "PLACE")]
    pub store: Option<String>,
}

/// Flags of `can`.
#[derive(Debug, Args)]
pub struct Can {
    /// Username or login
    pub user: String,
    /// HTTP method, as the gateway would see it
    #[arg(required_unless_present = "action")]
    pub method: Option<String>,
    /// Path with query, as the gateway would see it
    #[arg(required_unless_present = "action")]
    pub path: Option<String>,
    /// Ask for an action by its name instead of a request
    #[arg(long, conflicts_with_all = ["method", "path", "host"])]
    pub action: Option<String>,
    /// The resource of the action, as TYPE::ID
    #[arg(long, value_name = "TYPE::ID", conflicts_with_all = ["method", "path"], value_parser = super::can::resource)]
    pub resource: Option<(String, String)>,
    /// Host of the request
    #[arg(long)]
    pub host: Option<String>,
    /// Where the question comes from
    #[arg(long, value_enum, default_value_t)]
    pub channel: ChannelName,
    /// The account that is meant, for requests without one in their path
    #[arg(long, value_name = "ID")]
    pub account: Option<String>,
    /// USER is a SCIM id
    #[arg(long)]
    pub id: bool,
}

/// The values of `--channel`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum ChannelName {
    /// An API call
    #[default]
    Api,
    /// A dashboard session
    Dashboard,
}

impl ChannelName {
    /// As the gate reads it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Api => "api",
            Self::Dashboard => "dashboard",
        }
    }
}

/// Verbs of `organization`.
#[derive(Debug, Subcommand)]
pub enum Organization {
    /// List all organizations
    List,
    /// Show one
    Show {
        /// Its id
        id: String,
    },
    /// Create one, or rename it
    Set {
        /// Its id
        id: String,
        /// Its name [default for a new one: the id]
        #[arg(long)]
        name: Option<String>,
    },
    /// Delete one that owns nothing any more
    Delete {
        /// Its id
        id: String,
    },
}

/// Verbs of `account`.
#[derive(Debug, Subcommand)]
pub enum Account {
    /// List accounts
    List {
        /// Only those of this organization
        #[arg(long, value_name = "ID")]
        organization: Option<String>,
    },
    /// Show one
    Show {
        /// Its id
        id: String,
    },
    /// Create one, or change what is given and keep the rest
    Set {
        /// Its id
        id: String,
        /// The organization that owns it; needed for a new one
        #[arg(long, value_name = "ID")]
        organization: Option<String>,
        /// Its name [default for a new one: the id]
        #[arg(long)]
        name: Option<String>,
        /// All its products, separated by commas; "" for none
        #[arg(long, value_name = "NAMES")]
        products: Option<String>,
    },
}

/// Verbs of `user`.
#[derive(Debug, Subcommand)]
pub enum User {
    /// List people
    List {
        /// A SCIM filter, for example 'userName sw "j" and active eq true'
        #[arg(long)]
        filter: Option<String>,
        /// Only those of this organization
        #[arg(long, value_name = "ID")]
        organization: Option<String>,
    },
    /// Show one with effective roles and where they come from
    Show {
        /// Username or SCIM id
        user: String,
    },
    /// Change what is given and keep the rest
    Set(SetUser),
    /// End all access, as the identity provider does (`active`); it may give it back
    Deactivate {
        /// Username or SCIM id
        user: String,
    },
    /// Give access back; an administrative lock stays
    #[command(alias = "activate")]
    Reactivate {
        /// Username or SCIM id
        user: String,
    },
    /// Lock until an operator unlocks, whatever the identity provider says
    Lock {
        /// Username or SCIM id
        user: String,
    },
    /// Lift the lock; somebody deactivated stays so
    Unlock {
        /// Username or SCIM id
        user: String,
    },
}

/// Flags of `user set`.
#[derive(Debug, Args)]
pub struct SetUser {
    /// Username or SCIM id
    pub user: String,
    /// What changes.
    #[command(flatten)]
    pub changes: UserChanges,
}

/// What `user set` changes: at least one of these.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct UserChanges {
    /// "Basic User" or "Account Admin"
    #[arg(long, value_name = "LEVEL")]
    pub level: Option<String>,
    /// All direct roles, separated by commas; "" for none
    #[arg(long, value_name = "NAMES")]
    pub roles: Option<String>,
    /// All direct accounts, separated by commas; "" for none
    #[arg(long, value_name = "IDS")]
    pub accounts: Option<String>,
    /// All access methods, separated by commas: dashboard, api; "" for none
    #[arg(long, value_name = "NAMES")]
    pub access_methods: Option<String>,
    /// When the password was last set, for example 2026-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub password_changed_at: Option<String>,
}

/// Flags of `import`.
#[derive(Debug, Args)]
pub struct Import {
    /// The file, or - for stdin
    pub file: PathBuf,
    /// The organization that the people and groups belong to
    #[arg(long, value_name = "ID")]
    pub organization: String,
    /// Write the lines that failed into this file as they were, to be put right and imported alone
    #[arg(long, value_name = "FILE")]
    pub failures: Option<PathBuf>,
    /// Begin behind so many lines: where an import that broke off said that it had got to
    #[arg(long, value_name = "LINES", default_value_t = 0)]
    pub skip: u64,
}

/// Flags of `export`.
#[derive(Debug, Args)]
pub struct Export {
    /// The file [default: stdout]
    pub file: Option<PathBuf>,
    /// The organization whose people and groups are written
    #[arg(long, value_name = "ID")]
    pub organization: String,
}

/// Verbs of `policy`.
#[derive(Debug, Subcommand)]
pub enum Policy {
    /// Load and validate everything in the folder (exit 3 where something is wrong)
    Check(PolicyCheck),
    /// Run the folder's tests and name what they do not show (exit 4 where one fails)
    Test(Test),
    /// What each role opens: roles by endpoints
    Matrix(MatrixFlags),
    /// Who gains and who loses access between two folders (exit 6 where anybody does)
    Diff(Diff),
    /// Write what decisions read of everybody, as JSON lines for `policy diff --people` and `policy check --people`
    People {
        /// The file [default: stdout]
        file: Option<PathBuf>,
    },
    /// Put the folder's Cedar files into Cedar's own form (with --check: exit 6 where one would change)
    Fmt(Format),
    /// Print the complete Cedar schema, for Cedar's own tools
    Schema(PolicyFolder),
}

/// What is checked, and how it is told.
#[derive(Clone, Debug, Default, Args)]
pub struct PolicyCheck {
    /// Which policies.
    #[command(flatten)]
    pub folder: PolicyFolder,
    /// One line for each finding, without excerpts: for screen readers and editors
    #[arg(long)]
    pub plain: bool,
    /// Look also for roles and products that nobody of this file uses (`cedargate policy people`)
    #[arg(long, value_name = "FILE", conflicts_with = "server_people")]
    pub people: Option<PathBuf>,
    /// Look also for roles and products that nobody on the running server uses
    #[arg(long = "live")]
    pub server_people: bool,
    /// Fail (exit 3) also where there are only warnings
    #[arg(long)]
    pub deny_warnings: bool,
}

/// Which policies.
#[derive(Clone, Debug, Default, Args)]
pub struct PolicyFolder {
    /// The folder [default: ./policies where it stands there, else the built-in ones]
    #[arg(long, value_name = "FOLDER")]
    pub policies: Option<PathBuf>,
}

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum Config {
    /// Print every setting in force and where it comes from
    Show(Serve),
    /// Report every fault at once (exit 3)
    Check(Serve),
}

/// The parts of a list in one argument; none for an empty one.
pub(super) fn list(text: &str) -> Vec<&str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect()
}
