//! What a policy author does with a folder: check it, test it, look at it whole, compare it with another, format it.

pub mod check;
pub mod diff;
pub mod format;
pub mod matrix;
pub mod test;

use std::path::Path;
use std::sync::Arc;

use super::exit::Exit;
use super::remote::Fault;
use crate::app::policy::source;
use crate::policy::Bundle;

/// The bundle of a folder, or every fault of it (exit 3).
fn load(folder: Option<&Path>) -> Result<Arc<Bundle>, Fault> {
    let source = source(folder);
    Bundle::load(&source).map(Arc::new).map_err(|faults| {
        let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
        Fault::of(Exit::Invalid, format!("{source} cannot be loaded:\n{}", lines.join("\n")))
    })
}

/// Reads a file whole.
fn read(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path)
        .map_err(|cause| Fault::failure(format!("`{}` cannot be read: {cause}", path.display())))
}
