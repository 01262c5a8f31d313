//! `policy fmt`: Cedar files in Cedar's own form; comments stay, TOML files are left alone.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::read;
use crate::cli::exit::Exit;
use crate::cli::output::{Out, OutputFormat};
use crate::cli::remote::Fault;
use crate::cli::session::Verdict;
use crate::policy::formatted;

/// Flags of `policy fmt`.
#[derive(Clone, Debug, Default, Args)]
pub struct Format {
    /// The folder [default: ./policies]
    #[arg(long, value_name = "FOLDER")]
    pub policies: Option<PathBuf>,
    /// Change nothing; name the files that would change (exit 6)
    #[arg(long)]
    pub check: bool,
}

/// Formats every `*.cedar` file of the folder. Nothing is written unless all of them can be read.
pub fn run(out: &mut Out, flags: &Format) -> Verdict {
    let folder = flags.policies.as_deref().unwrap_or(Path::new("policies"));
    let mut changed = Vec::new();
    for path in cedar_files(folder)? {
        let text = read(&path)?;
        let wanted = formatted(&path.display().to_string(), &text)
            .map_err(|fault| Fault::of(Exit::Invalid, fault.to_string()))?;
        if wanted != text {
            changed.push((path, wanted));
        }
    }
    if !flags.check {
        for (path, text) in &changed {
            replace(path, text)?;
        }
    }
    let names: Vec<String> = changed.iter().map(|(path, _)| path.display().to_string()).collect();
    match out.format {
        OutputFormat::Table => names.iter().for_each(|name| out.line(name)),
        OutputFormat::Json => out.json(&json!({"changed": names, "written": !flags.check})),
    }
    let what = if flags.check { "would change" } else { "changed" };
    out.say(&format!("{} files {what}", names.len()));
    Ok(if flags.check && !names.is_empty() { Exit::Partial } else { Exit::Success })
}

fn cedar_files(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let unread = |cause: std::io::Error| Fault::failure(format!("`{}` cannot be read: {cause}", folder.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.extension().is_some_and(|extension| extension == "cedar") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Written aside and renamed, so that a reader never sees half a file.
fn replace(path: &Path, text: &str) -> Result<(), Fault> {
    let aside = path.with_extension("cedar.new");
    let written = std::fs::write(&aside, text).and_then(|()| std::fs::rename(&aside, path));
    written.map_err(|cause| Fault::failure(format!("`{}` cannot be written: {cause}", path.display())))
}
