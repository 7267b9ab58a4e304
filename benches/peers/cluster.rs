//! The nodes of one system: how each is started, who leads, and whether they work.

use crate::{
    client::{Client, with_client},
    process::{Launch, Process},
    system::System,
    usage::Usage,
};
use anyhow::{Context, Result, bail, ensure};
use std::{
    env, fs, io,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout};

/// The longest that nodes may take to work: ZooKeeper's start a virtual machine each.
const READY_MAX: Duration = Duration::from_secs(60);
/// The longest wait for one answer while it is tried whether a node works.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(2);
/// Ports are taken from here on, below those that the system gives to clients.
const PORTS: std::ops::Range<u16> = 21_000..32_000;
/// Debian's ZooKeeper; it names the other archives that it needs.
const ZOOKEEPER_ARCHIVE: &str = "/usr/share/java/zookeeper.jar";

/// Where the servers' programs are.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    quorate: PathBuf,
}

impl Programs {
    /// Looks for what the systems need.
    ///
    /// # Errors
    /// A program that is missing, and the package that would bring it.
    pub(crate) fn find(quorate: &Path, systems: &[System]) -> Result<Self> {
        for system in systems {
            let (programs, package): (&[&str], _) = match system {
                System::Quorate => (&[], ""),
                System::Redis => (&["redis-server"], "redis-server"),
                System::Etcd => (&["etcd"], "etcd-server"),
                System::ZooKeeper => (&["java"], "default-jre-headless"),
            };
            for program in programs {
                ensure!(in_path(program), "{program} is missing; install the package {package}");
            }
        }
        let zookeeper = !systems.contains(&System::ZooKeeper) || Path::new(ZOOKEEPER_ARCHIVE).is_file();
        ensure!(zookeeper, "{ZOOKEEPER_ARCHIVE} is missing; install the package zookeeper");
        ensure!(in_path("setpriv"), "setpriv is missing; install the package util-linux");
        let quorate = fs::canonicalize(quorate)
            .with_context(|| format!("{} is missing; `cargo build --release` makes it", quorate.display()))?;
        Ok(Self { quorate })
    }
}

fn in_path(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// Nodes that are started and stopped together. All end when it is dropped.
#[derive(Debug)]
pub(crate) struct Cluster {
    system: System,
    programs: Programs,
    folder: PathBuf,
    nodes: Vec<Node>,
    /// How many nodes there ever were: each has a folder of its own.
    numbered: usize,
}

#[derive(Debug)]
struct Node {
    address: SocketAddr,
    launch: Launch,
    process: Option<Process>,
}

impl Cluster {
    /// Prepares nodes with data below `folder`, in a folder that no other cluster has.
    pub(crate) fn new(system: System, nodes: usize, programs: &Programs, folder: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix(system.name()).tempdir_in(folder)?.keep();
        let places = (1..=nodes).map(|number| Place::new(number, &folder)).collect::<Result<Vec<_>>>()?;
        let node = |place: &Place| {
            let launch = launch(system, programs, &places, place)?;
            Ok(Node { address: place.clients, launch, process: None })
        };
        let nodes = places.iter().map(node).collect::<Result<Vec<_>>>()?;
        Ok(Self { system, programs: programs.clone(), folder, numbered: nodes.len(), nodes })
    }

    /// Starts one more node of Quorate, which asks `node` to let it join. Where its peers find it.
    pub(crate) fn join_by(&mut self, node: usize) -> Result<SocketAddr> {
        ensure!(self.system == System::Quorate, "nodes of {} do not join", self.system.name());
        self.numbered += 1;
        let place = Place::new(self.numbered, &self.folder)?;
        let mut arguments = quorate_at(&place);
        arguments.extend(words(&["--join", &self.nodes[node].address.to_string()]));
        let launch = Launch { program: self.programs.quorate.clone(), arguments, folder: place.folder };
        let process = Some(launch.start()?);
        self.nodes.push(Node { address: place.clients, launch, process });
        Ok(place.peers)
    }

    /// Forgets a node that is no member any more, and ends it if it has not ended by itself.
    pub(crate) fn forget_node(&mut self, node: usize) -> Result<()> {
        let Node { launch, process, .. } = self.nodes.remove(node);
        drop(process);
        // Its data would stand beside that of the next ones on the disk that is measured.
        fs::remove_dir_all(&launch.folder)
            .with_context(|| format!("cannot remove {}", launch.folder.display()))
    }

    pub(crate) fn system(&self) -> System {
        self.system
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.address).collect()
    }

    /// Starts all nodes and waits until each acknowledges writes.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.launch()?;
        self.ready().await
    }

    /// Starts all nodes and waits for nothing.
    pub(crate) fn launch(&mut self) -> Result<()> {
        (0..self.nodes.len()).try_for_each(|node| self.start_node(node))
    }

    pub(crate) fn start_node(&mut self, node: usize) -> Result<()> {
        let node = &mut self.nodes[node];
        node.process = Some(node.launch.start()?);
        Ok(())
    }

    /// kill -9.
    pub(crate) fn kill_node(&mut self, node: usize) {
        self.nodes[node].process = None;
    }

    /// kill -9 of all.
    pub(crate) fn kill(&mut self) {
        (0..self.nodes.len()).for_each(|node| self.kill_node(node));
    }

    /// SIGSTOP.
    pub(crate) fn pause_node(&self, node: usize) -> Result<()> {
        self.nodes[node].process.as_ref().map_or(Ok(()), Process::pause)
    }

    /// SIGCONT.
    pub(crate) fn resume_node(&self, node: usize) -> Result<()> {
        self.nodes[node].process.as_ref().map_or(Ok(()), Process::resume)
    }

    /// Waits until each node acknowledges a write.
    pub(crate) async fn ready(&mut self) -> Result<()> {
        let end = Instant::now() + READY_MAX;
        for node in 0..self.nodes.len() {
            while let Err(error) = self.write(node).await {
                self.require_running()?;
                ensure!(Instant::now() < end, "node {} does not work: {error}", node + 1);
                sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    /// Tries one write at a node.
    pub(crate) async fn write(&self, node: usize) -> io::Result<()> {
        let address = self.nodes[node].address;
        let write = async { with_client!(self.system, write(address)) };
        timeout(ANSWER_MAX, write).await.unwrap_or_else(|late| Err(late.into()))
    }

    fn require_running(&mut self) -> Result<()> {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            if node.process.as_mut().is_none_or(Process::has_ended) {
                bail!(
                    "node {} of {} has ended:\n{}",
                    index + 1,
                    self.system.name(),
                    node.launch.last_words()
                );
            }
        }
        Ok(())
    }

    /// The node that leads, once one does.
    pub(crate) async fn leader(&self) -> Result<usize> {
        let end = Instant::now() + READY_MAX;
        while Instant::now() < end {
            for (index, node) in self.nodes.iter().enumerate() {
                let leads = async { with_client!(self.system, leads(node.address)) };
                if timeout(ANSWER_MAX, leads).await.is_ok_and(|answer| answer.unwrap_or(false)) {
                    return Ok(index);
                }
            }
            sleep(PAUSE).await;
        }
        bail!("no node of {} leads", self.system.name())
    }

    /// What each node has used up.
    pub(crate) fn usages(&self) -> Result<Vec<Usage>> {
        self.nodes.iter().filter_map(|node| node.process.as_ref()).map(Usage::of).collect()
    }

    /// What all nodes together have used up.
    pub(crate) fn usage(&self) -> Result<Usage> {
        Ok(self.usages()?.into_iter().fold(Usage::default(), std::ops::Add::add))
    }
}

async fn write<C: Client>(address: SocketAddr) -> io::Result<()> {
    let mut client = C::connect(address, 0).await?;
    client.create(0).await?;
    client.close().await
}

async fn leads<C: Client>(address: SocketAddr) -> io::Result<bool> {
    C::leads(address).await
}

/// Where a node lives.
#[derive(Debug)]
struct Place {
    number: usize,
    folder: PathBuf,
    clients: SocketAddr,
    peers: SocketAddr,
    /// Quorate's HTTP door, ZooKeeper's elections.
    other: SocketAddr,
}

impl Place {
    fn new(number: usize, folder: &Path) -> Result<Self> {
        let folder = folder.join(format!("node-{number}"));
        fs::create_dir_all(&folder)?;
        Ok(Self { number, folder, clients: free_port()?, peers: free_port()?, other: free_port()? })
    }

    fn folder(&self) -> String {
        self.folder.display().to_string()
    }
}

/// A port that nobody listens on, and that was not answered before.
fn free_port() -> Result<SocketAddr> {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(PORTS.start);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(PORTS.contains(&port), "there is no free port below {}", PORTS.end);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok((Ipv4Addr::LOCALHOST, port).into());
        }
    }
}

/// How a node is started. Durability and memory are each system's own defaults, but for Redis's `appendfsync always`.
fn launch(system: System, programs: &Programs, all: &[Place], place: &Place) -> Result<Launch> {
    let (program, arguments) = match system {
        System::Quorate => (programs.quorate.clone(), quorate(all, place)),
        System::Redis => ("redis-server".into(), redis(place)),
        System::Etcd => ("etcd".into(), etcd(all, place)),
        System::ZooKeeper => ("java".into(), zookeeper(all, place)?),
    };
    Ok(Launch { program, arguments, folder: place.folder.clone() })
}

/// All members as text, one made of each.
fn members(all: &[Place], separator: &str, member: impl Fn(&Place) -> String) -> String {
    all.iter().map(member).collect::<Vec<_>>().join(separator)
}

/// The flags that any node has.
fn quorate_at(place: &Place) -> Vec<String> {
    let mut arguments = words(&["serve", "--data-dir", &place.folder()]);
    for (flag, address) in
        [("--listen", place.clients), ("--peer-listen", place.peers), ("--http-listen", place.other)]
    {
        arguments.extend([flag.to_owned(), address.to_string()]);
    }
    arguments
}

fn quorate(all: &[Place], place: &Place) -> Vec<String> {
    let mut arguments = quorate_at(place);
    arguments.extend(words(&["--node-id", &place.number.to_string()]));
    if all.len() > 1 {
        let peers = members(all, ",", |place| format!("{}={}", place.number, place.peers));
        // It has no effect on a folder that holds data.
        arguments.extend(words(&["--bootstrap", "--peers", &peers]));
    }
    arguments
}

fn redis(place: &Place) -> Vec<String> {
    let port = place.clients.port().to_string();
    // No snapshots besides the log: nobody else makes two copies.
    words(&[
        "--port",
        &port,
        "--bind",
        "127.0.0.1",
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
    ])
}

fn etcd(all: &[Place], place: &Place) -> Vec<String> {
    let (clients, peers) = (format!("http://{}", place.clients), format!("http://{}", place.peers));
    let cluster = members(all, ",", |place| format!("n{}=http://{}", place.number, place.peers));
    let mut arguments = words(&["--name", &format!("n{}", place.number), "--data-dir", "data"]);
    arguments.extend(words(&["--listen-client-urls", &clients, "--advertise-client-urls", &clients]));
    arguments.extend(words(&["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers]));
    arguments.extend(words(&["--initial-cluster", &cluster, "--initial-cluster-state", "new"]));
    arguments.extend(words(&["--logger", "zap", "--log-outputs", "stderr"]));
    arguments
}

/// Writes the files that it wants to find, too.
fn zookeeper(all: &[Place], place: &Place) -> Result<Vec<String>> {
    let servers = members(all, "\n", |place| {
        format!("server.{}=127.0.0.1:{}:{}", place.number, place.peers.port(), place.other.port())
    });
    let settings = format!(
        "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\n\
         maxClientCnxns=0\nadmin.enableServer=false\n4lw.commands.whitelist=srvr\n{servers}\n",
        place.folder(),
        place.clients.port(),
    );
    fs::write(place.folder.join("zoo.cfg"), settings)?;
    fs::write(place.folder.join("myid"), place.number.to_string())?;
    const MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";
    Ok(words(&["-cp", ZOOKEEPER_ARCHIVE, MAIN, "zoo.cfg"]))
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}
