//! Where things are: the workspace's root, what cargo builds, and what may be cached beside it.

use anyhow::{Context, Result, ensure};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder that holds the workspace's `Cargo.toml`.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies directly below the workspace's root")
}

/// The folder cargo builds into, as cargo itself was told.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// A file below cargo's folder for the dev profile, which all tests use.
pub(crate) fn built(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// A file below cargo's folder for the release profile.
pub(crate) fn released(name: &str) -> PathBuf {
    target().join("release").join(name)
}

/// What is fetched once and kept between runs: virtual environments, source archives. Never tracked.
pub(crate) fn cache() -> PathBuf {
    root().join(".cache").join("compat")
}

/// A `cargo` command at the workspace's root. The lock file is law: a run never edits it.
pub(crate) fn cargo(subcommand: &str) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).arg(subcommand);
    command
}

/// Runs a command to its end, its output passed through; an exit code other than 0 is an error.
pub(crate) fn execute(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let status = command.status().with_context(|| format!("cannot start `{shown}`"))?;
    ensure!(status.success(), "`{shown}` failed ({status})");
    Ok(())
}

/// Runs a command to its end and answers what it printed; an exit code other than 0 is an error.
pub(crate) fn captured(command: &mut Command) -> Result<String> {
    let shown = shown(command);
    let output = command.output().with_context(|| format!("cannot start `{shown}`"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{shown}` failed ({}): {}", output.status, complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What `git` holds against the tracked files now: equal before and after a run that wrote to none.
/// Empty when this is no git checkout (a source archive), where there is nothing to hold against.
pub(crate) fn tracked_changes() -> String {
    captured(Command::new("git").current_dir(root()).args(["diff", "HEAD"])).unwrap_or_default()
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}
