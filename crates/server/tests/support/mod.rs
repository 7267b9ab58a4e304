//! Runs the built binary: nodes, clusters and `up`, on ports and in folders of their own, and ends them.

#![expect(dead_code, reason = "each test file uses the part of it that it needs")]

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU16, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use quorate::engine::EngineKind;
use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that should be quick: much longer than on the slowest machine.
pub(crate) const LONG: Duration = Duration::from_secs(30);

/// Waits until `condition` gives a value, and fails the test if it does not in time.
pub(crate) fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + LONG;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < end, "in vain waited until {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

/// Tells a story of each engine, one after the other: what is promised does not depend on it.
pub(crate) fn with_each_engine(story: impl Fn(EngineKind)) {
    for engine in EngineKind::ALL {
        eprintln!("with the engine {engine}");
        story(engine);
    }
}

/// All files in a folder, those in folders within included, byte by byte.
pub(crate) fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths =
        std::fs::read_dir(folder).expect("the folder is there").map(|entry| entry.expect("an entry").path());
    paths.fold(BTreeMap::new(), |mut contents, path| {
        if path.is_dir() {
            contents.extend(self::contents(&path));
        } else {
            let bytes = std::fs::read(&path).expect("a file of ours");
            contents.insert(path, bytes);
        }
        contents
    })
}

/// What is added to a RESP port for a Sentinel door, by tests that have one.
pub(crate) const SENTINEL_OFFSET: u16 = 12_000;

/// The first of `count` RESP ports in a row that are free together with the peer, HTTP and Sentinel ports beside them.
pub(crate) fn free_ports(count: u16) -> u16 {
    // Below the ephemeral ports, and each test process and each call from another place on.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + u16::try_from(std::process::id() % 200).expect("less than 200") * 8;
    let is_free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (0..500)
        .map(|_| 11_000 + (start + NEXT.fetch_add(8, Ordering::Relaxed)) % 9_000)
        .find(|&port| {
            let offsets = [0, 10_000, 11_000, SENTINEL_OFFSET];
            (port..port + count).all(|port| offsets.iter().all(|offset| is_free(port + offset)))
        })
        .expect("some ports are free")
}

/// A process with the lines of its standard error.
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts the binary with these arguments; a life of its own, so that it must be ended.
    pub(crate) fn start(arguments: &[String], folder: &Path) -> Self {
        Self::start_by(Command::new(env!("CARGO_BIN_EXE_quorate")).args(arguments), folder)
    }

    /// Starts a command, of which the binary is a part.
    pub(crate) fn start_by(command: &mut Command, folder: &Path) -> Self {
        let mut child = command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let stderr = child.stderr.take().expect("it is piped");
        let stdout = child.stdout.take().expect("it is piped");
        collect(stderr, Arc::clone(&lines));
        collect(stdout, Arc::clone(&lines));
        Self { child, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        signal_process(self.pid(), signal);
    }

    /// The first line so far that contains `text`.
    pub(crate) fn line(&self, text: &str) -> Option<String> {
        self.lines.lock().expect("no test panics here").iter().find(|line| line.contains(text)).cloned()
    }

    /// The lines so far after the first one that contains `text`.
    pub(crate) fn lines_after(&self, text: &str) -> Vec<String> {
        let lines = self.lines.lock().expect("no test panics here");
        lines.iter().skip_while(|line| !line.contains(text)).skip(1).cloned().collect()
    }

    /// Waits for a line that contains `text`.
    pub(crate) fn await_line(&self, text: &str) -> String {
        eventually(&format!("{text:?} is printed; there is {:#?}", self.lines), || self.line(text))
    }

    /// Waits for the end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        eventually("the process ends", || self.child.try_wait().expect("it is our child"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn collect(stream: impl std::io::Read + Send + 'static, lines: Arc<Mutex<Vec<String>>>) {
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            lines.lock().expect("no test panics here").push(line);
        }
    });
}

pub(crate) fn signal_process(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("not 0");
    kill_process(pid, signal).expect("the process is there");
}

/// Whether a process with this id runs, zombies not counted.
pub(crate) fn runs(pid: u32) -> bool {
    state(pid).is_some_and(|state| state != 'Z')
}

/// The state of a process: `T` if it was stopped, `Z` if nobody has asked how it ended; none if there is none.
pub(crate) fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.trim_start().chars().next()
}

/// Runs the binary to its end: exit status, standard output, standard error.
pub(crate) fn run(arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A connection to the node at `port`, once it takes one.
pub(crate) fn greet(port: u16) -> redis::Connection {
    let address = redis::ConnectionAddr::Tcp("127.0.0.1".to_owned(), port);
    let client = redis::Client::open(address).expect("an address");
    eventually(&format!("port {port} takes a connection"), || {
        let connection = client.get_connection_with_timeout(LONG).ok()?;
        connection.set_read_timeout(Some(LONG)).ok()?;
        Some(connection)
    })
}

/// A connection to the node at `port`, once it has recovered its data.
pub(crate) fn connect(port: u16) -> redis::Connection {
    let mut connection = greet(port);
    eventually(&format!("port {port} has its data"), || {
        redis::cmd("PING").query::<String>(&mut connection).ok()
    });
    connection
}

/// One command at the node at `port`, on a connection of its own, again until it succeeds.
pub(crate) fn ask(port: u16, command: &[&str]) -> Option<String> {
    eventually(&format!("{command:?} succeeds at {port}"), || try_ask(port, command).ok())
}

/// One command, once.
pub(crate) fn try_ask(port: u16, command: &[&str]) -> redis::RedisResult<Option<String>> {
    let mut line = redis::cmd(command[0]);
    command[1..].iter().for_each(|argument| {
        line.arg(argument);
    });
    line.query(&mut connect(port))
}

/// How many wait for a lock, as the node at `port` says; none if nobody holds it.
pub(crate) fn lock_waiting(port: u16, name: &str) -> Option<u64> {
    let info: redis::RedisResult<Option<BTreeMap<String, redis::Value>>> =
        redis::cmd("LOCK").arg("INFO").arg(name).query(&mut connect(port));
    let waiting = info.expect("the node serves")?.remove("waiting");
    redis::from_redis_value(waiting.expect("it is told")).ok()
}

/// The status of the node at `port`.
pub(crate) fn status(port: u16) -> Option<quorate::status::NodeStatus> {
    let address = redis::ConnectionAddr::Tcp("127.0.0.1".to_owned(), port);
    let mut connection = redis::Client::open(address).ok()?.get_connection_with_timeout(LONG).ok()?;
    let text: String = redis::cmd("QUORATE").arg("STATUS").query(&mut connection).ok()?;
    serde_json::from_str(&text).ok()
}

/// A node that listens at `port`, with these arguments beside, and its data below `folder` unless they say otherwise.
pub(crate) fn serve(port: u16, folder: &Path, more: &[&str]) -> Process {
    let listen = format!("127.0.0.1:{port}");
    let arguments: Vec<_> =
        ["serve", "--listen", &listen].iter().chain(more).map(|&argument| argument.to_owned()).collect();
    Process::start(&arguments, folder)
}

/// What the HTTP door at `port` answers, head and body; none if there is nobody.
pub(crate) fn http(port: u16, path: &str) -> Option<String> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

/// Three nodes on ports in a row, with data in folders of their own.
pub(crate) struct Cluster {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) port: u16,
    pub(crate) nodes: Vec<Option<Process>>,
    engine: EngineKind,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        Self::start_some(&[1, 2, 3], &[])
    }

    pub(crate) fn with_engine(engine: EngineKind) -> Self {
        Self::start_some_with(engine, &[1, 2, 3], &[])
    }

    /// Only these nodes of the three, each with these arguments beside its own.
    pub(crate) fn start_some(some: &[u64], more: &[&str]) -> Self {
        Self::start_some_with(EngineKind::default(), some, more)
    }

    pub(crate) fn start_some_with(engine: EngineKind, some: &[u64], more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut cluster = Self { folder, port: free_ports(3), nodes: vec![None, None, None], engine };
        for &node in some {
            cluster.start_node(node, &[&["--bootstrap"], more].concat());
        }
        cluster
    }

    pub(crate) fn port(&self, node: u64) -> u16 {
        self.port + u16::try_from(node).expect("small") - 1
    }

    pub(crate) fn data(&self, node: u64) -> PathBuf {
        self.folder.path().join(format!("node-{node}"))
    }

    pub(crate) fn start_node(&mut self, node: u64, more: &[&str]) {
        let peers: Vec<_> =
            (1..=3).map(|node| format!("{node}=127.0.0.1:{}", self.port(node) + 10_000)).collect();
        let listen = format!("127.0.0.1:{}", self.port(node));
        let data = self.data(node).display().to_string();
        let id = node.to_string();
        let line = [
            "serve",
            "--node-id",
            &id,
            "--listen",
            &listen,
            "--peers",
            &peers.join(","),
            "--data-dir",
            &data,
            "--engine",
            self.engine.name(),
        ];
        let arguments: Vec<_> = line.iter().chain(more).map(|&argument| argument.to_owned()).collect();
        let place = usize::try_from(node).expect("small") - 1;
        self.nodes[place] = Some(Process::start(&arguments, self.folder.path()));
    }

    pub(crate) fn node(&mut self, node: u64) -> &mut Process {
        self.nodes[usize::try_from(node).expect("small") - 1].as_mut().expect("it was started")
    }

    /// The leader that the node `asked` follows, once there is one that is not `not`.
    pub(crate) fn leader(&self, asked: u64, not: Option<u64>) -> u64 {
        eventually("there is a leader", || {
            let status = status(self.port(asked))?;
            status.leader.map(|leader| leader.node_id).filter(|leader| Some(*leader) != not)
        })
    }
}
