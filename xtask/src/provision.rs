//! Fetches what the compat suite and the bench `peers` need beyond Rust, once, and says exactly what it could not get.
//!
//! Programs come from the system's package manager where this process may use it (as root, or by `sudo`
//! without a password). Python packages go into virtual environments below `.cache/compat`, one for each
//! client version under test, at the versions that `compat/requirements` pins. The client's source
//! archive carries its own tests, which a wheel does not.

use crate::workspace::{cache, captured, execute, root};
use anyhow::{Context, Result, bail, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A Debian package and a program that it brings.
struct Program {
    name: &'static str,
    package: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program { name: "redis-cli", package: "redis-tools" },
    Program { name: "redis-server", package: "redis-server" },
    Program { name: "python3", package: "python3" },
];

/// The servers beside which the bench `peers` measures, and the Java that one of them runs on.
const PEERS: &[Program] = &[
    Program { name: "redis-server", package: "redis-server" },
    Program { name: "etcd", package: "etcd-server" },
    Program { name: "java", package: "default-jre-headless" },
    Program { name: "/usr/share/java/zookeeper.jar", package: "zookeeper" },
];

/// The versions of redis-py under test; the newest also runs the suite itself. Each has a file of pinned
/// requirements of this name.
const CLIENTS: &[&str] = &["8.1.0", "5.3.1"];

/// Makes everything available that the suite needs; the answer is the Python that runs it.
pub(crate) fn all() -> Result<PathBuf> {
    programs(PROGRAMS)?;
    for version in CLIENTS {
        environment(version).with_context(|| format!("cannot prepare redis-py {version}"))?;
    }
    Ok(python(CLIENTS[0]))
}

/// Makes the servers available that Quorate is compared with.
pub(crate) fn peers() -> Result<()> {
    programs(PEERS)
}

fn programs(wanted: &[Program]) -> Result<()> {
    let missing: Vec<&Program> = wanted.iter().filter(|program| find(program.name).is_none()).collect();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

/// A program by its name, or any file by its whole path.
fn find(program: &str) -> Option<PathBuf> {
    let folders = env::var_os("PATH")?;
    env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file())
}

fn install(missing: &[&Program]) -> Result<()> {
    let names = missing.iter().map(|program| program.name).collect::<Vec<_>>().join(", ");
    let packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    println!("installing {}", packages.join(", "));
    let attempt = || -> Result<()> {
        ensure!(find("apt-get").is_some(), "this system has no apt-get");
        // Another installation may be under way: wait for its lock, within bounds.
        const PATIENCE: &str = "DPkg::Lock::Timeout=300";
        execute(privileged()?.args(["apt-get", "-o", PATIENCE, "-qq", "update"]))?;
        let install = ["apt-get", "-o", PATIENCE, "-qq", "install", "--yes", "--no-install-recommends"];
        execute(privileged()?.args(install).args(&packages))
    };
    attempt().with_context(|| format!("missing: {names}; install the packages {}", packages.join(", ")))
}

/// `env` as root: directly, or by a `sudo` that asks for nothing.
fn privileged() -> Result<Command> {
    const QUIETLY: &str = "DEBIAN_FRONTEND=noninteractive";
    let mut command = if captured(Command::new("id").arg("-u"))?.trim() == "0" {
        Command::new("env")
    } else {
        ensure!(
            captured(Command::new("sudo").args(["-n", "true"])).is_ok(),
            "this user may not install packages"
        );
        let mut sudo = Command::new("sudo");
        sudo.args(["-n", "env"]);
        sudo
    };
    command.arg(QUIETLY);
    Ok(command)
}

fn python(version: &str) -> PathBuf {
    cache().join(format!("python-{version}")).join("bin").join("python")
}

/// A virtual environment with the pinned requirements, and beside it the client's unpacked source.
/// A copy of the requirements, written last, marks it as complete.
fn environment(version: &str) -> Result<()> {
    let requirements = root().join("compat").join("requirements").join(format!("redis-py-{version}.txt"));
    let wanted =
        fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let folder = cache().join(format!("python-{version}"));
    let stamp = folder.join("requirements.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("preparing redis-py {version}");
    fs::create_dir_all(cache()).context("cannot create the cache")?;
    create_environment(&folder)?;
    let pip = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(python(version));
        execute(command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(arguments))
    };
    pip(&["install", "--requirement", &requirements.to_string_lossy()])?;
    unpack_source(version, &pip)?;
    fs::write(&stamp, wanted).context("cannot mark the environment as complete")
}

fn create_environment(folder: &Path) -> Result<()> {
    let create = || execute(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
    // Debian keeps the module that makes environments in a package of its own.
    create().or_else(|_| {
        install(&[&Program { name: "the Python module venv", package: "python3-venv" }])?;
        create()
    })
}

fn unpack_source(version: &str, pip: &dyn Fn(&[&str]) -> Result<()>) -> Result<()> {
    let download = ["download", "--no-deps", "--no-binary", ":all:", "--dest"];
    let requirement = format!("redis=={version}");
    let folder = cache();
    pip(&[&download[..], &[&folder.to_string_lossy(), &requirement]].concat())?;
    let archive = folder.join(format!("redis-{version}.tar.gz"));
    if !archive.is_file() {
        bail!("pip downloaded no {}", archive.display());
    }
    execute(Command::new("tar").arg("--extract").arg("--file").arg(&archive).arg("--directory").arg(&folder))
}
