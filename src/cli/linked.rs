//! Verbs whose work other rooms do: settings in, one call, exit code out.

use std::path::Path;

use serde_json::json;

use super::arguments::Serve;
use super::exit::Exit;
use super::output::{Out, OutputFormat};
use super::remote::Fault;
use super::session::Verdict;
use crate::app::{self, App, Seams, StartError};
use crate::config::{self, Config, Overrides};
use crate::policy::Bundle;

/// `serve`
pub fn serve(out: &mut Out, flags: &Serve, data: Option<&Path>) -> Verdict {
    let config = settings(flags, data)?;
    let seams = Seams::default();
    let _log = app::start_log(&config, &seams.metrics).map_err(start_fault)?;
    let runtime = runtime()?;
    runtime.block_on(async {
        let app = App::build(&config, seams).map_err(start_fault)?;
        let addresses = app.addresses();
        out.line(&format!("front  {}/scim/v2", addresses.front));
        out.line(&format!("gate   {}/v1/authorize", addresses.gate));
        out.line(&format!("ops    {}/readyz?verbose", addresses.ops));
        out.say(&format!("data in {}; operator token in operator.token there", config.data.display()));
        app.run(stop_signal()).await.map_err(start_fault)?;
        Ok(Exit::Success)
    })
}

/// `demo`
pub fn demo(out: &mut Out, once: bool) -> Verdict {
    let runtime = runtime()?;
    let agreed = runtime
        .block_on(app::demo::run(once, &mut |line| out.line(line), stop_signal()))
        .map_err(|error| Fault::failure(error.to_string()))?;
    Ok(if agreed { Exit::Success } else { Exit::Partial })
}

/// `policy schema`
pub fn policy_schema(out: &mut Out, folder: Option<&Path>) -> Verdict {
    let source = app::policy::source(folder);
    let bundle = Bundle::load(&source).map_err(|faults| start_fault(StartError::Policies(source, faults)))?;
    out.raw(bundle.schema().as_bytes());
    Ok(Exit::Success)
}

/// `config show`
pub fn config_show(out: &mut Out, flags: &Serve, data: Option<&Path>) -> Verdict {
    let config = settings(flags, data)?;
    match out.format {
        OutputFormat::Table => {
            let rows: Vec<Vec<String>> = (config.settings().iter())
                .map(|setting| vec![setting.key.clone(), setting.value.clone(), setting.origin.to_string()])
                .collect();
            out.table(&["SETTING", "VALUE", "FROM"], &rows);
        }
        OutputFormat::Json => {
            let all: Vec<_> = (config.settings().iter())
                .map(|one| json!({"key": one.key, "value": one.value, "origin": one.origin.to_string()}))
                .collect();
            out.json(&json!({"settings": all}));
        }
    }
    Ok(Exit::Success)
}

/// `config check`
pub fn config_check(out: &mut Out, flags: &Serve, data: Option<&Path>) -> Verdict {
    settings(flags, data)?;
    out.line("the configuration is sound");
    Ok(Exit::Success)
}

/// `ledger check`
pub fn ledger_check(out: &mut Out, flags: &Serve, data: Option<&Path>) -> Verdict {
    let config = settings(flags, data)?;
    let head = app::check_ledger(&config).map_err(start_fault)?;
    match out.format {
        OutputFormat::Table => out.line(&format!("the ledger is whole, up to revision {}", head.revision)),
        OutputFormat::Json => out.json(&json!({"whole": true, "revision": head.revision.to_string()})),
    }
    Ok(Exit::Success)
}

/// File, environment and flags together.
fn settings(flags: &Serve, data: Option<&Path>) -> Result<Config, Fault> {
    let invalid = |faults: config::Faults| Fault::of(Exit::Invalid, faults.to_string());
    let path = |path: Option<&Path>| path.map(|path| path.display().to_string());
    let overrides = Overrides {
        data: path(data),
        policies: path(flags.policies.as_deref()),
        store: flags.store.clone(),
        front: flags.front.clone(),
        gate: flags.gate.clone(),
        ops: flags.ops.clone(),
        gate_socket: flags.gate_socket.clone(),
        scim_schemas: flags.scim_schemas.clone(),
        log: flags.log.clone(),
    };
    let file = config::read_file(flags.config.as_deref()).map_err(invalid)?;
    Config::load(file.as_ref(), &std::env::vars().collect(), &overrides).map_err(invalid)
}

fn start_fault(error: StartError) -> Fault {
    let exit = match &error {
        StartError::Config(_) | StartError::Policies(..) => Exit::Invalid,
        StartError::PolicyTests(..) => Exit::TestsFailed,
        StartError::Store(_) | StartError::Bind { .. } | StartError::File(_) | StartError::Internal(_) => Exit::Failure,
    };
    Fault::of(exit, error.to_string())
}

fn runtime() -> Result<tokio::runtime::Runtime, Fault> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|cause| Fault::failure(format!("the machine gives no event loop: {cause}")))
}

/// Done at the first SIGTERM or SIGINT; a second one ends the process at once.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping: finishing what is in flight");
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        std::process::exit(130);
    });
}
