//! What goes wrong, and when: at random instants one of the faults that the seed has turned on.

use std::time::Duration;

use quorate_consensus::Engine;
use quorate_node::Input;

use super::{DISK_BYTES, Event, World, phases::Phase};
use crate::{checks::cluster::number_of, disk::damage::Damage, faults::Fault, random::Random, time::SimTime};

/// The most disk operations until a fuse cuts the power: a start takes some dozens, a write about two.
const FUSE_MAX: u64 = 60;

/// How long clients that look closely do so after a fault. In a sparse world only late news are worth it: they would ask
/// for more than all others together.
const EXCITED: Duration = Duration::from_secs(1);

impl<E: Engine> World<E> {
    /// Plans the next fault, exponentially distributed, as independent misfortunes are.
    pub(super) fn plan_fault(&mut self) {
        let mean = self.plan.fault_interval;
        // Sum of a few uniform steps: close enough, and the same on every machine, unlike a logarithm.
        let steps = 1 + (0..6).take_while(|_| self.random.chance(500)).count();
        let steps = u32::try_from(steps).expect("a few steps");
        let after = self.random.duration(Duration::ZERO, mean * steps);
        self.agenda.add(self.now() + after, Event::Fault);
    }

    pub(super) fn fault(&mut self, at: SimTime) {
        if !matches!(self.phase, Phase::Faults) {
            return;
        }
        let enabled: Vec<Fault> =
            self.plan.faults.iter().copied().filter(|&fault| has_instant(fault)).collect();
        if !enabled.is_empty() {
            let fault = *self.random.pick(&enabled);
            if self.inflict(at, fault) {
                self.trace.tell(at, || format!("--- {fault}"));
            }
        }
        self.plan_fault();
    }

    /// Does something bad. False if it found no victim, or counts when it takes effect.
    fn inflict(&mut self, at: SimTime, fault: Fault) -> bool {
        let done = match fault {
            Fault::Partition | Fault::OneWayPartition | Fault::SlowLink | Fault::Reset
                if self.present_nodes().len() == 1 =>
            {
                false
            }
            Fault::Partition => self.partition(at),
            Fault::OneWayPartition => self.one_way_partition(at),
            Fault::SlowLink => self.slow_link(at),
            Fault::Reset => self.reset_link(at),
            Fault::Kill => self.kill_some(at),
            Fault::PowerCut => self.cut_power_of_some(at),
            Fault::Blackout => self.black_out(at),
            Fault::KillInStep => self.kill_in_next_step(),
            Fault::PowerCutInWrite => self.light_fuse(),
            Fault::Pause => self.pause(at),
            Fault::Shutdown => self.shut_down(at),
            Fault::WallJump => self.jump_wall_clock(),
            Fault::SlowDisk => {
                let node = self.some_node();
                self.nodes[node].slow_until = at + self.random.millis(100, 6000);
                self.nodes[node].process.is_some()
            }
            Fault::HangingSync => {
                let node = self.some_node();
                self.nodes[node].hang_next_sync = Some(self.random.millis(200, 8000));
                return false;
            }
            Fault::FailedSync => {
                let node = self.some_node();
                self.nodes[node].disk.fail_next_sync();
                true
            }
            Fault::LowRoom => self.fill_disk(at, true),
            Fault::FullDisk => self.fill_disk(at, false),
            Fault::BitRot => self.damage(at, Damage::Rot),
            Fault::LostWrite => self.damage(at, Damage::LostWrite),
            Fault::MisdirectedWrite => self.damage(at, Damage::MisdirectedWrite),
            Fault::StaleRead => self.damage(at, Damage::StaleRead),
            Fault::LostSegment => self.damage(at, Damage::LostFile),
            Fault::RottedSnapshot => self.rot_what_is_sent_next(),
            Fault::RottedSlot => self.rot_slot(at),
            Fault::WipedDisk => self.wipe_disk(at),
            Fault::LateNews => self.bring_late_news(at),
            Fault::ClientReset => {
                let client = self.random.index(self.clients.len());
                self.reset_client(at, client)
            }
            Fault::ClientPause => {
                let client = self.random.index(self.clients.len());
                self.clients[client].paused_until = at + self.random.millis(100, 4000);
                return false;
            }
            Fault::Loss
            | Fault::Duplication
            | Fault::Reordering
            | Fault::Drift
            | Fault::Members
            | Fault::Upgrade
            | Fault::HalfClose
            | Fault::StoppedReading => {
                unreachable!("{fault} has no instant")
            }
        };
        if done {
            self.counts.add(fault);
            if self.plan.rhythm.is_none() {
                self.history.excited_until = self.history.excited_until.max(at + EXCITED);
            }
        }
        done
    }

    /// The machines that may run: they were added, and have not left for good.
    pub(super) fn present_nodes(&self) -> Vec<usize> {
        let may_run = |&node: &usize| !self.nodes[node].has_left() && self.knows_its_id(node);
        (0..self.nodes.len()).filter(may_run).collect()
    }

    pub(super) fn some_node(&mut self) -> usize {
        let present = self.present_nodes();
        *self.random.pick(&present)
    }

    fn some_pair(&mut self) -> (usize, usize) {
        let present = self.present_nodes();
        let one = self.random.index(present.len());
        let other = (one + 1 + self.random.index(present.len() - 1)) % present.len();
        (present[one], present[other])
    }

    fn partition(&mut self, at: SimTime) -> bool {
        let until = at + self.random.millis(100, 6000);
        let sides: Vec<bool> = self.nodes.iter().map(|_| self.random.chance(500)).collect();
        let is_told = self.random.chance(500);
        for from in 0..sides.len() {
            for to in 0..sides.len() {
                if sides[from] != sides[to] {
                    self.network.cut(from, to, until);
                    if is_told {
                        self.tell_unreachable(at, from, to);
                    }
                }
            }
        }
        // One that parts nobody who runs is none.
        let parts =
            |side| (0..sides.len()).any(|node| sides[node] == side && self.nodes[node].process.is_some());
        parts(true) && parts(false)
    }

    fn one_way_partition(&mut self, at: SimTime) -> bool {
        let until = at + self.random.millis(100, 6000);
        let (one, other) = self.some_pair();
        let (deaf, mute) = (self.random.chance(300), self.random.chance(300));
        if deaf == mute {
            self.network.cut(one, other, until);
            return true;
        }
        for peer in (0..self.nodes.len()).filter(|&peer| peer != one) {
            let (from, to) = if deaf { (peer, one) } else { (one, peer) };
            self.network.cut(from, to, until);
        }
        true
    }

    fn slow_link(&mut self, at: SimTime) -> bool {
        let (from, to) = self.some_pair();
        let by = self.random.millis(5, 500);
        self.network.slow_down(from, to, by, at + self.random.millis(200, 6000));
        true
    }

    fn reset_link(&mut self, at: SimTime) -> bool {
        let (one, other) = self.some_pair();
        self.network.reset(one, other);
        self.tell_unreachable(at, one, other);
        self.tell_unreachable(at, other, one);
        true
    }

    fn kill_some(&mut self, at: SimTime) -> bool {
        let node = self.some_node();
        let was_up = self.nodes[node].process.is_some();
        if was_up {
            self.kill(at, node, "is killed");
            self.plan_boot(at, node);
        }
        was_up
    }

    fn cut_power_of_some(&mut self, at: SimTime) -> bool {
        let node = self.some_node();
        self.cut_power(at, node);
        self.plan_boot(at, node);
        true
    }

    fn black_out(&mut self, at: SimTime) -> bool {
        for node in 0..self.nodes.len() {
            self.cut_power(at, node);
            self.plan_boot(at, node);
        }
        true
    }

    /// False: it counts when that step comes.
    fn kill_in_next_step(&mut self) -> bool {
        let node = self.some_node();
        self.nodes[node].kill_in_step = self.nodes[node].process.is_some();
        false
    }

    /// Lets the power fail within the disk's work. False: it counts when that happens.
    fn light_fuse(&mut self) -> bool {
        let (node, operations) = (self.some_node(), self.random.below(FUSE_MAX));
        match self.random.chance(300) {
            true => self.nodes[node].disk.cut_power_at_names(),
            false => self.nodes[node].disk.light_fuse(operations),
        }
        false
    }

    fn pause(&mut self, at: SimTime) -> bool {
        let node = self.some_node();
        self.nodes[node].paused_until = at + self.random.millis(20, 5000);
        self.nodes[node].process.is_some()
    }

    fn shut_down(&mut self, at: SimTime) -> bool {
        let node = self.some_node();
        let is_up = self.nodes[node].process.is_some();
        if is_up {
            self.put(at, node, Input::Shutdown);
            let life = self.nodes[node].life;
            self.agenda.add(at + self.random.millis(20, 1500), Event::End { node, life });
        }
        is_up
    }

    fn jump_wall_clock(&mut self) -> bool {
        let node = self.some_node();
        let by_ms = jump_ms(&mut self.random);
        self.nodes[node].clock.jump_wall(by_ms);
        true
    }

    /// Fills a disk: up to a part of the reserve, or as a whole.
    fn fill_disk(&mut self, at: SimTime, leaves_reserve: bool) -> bool {
        let node = self.some_node();
        let spare = if leaves_reserve { self.random.below(self.plan.settings.reserve_bytes) } else { 0 };
        let disk = &self.nodes[node].disk;
        disk.set_capacity(disk.used_bytes() + spare);
        self.nodes[node].full_until = at + self.random.millis(200, 8000);
        true
    }

    /// Damages the disk of a node, which is down for it, as long as a minority is damaged.
    fn damage(&mut self, at: SimTime, damage: Damage) -> bool {
        let node = self.some_node();
        if !self.may_be_damaged(node) || !self.nodes[node].was_born {
            return false;
        }
        let syncs = self.nodes[node].disk.syncs();
        if !self.take_down(at, node, "is killed, and its disk fails") {
            return false;
        }
        let is_of_log = |name: &str| name.starts_with("segment-");
        let may_fail =
            |name: &str| is_of_log(name) || (damage != Damage::LostFile && name.ends_with(".snapshot"));
        let harmed = self.nodes[node].disk.damage(damage, &mut self.random, syncs, may_fail);
        self.trace
            .tell(at, || format!("{damage:?} of n{}: {}", node + 1, harmed.as_deref().unwrap_or("nothing")));
        if harmed.is_some() {
            self.damaged.insert(node);
        }
        harmed.is_some()
    }

    /// Ends a process, with all that its log holds marked as durable. False if the disk has failed otherwise meanwhile.
    fn take_down(&mut self, at: SimTime, node: usize, how: &str) -> bool {
        self.kill(at, node, how);
        self.plan_boot(at, node);
        let marked = self.nodes[node].mark_log(&self.plan.settings);
        !self.lost_power(at, node) && marked.is_ok()
    }

    /// Changes bits of one of the slots of term and vote of a node that is running, and is down for it: often the one that
    /// was written last. Nothing is lost by that, since the log has them, too: it may happen to any node. Only the other slot
    /// must be whole, whatever else happens until the next start.
    fn rot_slot(&mut self, at: SimTime) -> bool {
        let node = self.some_node();
        let is_slot = |name: &str| name.starts_with("hardstate-");
        if self.nodes[node].process.is_none() || self.nodes[node].disk.has_unsynced(is_slot) {
            return false;
        }
        self.kill(at, node, "is killed, and a slot rots");
        self.plan_boot(at, node);
        let harmed = self.nodes[node].disk.damage(Damage::Rot, &mut self.random, u64::MAX, is_slot);
        self.trace
            .tell(at, || format!("{} of n{} has rotted", harmed.as_deref().unwrap_or("no slot"), node + 1));
        harmed.is_some()
    }

    /// Whether no more are damaged with this one than may be.
    fn may_be_damaged(&self, node: usize) -> bool {
        let most = self.cluster.members().present().losses_borne();
        self.damaged.contains(&node) || self.damaged.len() < most
    }

    /// False: it counts when a running node finds out.
    fn rot_what_is_sent_next(&mut self) -> bool {
        self.rots_what_is_sent = true;
        false
    }

    /// Changes bits of a snapshot that a running node is about to read for a peer.
    pub(super) fn rot_snapshot(&mut self, at: SimTime, node: usize, index: u64) {
        if !self.may_be_damaged(node) {
            return;
        }
        self.rots_what_is_sent = false;
        let is_read = |name: &str| name.ends_with(&format!("{index:020}.snapshot"));
        if self.nodes[node].disk.damage(Damage::Rot, &mut self.random, u64::MAX, is_read).is_some() {
            self.damaged.insert(node);
            self.trace.tell(at, || format!("snapshot {index} of n{} has rotted", node + 1));
        }
    }

    /// Wipes the disk of a voter, if the others are a majority without it, and there is a machine to take its place.
    /// Not while the members change: the majority might become another one.
    fn wipe_disk(&mut self, at: SimTime) -> bool {
        let operator_rests = self.operator.is_some_and(|operator| self.clients[operator].is_thinking());
        let present = self.cluster.members().present();
        let has_spare = present.ids_used < self.nodes.len() as u64;
        let is_spared =
            self.wiped_members().next().is_some() || present.voters.len() < 3 || present.losses_borne() == 0;
        if is_spared || !has_spare || !operator_rests || !self.cluster.is_settled() {
            return false;
        }
        let voters: Vec<usize> = present.voters.iter().copied().map(number_of).collect();
        let node = *self.random.pick(&voters);
        self.kill(at, node, "is killed, and its disk is wiped");
        self.nodes[node].is_wiped = true;
        self.move_clients(at);
        true
    }

    /// Ends the faults whose time is over.
    pub(super) fn end_faults(&mut self, at: SimTime) {
        for node in &mut self.nodes {
            if at >= node.full_until {
                node.disk.set_capacity(DISK_BYTES);
            }
        }
    }

    /// Ends all faults, and starts what is down.
    pub(super) fn heal(&mut self, at: SimTime) {
        self.network.heal();
        self.rots_what_is_sent = false;
        for number in 0..self.nodes.len() {
            let node = &mut self.nodes[number];
            node.disk.heal(DISK_BYTES);
            node.slow_until = SimTime::default();
            node.full_until = SimTime::default();
            node.hang_next_sync = None;
            node.kill_in_step = false;
            // What was postponed to the end of a pause comes then; nothing pauses any more.
            node.paused_until = node.paused_until.min(at);
            self.agenda.add(at, Event::Boot { node: number });
        }
        for client in &mut self.clients {
            client.paused_until = SimTime::default();
        }
    }
}

/// Whether a fault happens at an instant that is chosen here, and not all the time or by a client.
fn has_instant(fault: Fault) -> bool {
    let lasts = matches!(fault, Fault::Loss | Fault::Duplication | Fault::Reordering | Fault::Drift);
    !lasts && !matches!(fault, Fault::Members | Fault::Upgrade | Fault::HalfClose | Fault::StoppedReading)
}

/// From a second to some months, either way.
fn jump_ms(random: &mut Random) -> i64 {
    let most = *random.pick(&[1_000, 60_000, 86_400_000, 10_000_000_000]);
    let by = i64::try_from(random.between(1, most)).expect("some months");
    if random.chance(500) { by } else { -by }
}
