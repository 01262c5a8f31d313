//! Verbs that need no server: `completions`, `man`, `version`.

use std::path::Path;

use clap::{Command, CommandFactory};
use serde_json::json;

use super::arguments::Arguments;
use super::exit::Exit;
use super::output::{Out, OutputFormat};
use super::remote::Fault;
use super::session::Verdict;

/// `completions SHELL`
pub fn completions(out: &mut Out, shell: clap_complete::Shell) -> Verdict {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "cedargate", &mut script);
    out.raw(&script);
    Ok(Exit::Success)
}

/// `man`
pub fn man(out: &mut Out, directory: Option<&Path>) -> Verdict {
    let Some(directory) = directory else {
        out.raw(&page(Arguments::command())?);
        return Ok(Exit::Success);
    };
    let unwritten = |cause: std::io::Error| {
        Fault::failure(format!("the manual pages cannot be written to `{}`: {cause}", directory.display()))
    };
    std::fs::create_dir_all(directory).map_err(unwritten)?;
    clap_mangen::generate_to(Arguments::command(), directory).map_err(unwritten)?;
    Ok(Exit::Success)
}

fn page(command: Command) -> Result<Vec<u8>, Fault> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command)
        .render(&mut page)
        .map_err(|cause| Fault::failure(format!("the manual page cannot be rendered: {cause}")))?;
    Ok(page)
}

/// `version`
pub fn version(out: &mut Out) -> Verdict {
    let version = env!("CARGO_PKG_VERSION");
    match out.format {
        OutputFormat::Table => out.line(&format!("cedargate {version}")),
        OutputFormat::Json => out.json(&json!({"name": "cedargate", "version": version})),
    }
    Ok(Exit::Success)
}
