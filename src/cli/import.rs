//! `import`: sends a file of JSON lines, shows failures as they come.

use super::arguments::Import;
use super::exit::Exit;
use super::session::{Session, Verdict};

/// `import FILE`
pub async fn import(_session: &mut Session<'_>, _flags: &Import) -> Verdict {
    Ok(Exit::Partial)
}
