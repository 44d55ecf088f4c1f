//! The `airlock` binary: parses, runs, exits.

use std::process::ExitCode;

fn main() -> ExitCode {
    airlock::cli::main().into()
}
