//! Starts the nodes, tells what happens to them, and ends them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    path::PathBuf,
    process::ExitStatus,
    time::Duration,
};

use comfy_table::{Table, presets};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::Instant,
};
use tracing_appender::non_blocking::NonBlocking;

use super::{
    super::Exit,
    STOP_MAX,
    child::{Ended, Running},
    layout::{Layout, Node, Problem},
};
use crate::logging;

/// How long a dead node stays dead under `--respawn`, at first and at most; a node that dies at once, again and
/// again, must not keep the machine busy.
const RESPAWN_DELAY: Duration = Duration::from_millis(500);
const RESPAWN_DELAY_MAX: Duration = Duration::from_secs(30);
/// A node that has run for this long starts anew with [`RESPAWN_DELAY`].
const STABLE: Duration = Duration::from_secs(30);
/// How often a node is asked whether the cluster has a leader, until it has.
const READY_POLL: Duration = Duration::from_millis(100);

struct Supervisor {
    layout: Layout,
    executable: PathBuf,
    respawn: bool,
    screen: NonBlocking,
    nodes: BTreeMap<u64, State>,
    ended: mpsc::Sender<Ended>,
}

/// What is known of a node's process.
enum State {
    Running {
        process: Running,
        since: Instant,
        delay: Duration,
    },
    /// Dead; started again at `again`, if at all.
    Dead {
        again: Option<Instant>,
        delay: Duration,
    },
}

/// What wakes the supervisor up.
enum Event {
    Signal,
    Ended(Ended),
    Ready(u64),
    Respawn,
}

pub(super) async fn run(layout: Layout, respawn: bool) -> Result<Exit, Problem> {
    let (screen, _guard) = logging::lossy_stderr();
    let (ended, mut endings) = mpsc::channel(layout.nodes.len());
    let (mut interrupt, mut terminate, mut hangup) = signals().map_err(Problem::Start)?;
    let executable = std::env::current_exe().map_err(Problem::Start)?;
    let mut supervisor = Supervisor { layout, executable, respawn, screen, nodes: BTreeMap::new(), ended };
    supervisor.start_all().map_err(Problem::Start)?;
    supervisor.introduce();

    let ports: Vec<_> = supervisor.layout.nodes.iter().map(|node| (node.id, node.http_port)).collect();
    let ready = wait_ready(ports);
    tokio::pin!(ready);
    let mut is_ready = false;
    loop {
        let event = tokio::select! {
            _ = interrupt.recv() => Event::Signal,
            _ = terminate.recv() => Event::Signal,
            _ = hangup.recv() => Event::Signal,
            Some(ended) = endings.recv() => Event::Ended(ended),
            node = &mut ready, if !is_ready => Event::Ready(node),
            () = sleep_until(supervisor.next_respawn()) => Event::Respawn,
        };
        match event {
            Event::Signal => return Ok(supervisor.stop(&mut endings).await),
            Event::Ended(ended) => {
                supervisor.note_end(&ended);
                if supervisor.is_over() {
                    supervisor.say("no node is left, and none is to be started again; `up` ends");
                    return Ok(Exit::Failure);
                }
            }
            Event::Ready(node) => {
                is_ready = true;
                supervisor.note_ready(node);
            }
            Event::Respawn => supervisor.respawn_due(),
        }
    }
}

type Signals = (tokio::signal::unix::Signal, tokio::signal::unix::Signal, tokio::signal::unix::Signal);

fn signals() -> io::Result<Signals> {
    Ok((signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?))
}

async fn sleep_until(instant: Option<Instant>) {
    match instant {
        Some(instant) => tokio::time::sleep_until(instant).await,
        None => std::future::pending().await,
    }
}

impl Supervisor {
    fn start_all(&mut self) -> io::Result<()> {
        for node in self.layout.nodes.clone() {
            let process = self.start(&node)?;
            let since = Instant::now();
            self.nodes.insert(node.id, State::Running { process, since, delay: RESPAWN_DELAY });
        }
        Ok(())
    }

    fn start(&self, node: &Node) -> io::Result<Running> {
        let arguments = self.layout.command_line(node);
        Running::start(node.id, &self.executable, &arguments, self.screen.clone(), self.ended.clone())
    }

    /// Shows the nodes and what can be done with them.
    fn introduce(&self) {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header(["node", "pid", "RESP (clients)", "peers", "HTTP", "data"]);
        for node in &self.layout.nodes {
            let pid = match &self.nodes[&node.id] {
                State::Running { process, .. } => process.pid.to_string(),
                State::Dead { .. } => "-".to_owned(),
            };
            let at = |port: u16| format!("127.0.0.1:{port}");
            table.add_row([
                node.id.to_string(),
                pid,
                at(node.resp_port),
                at(node.peer_port),
                at(node.http_port),
                node.folder.display().to_string(),
            ]);
        }
        let first = self.layout.nodes[0].resp_port;
        let last = self.layout.nodes[self.layout.nodes.len() - 1].resp_port;
        let doors = self.sentinel_doors();
        let text = format!("{}\n{table}\n{doors}\n{}", self.headline(), self.suggestions(first, last));
        // A closed standard output is no reason to stop: the nodes are what matters.
        drop(io::stdout().write_all(text.as_bytes()));
    }

    /// Where Sentinel clients ask for the leader; nothing if they cannot.
    fn sentinel_doors(&self) -> String {
        let ports = self.layout.nodes.iter().filter_map(|node| node.sentinel_port);
        let doors: Vec<_> = ports.map(|port| format!("127.0.0.1:{port}")).collect();
        if doors.is_empty() { String::new() } else { format!("\nSentinels: {}\n", doors.join(", ")) }
    }

    fn headline(&self) -> String {
        let count = self.layout.nodes.len();
        let nodes = if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
        let version = env!("CARGO_PKG_VERSION");
        format!("Quorate {version}: {nodes} on this machine, data in {}\n", self.layout.folder.display())
    }

    /// What to try next; `first` and `last` are RESP ports.
    fn suggestions(&self, first: u16, last: u16) -> String {
        let status = format!("{} status --addr 127.0.0.1:{first}", self.executable.display());
        let suggestions = [
            (format!("redis-cli -p {first} SET my_lock me NX EX 10"), "take a lock for 10 seconds"),
            (format!("redis-cli -p {last} GET my_lock"), "see who holds it, on any node"),
            (format!("redis-cli -p {first} FENCE my_lock"), "its fencing token"),
            ("kill -9 PID".to_owned(), "kill a node of the table: the lock survives"),
            (status, "who leads now"),
        ];
        let width = suggestions.iter().map(|(command, _)| command.len()).max().unwrap_or_default();
        let lines = suggestions.map(|(command, meaning)| format!("  {command:width$}   {meaning}\n"));
        format!("Try, in another terminal:\n{}\nCtrl-C stops all nodes; the data stays.\n", lines.concat())
    }

    fn say(&mut self, text: &str) {
        drop(self.screen.write_all(format!("up | {text}\n").as_bytes()));
    }

    fn note_ready(&mut self, node: u64) {
        let text = match self.layout.remember_formed() {
            Ok(()) => format!("the cluster is ready: node {node} reaches a leader"),
            Err(error) => {
                format!("the cluster is ready, but {}/up.toml: {error}", self.layout.folder.display())
            }
        };
        self.say(&text);
    }

    /// Tells that a node has died, and how it comes back.
    fn note_end(&mut self, ended: &Ended) {
        let delay = match self.nodes.get(&ended.node) {
            Some(State::Running { since, .. }) if since.elapsed() >= STABLE => RESPAWN_DELAY,
            Some(State::Running { delay, .. } | State::Dead { delay, .. }) => *delay,
            None => RESPAWN_DELAY,
        };
        let was_removed = was_removed(&ended.how);
        let again = (self.respawn && !was_removed).then(|| Instant::now() + delay);
        self.nodes.insert(ended.node, State::Dead { again, delay: (delay * 2).min(RESPAWN_DELAY_MAX) });
        let running = self.nodes.values().filter(|state| matches!(state, State::Running { .. })).count();
        let total = self.layout.nodes.len();
        let enough = if running > total / 2 { "enough to go on" } else { "too few to go on: writes wait" };
        let mut text =
            format!("node {} {}; {running} of {total} run, {enough}", ended.node, describe(&ended.how));
        match self.layout.nodes.iter().find(|node| node.id == ended.node) {
            _ if was_removed => write!(text, "; it was removed from the cluster, and is not started again"),
            _ if self.respawn => write!(text, "; it starts again in {}", humantime::format_duration(delay)),
            Some(node) => write!(
                text,
                "; start it again in another terminal with\n   | {} {}\n   | (or let `up --respawn` do that)",
                self.executable.display(),
                self.layout.command_line(node).join(" "),
            ),
            None => Ok(()),
        }
        .expect("a string takes all text");
        self.say(&text);
    }

    fn is_over(&self) -> bool {
        self.nodes.values().all(|state| matches!(state, State::Dead { again: None, .. }))
    }

    fn next_respawn(&self) -> Option<Instant> {
        let times = self.nodes.values().filter_map(|state| match state {
            State::Dead { again, .. } => *again,
            State::Running { .. } => None,
        });
        times.min()
    }

    /// Starts each node whose time has come.
    fn respawn_due(&mut self) {
        let now = Instant::now();
        for node in self.layout.nodes.clone() {
            let Some(State::Dead { again: Some(again), delay }) = self.nodes.get(&node.id) else { continue };
            if *again > now {
                continue;
            }
            let delay = *delay;
            let (state, text) = match self.start(&node) {
                Ok(process) => {
                    let text = format!("node {} runs again, pid {}", node.id, process.pid);
                    (State::Running { process, since: now, delay }, text)
                }
                Err(error) => {
                    let again = Some(now + delay);
                    (State::Dead { again, delay }, format!("node {} does not start: {error}", node.id))
                }
            };
            self.nodes.insert(node.id, state);
            self.say(&text);
        }
    }

    /// Ends all nodes, in an orderly way where they let us.
    async fn stop(mut self, endings: &mut mpsc::Receiver<Ended>) -> Exit {
        self.say("stopping all nodes");
        let states = std::mem::take(&mut self.nodes).into_values();
        let mut running = states.filter(|state| matches!(state, State::Running { .. })).count();
        let all_ended = async {
            while running > 0 && endings.recv().await.is_some() {
                running -= 1;
            }
        };
        if tokio::time::timeout(STOP_MAX, all_ended).await.is_err() {
            self.say("a node could not be ended; it ends by itself when it can run again");
            return Exit::Failure;
        }
        self.say("all nodes have stopped");
        Exit::Success
    }
}

/// Whether a node ended since it is no member any more.
fn was_removed(how: &io::Result<ExitStatus>) -> bool {
    how.as_ref().is_ok_and(|status| status.code() == Some(Exit::Removed as i32))
}

/// How a process ended, as the rest of a sentence.
fn describe(how: &io::Result<ExitStatus>) -> String {
    match how {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("was killed by signal {signal}"),
            (None, Some(code)) => format!("ended with exit status {code}"),
            (None, None) => "ended".to_owned(),
        },
        Err(error) => format!("cannot be watched any more ({error})"),
    }
}

/// Asks all nodes in turn until one says that it is ready; which one.
async fn wait_ready(ports: Vec<(u64, u16)>) -> u64 {
    loop {
        for &(node, port) in &ports {
            let answer = tokio::time::timeout(Duration::from_secs(1), is_ready(port)).await;
            if matches!(answer, Ok(Ok(true))) {
                return node;
            }
        }
        tokio::time::sleep(READY_POLL).await;
    }
}

async fn is_ready(port: u16) -> io::Result<bool> {
    const OK: &[u8] = b"HTTP/1.1 200";
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await?;
    let mut start = [0; OK.len()];
    stream.read_exact(&mut start).await?;
    Ok(start == OK)
}
