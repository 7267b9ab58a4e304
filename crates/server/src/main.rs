//! The binary `quorate`: everything is in the library, see `cli/`.

use std::process::ExitCode;

fn main() -> ExitCode {
    quorate::cli::run()
}
