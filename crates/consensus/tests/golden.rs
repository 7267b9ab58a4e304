//! Runs the golden scripts under `tests/scripts` (Raft) and `tests/scripts_paxos`. `UPDATE_GOLDENFILES=1` writes them anew.
//!
//! A script drives a cluster step by step. Nodes are numbers. A command in parentheses is quiet set-up.
//!
//! | command | effect |
//! |---|---|
//! | `cluster voters=3 learners=0 [setting=value ..]` | a new cluster |
//! | `cluster voters=5 quorum=2` | the same; two of them commit |
//! | `cluster witness=yes` | one of two voters with data and a witness |
//! | `campaign N`, `elect N` | N stands for election; or wins it, with everything settled |
//! | `propose N text ..` | proposals in one batch |
//! | `read N ..`, `transfer N to` | a read at each N; a hand-over |
//! | `deliver [from=N] [to=N] [kind=Name]`, `drop ..`, `duplicate ..` | what is on its way, and matches |
//! | `persist N ..`, `fail N` | the oldest write of each N completes, or fails |
//! | `slow N`, `fast N` | from now on, only `persist` and `install` complete what the disk of N does; or all again |
//! | `install N`, `reject N` | the installation of a snapshot completes, or fails |
//! | `full N`, `room N` | what makes the log of N grow is lost, or no more; with `told=yes`, N knows |
//! | `settle`, `run ms` | all of it at this instant; all that happens in this time |
//! | `advance ms`, `wake` | time alone; deadlines that have come |
//! | `crash N [whole=..] [torn=..]`, `start N` | see `Cluster::crash` |
//! | `damage N keep=2 [snapshot=lost]` | the disk of N, which is down, has lost all else, and N knows |
//! | `damage N truncation=lost` | the same, with its last truncation and all after it |
//! | `partition N ..`, `cut N N`, `heal` | links |
//! | `reconfigure N [add=4] [vote=4] [replace=4/2] [witness=4] [promote=4] [demote=4] [remove=4] [quorum=2] [quorum=1/forced]` | a change of all these steps |
//! | `join N` | a machine that is no member yet |
//! | `priority N value` | from its next start on |
//! | `unreachable N peer`, `snapshot N [trailing=..]` | inputs |
//! | `status`, `log`, `network`, `members` | prints |
//!
//! `deliver` with `together=yes` makes one batch of inputs per receiver. With `hide=Word`, any command leaves out
//! the lines that hold the word.

use std::{collections::BTreeMap, error::Error, fmt::Display, time::Duration};

use goldenscript::{Command, Context, Runner};
use quorate_consensus::{
    Change, Index, Input, Lease, Membership, NodeId, Priority, Purpose, Step, paxos::Paxos, raft::Raft,
};

use crate::cluster::{ClusterOf, Envelope, Node, Subject};

struct Script<E: Subject> {
    cluster: ClusterOf<E>,
}

/// The positional arguments as numbers, and the named ones.
struct Arguments<'a> {
    words: Vec<&'a str>,
    named: Vec<(&'a str, &'a str)>,
}

impl<'a> Arguments<'a> {
    fn of(command: &'a Command) -> Self {
        let mut arguments = command.consume_args();
        let words = std::iter::from_fn(|| arguments.next_pos()).collect();
        let named = std::iter::from_fn(|| arguments.next_key()).collect();
        Self { words, named }
    }

    fn numbers(&self) -> Result<Vec<u64>, Box<dyn Error>> {
        self.words.iter().map(|word| Ok(word.parse()?)).collect()
    }

    fn number(&self, position: usize) -> Result<u64, Box<dyn Error>> {
        Ok(self.words.get(position).ok_or("an argument is missing")?.parse()?)
    }

    fn named(&self, key: &str) -> Option<&'a str> {
        self.named.iter().find(|(name, _)| *name == key).map(|&(_, value)| value)
    }

    fn count(&self, key: &str, default: u64) -> Result<u64, Box<dyn Error>> {
        Ok(self.named(key).map_or(Ok(default), str::parse)?)
    }

    fn size(&self, key: &str, default: usize) -> Result<usize, Box<dyn Error>> {
        Ok(self.named(key).map_or(Ok(default), str::parse)?)
    }

    /// Whether an envelope is one of those meant.
    fn selects<M: Display>(&self, envelope: &Envelope<M>) -> bool {
        let is_node = |key, node: NodeId| self.named(key).is_none_or(|name| node.0.to_string() == name);
        let text = envelope.message.to_string();
        let kind = text.split(' ').next();
        is_node("from", envelope.from)
            && is_node("to", envelope.to)
            && self.named("kind").is_none_or(|name| kind == Some(name))
    }
}

/// One step of a change, such as `replace=4/2`.
fn step(name: &str, value: &str) -> Result<Step, Box<dyn Error>> {
    let (node, place) = value.split_once('/').map_or((value, None), |(node, place)| (node, Some(place)));
    if name == "lease" {
        let lease =
            |drift: &str| Ok::<_, Box<dyn Error>>(Lease { millis: node.parse()?, drift_ppm: drift.parse()? });
        return Ok(Step::Lease(place.map(lease).transpose()?));
    }
    if name == "quorum" {
        let phase2 = if node == "majority" { None } else { Some(node.parse()?) };
        return Ok(Step::Quorum { phase2, forced: place == Some("forced") });
    }
    let node = NodeId(node.parse()?);
    Ok(match (name, place) {
        ("add", None) => Step::Add { node: Some(node), address: None, purpose: Purpose::Learn },
        ("vote", None) => Step::Add { node: Some(node), address: None, purpose: Purpose::Vote },
        ("witness", None) => Step::Add { node: Some(node), address: None, purpose: Purpose::Witness },
        ("replace", Some(place)) => {
            Step::Add { node: Some(node), address: None, purpose: Purpose::Replace(NodeId(place.parse()?)) }
        }
        ("promote", None) => Step::Promote { node },
        ("demote", None) => Step::Demote { node },
        ("remove", None) => Step::Remove { node },
        _ => return Err(format!("unknown step {name}={value}").into()),
    })
}

impl<E: Subject> Script<E> {
    fn new_cluster(&mut self, arguments: &Arguments<'_>) -> Result<(), Box<dyn Error>> {
        let (voters, learners) = (arguments.count("voters", 3)?, arguments.count("learners", 0)?);
        let defaults = quorate_consensus::Config::for_node(NodeId(1), 1);
        let inflight = arguments.size("inflight_messages", defaults.inflight_messages_max)?;
        let message = arguments.size("message_bytes", defaults.message_bytes_max)?;
        let uncommitted = arguments.size("uncommitted_bytes", defaults.uncommitted_bytes_max)?;
        let chunk = arguments.size("chunk_bytes", defaults.snapshot_chunk_bytes)?;
        let lag = arguments.count("promotion_lag", defaults.promotion_lag_max)?;
        let adjust = |config: &mut quorate_consensus::Config| {
            config.inflight_messages_max = inflight;
            config.message_bytes_max = message;
            config.uncommitted_bytes_max = uncommitted;
            config.snapshot_chunk_bytes = chunk;
            config.promotion_lag_max = lag;
        };
        self.cluster = match (arguments.named("witness"), arguments.named("quorum")) {
            (Some(_), _) => ClusterOf::with_witness(adjust),
            (None, Some(quorum)) => {
                let voters = Membership::of_voters((1..=voters).map(NodeId));
                ClusterOf::born(
                    voters.with_phase2_quorum(quorum.parse()?, true).map_err(|why| why.to_string())?,
                    adjust,
                )
            }
            (None, None) => ClusterOf::with(voters, learners, adjust),
        };
        Ok(())
    }

    /// Takes what matches out of the network.
    fn take(&mut self, arguments: &Arguments<'_>) -> Vec<Envelope<E::Message>> {
        let network = std::mem::take(&mut self.cluster.network);
        let (taken, left): (Vec<_>, Vec<_>) =
            network.into_iter().partition(|envelope| arguments.selects(envelope));
        self.cluster.network = left.into();
        taken
    }

    fn propose(&mut self, arguments: &Arguments<'_>) -> Result<(), Box<dyn Error>> {
        let node = NodeId(arguments.number(0)?);
        let proposals = arguments.words[1..].iter().map(|text| self.cluster.proposal(text)).collect();
        self.cluster.inputs(node, proposals);
        Ok(())
    }

    fn reconfigure(&mut self, arguments: &Arguments<'_>) -> Result<(), Box<dyn Error>> {
        let steps: Result<Vec<Step>, _> =
            arguments.named.iter().map(|&(name, value)| step(name, value)).collect();
        self.cluster.reconfigure(arguments.number(0)?, Change(steps?));
        Ok(())
    }

    fn damage(&mut self, arguments: &Arguments<'_>) -> Result<(), Box<dyn Error>> {
        let node = NodeId(arguments.number(0)?);
        match arguments.named("truncation") {
            Some(_) => self.cluster.damage_truncation(node),
            None => {
                let keep = Index(arguments.count("keep", 0)?);
                self.cluster.damage(node, keep, arguments.named("snapshot") != Some("lost"));
            }
        }
        Ok(())
    }

    /// What each node takes for the members, and since when.
    fn members(&self) -> String {
        let line = |(id, node): (&NodeId, &Node<E>)| {
            let status = node.engine.as_ref()?.status(self.cluster.now);
            let is_committed = status.membership_index <= status.commit;
            let doubt = if is_committed { "" } else { ", not known to be committed" };
            let end = if status.removed { ", removed" } else { "" };
            Some(format!("{id} {} since {}{doubt}{end}", status.membership, status.membership_index))
        };
        self.cluster.nodes.iter().filter_map(line).collect::<Vec<_>>().join("\n")
    }

    fn status(&self) -> String {
        let mut lines = Vec::new();
        for (id, node) in &self.cluster.nodes {
            let Some(engine) = &node.engine else {
                lines.push(format!("{id} is down"));
                continue;
            };
            let status = engine.status(self.cluster.now);
            let peers: Vec<String> = status
                .peers
                .iter()
                .map(|peer| format!(" {}:{}/{}", peer.id, peer.progress, peer.matched))
                .collect();
            lines.push(format!(
                "{id} {:?}{} t{} log={}..{} commit={}{}",
                status.role.kind,
                if status.repair.is_some() { " under repair" } else { "" },
                E::term_text(status.role.term),
                status.first_index,
                status.last_index,
                status.commit,
                peers.concat()
            ));
        }
        lines.join("\n")
    }

    fn log(&self) -> String {
        let line = |id: &NodeId| format!("{id} {}", self.cluster.log_text(id.0));
        self.cluster.nodes.keys().map(line).collect::<Vec<_>>().join("\n")
    }

    fn network(&self) -> String {
        self.cluster.network.iter().map(Envelope::text).collect::<Vec<_>>().join("\n")
    }

    fn travel(&mut self, name: &str, arguments: &Arguments<'_>) {
        let taken = self.take(arguments);
        if name == "duplicate" {
            self.cluster.network.extend(taken.iter().cloned());
        }
        if arguments.named("together").is_some() {
            let mut batches = BTreeMap::<NodeId, Vec<Input<E::Message>>>::new();
            for Envelope { from, to, message } in taken {
                batches.entry(to).or_default().push(Input::Message { from, message });
            }
            batches.into_iter().for_each(|(to, batch)| self.cluster.inputs(to, batch));
        } else if name != "drop" {
            taken.into_iter().for_each(|envelope| self.cluster.deliver(envelope));
        }
    }

    fn act(&mut self, name: &str, arguments: &Arguments<'_>) -> Result<(), Box<dyn Error>> {
        let cluster = &mut self.cluster;
        let node = || arguments.number(0).map(NodeId);
        match name {
            "cluster" => self.new_cluster(arguments)?,
            "campaign" => cluster.input(node()?, Input::Campaign),
            "elect" => cluster.elect(arguments.number(0)?),
            "propose" => self.propose(arguments)?,
            "read" => {
                for id in arguments.numbers()? {
                    cluster.read(id);
                }
            }
            "transfer" => {
                let to = NodeId(arguments.number(1)?);
                cluster.input(node()?, Input::Transfer { to });
            }
            "deliver" | "drop" | "duplicate" => self.travel(name, arguments),
            "persist" => {
                for id in arguments.numbers()? {
                    cluster.persist(NodeId(id));
                }
            }
            "install" => {
                cluster.install(node()?);
            }
            "reject" => cluster.reject(node()?),
            "full" | "room" => {
                let id = node()?;
                let may_grow = name == "room";
                if may_grow {
                    cluster.full.remove(&id)
                } else {
                    cluster.full.insert(id)
                };
                if arguments.named("told").is_some() {
                    cluster.input(id, Input::Room { may_grow });
                }
            }
            "fail" => {
                let op = cluster.nodes[&node()?].writes.front().ok_or("nothing is being written")?.op;
                cluster.input(node()?, Input::PersistFailed { op });
            }
            "slow" => {
                cluster.slow.insert(node()?);
            }
            "fast" => {
                cluster.slow.remove(&node()?);
            }
            "settle" => cluster.settle(),
            "run" => cluster.run(Duration::from_millis(arguments.number(0)?)),
            "advance" => cluster.now = cluster.now.after(Duration::from_millis(arguments.number(0)?)),
            "wake" => cluster.wake(),
            "crash" => {
                let (whole, torn) = (arguments.size("whole", 0)?, arguments.size("torn", 0)?);
                cluster.crash(node()?, whole, torn);
            }
            "damage" => self.damage(arguments)?,
            "start" => cluster.start(node()?),
            "partition" => cluster.partition(&arguments.numbers()?),
            "cut" => {
                cluster.cut.insert((node()?, NodeId(arguments.number(1)?)));
            }
            "heal" => cluster.cut.clear(),
            "reconfigure" => self.reconfigure(arguments)?,
            "join" => cluster.join(arguments.number(0)?),
            "priority" => {
                let priority = u32::try_from(arguments.number(1)?)?;
                cluster.priorities.insert(node()?, Priority(priority));
            }
            "unreachable" => cluster.unreachable(arguments.number(0)?, arguments.number(1)?),
            "snapshot" => cluster.make_snapshot(node()?, arguments.count("trailing", 0)?),
            other => return Err(format!("unknown command {other}").into()),
        }
        Ok(())
    }
}

impl<E: Subject> Runner for Script<E> {
    type Command = Command;

    fn run(&mut self, command: &Command, _context: &Context) -> Result<String, Box<dyn Error>> {
        let arguments = Arguments::of(command);
        match command.name.as_str() {
            "status" => return Ok(self.status()),
            "log" => return Ok(self.log()),
            "network" => return Ok(self.network()),
            "members" => return Ok(self.members()),
            name => self.act(name, &arguments)?,
        }
        self.cluster.check_logs();
        let mut trace = std::mem::take(&mut self.cluster.trace);
        if let Some(word) = arguments.named("hide") {
            trace.retain(|line| !line.contains(word));
        }
        Ok(trace.join("\n"))
    }
}

/// Runs one script of a folder.
fn check<E: Subject>(folder: &str, name: &str) {
    let mut script = Script { cluster: ClusterOf::<E>::new(3) };
    let path = format!("{}/tests/{folder}/{name}", env!("CARGO_MANIFEST_DIR"));
    goldenscript::run(&mut script, path).expect("the script runs");
}

fn assert_all_run(folder: &str, mut run: Vec<&str>) {
    let files = std::fs::read_dir(format!("{}/tests/{folder}", env!("CARGO_MANIFEST_DIR")));
    let mut found: Vec<String> = files
        .expect("the folder exists")
        .map(|file| file.expect("readable").file_name().into_string().expect("a plain name"))
        .collect();
    found.sort();
    run.sort_unstable();
    assert_eq!(found, run);
}

/// Every script is a test of its own, and every file is a script that runs.
macro_rules! scripts {
    ($module:ident, $engine:ty, $folder:literal: $($name:ident),* $(,)?) => {
        mod $module {
            use super::*;

            $(
                #[test]
                fn $name() {
                    check::<$engine>($folder, stringify!($name));
                }
            )*

            #[test]
            fn every_script_is_run() {
                assert_all_run($folder, vec![$(stringify!($name)),*]);
            }
        }
    };
}

scripts![raft, Raft, "scripts":
    candidate_yields,
    change_crash_committed,
    change_crash_final,
    change_crash_joint,
    change_dead_voter,
    change_demotes_leader,
    change_lagging,
    change_new_leader,
    change_new_majority,
    change_old_majority,
    change_promotion_inherited,
    change_quorum,
    change_refused,
    change_removed_away,
    change_removed_campaign,
    change_removed_learner_away,
    change_removes_busy_leader,
    change_removes_leader,
    change_replace,
    change_restart,
    change_snapshot,
    change_truncated,
    change_two_removals,
    change_unaware_voter,
    check_quorum,
    conflict_backup,
    election,
    empty_append,
    failed_write,
    failover,
    figure_8,
    flow_control,
    flow_control_learner,
    join,
    learner,
    lease_pause,
    lease_read,
    lease_rounds,
    lease_stale_tail,
    lease_transfer,
    lease_votes,
    long_pause,
    no_room,
    old_acknowledgement,
    old_append,
    overload,
    overload_inherited,
    partial_chained,
    partial_constrained,
    partial_deaf_mute,
    partial_quorum_loss,
    partial_ring,
    persist_aba,
    pre_vote,
    pre_vote_no_deadlock,
    priority_election,
    priority_never,
    priority_nobody,
    priority_stalled,
    priority_successor,
    read_batch,
    read_deposed_leader,
    read_duplicates,
    read_first_commit,
    read_forwarded,
    read_in_transfer,
    repair,
    repair_answer_lost,
    repair_new_term,
    repair_no_vote,
    repair_old_acknowledgement,
    repair_old_answer,
    repair_rewritten,
    repair_snapshot,
    replication,
    restart,
    single_voter,
    snapshot_alone,
    snapshot_overlap,
    snapshot_restart,
    snapshot_transfer,
    snapshot_waits,
    stalled_alone,
    stalled_disk,
    transfer,
    transfer_aborted,
    vote_durability,
    vote_in_known_term,
    witness_aside,
    witness_busy_successor,
    witness_join,
    witness_leaver,
    witness_loss,
    witness_repair,
    witness_replace,
    witness_storing,
    witness_stuck
];

scripts![
    paxos,
    Paxos,
    "scripts_paxos": adopts_greatest_log,
    born_with_witness,
    candidate_hangs,
    candidate_rejects,
    change_crash_committed,
    change_crash_final,
    change_crash_joint,
    change_dead_voter,
    change_demotes_leader,
    change_lagging,
    change_learned,
    change_new_leader,
    change_new_majority,
    change_old_majority,
    change_promotion_inherited,
    change_quorum,
    change_refused,
    change_removed_away,
    change_removed_campaign,
    change_removed_learner_away,
    change_removes_busy_leader,
    change_removes_leader,
    change_replace,
    change_restart,
    change_snapshot,
    change_truncated,
    change_two_removals,
    change_unaware_voter,
    check_quorum,
    conflict_backup,
    duel,
    election,
    empty_append,
    failed_write,
    failover,
    figure_8,
    flow_control,
    flow_control_learner,
    quorum_changed,
    quorum_of_two,
    quorum_refused,
    hearsay,
    join,
    laggard_waits,
    laggard_waits_anew,
    learner,
    long_pause,
    old_acknowledgement,
    old_append,
    outdated_learner,
    overload,
    overload_inherited,
    partial_chained,
    partial_constrained,
    partial_deaf_mute,
    partial_quorum_loss,
    partial_ring,
    persist_aba,
    poll_rounds,
    priority_election,
    priority_never,
    priority_nobody,
    priority_stalled,
    priority_successor,
    priority_without_room,
    read_batch,
    read_deposed_leader,
    read_duplicates,
    read_first_commit,
    read_forwarded,
    read_in_transfer,
    repair,
    repair_new_term,
    repair_no_vote,
    repair_old_acknowledgement,
    repair_old_answer,
    repair_rewritten,
    repair_snapshot,
    replication,
    restart,
    single_voter,
    snapshot_alone,
    snapshot_overlap,
    snapshot_restart,
    snapshot_transfer,
    snapshot_waits,
    stalled_alone,
    stalled_disk,
    stray_promise,
    suffix_half_accepted,
    taught_by_snapshot,
    taught_half,
    transfer,
    transfer_aborted,
    unsupported
];
