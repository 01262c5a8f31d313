//! The binary: hands the command line and the environment over, ends with the code that comes back.

use std::process::ExitCode;

fn main() -> ExitCode {
    cedargate::cli::run(std::env::args_os(), &|name| std::env::var(name).ok()).into()
}
