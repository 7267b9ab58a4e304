//! Named choices of faults, for runs that look closer at one thing.

use std::collections::BTreeSet;

use crate::{faults::Fault, pace::Pace};

/// What a run is about: a named choice of faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// All faults.
    #[default]
    Default,
    /// None.
    Calm,
    /// What happens between nodes.
    Network,
    /// What happens on disks.
    Disks,
    /// How processes end, and what they find when they start.
    Crashes,
    /// Changes of the members and of the program.
    Members,
    /// Time, and who stands still in it.
    Clocks,
    /// All faults in sparse worlds of three nodes: what speed is measured by.
    Steady,
}

impl Theme {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Default,
        Self::Calm,
        Self::Network,
        Self::Disks,
        Self::Crashes,
        Self::Members,
        Self::Clocks,
        Self::Steady,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Calm => "calm",
            Self::Network => "network",
            Self::Disks => "disks",
            Self::Crashes => "crashes",
            Self::Members => "members",
            Self::Clocks => "clocks",
            Self::Steady => "steady",
        }
    }

    /// What happens, in half a line.
    #[must_use]
    pub fn explanation(self) -> &'static str {
        match self {
            Self::Default => "a random subset of all faults in each seed",
            Self::Calm => "no faults: then nothing may be refused either",
            Self::Network => {
                "loss, duplication, reordering, partitions, slow links, resets, late news; and kills"
            }
            Self::Disks => "power cuts, damage, full, failing, slow and hanging disks; and kills",
            Self::Crashes => "kills at any instant, power cuts, blackouts, shutdowns",
            Self::Members => "members and builds change, while nodes are killed and cut off",
            Self::Clocks => "drift, wall clocks that jump, processes and clients that stand still",
            Self::Steady => {
                "as default, three nodes, and operations in bursts: long worlds, by which speed is measured"
            }
        }
    }

    /// How many nodes the cluster is born with; `None` lets the seed choose.
    pub(crate) fn nodes(self) -> Option<u64> {
        (self == Self::Steady).then_some(3)
    }

    /// How much happens; `None` lets the seed choose.
    pub(crate) fn pace(self) -> Option<Pace> {
        (self == Self::Steady).then_some(Pace::Sparse)
    }

    /// The faults that may happen. A seed draws from them.
    #[must_use]
    pub fn faults(self) -> BTreeSet<Fault> {
        use Fault as F;
        let faults: &[Fault] = match self {
            Self::Default | Self::Steady => Fault::ALL,
            Self::Calm => &[],
            Self::Network => &[
                F::Loss,
                F::Duplication,
                F::Reordering,
                F::SlowLink,
                F::Partition,
                F::OneWayPartition,
                F::Reset,
                F::LateNews,
                F::Kill,
            ],
            Self::Disks => &[
                F::Kill,
                F::PowerCut,
                F::Blackout,
                F::PowerCutInWrite,
                F::SlowDisk,
                F::HangingSync,
                F::FailedSync,
                F::LowRoom,
                F::FullDisk,
                F::BitRot,
                F::LostWrite,
                F::MisdirectedWrite,
                F::StaleRead,
                F::RottedSnapshot,
                F::LostSegment,
                F::RottedSlot,
            ],
            Self::Crashes => &[
                F::Kill,
                F::PowerCut,
                F::Blackout,
                F::KillInStep,
                F::PowerCutInWrite,
                F::Pause,
                F::Shutdown,
                F::ClientReset,
                F::HalfClose,
                F::StoppedReading,
            ],
            Self::Members => {
                &[F::Kill, F::PowerCut, F::Partition, F::Loss, F::Members, F::Upgrade, F::WipedDisk]
            }
            Self::Clocks => &[F::Kill, F::Partition, F::Pause, F::WallJump, F::Drift, F::ClientPause],
        };
        faults.iter().copied().collect()
    }
}
