//! Fetches what the compat suite and the bench `peers` need beyond Rust, once, and says exactly what it could not get.
//!
//! Programs come from the system's package manager where this process may use it (as root, or by `sudo`
//! without a password). Python packages go into virtual environments below `.cache/compat`, one for each
//! version of redis-py under test and one for the lock libraries, at the versions that `compat/requirements`
//! pins. The client's source archive carries its own tests, which a wheel does not. Node comes from the
//! Python packages, too, so that it is the pinned one wherever the suite runs; npm then installs what
//! `compat/programs/node/package-lock.json` pins.

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
    Program { name: "systemd-analyze", package: "systemd" },
];

/// What is taken out of its package, and not installed: that would start a service.
const PROMETHEUS: &str = "prometheus";

/// What the torture run makes its faults with.
const TORTURE: &[Program] = &[
    Program { name: "python3", package: "python3" },
    Program { name: "ip", package: "iproute2" },
    Program { name: "nft", package: "nftables" },
    Program { name: "strace", package: "strace" },
    Program { name: "mkfs.ext4", package: "e2fsprogs" },
    Program { name: "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", package: "libfaketime" },
];

/// The servers beside which the bench `peers` measures, and the Java that one of them runs on.
const PEERS: &[Program] = &[
    Program { name: "redis-server", package: "redis-server" },
    Program { name: "etcd", package: "etcd-server" },
    Program { name: "java", package: "default-jre-headless" },
    Program { name: "/usr/share/java/zookeeper.jar", package: "zookeeper" },
];

/// What the client's locks of etcd are built with and tried against.
const ETCD: &[Program] = &[
    Program { name: "etcd", package: "etcd-server" },
    Program { name: "protoc", package: "protobuf-compiler" },
    Program { name: "/usr/include/google/protobuf/descriptor.proto", package: "libprotobuf-dev" },
];

/// The versions of redis-py under test; the newest also runs the suite itself. Each has a file of pinned
/// requirements of this name.
const CLIENTS: &[&str] = &["8.1.0", "5.3.1"];

/// The environment of the lock libraries, and of Node.
const LOCKS: &str = "locks";

/// The environment of what checks `deploy/`.
const DEPLOY: &str = "deploy";

/// Makes everything available that the suite needs; the answer is the Python that runs it.
pub(crate) fn all() -> Result<PathBuf> {
    programs(PROGRAMS)?;
    for version in CLIENTS {
        client(version).with_context(|| format!("cannot prepare redis-py {version}"))?;
    }
    environment(LOCKS, "locks.txt", |_| Ok(()))
        .context("cannot prepare Python's lock libraries, and Node")?;
    node_packages().context("cannot prepare Node's lock libraries")?;
    environment(DEPLOY, "deploy.txt", |_| Ok(())).context("cannot prepare what checks deploy/")?;
    unpacked(PROMETHEUS).context("cannot prepare Prometheus and promtool, which check deploy/")?;
    Ok(python(CLIENTS[0]))
}

/// Makes everything available that the torture run needs; the answer is the Python that runs it.
pub(crate) fn torture() -> Result<PathBuf> {
    programs(TORTURE)?;
    let version = CLIENTS[0];
    client(version).with_context(|| format!("cannot prepare redis-py {version}"))?;
    Ok(python(version))
}

/// Makes the servers available that Quorate is compared with.
pub(crate) fn peers() -> Result<()> {
    programs(PEERS)
}

/// Makes everything available that the client's feature `etcd` needs.
pub(crate) fn etcd() -> Result<()> {
    programs(ETCD)
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

/// Another installation may be under way: wait for its lock, within bounds.
const PATIENCE: &str = "DPkg::Lock::Timeout=300";

fn install(missing: &[&Program]) -> Result<()> {
    let names = missing.iter().map(|program| program.name).collect::<Vec<_>>().join(", ");
    let packages: Vec<&str> = missing.iter().map(|program| program.package).collect();
    println!("installing {}", packages.join(", "));
    let attempt = || -> Result<()> {
        ensure!(find("apt-get").is_some(), "this system has no apt-get");
        update()?;
        let install = ["apt-get", "-o", PATIENCE, "-qq", "install", "--yes", "--no-install-recommends"];
        execute(privileged()?.args(install).args(&packages))
    };
    attempt().with_context(|| format!("missing: {names}; install the packages {}", packages.join(", ")))
}

/// The files of a Debian package, in a folder of the cache of its name. They are there as a whole or not at all.
fn unpacked(package: &str) -> Result<()> {
    let folder = cache().join(package);
    if folder.is_dir() {
        return Ok(());
    }
    println!("unpacking {package}");
    let partial = cache().join(format!("{package}.partial"));
    if partial.exists() {
        fs::remove_dir_all(&partial).context("cannot clear the cache")?;
    }
    fs::create_dir_all(&partial).context("cannot create the cache")?;
    let download =
        || execute(Command::new("apt-get").current_dir(&partial).args(["-qq", "download", package]));
    download().or_else(|_| {
        update()?;
        download()
    })?;
    let archive = fs::read_dir(&partial)?.next().context("apt-get downloaded nothing")??.path();
    execute(Command::new("dpkg").arg("--extract").arg(&archive).arg(&partial))?;
    fs::remove_file(&archive)?;
    fs::rename(&partial, &folder).context("cannot keep what was unpacked")
}

/// Has the system's package manager know what there is.
fn update() -> Result<()> {
    execute(privileged()?.args(["apt-get", "-o", PATIENCE, "-qq", "update"]))
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

fn python(environment: &str) -> PathBuf {
    program(environment, "python")
}

/// A program of a virtual environment.
fn program(environment: &str, name: &str) -> PathBuf {
    cache().join(format!("python-{environment}")).join("bin").join(name)
}

/// A version of redis-py, and beside it its unpacked source.
fn client(version: &str) -> Result<()> {
    environment(version, &format!("redis-py-{version}.txt"), |pip| unpack_source(version, pip))
}

/// Runs pip of one environment.
type Pip<'a> = &'a dyn Fn(&[&str]) -> Result<()>;

/// A virtual environment with the pinned requirements, and what else belongs to it. A copy of the
/// requirements, written last, marks it as complete.
fn environment(name: &str, requirements: &str, add: impl FnOnce(Pip<'_>) -> Result<()>) -> Result<()> {
    let requirements = root().join("compat").join("requirements").join(requirements);
    let wanted =
        fs::read(&requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let folder = cache().join(format!("python-{name}"));
    let stamp = folder.join("requirements.txt");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("preparing the Python environment {name}");
    fs::create_dir_all(cache()).context("cannot create the cache")?;
    create_environment(&folder)?;
    let pip = |arguments: &[&str]| -> Result<()> {
        let mut command = Command::new(python(name));
        execute(command.args(["-m", "pip", "--quiet", "--disable-pip-version-check"]).args(arguments))
    };
    pip(&["install", "--requirement", &requirements.to_string_lossy()])?;
    add(&pip)?;
    fs::write(&stamp, wanted).context("cannot mark the environment as complete")
}

/// The packages that Node's programs use, in a folder of the cache. A copy of the lock file, written last,
/// marks it as complete.
fn node_packages() -> Result<()> {
    let (from, folder) = (root().join("compat").join("programs").join("node"), cache().join("node"));
    let wanted = fs::read(from.join("package-lock.json")).context("cannot read package-lock.json")?;
    let stamp = folder.join("installed.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("preparing Node's packages");
    fs::create_dir_all(&folder).context("cannot create the cache")?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(from.join(file), folder.join(file)).with_context(|| format!("cannot copy {file}"))?;
    }
    let npm = program(LOCKS, "npm");
    let bin = npm.parent().expect("a program lies in a folder").to_path_buf();
    // npm starts `node` from the path.
    let inherited = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(bin).chain(env::split_paths(&inherited)))?;
    let quietly = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
    execute(Command::new(npm).current_dir(&folder).env("PATH", path).args(quietly))?;
    fs::write(&stamp, wanted).context("cannot mark the packages as complete")
}

fn create_environment(folder: &Path) -> Result<()> {
    let create = || execute(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
    // Debian keeps the module that makes environments in a package of its own.
    create().or_else(|_| {
        install(&[&Program { name: "the Python module venv", package: "python3-venv" }])?;
        create()
    })
}

fn unpack_source(version: &str, pip: Pip<'_>) -> Result<()> {
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
