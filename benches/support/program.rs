//! How every benchmark talks and ends.

use std::io::Write;
use std::process::ExitCode;

use crate::workload::Failure;

/// Talk goes to stderr, so that stdout is the result alone.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Says what went wrong, where something did.
pub fn end(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            say(&format!("the benchmark failed: {failure}"));
            ExitCode::FAILURE
        }
    }
}
