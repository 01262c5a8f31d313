//! Where a bundle's files come from: a folder, or the copy inside the binary. Only reads.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Diagnostic;

/// The files of the dashboard's bundle, as shipped.
#[derive(rust_embed::RustEmbed)]
#[folder = "policies/"]
struct Shipped;

/// Where to read a bundle from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A policies folder.
    Folder(PathBuf),
    /// The copy inside the binary.
    Shipped,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(f, "{}", path.display()),
            Self::Shipped => write!(f, "the built-in policies"),
        }
    }
}

/// The most bytes that one bundle may have in all.
const LARGEST_BUNDLE: u64 = 64 * 1024 * 1024;

/// The text of every file of a bundle by its path within the folder (`/` between parts), sorted.
pub(super) type Files = BTreeMap<String, String>;

impl Source {
    /// What changes whenever a file of the bundle does: the id that a bundle of these files would have.
    pub fn fingerprint(&self) -> String {
        match self.read() {
            Ok(files) => identify(&files),
            Err(faults) => faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        }
    }

    /// Reads every file that belongs to a bundle.
    pub(super) fn read(&self) -> Result<Files, Vec<Diagnostic>> {
        let mut files = Files::new();
        let mut faults = Vec::new();
        match self {
            Self::Shipped => {
                for name in Shipped::iter().filter(|name| belongs(name)) {
                    let text = Shipped::get(&name).and_then(|file| String::from_utf8(file.data.into_owned()).ok());
                    match text {
                        Some(text) => drop(files.insert(name.into_owned(), text)),
                        None => faults.push(Diagnostic::file(&name, "is not UTF-8")),
                    }
                }
            }
            Self::Folder(root) => {
                let mut size = 0;
                for part in ["", "routes", "tests"] {
                    read_folder(root, part, &mut files, &mut faults, &mut size);
                }
            }
        }
        if files.is_empty() && faults.is_empty() {
            faults.push(Diagnostic::file(
                &self.to_string(),
                "holds no policies; expected schema.cedarschema and *.cedar",
            ));
        }
        if faults.is_empty() { Ok(files) } else { Err(faults) }
    }
}

/// Whether a file of this path is part of a bundle.
fn belongs(name: &str) -> bool {
    match name.split_once('/') {
        None => {
            matches!(name, "catalogue.toml" | "entities.json" | "links.json")
                || name.ends_with(".cedar")
                || name.ends_with(".cedarschema")
        }
        Some(("routes" | "tests", rest)) => rest.ends_with(".toml") && !rest.contains('/'),
        Some(_) => false,
    }
}

fn read_folder(root: &Path, part: &str, files: &mut Files, faults: &mut Vec<Diagnostic>, size: &mut u64) {
    let folder = if part.is_empty() { root.to_path_buf() } else { root.join(part) };
    let listing = match std::fs::read_dir(&folder) {
        Ok(listing) => listing,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !part.is_empty() => return,
        Err(error) => return faults.push(Diagnostic::file(&folder.display().to_string(), &error.to_string())),
    };
    for entry in listing.flatten() {
        let Some(base) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let name = if part.is_empty() { base } else { format!("{part}/{base}") };
        // Editors' hidden and backup files are not part of a bundle.
        if name.rsplit('/').next().is_some_and(|base| base.starts_with('.')) || !belongs(&name) {
            continue;
        }
        *size += entry.metadata().map_or(0, |metadata| metadata.len());
        if *size > LARGEST_BUNDLE {
            return faults.push(Diagnostic::file(&name, "the folder holds more than 64 MiB"));
        }
        match std::fs::read_to_string(entry.path()) {
            Ok(text) => drop(files.insert(name, text)),
            Err(error) => faults.push(Diagnostic::file(&name, &error.to_string())),
        }
    }
}

/// A hash over names and contents, in 32 hexadecimal digits: the bundle's id.
pub(super) fn identify(files: &Files) -> String {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in files {
        for part in [name, text] {
            hasher.update(&(part.len() as u64).to_be_bytes());
            hasher.update(part.as_bytes());
        }
    }
    hasher.finalize().to_hex().chars().take(32).collect()
}
