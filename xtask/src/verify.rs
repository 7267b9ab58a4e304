//! `verify`: what every change must pass, in the order of how soon it can fail; and `fix`, for what a
//! tool can mend by itself.

use crate::steps::Steps;
use crate::workspace::{cargo, execute, tracked_changes};
use crate::{compat, provision};
use anyhow::{Result, ensure};

pub(crate) fn run() -> Result<()> {
    let before = tracked_changes();
    let mut steps = Steps::default();
    steps.run("format", || execute(cargo("fmt").args(["--all", "--check"])));
    steps.run("lints", || {
        let lints = ["--workspace", "--all-targets", "--locked", "--quiet", "--", "-D", "warnings"];
        execute(cargo("clippy").args(lints))
    });
    // The whole workspace is named in each build, so that features resolve, and crates build, only once.
    steps.run("architecture", || {
        execute(cargo("test").args(["--workspace", "--locked", "--quiet", "--test", "architecture"]))
    });
    steps.run("tests", || execute(cargo("test").args(["--workspace", "--locked", "--quiet"])));
    let built = steps.run("binary", build);
    let programs = steps.run("programs for compat", || provision::all().map(drop));
    match (built, programs) {
        (true, true) => {
            steps.run("compat, short form", || compat::execute_suite(&compat::Options::default()));
        }
        (false, _) => steps.skip("compat, short form", "there is no binary to test"),
        (true, false) => steps.skip("compat, short form", "programs that it needs are missing"),
    }
    if steps.run("programs for etcd", provision::etcd) {
        steps.run("locks of etcd", || {
            // The client alone: what gRPC needs is built for it, and the server is not built again.
            let client = ["--package", "quorate-client", "--locked", "--quiet", "--features", "etcd"];
            execute(cargo("test").args(client).args(["--test", "etcd"]))?;
            execute(cargo("test").args(client).arg("--doc"))?;
            execute(cargo("clippy").args(client).args(["--all-targets", "--", "-D", "warnings"]))
        });
    } else {
        steps.skip("locks of etcd", "programs that it needs are missing");
    }
    steps.run("tracked files untouched", || {
        ensure!(tracked_changes() == before, "a step wrote to a tracked file; see `git diff`");
        Ok(())
    });
    steps.finish()
}

/// The compat suite's Rust clients.
const EXAMPLES: [&str; 5] = ["redis_rs", "follow_redis", "lock_redis", "lock_fred", "lock_client"];

/// The server as a build of the next cluster version has it.
pub(crate) const NEXT: &str = "quorate-next";

/// Builds the server and the compat suite's Rust clients, with the features of the tests' build.
pub(crate) fn build() -> Result<()> {
    let mut build = cargo("build");
    build.args(["--workspace", "--locked", "--quiet", "--bins"]);
    execute(build.args(EXAMPLES.iter().flat_map(|example| ["--example", example])))?;
    // Some crates of the workspace are built a second time for it, and nothing else.
    let next = ["--workspace", "--locked", "--quiet", "--features", "quorate/next-version", "--bin", NEXT];
    execute(cargo("build").args(next))
}

pub(crate) fn fix() -> Result<()> {
    execute(cargo("fmt").arg("--all"))?;
    let fixes = ["--fix", "--workspace", "--all-targets", "--allow-dirty", "--allow-staged"];
    execute(cargo("clippy").args(fixes))?;
    // What clippy rewrote may want new line breaks.
    execute(cargo("fmt").arg("--all"))
}
