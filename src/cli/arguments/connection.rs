//! The verbs of `connection` and what `--help` says of them.

use clap::{Args, Subcommand};

const EVENTS_EXAMPLES: &str = "\
Examples:
  cedargate connection events 0199c82c-… --outcome failure
  cedargate connection events 0199c82c-… --follow
  cedargate connection events 0199c82c-… --since 2030-01-31T08:00:00Z -o json";

/// Verbs of `connection`.
#[derive(Debug, Subcommand)]
pub enum Connection {
    /// Add an identity provider; prints its token this once
    Add(AddConnection),
    /// List connections and how they fare
    List {
        /// Only those of this organization
        #[arg(long, value_name = "ID")]
        organization: Option<String>,
    },
    /// Show one with its tokens, never their secrets
    Show {
        /// Its id
        id: String,
    },
    /// Change what is given and keep the rest
    Set(SetConnection),
    /// Show what its requests came to, newest first
    #[command(after_help = EVENTS_EXAMPLES)]
    Events(Events),
    /// Show one event of any connection: the one that an error at the identity provider names
    Event {
        /// The event's id
        id: String,
    },
    /// Take its deactivations back: active, rights and memberships; safe to run again
    Undo {
        /// The connection's id
        id: String,
        /// An event's id or a time such as 2030-01-31T00:00:00Z [default: where the alarm began]
        #[arg(long, value_name = "EVENT|TIME")]
        since: Option<String>,
        /// Only say how many it would be
        #[arg(long)]
        dry_run: bool,
    },
    /// End an alarm: the deactivations were meant
    Settle {
        /// The connection's id
        id: String,
    },
    /// Make another token to change over to; prints it this once
    Rotate {
        /// The connection's id
        id: String,
        /// When it ends, for example 2030-01-31T00:00:00Z
        #[arg(long, value_name = "TIME")]
        expires: Option<String>,
    },
    /// End a token at once
    Revoke {
        /// The connection's id
        id: String,
        /// The token's id
        token: String,
    },
    /// Delete a connection; its tokens end at once, the people it brought stay
    Delete {
        /// Its id
        id: String,
        /// Yes, cut this identity provider off
        #[arg(long, required = true)]
        yes: bool,
    },
}

/// Flags of `connection add`.
#[derive(Debug, Args)]
pub struct AddConnection {
    /// The organization whose people it brings
    #[arg(long, value_name = "ID")]
    pub organization: String,
    /// A name for people
    #[arg(long)]
    pub name: String,
    /// Whose dialect it speaks: generic, strict, okta, entra, onelogin, jumpcloud
    #[arg(long, default_value = "generic")]
    pub profile: String,
    /// It may make people Account Admins
    #[arg(long)]
    pub may_grant_admin: bool,
    /// The only roles that it may give, separated by commas [default: all]
    #[arg(long, value_name = "NAMES")]
    pub roles: Option<String>,
    /// The only accounts that it may give, separated by commas [default: all of the organization]
    #[arg(long, value_name = "IDS")]
    pub accounts: Option<String>,
    /// What a changed userName does: alias or reject
    #[arg(long, value_name = "WHAT")]
    pub username_change: Option<String>,
    /// It may set passwords
    #[arg(long)]
    pub password_sync: bool,
}

/// Flags of `connection set`.
#[derive(Debug, Args)]
pub struct SetConnection {
    /// Its id
    pub id: String,
    /// A name for people
    #[arg(long)]
    pub name: Option<String>,
    /// Whose dialect it speaks: generic, strict, okta, entra, onelogin, jumpcloud
    #[arg(long)]
    pub profile: Option<String>,
    /// Whether it may make people Account Admins
    #[arg(long, value_name = "BOOL")]
    pub may_grant_admin: Option<bool>,
    /// Requests a second that it may send; 0 for no limit
    #[arg(long, value_name = "NUMBER")]
    pub requests_per_second: Option<u32>,
    /// So many deactivations within the window raise the alarm; 0 for never
    #[arg(long, value_name = "NUMBER")]
    pub alarm_count: Option<u32>,
    /// Such a share of the active people raises the alarm, in percent; 0 for never
    #[arg(long, value_name = "PERCENT")]
    pub alarm_share: Option<u32>,
    /// The window of the alarm
    #[arg(long, value_name = "MINUTES")]
    pub alarm_window: Option<u32>,
    /// Whether further deactivations wait while the alarm stands
    #[arg(long, value_name = "BOOL")]
    pub alarm_hold: Option<bool>,
}

/// Flags of `connection events`.
#[derive(Debug, Args)]
pub struct Events {
    /// The connection's id
    pub id: String,
    /// Only these: success or failure
    #[arg(long, value_name = "WHICH")]
    pub outcome: Option<String>,
    /// Only these: request, alarm, settled or undo
    #[arg(long, value_name = "WHICH")]
    pub kind: Option<String>,
    /// Only those about this SCIM id
    #[arg(long, value_name = "ID")]
    pub resource: Option<String>,
    /// Not before this time, for example 2030-01-31T00:00:00Z
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
    /// Before this time
    #[arg(long, value_name = "TIME")]
    pub until: Option<String>,
    /// At most so many
    #[arg(long, value_name = "NUMBER", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    pub count: u64,
    /// Oldest first, and go on as they come, until interrupted
    #[arg(long)]
    pub follow: bool,
}
