//! The binary `quorate-next`: `quorate` as a build that knows the version after the newest has it, to rehearse upgrades.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate::cli::run()
}
