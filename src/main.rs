//! The binary: hands the command line and the environment over, ends with the code that comes back.

use std::process::ExitCode;

// A create allocates on one thread what another frees; the system's allocator has them wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cedargate::cli::run(std::env::args_os(), &|name| std::env::var(name).ok()).into()
}
