//! The command line: reads the arguments, does the verb, ends with a code of the table in [`exit`].
//!
//! Data goes to stdout, talk to stderr. Verbs that need a running server are HTTP clients of it and know
//! nothing of stores and policies; the others are one call each into their rooms ([`linked`]).

pub mod arguments;
mod can;
mod connection;
pub mod exit;
mod export;
mod import;
mod linked;
mod local;
pub mod output;
mod policy;
pub mod remote;
mod search;
mod session;
mod tenancy;
#[cfg(test)]
mod tests;
mod user;
mod why;
mod wire;

use std::ffi::OsString;

use clap::Parser;

use arguments::{Arguments, Common, Config, Ledger, Policy, Verb};
pub use exit::Exit;
use output::Out;
use remote::{Environment, Fault, Listener, Remote, Transport};
use session::{Session, Verdict};

/// Does what the arguments say, on the process's own streams.
pub fn run(arguments: impl IntoIterator<Item = OsString>, environment: &Environment) -> Exit {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Nobody is left to tell where both streams are closed.
            let _gone = error.print();
            return if error.exit_code() == 0 { Exit::Success } else { Exit::Usage };
        }
    };
    let mut out = Out::system(arguments.common.output, environment("NO_COLOR").as_deref());
    let verdict = perform(arguments, environment, wire::transport(), &mut out);
    finish(verdict, &mut out)
}

/// Says what went wrong and settles the code.
fn finish(verdict: Verdict, out: &mut Out) -> Exit {
    match verdict {
        // The reader of stdout went away, so it did not get the whole.
        Ok(Exit::Success) if out.failed() => Exit::Failure,
        Ok(exit) => exit,
        Err(fault) => {
            // One line for each fault; what a line holds is escaped.
            format!("cedargate: {}", fault.message).lines().for_each(|line| out.say(line));
            fault.exit
        }
    }
}

fn perform(arguments: Arguments, environment: &Environment, transport: Transport, out: &mut Out) -> Verdict {
    let Arguments { common, verb } = arguments;
    let data = common.data.as_deref();
    let client = Client { common: &common, environment, transport };
    match verb {
        Verb::Serve(flags) => linked::serve(out, &flags, data),
        Verb::Demo { once } => linked::demo(out, once),
        Verb::Policy(Policy::Check(flags)) => {
            let people = client.people(flags.server_people, out)?;
            policy::check::run(out, &flags, people)
        }
        Verb::Policy(Policy::Test(flags)) => policy::test::run(out, &flags),
        Verb::Policy(Policy::Diff(flags)) => {
            let people = client.people(flags.server_people, out)?;
            policy::diff::run(out, &flags, people)
        }
        Verb::Policy(Policy::People { file }) => {
            client.ask(Listener::Ops, out, async |session| export::people(session, file.as_deref()).await)
        }
        Verb::Export(flags) => client.ask(Listener::Ops, out, async |session| export::export(session, &flags).await),
        Verb::Policy(Policy::Matrix(flags)) => policy::matrix::run(out, &flags),
        Verb::Policy(Policy::Fmt(flags)) => policy::format::run(out, &flags),
        Verb::Policy(Policy::Schema(folder)) => linked::policy_schema(out, folder.policies.as_deref()),
        Verb::Config(Config::Show(flags)) => linked::config_show(out, &flags, data),
        Verb::Config(Config::Check(flags)) => linked::config_check(out, &flags, data),
        Verb::Ledger(Ledger::Check(flags)) => linked::ledger_check(out, &flags, data),
        Verb::Completions { shell } => local::completions(out, shell),
        Verb::Man { directory } => local::man(out, directory.as_deref()),
        Verb::Version => local::version(out),
        Verb::Healthcheck => {
            let verdict = client.ask(Listener::Health, out, async |session| healthcheck(session).await);
            // Where nothing answers, nothing is ready.
            verdict.map_err(|fault| Fault { exit: Exit::NotReady, ..fault })
        }
        Verb::Can(flags) => client.ask(Listener::Gate, out, async |session| can::can(session, flags).await),
        Verb::Why(flags) => client.ask(Listener::Ops, out, async |session| why::why(session, flags).await),
        Verb::WhoCan(flags) => client.ask(Listener::Ops, out, async |session| search::who_can(session, flags).await),
        Verb::WhatCan(flags) => client.ask(Listener::Ops, out, async |session| search::what_can(session, flags).await),
        Verb::Organization(verb) => {
            client.ask(Listener::Ops, out, async |session| tenancy::organization(session, verb).await)
        }
        Verb::Account(verb) => client.ask(Listener::Ops, out, async |session| tenancy::account(session, verb).await),
        Verb::Connection(verb) => {
            // With --server the data folder may be another server's.
            let folder = remote::data_folder(&common, environment);
            let front = if common.server.is_none() { remote::address(&folder, "front") } else { None };
            client
                .ask(Listener::Ops, out, async |session| connection::connection(session, verb, front.as_deref()).await)
        }
        Verb::User(verb) => client.ask(Listener::Ops, out, async |session| user::user(session, verb).await),
        Verb::Import(flags) => client.ask(Listener::Ops, out, async |session| import::import(session, &flags).await),
    }
}

/// How a verb finds a running server.
struct Client<'a> {
    common: &'a Common,
    environment: &'a Environment,
    transport: Transport,
}

impl Client<'_> {
    /// What decisions read of everybody on the running server, where that is wanted.
    fn people(self, wanted: bool, out: &mut Out) -> Result<Option<String>, Fault> {
        let mut people = None;
        if wanted {
            self.ask(Listener::Ops, out, async |session| {
                people = Some(export::everybody(session).await?);
                Ok(Exit::Success)
            })?;
        }
        Ok(people)
    }

    /// Finds the server and runs the verb against it.
    fn ask(self, listener: Listener, out: &mut Out, verb: impl AsyncFnOnce(&mut Session<'_>) -> Verdict) -> Verdict {
        let remote = Remote::find(listener, self.common, self.environment, self.transport)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|cause| Fault::failure(format!("the machine gives no event loop: {cause}")))?;
        let verdict = runtime.block_on(verb(&mut Session { remote, out }));
        // Whoever still waits for a line of stdin is not waited for.
        runtime.shutdown_background();
        verdict
    }
}

/// `healthcheck`: 0 ready, 7 not.
async fn healthcheck(session: &mut Session<'_>) -> Verdict {
    let reply = session.remote.raw(crate::http::Method::GET, "/readyz?verbose", None).await?;
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    for line in text.lines() {
        session.out.line(line);
    }
    Ok(if reply.status.is_success() { Exit::Success } else { Exit::NotReady })
}
