//! `policy check`: everything that is wrong with a folder, and what is worth a look.

use serde_json::{Value, json};

use super::read;
use crate::app::policy::{source, unused};
use crate::cli::arguments::PolicyCheck;
use crate::cli::exit::Exit;
use crate::cli::output::{Out, OutputFormat};
use crate::cli::remote::Fault;
use crate::cli::session::Verdict;
use crate::policy::{Bundle, Diagnostic};

/// Loads, tells every fault or every warning, and ends with 3 where there is a fault. `live` are the people of the
/// running server.
pub fn run(out: &mut Out, flags: &PolicyCheck, live: Option<String>) -> Verdict {
    let source = source(flags.folder.policies.as_deref());
    let told = |found: &Diagnostic| if flags.plain { found.to_string() } else { found.pretty() };
    let bundle = match Bundle::load(&source) {
        Ok(bundle) => bundle,
        Err(faults) => {
            match out.format {
                OutputFormat::Table => {
                    faults.iter().for_each(|fault| told(fault).lines().for_each(|line| out.line(line)));
                }
                OutputFormat::Json => {
                    out.json(&json!({"sound": false, "diagnostics": faults.iter().map(finding).collect::<Vec<_>>()}));
                }
            }
            return Err(Fault::of(Exit::Invalid, format!("{source}: {}", counted(faults.len(), "fault"))));
        }
    };
    let mut warnings = bundle.warnings().to_vec();
    warnings.extend(bundle.lints());
    let people = match &flags.people {
        Some(path) => Some(read(path)?),
        None => live,
    };
    if let Some(people) = people {
        warnings.extend(unused(&bundle, &people).map_err(Fault::failure)?);
    }
    let (endpoints, overlaps) = (bundle.routes().endpoints().len(), bundle.routes().overlaps());
    let count = bundle.policy_count();
    match out.format {
        OutputFormat::Table => {
            for warning in &warnings {
                format!("warning: {}", told(warning)).lines().for_each(|line| out.say(line));
            }
            out.say(&format!("{} pairs of routes overlap; the leftmost literal wins:", overlaps.len()));
            overlaps.iter().for_each(|line| out.say(&format!("  {line}")));
            out.line(&format!("{source}: sound: {count} policies, {endpoints} routes, bundle {}", bundle.id()));
        }
        OutputFormat::Json => out.json(&json!({
            "sound": true, "bundle": &**bundle.id(), "policies": count, "routes": endpoints, "overlaps": overlaps,
            "warnings": warnings.iter().map(finding).collect::<Vec<_>>(), "diagnostics": [],
        })),
    }
    if flags.deny_warnings && !warnings.is_empty() {
        return Err(Fault::of(Exit::Invalid, format!("{source}: {}", counted(warnings.len(), "warning"))));
    }
    Ok(Exit::Success)
}

fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("one {what}") } else { format!("{count} {what}s") }
}

fn finding(found: &Diagnostic) -> Value {
    json!({"file": found.file, "line": found.line, "column": found.column, "message": found.message,
        "help": found.help, "source": found.excerpt.as_ref().map(|excerpt| &excerpt.text),
        "width": found.excerpt.as_ref().map(|excerpt| excerpt.width)})
}
