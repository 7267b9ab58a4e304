//! One node as a process: everything is made, connected, watched, and ended here.
//!
//! The doors open first; behind them the node joins its cluster if it is to ([`crate::admission`]), and the data are
//! recovered ([`crate::recovery`]). In between it is known which engine the cluster has: what goes on from there is made for
//! that engine.
//!
//! Threads: a small tokio runtime serves clients, peers and HTTP; one thread owns the shard, one the log, one the
//! snapshots. If any of the three ends by itself, the node ends with an error: it never limps.
//!
//! An orderly end (SIGTERM, SIGINT, or the end of the lifeline) goes: accept no more clients; hand the leadership over
//! and answer what is in flight, for a bounded time; mark the log durable; close the connections. A second signal
//! ends the process at once, which loses nothing that was acknowledged.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use quorate_consensus::{Engine, paxos::Paxos, raft::Raft};
use tokio::{
    net::TcpListener,
    runtime::Runtime,
    sync::{mpsc, watch},
    time::timeout,
};
use tracing_appender::non_blocking::ErrorCounter;

pub use crate::ending::Lifeline;
use crate::{
    admission::{self, Admission},
    backup::Backups,
    clock,
    config::{Address, Config, Value as _},
    connection::{self, FrontDoor, SentinelSettings, SlowLogSettings},
    data_folder::DataFolder,
    ending::Orders,
    engine::EngineKind,
    handle::ShardHandle,
    http,
    inlet::{Event, Inlet},
    log_writer::LogWriter,
    metrics::Metrics,
    observer::Observer,
    peer::{Spoken, Transport, handshake::Local, versions::Versions},
    recovery::{Lobby, recover},
    reporter::{Constants, Reporter},
    resp::FrameLimits,
    shard::{Inbox, Phase, Shard},
    snapshots::Snapshots,
    status::NodeStatus,
    subscriptions::{self, Subscriptions},
};

/// Threads of the runtime: they only move bytes.
const RUNTIME_THREADS: usize = 2;
/// What the threads may take after the shard has ended: one more sync, and the end of a snapshot's chunk.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How long connections may take to write the last answers.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(300);
/// File descriptors beside those of clients: log, snapshots, peers, listeners.
const OTHER_FILES: u64 = 128;

/// Why a node has ended other than in order.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Choose another folder, or give it what it needs; starting again does not help.
    #[error("data folder {folder}: {reason}")]
    Data {
        /// The folder.
        folder: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Change the setting.
    #[error("setting {name}: {reason}")]
    Setting {
        /// The setting.
        name: &'static str,
        /// Its value, what is wrong with it, and what is allowed.
        reason: String,
    },
    /// The others have removed it. Starting again does not help: its folder can be deleted.
    #[error(
        "this node was removed from its cluster, and is not needed any more: its data folder can be deleted; to have \
         the machine back, start it on an empty folder with --join, as a new member"
    )]
    Removed,
    /// Something broke, in words. Starting again may help.
    #[error("{0}")]
    Failed(String),
}

impl Error {
    pub(crate) fn failed(what: &str) -> impl Fn(io::Error) -> Self + '_ {
        move |error| Self::Failed(format!("{what}: {error}"))
    }
}

/// Runs the node of `config` until it is told to end. `dropped_log_lines` is for its metrics.
///
/// # Errors
/// Why it could not start, or had to stop.
pub fn run(config: Config, lifeline: Lifeline, dropped_log_lines: ErrorCounter) -> Result<(), Error> {
    raise_file_limit(&config);
    run_told(&config, lifeline, dropped_log_lines, |_| ())
}

/// The same, without a change of what belongs to the whole process. `told` is called with the port that clients are served
/// at, once that is open.
pub(crate) fn run_told(
    config: &Config,
    lifeline: Lifeline,
    dropped_log_lines: ErrorCounter,
    told: impl FnOnce(u16),
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("sockets")
        .enable_all()
        .build()
        .map_err(Error::failed("cannot start the runtime"))?;
    let result = serve(&runtime, config, lifeline, dropped_log_lines, told);
    runtime.shutdown_timeout(FLUSH_TIMEOUT);
    result
}

/// The doors of a node.
struct Listeners {
    resp: TcpListener,
    http: TcpListener,
    peers: TcpListener,
    sentinel: Option<TcpListener>,
}

/// What says that a thread has ended, and how.
struct Ended {
    thread: &'static str,
    result: Result<(), String>,
}

/// The ends by which the running parts are told to stop.
struct Switches {
    /// No more clients, please.
    stopping: watch::Sender<bool>,
    /// All is over.
    ended: watch::Sender<bool>,
    /// This node is no member any more.
    removed: watch::Sender<bool>,
}

impl Switches {
    fn new() -> Self {
        let off = || watch::Sender::new(false);
        Self { stopping: off(), ended: off(), removed: off() }
    }
}

fn serve(
    runtime: &Runtime,
    config: &Config,
    lifeline: Lifeline,
    dropped_log_lines: ErrorCounter,
    told: impl FnOnce(u16),
) -> Result<(), Error> {
    let mut orders = {
        let _context = runtime.enter();
        Orders::listen(lifeline).map_err(Error::failed("cannot watch signals"))?
    };
    let listeners = runtime.block_on(Listeners::bind(config))?;
    let mut settled = listeners.told(config);
    let config = &settled;
    let resp_port = listeners.resp.local_addr().map_or(config.listen.port, |address| address.port());
    told(resp_port);
    let metrics = Arc::new(Metrics::default());
    let (client_inputs, clients) = crossbeam_channel::unbounded();
    let loading = NodeStatus { node_id: config.node_id, loading: true, ..NodeStatus::default() };
    let status = watch::Sender::new(Arc::new(loading));
    let (subscriptions, published) = Subscriptions::new();
    runtime.spawn(subscriptions::fan_out(Arc::clone(&subscriptions), published));
    let handle = ShardHandle::new(client_inputs, status.subscribe(), subscriptions);
    let switches = Switches::new();

    let front = FrontDoor::new(handle.clone(), limits(config), told_settings(config), resp_port);
    let sources = http::Sources {
        status: status.subscribe(),
        metrics: Arc::clone(&metrics),
        front: Arc::clone(&front),
        peer_queue_bytes_max: config.peer_queue_bytes_max.0,
        dropped_log_lines,
        started_unix_s: clock::wall_ms() / 1000,
        stopping: switches.stopping.subscribe(),
        backups: Backups::new(handle.clone()),
    };
    let http_port = listeners.http.local_addr().map_or(config.http_listen.port, |address| address.port());
    runtime.spawn(http::serve(listeners.http, sources, switches.ended.subscribe()));

    runtime.spawn(connection::accept(listeners.resp, Arc::clone(&front), switches.stopping.subscribe()));
    runtime.spawn(connection::dismiss_when_useless(Arc::clone(&front), config.leaderless_timeout));
    if let Some(listener) = listeners.sentinel {
        open_sentinel_door(runtime, config, &handle, listener, &switches);
    }
    let mut lobby = Lobby::new(clients);
    let settling = admission::settle(&mut settled, &mut orders, &mut lobby, &status);
    let admitted = match runtime.block_on(settling)? {
        Admission::Settled => None,
        Admission::Admitted { cluster_id } => Some(cluster_id),
        Admission::Ended => return Ok(()),
    };
    let doors =
        Doors { http_port, handle, status, metrics, peers: listeners.peers, lobby, orders, switches, front };
    match settled.engine.unwrap_or_default() {
        EngineKind::Raft => doors.go_on::<Raft>(runtime, &settled, admitted),
        EngineKind::Paxos => doors.go_on::<Paxos>(runtime, &settled, admitted),
    }
}

/// What is there before the data are, and knows nothing of the engine.
struct Doors {
    /// Where HTTP is served.
    http_port: u16,
    handle: ShardHandle,
    status: watch::Sender<Arc<NodeStatus>>,
    metrics: Arc<Metrics>,
    peers: TcpListener,
    lobby: Lobby,
    orders: Orders,
    switches: Switches,
    front: Arc<FrontDoor>,
}

impl Doors {
    /// Recovers the data and serves, with the engine `E`.
    fn go_on<E>(self, runtime: &Runtime, config: &Config, admitted: Option<u128>) -> Result<(), Error>
    where
        E: Engine<Message: Spoken> + 'static,
    {
        let Self { http_port, handle, status, metrics, peers, mut lobby, mut orders, switches, front } = self;
        let Some(data) = runtime.block_on(recover::<E>(config, admitted, &mut orders, &mut lobby))? else {
            return Ok(());
        };
        let (event_inputs, events) = crossbeam_channel::unbounded();
        let inlet = Inlet::new(event_inputs);
        let parts = Parts { config, http_port, handle, inlet: inlet.clone(), status, metrics };
        let threads = parts.start(runtime, data, (lobby, events), peers, &switches)?;
        tracing::info!(
            clients = %config.listen,
            peers = %config.peer_listen,
            http = %config.http_listen,
            "node {} serves",
            config.node_id
        );
        let pace = runtime.spawn(connection::measure_pace(Arc::clone(&front)));
        let ending = run_until_end(&mut orders, threads, &inlet, &switches, &front, config.shutdown_timeout);
        let result = runtime.block_on(ending);
        pace.abort();
        result
    }
}

/// Opens the door at which Sentinel clients ask for the leader. It shares nothing with the other but the node's status.
fn open_sentinel_door(
    runtime: &Runtime,
    config: &Config,
    handle: &ShardHandle,
    listener: TcpListener,
    switches: &Switches,
) {
    // Nothing is published to them by the shard, so that nobody needs to fan it out.
    let (subscriptions, _) = Subscriptions::new();
    let settings = SentinelSettings {
        master_name: config.sentinel_master_name.clone(),
        advertise: config.advertise.clone(),
        down_after: config.election_timeout,
    };
    let port = listener.local_addr().map_or(0, |address| address.port());
    let handle = handle.with_subscriptions(subscriptions);
    let door =
        FrontDoor::for_sentinel(handle, connection::Limits::of_sentinel(config.clients_max), port, settings);
    runtime.spawn(connection::announce(Arc::clone(&door)));
    runtime.spawn(connection::dismiss_when_useless(Arc::clone(&door), config.leaderless_timeout));
    runtime.spawn(connection::accept(listener, door, switches.stopping.subscribe()));
}

impl Listeners {
    async fn bind(config: &Config) -> Result<Self, Error> {
        let resp = listen("listen", &config.listen).await?;
        let http = listen("http-listen", &config.http_listen).await?;
        let sentinel = match &config.sentinel_listen {
            Some(address) => Some(listen("sentinel-listen", address).await?),
            None => None,
        };
        let peers = listen("peer-listen", &config.peer_listen).await?;
        Ok(Self { resp, http, sentinel, peers })
    }
}

impl Listeners {
    /// The settings, with the port that the system has chosen for peers, if it was to.
    fn told(&self, config: &Config) -> Config {
        let mut config = config.clone();
        if let (0, Ok(address)) = (config.peer_advertise.port, self.peers.local_addr()) {
            config.peer_advertise.port = address.port();
        }
        config
    }
}

async fn listen(name: &str, address: &Address) -> Result<TcpListener, Error> {
    TcpListener::bind(address.to_pair())
        .await
        .map_err(|error| Error::Failed(format!("cannot listen on {address} (setting {name}): {error}")))
}

/// What the threads are made of.
struct Parts<'a, M> {
    config: &'a Config,
    /// Where HTTP is served.
    http_port: u16,
    handle: ShardHandle,
    inlet: Inlet<M>,
    status: watch::Sender<Arc<NodeStatus>>,
    metrics: Arc<Metrics>,
}

type Inputs<M> = (Lobby, crossbeam_channel::Receiver<Event<M>>);

/// The threads that own something: shard, log, snapshots.
const THREADS: usize = 3;

impl<M: Spoken> Parts<'_, M> {
    /// Starts transport and threads. The receiver gets one message for each thread that ends.
    fn start<E: Engine<Message = M> + 'static>(
        self,
        runtime: &Runtime,
        data: DataFolder<E>,
        (lobby, events): Inputs<M>,
        peer_listener: TcpListener,
        switches: &Switches,
    ) -> Result<mpsc::Receiver<Ended>, Error> {
        let cluster_id = Arc::new(OnceLock::new());
        if let Some(id) = data.cluster_id {
            cluster_id.get_or_init(|| id);
        }
        let versions = Arc::new(Versions::new(self.config.version_max()));
        versions.rises_to(data.driver.machine().version());
        let transport = {
            let _context = runtime.enter();
            let local = self.local(&data, &cluster_id, Arc::clone(&versions));
            let queue_bytes = self.config.peer_queue_bytes_max.0;
            let inlet = self.inlet.clone();
            let (stopping, ended) = (switches.stopping.subscribe(), switches.ended.subscribe());
            Transport::start(local, &self.config.peers, queue_bytes, peer_listener, inlet, stopping, ended)
        };
        let (log_tasks, log_queue) = crossbeam_channel::unbounded();
        let (snapshot_tasks, snapshot_queue) = crossbeam_channel::unbounded();
        let constants = self.constants(&data)?;
        self.status.send_replace(Arc::new(constants.loading()));
        let directory = transport.directory();
        let metrics = Arc::clone(&self.metrics);
        let observer = Observer::new(Arc::clone(&metrics), data.driver.role());
        let reporter = Reporter::new(constants, self.status, directory, metrics, data.last, data.snapshot);
        let (inputs, clients) = lobby.leave();
        let shard = Shard {
            driver: data.driver,
            inbox: Inbox { clients: inputs, events, handle: self.handle, _inlet: self.inlet.clone() },
            log: log_tasks,
            snapshots: snapshot_tasks,
            transport,
            cluster_id,
            versions,
            reporter,
            metrics: Arc::clone(&self.metrics),
            observer,
            shutdown_timeout: self.config.shutdown_timeout,
            removed: switches.removed.clone(),
            clients,
            phase: Phase::Serving,
        };
        let writer =
            LogWriter::new(data.log, data.disk, log_queue, self.inlet.clone(), Arc::clone(&self.metrics));
        let rate = self.config.snapshot_bytes_per_second.0;
        let snapshots = Snapshots::new(data.store, snapshot_queue, self.inlet, self.metrics, rate);
        let (ended, endings) = mpsc::channel(THREADS);
        spawn("log", &ended, || writer.run().map_err(|error| error.to_string()))?;
        spawn("snapshots", &ended, || {
            snapshots.run();
            Ok(())
        })?;
        spawn("shard", &ended, || shard.run().map_err(|fatal| fatal.to_string()))?;
        Ok(endings)
    }

    /// How this node presents itself to others.
    fn local<E: Engine>(
        &self,
        data: &DataFolder<E>,
        cluster_id: &Arc<OnceLock<u128>>,
        versions: Arc<Versions>,
    ) -> Local {
        Local {
            node_id: self.config.node_id,
            founders: data.founders.clone(),
            cluster_id: Arc::clone(cluster_id),
            disk_id: data.disk_id,
            incarnation: data.incarnation,
            engine: self.config.engine.unwrap_or_default().name(),
            versions,
            frame_bytes_max: self.config.frame_bytes_max(),
            resp_address: self.config.advertise.clone(),
            http_address: self.config.http_listen.clone(),
            peer_address: self.config.peer_advertise.clone(),
            sentinel_address: self.config.sentinel_address(),
            acquaintances: Arc::clone(&data.acquaintances),
        }
    }

    fn constants<E: Engine>(&self, data: &DataFolder<E>) -> Result<Constants, Error> {
        let mut random = [0; 20];
        getrandom::fill(&mut random).map_err(|error| Error::Failed(format!("no randomness: {error}")))?;
        Ok(Constants {
            node_id: self.config.node_id,
            incarnation: data.incarnation,
            run_id: random.iter().map(|byte| format!("{byte:02x}")).collect(),
            engine: self.config.engine.unwrap_or_default().name(),
            advertise: self.config.advertise.clone(),
            http: Address::new(&self.config.http_listen.host, self.http_port),
            election_timeout: self.config.election_timeout,
            committed_at_start: data.committed,
            term_at_start: data.driver.role().term.0,
            cluster_id: data.cluster_id,
        })
    }
}

/// Starts a thread whose end, also by a panic, is told to `ended`.
fn spawn(
    name: &'static str,
    ended: &mpsc::Sender<Ended>,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> Result<(), Error> {
    let ended = ended.clone();
    let body = move || {
        // What the thread owned is dropped by the panic; nothing half-changed is used again.
        let result = catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err("panicked".to_owned()));
        // The channel has room for all threads; nobody listens once the process ends anyway.
        drop(ended.try_send(Ended { thread: name, result }));
    };
    thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(Error::failed("cannot start a thread"))?;
    Ok(())
}

/// Waits for the order to end, or for a thread to end by itself; then ends the others.
async fn run_until_end<M>(
    orders: &mut Orders,
    mut threads: mpsc::Receiver<Ended>,
    inlet: &Inlet<M>,
    switches: &Switches,
    front: &FrontDoor,
    shutdown_timeout: Duration,
) -> Result<(), Error> {
    let mut removal = switches.removed.subscribe();
    let was_removed = tokio::select! {
        order = orders.first() => {
            tracing::info!("ending, by {order}");
            false
        }
        Ok(_) = removal.wait_for(|&removed| removed) => true,
        ended = threads.recv() => return Err(cause(ended, &mut threads).await),
    };
    switches.stopping.send_replace(true);
    inlet.send(Event::Stop);
    let closing = close(&mut threads);
    let result = tokio::select! {
        closed = timeout(shutdown_timeout + CLOSE_TIMEOUT, closing) => {
            closed.unwrap_or_else(|_| Err(Error::Failed("the node could not end in time".to_owned())))
        }
        order = orders.signal() => Err(Error::Failed(format!("ended at once, by a second {order}"))),
    };
    if result.is_ok() {
        let _ = timeout(FLUSH_TIMEOUT, closed_connections(front)).await;
        tracing::info!("ended in order");
    }
    switches.ended.send_replace(true);
    if was_removed { result.and(Err(Error::Removed)) } else { result }
}

/// Waits until all threads have ended, or one has failed.
async fn close(threads: &mut mpsc::Receiver<Ended>) -> Result<(), Error> {
    for _ in 0..THREADS {
        match threads.recv().await {
            Some(Ended { result: Ok(()), .. }) => {}
            ended => return Err(broken(ended)),
        }
    }
    Ok(())
}

/// Why threads have ended that nobody told to. When the shard ends, the others find nobody who feeds them, and their ends,
/// which are in order, may be heard before its reason.
async fn cause(first: Option<Ended>, threads: &mut mpsc::Receiver<Ended>) -> Error {
    let mut ended = first;
    while let Some(Ended { result: Ok(()), .. }) = &ended
        && let Ok(Some(next)) = timeout(CLOSE_TIMEOUT, threads.recv()).await
    {
        ended = Some(next);
    }
    broken(ended)
}

fn broken(ended: Option<Ended>) -> Error {
    Error::Failed(match ended {
        Some(Ended { thread, result: Err(reason) }) => format!("the {thread} thread has ended: {reason}"),
        Some(Ended { thread, result: Ok(()) }) => format!("the {thread} thread has ended"),
        None => "all threads have ended".to_owned(),
    })
}

/// Resolves when the last client's connection is closed.
async fn closed_connections(front: &FrontDoor) {
    while front.connected() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Lets the process have as many open files as the system allows it, and tells if that is too few.
fn raise_file_limit(config: &Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let doors = 1 + u64::from(config.sentinel_listen.is_some());
    let wanted = config.clients_max as u64 * doors + OTHER_FILES;
    if let Some(allowed) = allowed.filter(|&allowed| allowed < wanted) {
        tracing::warn!(
            allowed,
            wanted,
            "fewer open files are allowed than max-clients may need: raise the limit (ulimit -n) or lower max-clients"
        );
    }
}

fn limits(config: &Config) -> connection::Limits {
    let defaults = connection::Limits::default();
    connection::Limits {
        frame: FrameLimits {
            frame_bytes_max: config.request_bytes_max.0,
            arguments_max: config.arguments_max,
            argument_bytes_max: config.request_bytes_max.0,
            inline_bytes_max: defaults.frame.inline_bytes_max.min(config.request_bytes_max.0),
        },
        clients_max: config.clients_max,
        pipeline_max: config.pipeline_max,
        output_bytes_max: config.output_bytes_max.0,
        transaction_bytes_max: config.request_bytes_max.0,
        slow_log: SlowLogSettings {
            slower_than_us: config.slower_than_us,
            entries_max: config.slow_commands_max,
        },
        ..defaults
    }
}

/// What CONFIG GET tells of the settings, by their names.
fn told_settings(config: &Config) -> std::collections::BTreeMap<String, String> {
    let mut told: std::collections::BTreeMap<_, _> =
        config.shown().into_iter().map(|(setting, value)| (setting.name.to_owned(), value)).collect();
    told.insert("dir".to_owned(), config.data_dir.show());
    told.insert("port".to_owned(), config.listen.port.to_string());
    told.insert("bind".to_owned(), config.listen.host.clone());
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program that was too old for the log said no more than that its log's thread had ended.
    #[tokio::test(start_paused = true)]
    async fn the_reason_why_a_thread_broke_is_told_though_others_ended_before() {
        let end = |thread, result: Result<(), &str>| Ended { thread, result: result.map_err(str::to_owned) };
        let (sender, mut threads) = mpsc::channel(THREADS);
        sender.try_send(end("snapshots", Ok(()))).ok().unwrap();
        let telling = async {
            tokio::time::sleep(CLOSE_TIMEOUT / 2).await;
            sender.try_send(end("shard", Err("too old"))).ok().unwrap();
        };
        let (error, ()) = tokio::join!(cause(Some(end("log", Ok(()))), &mut threads), telling);
        assert_eq!(error.to_string(), "the shard thread has ended: too old");
        let error = cause(Some(end("log", Ok(()))), &mut threads).await;
        assert_eq!(error.to_string(), "the log thread has ended", "nobody gives a reason");
    }
}
