//! How a node becomes a member of a cluster that is there already: `--join`.
//!
//! A node with an empty folder asks any node of the cluster to add it, over the same RESP port as every client, and
//! gets its id. Only then it makes its folder, which belongs to that cluster from the beginning and holds no
//! configuration: such a node votes for nobody and stands for nothing until the leader has found it and sent it the
//! log.
//!
//! * If it ends between the two, it finds itself among the learners the next time, by its address. A node that did run
//!   and then lost its disk is not let in that way: the others remember the disk ([`crate::peer::handshake`]).
//! * Meanwhile its doors are open: whoever needs the data is told LOADING, and `/readyz` why it has not joined yet.
//! * It asks again, for as long as it takes, while nobody answers or the cluster is busy with another change. What the
//!   cluster refuses for good ends the process with its words.

use std::{
    collections::BTreeSet,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use quorate_log::{Identity, OsDisk};
use quorate_machine::ClusterVersion;
use redis::{Connection, RedisResult};
use tokio::sync::{oneshot, watch};

use crate::{
    config::{Address, Config, JoinAs, Value as _},
    data_folder,
    ending::Orders,
    engine::EngineKind,
    recovery::Lobby,
    service::Error,
    status::{MemberKind, NodeStatus, Role},
};

/// How long a node may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How long it may take to answer: a change waits for the leader for as long as a command does.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause before the nodes are asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(500);
/// What a node says of the members may be a moment old: a member that was removed just before still stands in the way. After
/// a refusal within this time the nodes are asked again: twice at most, [`RETRY_PAUSE`] apart.
const SETTLING: Duration = Duration::from_millis(750);

/// What became of the question who this node is.
pub(crate) enum Admission {
    /// It is the node of its folder, or a new one of a new cluster.
    Settled,
    /// It is a member of this cluster now, and has no folder yet.
    Admitted {
        /// The cluster.
        cluster_id: u128,
    },
    /// An order to end came first.
    Ended,
}

/// What this node says of itself.
type Told = watch::Sender<Arc<NodeStatus>>;

/// Finds out which node this is, and puts its id and its engine into `config`: by its folder, by the cluster that it joins,
/// or by its settings. The id goes into `status`, too. Those who connect and leave meanwhile are kept track of in `lobby`.
///
/// # Errors
/// The folder cannot be read, or the cluster does not take this node.
pub(crate) async fn settle(
    config: &mut Config,
    orders: &mut Orders,
    lobby: &mut Lobby,
    status: &Told,
) -> Result<Admission, Error> {
    let admission = tokio::select! {
        admission = find_place(config, orders, status) => admission?,
        never = lobby.tidy() => match never {},
    };
    let told = |told: &mut Arc<NodeStatus>| {
        let told = Arc::make_mut(told);
        (told.node_id, told.joining) = (config.node_id, None);
    };
    status.send_modify(told);
    Ok(admission)
}

async fn find_place(config: &mut Config, orders: &mut Orders, status: &Told) -> Result<Admission, Error> {
    if let Some(identity) = identity(config)? {
        if config.node_id == 0 {
            config.node_id = identity.node_id;
        }
        config.engine = Some(engine_of_folder(config, &identity)?);
        return Ok(Admission::Settled);
    }
    if config.join.0.is_empty() {
        config.node_id = config.node_id.max(1);
        config.engine = Some(config.engine.unwrap_or_default());
        if let Some((name, reason)) = config.lacking() {
            return Err(Error::Setting { name, reason });
        }
        return Ok(Admission::Settled);
    }
    let asking = ask(config.clone(), status.clone())?;
    tokio::select! {
        answer = asking => {
            let Joined { node_id, cluster_id, engine } =
                answer.map_err(|_| Error::Failed("the thread that joins the cluster panicked".to_owned()))??;
            (config.node_id, config.engine) = (node_id, Some(engine));
            tracing::info!("is node {node_id} of cluster {cluster_id:032x}, with the engine {engine}");
            Ok(Admission::Admitted { cluster_id })
        }
        order = orders.first() => {
            tracing::info!("ending, by {order}, before a cluster was joined");
            Ok(Admission::Ended)
        }
    }
}

/// Whose the folder is, if it is anybody's.
fn identity(config: &Config) -> Result<Option<Identity>, Error> {
    let refuse = |error: &dyn std::fmt::Display| data_folder::data(config, error);
    if !config.data_dir.exists() {
        return Ok(None);
    }
    let disk = OsDisk::new(config.data_dir.clone()).map_err(|error| refuse(&error))?;
    Identity::find(&disk).map_err(|error| refuse(&error))
}

/// The engine of a folder that is there.
fn engine_of_folder(config: &Config, identity: &Identity) -> Result<EngineKind, Error> {
    match (EngineKind::named(&identity.engine), config.engine) {
        (Some(kind), None) => Ok(kind),
        (Some(kind), Some(set)) if kind == set => Ok(kind),
        (Some(kind), Some(set)) => Err(data_folder::data(
            config,
            format!(
                "is of a cluster with the engine {kind}, and the setting engine says {set}: a cluster keeps the engine that it \
                 was born with; leave the setting away, or choose another folder"
            ),
        )),
        (None, _) => Err(data_folder::data(
            config,
            format!(
                "was written with the engine {}, which this program has not: run a newer one",
                identity.engine
            ),
        )),
    }
}

/// What a cluster says to who joins it.
struct Joined {
    node_id: u64,
    cluster_id: u128,
    engine: EngineKind,
}

/// Asks the cluster on a thread of its own, since the client blocks.
fn ask(config: Config, status: Told) -> Result<oneshot::Receiver<Result<Joined, Error>>, Error> {
    let (done, answer) = oneshot::channel();
    let work = move || {
        let joined = join(&config, &status, || done.is_closed());
        // Nobody waits for it if the node has been told to end.
        drop(done.send(joined));
    };
    thread::Builder::new()
        .name("joining".to_owned())
        .spawn(work)
        .map_err(Error::failed("cannot start a thread"))?;
    Ok(answer)
}

/// Asks one node after the other until one says what this node is. What keeps it from joining is told in `status`.
fn join(config: &Config, status: &Told, given_up: impl Fn() -> bool) -> Result<Joined, Error> {
    let tell = |why: String| status.send_modify(|told| Arc::make_mut(told).joining = Some(why));
    tell(format!("it asks {}", config.join.show()));
    let mut told = BTreeSet::new();
    let begin = Instant::now();
    loop {
        for address in &config.join.0 {
            let is_settled = begin.elapsed() > SETTLING;
            match join_by(config, address) {
                Ok(joined) => return Ok(joined),
                Err(Obstacle::Final(_)) if !is_settled => {}
                Err(Obstacle::Final(reason)) => return Err(refusal(config, address, &reason)),
                Err(Obstacle::Passing(reason)) => {
                    tell(format!("by {address}: {reason}"));
                    if told.insert((address.to_string(), reason.clone())) {
                        tracing::warn!("cannot join by {address} yet, and tries again: {reason}");
                    }
                }
            }
            if given_up() {
                return Err(Error::Failed("told to end".to_owned()));
            }
        }
        thread::sleep(RETRY_PAUSE);
    }
}

fn refusal(config: &Config, address: &Address, reason: &str) -> Error {
    Error::Setting {
        name: "join",
        reason: format!("{:?} is refused by the node at {address}: {reason}", config.join.show()),
    }
}

/// Why this node has not joined.
enum Obstacle {
    /// Another try may do.
    Passing(String),
    /// Somebody has to change something.
    Final(String),
}

impl From<redis::RedisError> for Obstacle {
    fn from(error: redis::RedisError) -> Self {
        let code = error.code().unwrap_or_default();
        let text = error.detail().map_or_else(|| error.to_string(), str::to_owned);
        // Whether a change was made may be unknown, and who has this node's place may be itself: the next look tells.
        let is_open = text.contains("it is not known whether") || text.contains("is where n");
        if code == "ERR" && !is_open { Self::Final(text) } else { Self::Passing(text) }
    }
}

fn join_by(config: &Config, address: &Address) -> Result<Joined, Obstacle> {
    let mut connection = connect(address)?;
    let status = status(&mut connection)?;
    if status.joining.is_some() {
        return Err(Obstacle::Passing("it has not joined a cluster itself".to_owned()));
    }
    if status.loading {
        return Err(Obstacle::Passing("it recovers its data".to_owned()));
    }
    let engine = engine_to_join(config.engine, &status.engine)?;
    if status.role == Role::Witness {
        let text = "it is a witness, and does not pass on what clients ask: name another node";
        return Err(Obstacle::Passing(text.to_owned()));
    }
    require_known(status.cluster_version)?;
    let cluster_id = status.cluster_id.as_deref().and_then(|id| u128::from_str_radix(id, 16).ok());
    let cluster_id =
        cluster_id.ok_or_else(|| Obstacle::Passing("its cluster is not formed yet".to_owned()))?;
    if let Some(node_id) = known(config, &status)? {
        return Ok(Joined { node_id, cluster_id, engine });
    }
    Ok(Joined { node_id: add(config, &mut connection)?, cluster_id, engine })
}

/// The cluster's engine, which a node takes that was not told another.
fn engine_to_join(set: Option<EngineKind>, theirs: &str) -> Result<EngineKind, Obstacle> {
    let kind = EngineKind::named(theirs).ok_or_else(|| {
        Obstacle::Final(format!("its engine is {theirs}, which this program has not: run a newer one"))
    })?;
    match set {
        Some(set) if set != kind => Err(Obstacle::Final(format!(
            "its cluster has the engine {kind}, and the setting engine says {set}: leave that away, and this node takes the \
             cluster's"
        ))),
        Some(_) | None => Ok(kind),
    }
}

/// A program that does not know what is active would be a member that no other talks to.
fn require_known(active: u32) -> Result<(), Obstacle> {
    let newest = ClusterVersion::NEWEST.0;
    if active <= newest.into() {
        return Ok(());
    }
    Err(Obstacle::Final(format!(
        "the cluster's version is {active}, and this program knows versions up to {newest}: run a newer program"
    )))
}

fn connect(address: &Address) -> RedisResult<Connection> {
    let address = redis::ConnectionAddr::Tcp(address.host.clone(), address.port);
    let connection = redis::Client::open(address)?.get_connection_with_timeout(CONNECT_TIMEOUT)?;
    connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
    Ok(connection)
}

fn status(connection: &mut Connection) -> Result<NodeStatus, Obstacle> {
    let json: String = redis::cmd("QUORATE").arg("STATUS").query(connection)?;
    serde_json::from_str(&json)
        .map_err(|error| Obstacle::Final(format!("its status cannot be read: {error}")))
}

/// The id under which the cluster knows this node already, since an operator has added it, or it has asked before.
fn known(config: &Config, status: &NodeStatus) -> Result<Option<u64>, Obstacle> {
    let here = config.peer_advertise.to_string();
    let by_id = status.members.iter().find(|member| member.node_id == config.node_id);
    let by_address = status.members.iter().find(|member| member.address == here);
    let Some(member) = by_id.or(by_address) else { return Ok(None) };
    let id = member.node_id;
    if config.node_id != 0 && config.node_id != id {
        return Err(Obstacle::Final(format!(
            "{here} is the address of node {id}, not of {}",
            config.node_id
        )));
    }
    if member.address != here {
        return Err(Obstacle::Final(format!(
            "node {id} is said to be at {}, and this node at {here}: see --peer-advertise",
            member.address
        )));
    }
    let is_witness = member.kind == MemberKind::Witness;
    match member.kind {
        MemberKind::Learner | MemberKind::Witness if is_witness != (config.join_as == JoinAs::Witness) => {
            let part = if is_witness { "as a witness: join with" } else { "with data: join without" };
            Err(Obstacle::Final(format!("node {id} was added {part} --join-as witness")))
        }
        MemberKind::Learner => Ok(Some(id)),
        MemberKind::Witness if member.promotes => Ok(Some(id)),
        MemberKind::Witness => Err(Obstacle::Final(format!(
            "{here} is the address of node {id}, a witness that votes: give that node its data folder back, or remove \
             it first by `quorate member remove {id}`"
        ))),
        MemberKind::Voter | MemberKind::Joining | MemberKind::Leaving => Err(Obstacle::Final(format!(
            "{here} is the address of node {id}, which votes: give that node its data folder back, or replace it \
             by `--join-as replace:{id}` at another address, or remove it first by `quorate member remove {id}`"
        ))),
    }
}

/// Has the cluster add this node; its id.
fn add(config: &Config, connection: &mut Connection) -> Result<u64, Obstacle> {
    let mut command = redis::cmd("QUORATE");
    command.arg("MEMBER").arg("ADD").arg(config.peer_advertise.to_string());
    if config.node_id != 0 {
        command.arg("ID").arg(config.node_id);
    }
    match config.join_as {
        JoinAs::Voter => command.arg("VOTE"),
        JoinAs::Learner => &mut command,
        JoinAs::Witness => command.arg("WITNESS"),
        JoinAs::Replacement(place) => command.arg("REPLACE").arg(place),
    };
    Ok(command.query(connection)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn obstacle(error: &str) -> Obstacle {
        let reply = redis::parse_redis_value(format!("-{error}\r\n").as_bytes()).unwrap();
        Obstacle::from(reply.extract_error().unwrap_err())
    }

    /// The node that was asked leads no more, or soon will not: the change may be in a log that is cut, or may be made
    /// after all. The next look at the members tells.
    #[test]
    fn what_a_deposed_leader_says_is_not_the_last_word() {
        for error in [
            "TRYAGAIN the members stay as they are: another leader took over before the change was agreed on",
            "ERR it is not known whether the members have changed: the leader was lost meanwhile",
            "CLUSTERDOWN no leader answered in time",
        ] {
            assert!(matches!(obstacle(error), Obstacle::Passing(_)), "{error}");
        }
    }

    #[test]
    fn what_the_cluster_refuses_ends_the_attempt() {
        let refused = obstacle("ERR the members stay as they are: n9 is no member");
        assert!(matches!(&refused, Obstacle::Final(text) if text.contains("n9 is no member")));
    }

    #[test]
    fn node_takes_the_engine_of_its_cluster_unless_it_was_told_another() {
        assert!(matches!(engine_to_join(None, "paxos"), Ok(EngineKind::Paxos)));
        assert!(matches!(engine_to_join(Some(EngineKind::Raft), "raft"), Ok(EngineKind::Raft)));
        let Err(Obstacle::Final(text)) = engine_to_join(Some(EngineKind::Raft), "paxos") else {
            panic!("it may join")
        };
        assert!(text.contains("has the engine paxos") && text.contains("says raft"), "{text}");
        assert!(matches!(engine_to_join(None, "zab"), Err(Obstacle::Final(text)) if text.contains("newer")));
    }

    #[test]
    fn program_that_is_too_old_for_the_cluster_does_not_ask_to_join() {
        let newest = u32::from(ClusterVersion::NEWEST.0);
        assert!(require_known(0).is_ok() && require_known(newest).is_ok());
        let Err(Obstacle::Final(text)) = require_known(newest + 1) else { panic!("it may ask") };
        assert!(text.contains("run a newer program"), "{text}");
    }
}
