//! `policy test`: the folder's cases, and what they do not show.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use super::{load, read};
use crate::app::policy::{Trial, run_watched};
use crate::cli::exit::Exit;
use crate::cli::output::{Out, OutputFormat};
use crate::cli::remote::Fault;
use crate::cli::session::Verdict;
use crate::policy::Bundle;

/// Flags of `policy test`.
#[derive(Clone, Debug, Default, Args)]
pub struct Test {
    /// The folder [default: ./policies where it stands there, else the built-in ones]
    #[arg(long, value_name = "FOLDER")]
    pub policies: Option<PathBuf>,
    /// Only cases of files whose name holds this text
    #[arg(long, value_name = "TEXT")]
    pub file: Option<String>,
    /// Only cases whose name holds this text
    #[arg(long, value_name = "TEXT")]
    pub name: Option<String>,
    /// Only cases that this policy decides, or should; and what the cases do not show of it
    #[arg(long, value_name = "ID")]
    pub policy: Option<String>,
    /// Fail (exit 4) also where a policy or a condition is not covered
    #[arg(long)]
    pub require_coverage: bool,
    /// Run these cases of `cedar run-tests` instead of the folder's own
    #[arg(long, value_name = "FILE", conflicts_with_all = ["file", "require_coverage"])]
    pub cedar_tests: Option<PathBuf>,
}

/// One case with what came of it.
struct Ran {
    file: String,
    name: String,
    faults: Vec<String>,
}

/// Runs, prints, and ends with 4 where a case fails.
pub fn run(out: &mut Out, flags: &Test) -> Verdict {
    let bundle = load(flags.policies.as_deref())?;
    if let Some(id) = &flags.policy
        && !bundle.policy_ids().any(|known| **known == **id)
    {
        return Err(Fault::failure(format!("no policy has the id `{id}`")));
    }
    let (ran, gaps, covered) = match &flags.cedar_tests {
        Some(path) => (cedar(&bundle, flags, path)?, Vec::new(), None),
        None => own(&bundle, flags),
    };
    if ran.is_empty() {
        return Err(Fault::failure("no case fits"));
    }
    let failed: Vec<&Ran> = ran.iter().filter(|one| !one.faults.is_empty()).collect();
    match out.format {
        OutputFormat::Table => {
            for one in &failed {
                out.line(&format!("FAILED {}: {}: {}", one.file, one.name, one.faults.join("; ")));
            }
            gaps.iter().for_each(|gap| out.say(gap));
            if let Some((count, covered)) = covered {
                let count = format!("{covered} of {count} conditions seen both ways");
                out.say(&format!("{count}, {} policies, {} gaps", bundle.policy_count(), gaps.len()));
            }
            out.line(&format!("{} passed, {} failed", ran.len() - failed.len(), failed.len()));
        }
        OutputFormat::Json => out.json(&json!({
            "passed": ran.len() - failed.len(), "failed": failed.len(), "uncovered": gaps,
            "conditions": covered.map(|(count, covered)| json!({"count": count, "covered": covered})),
            "failures": failed.iter()
                .map(|one| json!({"file": one.file, "case": one.name, "faults": one.faults}))
                .collect::<Vec<_>>(),
        })),
    }
    let lacking = flags.require_coverage && !gaps.is_empty();
    Ok(if failed.is_empty() && !lacking { Exit::Success } else { Exit::TestsFailed })
}

type Outcome = (Vec<Ran>, Vec<String>, Option<(usize, usize)>);

fn own(bundle: &Arc<Bundle>, flags: &Test) -> Outcome {
    let mut files = bundle.cases().to_vec();
    let holds = |text: &Option<String>, name: &str| text.as_ref().is_none_or(|text| name.contains(text.as_str()));
    files.retain(|file| holds(&flags.file, &file.file));
    for file in &mut files {
        file.cases.retain(|case| holds(&flags.name, &case.name));
    }
    let (trials, coverage) = run_watched(bundle, &files);
    let decides = |trial: &Trial, id: &String| {
        let expected = files.iter().filter(|file| file.file == trial.file).flat_map(|file| &file.cases);
        trial.policies.contains(id)
            || expected
                .filter(|case| case.name == trial.name)
                .flat_map(|case| &case.policies)
                .any(|all| all.contains(id))
    };
    let chosen = trials.iter().filter(|trial| flags.policy.as_ref().is_none_or(|id| decides(trial, id)));
    let ran = chosen
        .map(|trial| Ran { file: trial.file.clone(), name: trial.name.clone(), faults: trial.faults.clone() })
        .collect();
    // Of some of the cases nothing can be said that would hold for all of them.
    let whole = flags.file.is_none() && flags.name.is_none();
    let gaps = if whole { coverage.gaps(flags.policy.as_deref()) } else { Vec::new() };
    (ran, gaps, (whole && flags.policy.is_none()).then(|| coverage.conditions()))
}

fn cedar(bundle: &Bundle, flags: &Test, path: &std::path::Path) -> Result<Vec<Ran>, Fault> {
    let name = path.display().to_string();
    let trials =
        bundle.run_cedar_tests(&name, &read(path)?).map_err(|fault| Fault::of(Exit::Invalid, fault.to_string()))?;
    let chosen = trials.into_iter().filter(|trial| {
        flags.name.as_ref().is_none_or(|text| trial.name.contains(text.as_str()))
            && flags.policy.as_ref().is_none_or(|id| trial.policies.contains(id))
    });
    Ok(chosen.map(|trial| Ran { file: name.clone(), name: trial.name, faults: trial.faults }).collect())
}
