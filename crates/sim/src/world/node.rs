//! A machine, and the process that runs on it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use quorate_bug::Bug;
use quorate_consensus::{Engine, Membership, NodeId};
use quorate_log::{Error, HardState, Log, LogEntry, Options, Recovered, Room};
use quorate_machine::{ClusterVersion, Limits, Machine};
use quorate_node::{ConnId, Driver, Input, Now, Recent, record};

use super::{
    keeper::{Keeper, meta_of},
    log_writer::LogWriter,
    subscribers::{Subscriber, recent},
};
use crate::{
    checks::mirror::members_in, clock::Clock, disk::SimDisk, profile::Settings, random::Random, time::SimTime,
};

/// One machine of the cluster.
pub(super) struct Node<E: Engine> {
    pub(super) id: NodeId,
    pub(super) clock: Clock,
    pub(super) disk: SimDisk,
    /// The program that it runs: the newest cluster version that it knows.
    pub(super) build: ClusterVersion,
    /// Counts the starts, so that what was meant for an earlier process reaches no later one.
    pub(super) life: u64,
    pub(super) process: Option<Box<Process<E>>>,
    /// Whether it has ever run: then its folder must not be empty any more.
    pub(super) was_born: bool,
    /// It was told that it is no member any more, and has ended for good.
    pub(super) removed: bool,
    /// Its disk was wiped: it does not come back, since it has forgotten what it promised.
    pub(super) is_wiped: bool,
    pub(super) paused_until: SimTime,
    /// The disk is slow until then.
    pub(super) slow_until: SimTime,
    /// The next sync takes so long.
    pub(super) hang_next_sync: Option<Duration>,
    /// The process ends in the middle of its next step that has consequences.
    pub(super) kill_in_step: bool,
    /// The disk has no spare room until then.
    pub(super) full_until: SimTime,
}

/// The product, running.
pub(super) struct Process<E: Engine> {
    pub(super) driver: Driver<E>,
    pub(super) writer: LogWriter,
    /// Whether a stage of the log writer is under way.
    pub(super) writer_busy: bool,
    pub(super) keeper: Keeper,
    pub(super) inbox: Vec<Input<E::Message>>,
    pub(super) step_planned: bool,
    /// The earliest planned call for the sake of a deadline.
    pub(super) wake_at: Option<SimTime>,
    pub(super) connections: BTreeMap<ConnId, usize>,
    /// Which of them listen to what. Some may have ended.
    pub(super) subscribers: BTreeMap<ConnId, Subscriber>,
    /// What those who come back can still be told.
    pub(super) recent: Recent,
    pub(super) room: Room,
    /// The disk has failed this process, so it must end.
    pub(super) disk_failed: bool,
    /// When steps began to be counted, and how many there were since.
    pub(super) steps_counted: (SimTime, u64),
}

/// A process that has just started, and what it found.
pub(super) struct Booted<E: Engine> {
    pub(super) process: Box<Process<E>>,
    pub(super) snapshot: u64,
    /// The configuration in force there.
    pub(super) members: Membership,
    pub(super) entries: Vec<LogEntry>,
    /// Its term and vote.
    pub(super) promised: HardState,
    pub(super) cut: Option<String>,
    pub(super) under_repair: bool,
}

/// What the world decides about a start.
pub(super) struct Birth<'a> {
    pub(super) settings: &'a Settings,
    /// Whom the cluster was born with; nobody for a machine that may join it.
    pub(super) founders: &'a Membership,
    pub(super) seed: u64,
    pub(super) cluster_id: u128,
    pub(super) bug: Option<Bug>,
    /// Whether its disk may hold less than it once did.
    pub(super) may_be_damaged: bool,
}

impl<E: Engine> Node<E> {
    pub(super) fn new(id: NodeId, build: ClusterVersion, clock: Clock, disk: SimDisk) -> Self {
        Self {
            id,
            clock,
            disk,
            build,
            life: 0,
            process: None,
            was_born: false,
            removed: false,
            is_wiped: false,
            paused_until: SimTime::default(),
            slow_until: SimTime::default(),
            hang_next_sync: None,
            kill_in_step: false,
            full_until: SimTime::default(),
        }
    }

    /// What its clocks show.
    pub(super) fn now(&self, at: SimTime) -> Now {
        self.clock.now(at)
    }

    /// Whether it never starts again.
    pub(super) fn has_left(&self) -> bool {
        self.removed || self.is_wiped
    }

    /// Puts an empty disk in the place of the one it has.
    pub(super) fn wipe(&mut self, disk: SimDisk) {
        self.disk = disk;
        self.was_born = false;
    }

    /// Starts the product on what the disk holds, as the server does.
    pub(super) fn boot(&mut self, at: SimTime, birth: &Birth<'_>) -> Result<Booted<E>, Error> {
        let options = Options {
            create: !self.was_born,
            birth: record::encode_membership(birth.founders),
            ..self.options(birth.settings)
        };
        let (log, mut recovered) = match Log::open(self.disk.clone(), options.clone()) {
            Err(damage @ Error::Corrupt { .. }) if birth.may_be_damaged => {
                Log::set_damage_aside(&self.disk, &options, &damage)?;
                Log::open(self.disk.clone(), options)?
            }
            result => result?,
        };
        self.was_born = true;
        let under_repair = recovered.under_repair.is_some();
        if birth.bug == Some(Bug::ForgottenVote) {
            forget_vote(&mut recovered);
        }
        if birth.bug == Some(Bug::ForgetfulWitness) {
            recovered.snapshot.take_if(|header| header.bytes == 0);
        }
        let machine = match &recovered.snapshot {
            Some(header) if header.bytes == 0 => {
                Machine::without_data(header.index, header.stamp).of_build(self.build)
            }
            None => Machine::new(Limits::default()).of_build(self.build),
            Some(header) => {
                let chunks = log.snapshots().reader(header.index)?.collect::<Result<Vec<_>, _>>()?;
                Machine::restore_up_to(chunks, self.build).expect("a verified snapshot is one of a machine")
            }
        };
        let now = self.now(at);
        let reuses_session = birth.bug == Some(Bug::ReusedSession);
        let incarnation = if reuses_session { 1 } else { recovered.identity.incarnation };
        let snapshot = recovered.snapshot.as_ref().map_or(0, |header| header.index);
        let membership =
            recovered.snapshot.as_ref().map(|header| Arc::unwrap_or_clone(meta_of(header).membership));
        let (entries, cut) = (recovered.entries.clone(), recovered.cut.clone());
        let promised = recovered.hard_state;
        if birth.bug == Some(Bug::ForgottenMembers) {
            forget_members(&mut recovered);
        }
        let mut restored = record::restored(recovered).expect("a log that this version wrote");
        restored.under_repair &= birth.bug != Some(Bug::VotesUnderRepair);
        let membership = membership.unwrap_or_else(|| restored.birth.clone());
        let engine = E::new(birth.settings.for_engine(self.id, birth.seed), restored, now.boot);
        let config = birth.settings.for_driver(self.id, self.build, incarnation, birth.cluster_id);
        let driver = Driver::new(config, engine, machine, membership.clone(), now);
        let keeper = Keeper::new(log.snapshots(), self.build);
        let process = Process::new(driver, LogWriter::new(log), keeper, at);
        self.life += 1;
        let process = Box::new(process);
        Ok(Booted { process, snapshot, members: membership, entries, promised, cut, under_repair })
    }

    /// Has all that the log holds marked as durable, as a start does that ends at once: damage to it is no torn write.
    pub(super) fn mark_log(&self, settings: &Settings) -> Result<(), Error> {
        let options = Options { create: false, ..self.options(settings) };
        Log::open(self.disk.clone(), options).map(drop)
    }

    fn options(&self, settings: &Settings) -> Options {
        Options {
            segment_bytes: settings.segment_bytes,
            reserve_bytes: settings.reserve_bytes,
            ..Options::new(self.id.0, settings.engine.name())
        }
    }
}

impl<E: Engine> Process<E> {
    fn new(driver: Driver<E>, writer: LogWriter, keeper: Keeper, at: SimTime) -> Self {
        Self {
            recent: recent(driver.machine().applied()),
            driver,
            writer,
            writer_busy: false,
            keeper,
            inbox: Vec::new(),
            step_planned: false,
            wake_at: None,
            connections: BTreeMap::new(),
            subscribers: BTreeMap::new(),
            room: Room::Enough,
            disk_failed: false,
            steps_counted: (at, 0),
        }
    }
}

/// How long the disk takes for something.
pub(super) fn latency(random: &mut Random, is_slow: bool) -> Duration {
    if is_slow {
        random.millis(20, 400)
    } else {
        random.duration(Duration::from_micros(30), Duration::from_millis(3))
    }
}

fn forget_vote(recovered: &mut Recovered) {
    recovered.hard_state.vote = 0;
}

fn forget_members(recovered: &mut Recovered) {
    if let Some(entry) = recovered.entries.iter_mut().rfind(|entry| members_in(entry).is_some()) {
        (entry.kind, entry.payload) = (0, bytes::Bytes::new());
    }
}
