//! What can go wrong, and how often it did.

use std::fmt;

macro_rules! faults {
    ($($(#[doc = $doc:literal])+ $name:ident => $text:literal),* $(,)?) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fault {
            $($(#[doc = $doc])+ $name),*
        }

        impl Fault {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name in reports.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text),*
                }
            }
        }
    };
}

faults! {
    /// Messages are lost one by one.
    Loss => "message-loss",
    /// Messages arrive twice.
    Duplication => "message-duplication",
    /// Messages overtake each other.
    Reordering => "message-reordering",
    /// Links are slow for a while.
    SlowLink => "slow-link",
    /// The nodes fall into two groups that do not hear each other.
    Partition => "partition",
    /// One node hears the others and is not heard, or the other way round; or one link works in one direction.
    OneWayPartition => "one-way-partition",
    /// The connection of two nodes is reset: what is under way is lost, and both are told.
    Reset => "connection-reset",
    /// A process is killed. What it wrote stays in the page cache.
    Kill => "kill",
    /// The power of a machine is cut.
    PowerCut => "power-cut",
    /// All machines lose power at once.
    Blackout => "blackout",
    /// A process ends in the middle of handing out what a step caused.
    KillInStep => "kill-in-step",
    /// The power is cut in the middle of the disk's work, recovery included.
    PowerCutInWrite => "power-cut-in-write",
    /// A process stands still; its clock does not.
    Pause => "pause",
    /// A process is asked to end, hands its leadership over, and ends.
    Shutdown => "shutdown",
    /// A wall clock is set.
    WallJump => "wall-clock-jump",
    /// Boot-time clocks run at different rates.
    Drift => "clock-drift",
    /// A disk is slow for a while.
    SlowDisk => "slow-disk",
    /// An fdatasync takes seconds.
    HangingSync => "hanging-sync",
    /// An fdatasync fails.
    FailedSync => "failed-sync",
    /// A disk has no room but its reserve.
    LowRoom => "low-room",
    /// A disk has no room at all.
    FullDisk => "full-disk",
    /// A client drops its connection.
    ClientReset => "client-reset",
    /// A client stands still, whatever it holds.
    ClientPause => "client-pause",
    /// An operator changes the members: machines join, vote, and leave.
    Members => "members",
    /// A node gets a newer build at a restart: until all have it, two builds run side by side.
    Upgrade => "upgrade",
    /// Bits of what was durable change on a disk whose node is down: in its log, or in a snapshot.
    BitRot => "bit-rot",
    /// A disk has acknowledged a write, sync and all, and never stored it. It shows at the next start.
    LostWrite => "lost-write",
    /// A write was stored in another place than it should have been, over whatever was there.
    MisdirectedWrite => "misdirected-write",
    /// While a node starts, its disk reads back for a while what was there before a write.
    StaleRead => "stale-read",
    /// The disk of a member is wiped: it never comes back, and a new machine takes its place.
    WipedDisk => "wiped-disk",
    /// A leader is heard no more, and goes on hearing for a while what was said before: it is deposed and does not know.
    LateNews => "late-news",
    /// The newest snapshot of a running leader rots, and it finds out when it is to send it.
    RottedSnapshot => "rotted-snapshot",
    /// A file of a log is gone, on a disk whose node is down.
    LostSegment => "lost-segment",
    /// Bits of one of the two slots that hold term and vote change, on a disk whose node is down. The other one has them.
    RottedSlot => "rotted-slot",
    /// A client asks, and ends its side of the connection at once: it takes answers, and waits for nothing.
    HalfClose => "half-close",
    /// A client asks, and asks for more, and reads no answer: in the end it is cut off.
    StoppedReading => "stopped-reading",
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often each kind of fault has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultCounts {
    counts: Vec<u64>,
}

impl Default for FaultCounts {
    fn default() -> Self {
        Self { counts: vec![0; Fault::ALL.len()] }
    }
}

impl FaultCounts {
    /// Counts one.
    pub(crate) fn add(&mut self, fault: Fault) {
        self.counts[fault as usize] += 1;
    }

    /// How often `fault` has happened.
    #[must_use]
    pub fn get(&self, fault: Fault) -> u64 {
        self.counts[fault as usize]
    }

    /// Adds those of another run.
    pub fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
    }

    /// All kinds, with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, u64)> + '_ {
        Fault::ALL.iter().map(|&fault| (fault, self.get(fault)))
    }
}
