//! Verbs whose work other rooms do: each arm is one call, so that the command line stays ignorant of them.

use std::path::Path;

use super::arguments::Serve;
use super::output::Out;
use super::remote::{Environment, Fault};
use super::session::Verdict;

/// `serve`
pub fn serve(_out: &mut Out, _flags: &Serve, _data: Option<&Path>, _environment: &Environment) -> Verdict {
    Err(unlinked("serve"))
}

/// `demo`
pub fn demo(_out: &mut Out, _once: bool) -> Verdict {
    Err(unlinked("demo"))
}

/// `policy check`
pub fn policy_check(_out: &mut Out, _folder: Option<&Path>) -> Verdict {
    Err(unlinked("policy check"))
}

/// `policy test`
pub fn policy_test(_out: &mut Out, _folder: Option<&Path>) -> Verdict {
    Err(unlinked("policy test"))
}

/// `policy schema`
pub fn policy_schema(_out: &mut Out, _folder: Option<&Path>) -> Verdict {
    Err(unlinked("policy schema"))
}

/// `config show`
pub fn config_show(_out: &mut Out, _flags: &Serve, _data: Option<&Path>, _environment: &Environment) -> Verdict {
    Err(unlinked("config show"))
}

/// `config check`
pub fn config_check(_out: &mut Out, _flags: &Serve, _data: Option<&Path>, _environment: &Environment) -> Verdict {
    Err(unlinked("config check"))
}

fn unlinked(verb: &str) -> Fault {
    Fault::failure(format!("`{verb}` is not linked into this build yet"))
}
