//! From a folder on disk to a driver that is ready to run: birth, recovery, and what is refused.
//!
//! A folder says for ever whose it is and which cluster it was born with. Settings say where the members are; they
//! form a cluster only on an empty folder, and never change one that is there.

use std::{collections::BTreeSet, io, sync::Arc};

use quorate_consensus::{self as consensus, Engine, Lease, Membership, NodeId, Priority};
use quorate_log::{Log, Options, OsDisk, Recovered, SnapshotStore};
use quorate_machine::{Limits, Machine};
use quorate_node::{self as node, Driver, record};

use crate::{
    clock,
    config::{Address, Config, JoinAs, ReadMode, Value as _},
    peer::acquaintances::{Acquaintances, way_back},
    repair,
    service::Error,
    snapshots::chain,
};

/// By how much two boot-time clocks may run differently: each may be slewed by 500 ppm.
pub(crate) const DRIFT_PPM: u32 = 1000;

/// Room that is kept on the disk for elections, for what is in flight, and for a snapshot that makes room.
const RESERVE_BYTES: u64 = 64 << 20;

/// A node's data, taken up.
pub(crate) struct DataFolder<E: Engine> {
    pub(crate) driver: Driver<E>,
    pub(crate) log: Log<OsDisk>,
    pub(crate) disk: OsDisk,
    pub(crate) store: SnapshotStore<OsDisk>,
    pub(crate) incarnation: u64,
    pub(crate) cluster_id: Option<u128>,
    pub(crate) disk_id: u128,
    /// The members that the cluster was born with, if this node was there.
    pub(crate) founders: BTreeSet<u64>,
    pub(crate) acquaintances: Arc<Acquaintances>,
    /// The last entry of the log.
    pub(crate) last: u64,
    /// The last entry of the newest snapshot.
    pub(crate) snapshot: u64,
    /// What was known to be committed.
    pub(crate) committed: u64,
}

pub(crate) fn data(config: &Config, reason: impl std::fmt::Display) -> Error {
    Error::Data { folder: config.data_dir.show(), reason: reason.to_string() }
}

/// Opens the folder of `config`, or makes it if it may be made, and recovers what it holds. A folder that is made for a
/// node which was `admitted` to a cluster is of that cluster from the beginning. `E` is the engine of [`Config::engine`].
///
/// # Errors
/// [`Error::Data`] when the folder is somebody else's, in use, damaged or too new; [`Error::Setting`] when the
/// settings do not fit what it holds.
pub(crate) fn open<E: Engine>(config: &Config, admitted: Option<u128>) -> Result<DataFolder<E>, Error> {
    let data = |reason: &dyn std::fmt::Display| data(config, reason);
    let disk = OsDisk::new(config.data_dir.clone()).map_err(|error| data(&error))?;
    let (log, recovered) = repair::open(config, &disk, &options(config, admitted))?;
    let store = log.snapshots();
    let acquaintances = acquaintances(config)?;
    let disk_id = acquaintances.own(config.node_id).map_err(|error| data(&error))?;
    tell(config, &recovered);

    let incarnation = recovered.identity.incarnation;
    let cluster_id = recovered.identity.cluster_id;
    let committed = recovered.hard_state.commit;
    let snapshot = recovered.snapshot.as_ref().map_or(0, |header| header.index);
    let last = recovered.entries.last().map_or(snapshot, |entry| entry.index);
    let machine = match &recovered.snapshot {
        Some(header) => restore(&store, header.index).map_err(|reason| data(&reason))?,
        None => Machine::new(Limits::default()),
    };
    let birth = record::birth(&recovered.identity).map_err(|error| data(&error))?;
    let founders = birth.members().map(|member| member.0).collect();
    let restored = record::restored(recovered).map_err(|error| data(&error))?;
    let membership = restored.snapshot.as_ref().map_or(&restored.birth, |meta| &meta.membership).clone();
    let now = clock::now();
    let engine = E::new(engine_config(config).map_err(|error| data(&error))?, restored, now.boot);
    let driver_config = driver_config(config, incarnation).map_err(|error| data(&error))?;
    let driver = Driver::new(driver_config, engine, machine, membership, now);
    Ok(DataFolder {
        driver,
        log,
        disk,
        store,
        incarnation,
        cluster_id,
        disk_id,
        founders,
        acquaintances: Arc::new(acquaintances),
        last,
        snapshot,
        committed,
    })
}

/// The disks that the folder of `config` remembers, its own among them.
///
/// # Errors
/// [`Error::Data`]: without that file nobody can prove that this folder is the one that the others have met.
pub(crate) fn acquaintances(config: &Config) -> Result<Acquaintances, Error> {
    Acquaintances::load(&config.data_dir).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => data(
            config,
            format!(
                "{error}; a node that never had others can do without the file: delete it; else put back a copy of it, or {}",
                way_back(config.node_id)
            ),
        ),
        _ => data(config, error),
    })
}

fn options(config: &Config, admitted: Option<u128>) -> Options {
    let alone = config.peers.0.is_empty();
    let address = |(&id, address): (&u64, &Address)| (NodeId(id), told(address));
    let birth = if admitted.is_some() {
        Membership::default()
    } else if alone {
        let this = NodeId(config.node_id);
        let addresses = [(this, told(&config.peer_advertise))];
        Membership { lease: lease(config), ..Membership::of_voters([this]).with_addresses(addresses) }
    } else {
        let voters = config.peers.0.keys().copied().map(NodeId);
        let members = Membership::of_voters(voters).with_addresses(config.peers.0.iter().map(address));
        let members = config.with_quorum(members).expect("settings with another quorum are refused");
        Membership { lease: lease(config), ..members }
    };
    Options {
        create: (alone && config.join.0.is_empty()) || config.bootstrap || admitted.is_some(),
        cluster_id: admitted,
        birth: record::encode_membership(&birth),
        segment_bytes: match config.join_as {
            JoinAs::Witness => WITNESS_SEGMENT_BYTES,
            JoinAs::Voter | JoinAs::Learner | JoinAs::Replacement(_) => config.segment_bytes.0 as u64,
        },
        reserve_bytes: RESERVE_BYTES,
        ..Options::new(config.node_id, config.engine.unwrap_or_default().name())
    }
}

/// The log of a witness has no entries, only votes and terms.
const WITNESS_SEGMENT_BYTES: u64 = 1 << 20;

/// The lease that a new cluster begins with.
fn lease(config: &Config) -> Option<Lease> {
    match config.reads {
        ReadMode::Linearizable => None,
        ReadMode::Lease => {
            let millis = u32::try_from(config.election_timeout.as_millis()).unwrap_or(Lease::MILLIS_MAX);
            Some(Lease { millis, drift_ppm: DRIFT_PPM })
        }
    }
}

/// An address as the configuration of a cluster has it.
fn told(address: &Address) -> consensus::Address {
    consensus::Address(address.to_string().into())
}

/// Adds to the log's word how a new cluster is formed, since that is what an empty folder is mostly about.
pub(crate) fn open_error(config: &Config, error: &quorate_log::Error) -> Error {
    let formed = !config.peers.0.is_empty() && !config.bootstrap;
    match error {
        quorate_log::Error::Refused { .. } if formed => {
            data(config, format!("{error}; to form a new cluster, start each of its nodes with --bootstrap"))
        }
        _ => data(config, error),
    }
}

fn tell(config: &Config, recovered: &Recovered) {
    let identity = &recovered.identity;
    let cluster = identity.cluster_id.map_or("not born yet".to_owned(), |id| format!("{id:032x}"));
    tracing::info!(
        folder = %config.data_dir.display(),
        node = identity.node_id,
        cluster,
        start = identity.incarnation,
        entries = recovered.entries.len(),
        snapshot = recovered.snapshot.as_ref().map_or(0, |header| header.index),
        "recovered the data"
    );
    if let Some(cut) = &recovered.cut {
        tracing::warn!("the end of the log had not been synced when the node ended, and was cut: {cut}");
    }
    if let Some(reason) = &recovered.under_repair {
        tracing::warn!("under repair, since {reason}");
    }
    for repaired in &recovered.repaired {
        tracing::warn!("damaged, and made good: {repaired}");
    }
}

fn restore(store: &SnapshotStore<OsDisk>, index: u64) -> Result<Machine, String> {
    let reader = store.reader(index).map_err(|error| chain(&error))?;
    node::restore(reader).map_err(|error| chain(&error))
}

fn engine_config(config: &Config) -> Result<consensus::Config, getrandom::Error> {
    Ok(consensus::Config {
        election_timeout: config.election_timeout,
        heartbeat_interval: config.heartbeat_interval,
        message_bytes_max: config.message_bytes_max.0,
        inflight_messages_max: config.inflight_messages_max,
        inflight_bytes_max: config.inflight_bytes_max.0,
        uncommitted_bytes_max: config.uncommitted_bytes_max.0,
        snapshot_chunk_bytes: config.snapshot_chunk_bytes.0,
        persist_stall_max: config.disk_stall_timeout,
        priority: Priority(u32::try_from(config.priority).unwrap_or(u32::MAX)),
        ..consensus::Config::for_node(NodeId(config.node_id), getrandom::u64()?)
    })
}

fn driver_config(config: &Config, incarnation: u64) -> Result<node::Config, getrandom::Error> {
    let mut cluster_id = [0; 16];
    getrandom::fill(&mut cluster_id)?;
    let defaults =
        node::Config::for_node(NodeId(config.node_id), incarnation, u128::from_le_bytes(cluster_id));
    Ok(node::Config {
        address: Some(told(&config.peer_advertise)),
        version: config.version_max(),
        command_timeout: config.command_timeout,
        origin_bytes_max: config.uncommitted_bytes_max.0,
        intake_bytes_max: config.uncommitted_bytes_max.0,
        batch_bytes_max: config.message_bytes_max.0,
        entry_bytes_max: config.message_bytes_max.0.max(config.command_bytes_max()),
        snapshot_log_bytes: config.snapshot_log_bytes.0,
        ..defaults
    })
}
