//! Seeded ledgers, kept below `target/` between runs under a hash of what they were made from.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::seed;
use crate::statistics::Stopwatch;
use crate::workload::{Failure, World};

/// Everything that the contents of a ledger follow from, but for the number of people: files, and folders of files.
const RECIPE: [&str; 4] = [
    "benches/support/seed.rs",
    "benches/support/workload.rs",
    "policies/catalogue.toml",
    "src/store/migrations/sqlite",
];

/// A copy of the ledger of this world in the folder, and how long seeding it took (zero where it was there already).
pub fn copy(world: &World, into: &Path) -> Result<f64, Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut hasher = blake3::Hasher::new();
    for part in RECIPE {
        let place = root.join(part);
        let mut files = vec![place.clone()];
        if place.is_dir() {
            files =
                std::fs::read_dir(&place)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<_, _>>()?;
        }
        files.sort();
        for file in files {
            hasher.update(&std::fs::read(file)?);
        }
    }
    let hash: String = hasher.finalize().to_hex().chars().take(16).collect();
    let name = format!("{}-{hash}", world.users);
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let shelf = root.join(target).join("ledgers");
    let kept = shelf.join(&name);
    let mut seconds = 0.0;
    if !kept.is_dir() {
        let unfinished = shelf.join(format!("{name}.{}", std::process::id()));
        std::fs::create_dir_all(&unfinished)?;
        let seeding = Stopwatch::start();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(seed::seed(world, &unfinished))?;
        seconds = seeding.elapsed().as_secs_f64();
        // Whole or not at all; another run may have been quicker.
        if std::fs::rename(&unfinished, &kept).is_err() {
            std::fs::remove_dir_all(&unfinished)?;
        }
    }
    std::fs::create_dir_all(into)?;
    let from = kept.join(".");
    let status = Command::new("cp").args(["-r", "--reflink=auto"]).arg(&from).arg(into).status()?;
    if status.success() { Ok(seconds) } else { Err(format!("copying {} failed", kept.display()).into()) }
}
