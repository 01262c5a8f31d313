//! Outside programs that tests run: gateways and conformance tools, installed by `tests/install` where they lack.

use std::path::PathBuf;
use std::process::Command;

/// The path of a program that `tests/install NAME` brings; installs it first where it is not there yet, so that a
/// plain `cargo test` does on a fresh machine.
#[allow(dead_code, reason = "the gateway and conformance tests are its users")]
pub fn outside_program(name: &str, program: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new(root.join("tests/install")).arg(name).status().unwrap();
    assert!(status.success(), "`tests/install {name}` failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let own = target.join("tools/python/bin").join(program);
    let places = [own, PathBuf::from("/usr/sbin").join(program), PathBuf::from("/usr/bin").join(program)];
    let found = places.into_iter().find(|place| place.is_file());
    found.unwrap_or_else(|| panic!("{program} is not there after `tests/install {name}`"))
}
