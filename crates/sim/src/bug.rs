//! Defects that the world makes on purpose, so that the checkers can be tested.

/// A defect. Each must be noticed within some hundred seeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bug {
    /// Fdatasync says yes and does nothing.
    LyingDisk,
    /// What waits for a write leaves before the write is durable.
    EarlyCompletion,
    /// A forwarded group arrives a second time under the numbers that follow.
    ForwardTwice,
    /// Boot-time clocks run fast by a fifth, far beyond the stated bound.
    FastClock,
    /// A restarted node has forgotten whom it voted for, and in which term.
    ForgottenVote,
    /// A client's answers are those to its previous request.
    ShiftedAnswers,
    /// A node answers reads from its own machine, without asking a quorum how far it must be.
    LocalRead,
    /// A restarted node goes on under the session of its first life.
    ReusedSession,
    /// A restarted node takes the newest configuration in its log for a blank entry (hazard 3).
    ForgottenMembers,
    /// Machines that join acknowledge what is not on their disks: the old members alone have it.
    HollowNewcomer,
    /// Machines that join are wiped at each restart, and come back under their ids (hazard 22).
    WipedNewcomer,
    /// A node says that it was removed, whether it was or not.
    WrongRemoval,
    /// A restarted witness has forgotten which configuration it has agreed to: it votes for who was set aside.
    ForgetfulWitness,
    /// Nodes tell that they know a newer version than they do, so that the cluster rises before all can.
    EarlyRise,
    /// A node whose disk has lost what it held takes part in elections as if it had not (hazard 23).
    VotesUnderRepair,
}

impl Bug {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::LyingDisk,
        Self::EarlyCompletion,
        Self::ForwardTwice,
        Self::FastClock,
        Self::ForgottenVote,
        Self::ShiftedAnswers,
        Self::LocalRead,
        Self::ReusedSession,
        Self::ForgottenMembers,
        Self::HollowNewcomer,
        Self::WipedNewcomer,
        Self::WrongRemoval,
        Self::ForgetfulWitness,
        Self::EarlyRise,
        Self::VotesUnderRepair,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LyingDisk => "lying-disk",
            Self::EarlyCompletion => "early-completion",
            Self::ForwardTwice => "forward-twice",
            Self::FastClock => "fast-clock",
            Self::ForgottenVote => "forgotten-vote",
            Self::ShiftedAnswers => "shifted-answers",
            Self::LocalRead => "local-read",
            Self::ReusedSession => "reused-session",
            Self::ForgottenMembers => "forgotten-members",
            Self::HollowNewcomer => "hollow-newcomer",
            Self::WipedNewcomer => "wiped-newcomer",
            Self::WrongRemoval => "wrong-removal",
            Self::ForgetfulWitness => "forgetful-witness",
            Self::EarlyRise => "early-rise",
            Self::VotesUnderRepair => "votes-under-repair",
        }
    }
}
