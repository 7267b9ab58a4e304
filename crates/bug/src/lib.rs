//! Defects that are made on purpose, so that the simulator's checkers can be tested.
//!
//! A checker that never fails says nothing. So each property is tried by a defect that breaks it: the simulator runs
//! seeds with the defect until a property does not hold, and a defect that survives its seeds is a hole in the checkers.
//!
//! * Most defects are made by the simulated world, which alters what the product does from outside.
//! * The others are one line each in the crates that ship, `if bug::on(Bug::..)`. In a build that ships [`on`] is a
//!   constant, false, and the line is not there. Only with the feature `seeded`, which nothing enables by default, it
//!   asks which defect this thread was given by [`plant`].
//!
//! All are in one list, so that one build has them all and one name selects each. Each says which property it breaks, in
//! the simulator's words: to be noticed by another one is not to be noticed, since then nobody has seen the one that is
//! meant fail.

macro_rules! bugs {
    ($($name:ident => $text:literal, $place:ident, $explanation:literal, $property:literal $(| $or:literal)*;)*) => {
        /// A defect.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Bug {
            $(#[doc = $explanation] $name),*
        }

        impl Bug {
            /// All of them, also those that this build does not have.
            const LISTED: &'static [Self] = &[$(Self::$name),*];

            /// The name on the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text),*
                }
            }

            /// What goes wrong, in a sentence.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => $explanation),*
                }
            }

            /// The properties that it breaks: one of them must be what notices it.
            #[must_use]
            pub const fn breaks(self) -> &'static [&'static str] {
                match self {
                    $(Self::$name => &[$property $(, $or)*]),*
                }
            }

            const fn place(self) -> Place {
                match self {
                    $(Self::$name => Place::$place),*
                }
            }
        }
    };
}

/// Where a defect is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In the simulated world.
    World,
    /// In the crates that ship.
    Product,
    /// In both engines that ship, or in what they share: it must be noticed in worlds of each.
    Engines,
    /// In the Multi-Paxos that ships: only its worlds have the defect.
    Paxos,
}

bugs! {
    LyingDisk => "lying-disk", World,
        "fdatasync says yes and does nothing",
        "what was durable is recovered" | "a node recovers from any crash";
    EarlyCompletion => "early-completion", World,
        "what waits for a write leaves before the write is durable",
        "what is committed is on a quorum's disks";
    ForwardTwice => "forward-twice", World,
        "a forwarded group arrives a second time under the numbers that follow",
        "assertions hold";
    FastClock => "fast-clock", World,
        "boot-time clocks run fast by a fifth, far beyond the stated bound",
        "nothing expires early" | "one holder at a time";
    ForgottenVote => "forgotten-vote", World,
        "a restarted node has forgotten whom it voted for, and in which term",
        "what was durable is recovered";
    ShiftedAnswers => "shifted-answers", World,
        "a client's answers are those to its previous request",
        "answers are of the right kind";
    LocalRead => "local-read", World,
        "a node answers reads from its own machine, without asking a quorum how far it must be",
        "linearizable";
    ReusedSession => "reused-session", World,
        "a restarted node goes on under the session of its first life",
        "assertions hold";
    ForgottenMembers => "forgotten-members", World,
        "a restarted node takes the newest configuration in its log for a blank entry (hazard 3)",
        "the newest configuration in the log is in force";
    HollowNewcomer => "hollow-newcomer", World,
        "machines that join acknowledge what is not on their disks: the old members alone have it",
        "what is committed is on a quorum's disks";
    WipedNewcomer => "wiped-newcomer", World,
        "machines that join are wiped at each restart, and come back under their ids (hazard 22)",
        "what was durable is recovered";
    WrongRemoval => "wrong-removal", World,
        "a node says that it was removed, whether it was or not",
        "only who was removed is told so";
    ForgetfulWitness => "forgetful-witness", World,
        "a restarted witness has forgotten which configuration it has agreed to: it votes for who was set aside",
        "leaders have all that is committed";
    EarlyRise => "early-rise", World,
        "nodes tell that they know a newer version than they do, so that the cluster rises before all can",
        "the cluster's version is one that all members know";
    VotesUnderRepair => "votes-under-repair", World,
        "a node whose disk has lost what it held takes part in elections as if it had not (hazard 23)",
        "liveness: after healing everything goes on" | "leaders have all that is committed";
    AnsweredEarly => "answered-early", World,
        "a push is answered before it is logged",
        "nothing acknowledged is lost";
    WanderingReads => "wandering-reads", World,
        "a connection's stale reads go to whichever node",
        "time does not run backwards on a connection";
    HearsThePast => "hears-the-past", World,
        "whoever asks to listen does so at once, however far behind the node is",
        "whoever watches hears nothing of the past";
    TurnedMessages => "turned-messages", World,
        "of what a node tells at once, the last comes first",
        "whoever watches and whoever asks see one order";
    ForgottenListener => "forgotten-listener", World,
        "now and then a node forgets who listens, and does not end their connections",
        "whoever watches knows how it is in the end";
    BeginsTooFar => "begins-too-far", World,
        "whoever begins to watch is told that he can go on five entries further on than he can",
        "whoever watches misses nothing";
    DeniedChange => "denied-change", World,
        "an operator is told that a change of the members was refused, and it was made",
        "members change only by a wish";
    FeignedChange => "feigned-change", World,
        "an operator is told that a change of the members was made, and it was refused",
        "a change that was granted is in force";

    OldTermCounted => "old-term-counted", Engines,
        "a leader commits entries of an earlier term by counting (hazard 1)",
        "a leader counts for entries of its own term alone";
    OwnAckEarly => "own-ack-early", Engines,
        "a leader counts itself for what is not on its disk (hazard 5)",
        "what is committed is on a quorum's disks";
    AckInFlight => "ack-in-flight", Engines,
        "a follower acknowledges entries whose write is in flight (hazard 6)",
        "what is committed is on a quorum's disks";
    CompletionByIndex => "completion-by-index", Engines,
        "a write's completion counts for what was rewritten at its place: A-B-A (hazard 7)",
        "assertions hold" | "what is committed is on a quorum's disks";
    TwoVotes => "two-votes", Product,
        "a node votes for each candidate that asks in a term (hazard 13)",
        "one leader a term";
    AnyLogElected => "any-log-elected", Product,
        "votes do not look at how far the candidate's log is",
        "leaders have all that is committed";

    BrokenPromise => "broken-promise", Paxos,
        "an acceptor goes back to a leader whose ballot is lower than the one it has promised (hazard 19)",
        "term, commit and applied never go back";
    ForgottenBallot => "forgotten-ballot", Paxos,
        "a restarted node has forgotten which ballot it promised, and takes its own a second time (hazard 19)",
        "term, commit and applied never go back";
    PhantomPromise => "phantom-promise", Paxos,
        "a candidate counts promises of voters that have given none",
        "leaders have all that is committed";
    CommitNumberElects => "commit-number-elects", Paxos,
        "as many promises elect a leader as voters commit, be that fewer than meet each commit quorum",
        "leaders have all that is committed";
    NumberAtOnce => "number-at-once", Paxos,
        "another number of voters commits from one entry to the next, without a joint configuration",
        "a configuration follows from the one before" | "leaders have all that is committed";
    OwnLogKept => "own-log-kept", Paxos,
        "a candidate leads with its own log, whatever the others have accepted (hazard 19)",
        "leaders have all that is committed";
    LongestLogTaught => "longest-log-taught", Paxos,
        "a candidate is taught the longest log, not the one of the highest accepted ballot (hazard 19)",
        "leaders have all that is committed";
    HalfTaught => "half-taught", Paxos,
        "a candidate leads when it has been taught a first part of what was accepted (hazard 19)",
        "leaders have all that is committed";
    UnmatchedCommit => "unmatched-commit", Engines,
        "a heartbeat lets followers commit what they are not known to have (hazard 8)",
        "committed entries are the same everywhere";
    AlteredEntry => "altered-entry", Engines,
        "a follower keeps a blank entry in the place of what its leader has sent",
        "logs match";
    WideTruncation => "wide-truncation", Product,
        "a follower whose log turns out to be another than its leader's cuts off one entry too many (hazard 8)",
        "nothing committed is truncated";
    UnconfirmedRead => "unconfirmed-read", Engines,
        "a leader answers reads without asking a quorum whether it still leads (hazard 11)",
        "linearizable";
    LateConfirmation => "late-confirmation", Engines,
        "an answer to an earlier heartbeat confirms the reads of the present one (hazard 11)",
        "linearizable";
    EarlierAnswer => "earlier-answer", Product,
        "how far a node must be for earlier reads is taken to be enough for later ones",
        "linearizable";
    UnboundVoter => "unbound-voter", Product,
        "a voter takes part in an election while a leader may rely on its lease",
        "linearizable";
    ReadBeforeApplied => "read-before-applied", Product,
        "a confirmed read is served before its index is applied",
        "linearizable";
    WatchIgnored => "watch-ignored", Product,
        "a transaction is carried out though a watched key has changed",
        "linearizable" | "nothing expires early" | "each write takes effect once" | "one holder at a time";
    TurnedQueue => "turned-queue", Product,
        "what is put at the end of a list comes to its front",
        "queues keep their order";
    RepeatedRequest => "repeated-request", Product,
        "a request that is sent again takes effect again",
        "a request that is sent again takes effect once";
    AnyTokenTaken => "any-token-taken", Product,
        "a lock is extended and released by whatever token (hazard 31)",
        "nothing expires early" | "one holder at a time";
    UnfencedWrite => "unfenced-write", Product,
        "what stands behind a fence is done whatever the token is (hazard 28)",
        "nobody writes under an earlier token";
    GreedyAcquire => "greedy-acquire", Product,
        "a lock is entered again by whoever asks, as if he held it",
        "fencing tokens grow" | "one holder at a time";
    FirstComeElected => "first-come-elected", Product,
        "candidates wait in the order of arrival, whatever their priority",
        "candidates are elected in their order";
    DeafTransfer => "deaf-transfer", Product,
        "a leader who hands over to a candidate just resigns",
        "who is handed over to leads next";
    ExtraPermit => "extra-permit", Product,
        "a semaphore gives one permit more than it has",
        "no more permits than there are";
    PassedPermits => "passed-permits", Product,
        "who wants fewer permits passes who came before and wants more",
        "permits are given in the order of arrival";
    ReaderBesideWriter => "reader-beside-writer", Product,
        "a reader is let in beside who holds a lock alone",
        "one holder at a time";
    ReaderPasses => "reader-passes", Product,
        "a reader joins those who share a lock, though a writer waits for it",
        "locks are given in the order of arrival";
    FirstReaderFrees => "first-reader-frees", Product,
        "a lock that readers share is free when the first of them releases it",
        "one holder at a time" | "nothing expires early" | "readers of a lock share its token";
    ShortestPart => "shortest-part", Product,
        "a lock that readers share is free when the time of the first of them is over",
        "one holder at a time" | "nothing expires early" | "readers of a lock share its token";
    IdleHeartbeat => "idle-heartbeat", Product,
        "a heartbeat is answered, and the session ends when it would have ended without it",
        "nothing expires early" | "one holder at a time" | "readers of a lock share its token";
    OutlivedSession => "outlived-session", Product,
        "the end of a session leaves it the locks that it holds alone",
        "a session that has ended has nothing" | "what has a time-to-live expires";
    GivenToTheGone => "given-to-the-gone", Product,
        "who waits on behalf of a session is given the lock though the session has ended (hazard 28)",
        "a session that has ended has nothing";
    PartialAll => "partial-all", Product,
        "who wants several locks takes those that are free, and is told that he got none",
        "who is not given all that he asks for has none of it";
    UnservedAtLast => "unserved-at-last", Product,
        "who waits for several locks is looked for at the first of them alone, be it not the last to be free",
        "liveness: after healing everything goes on";
    ForgottenDelay => "forgotten-delay", Product,
        "a lock is given to somebody else as soon as the time of its holder is over, whatever its delay",
        "nobody is given a lock within its delay";
    FeignedForce => "feigned-force", Product,
        "a lock that was taken from its holder by force is his all the same",
        "who was forced out holds nothing";
    UnrecordedForce => "unrecorded-force", Product,
        "that a lock was taken away by force is remembered nowhere",
        "a forced release leaves a record";
    CountedTwice => "counted-twice", Product,
        "who arrives at a barrier a second time counts as somebody else",
        "nobody passes a barrier before all have come";
    LeftBehind => "left-behind", Product,
        "the last who arrives at a barrier lets nobody go who waits there",
        "who waits at a barrier goes on when all have come";
    SilentExpiry => "silent-expiry", Product,
        "that a lock is free by time is not told when its key is reclaimed",
        "whoever watches misses nothing" | "whoever watches knows how it is in the end";
    SilentHandOver => "silent-hand-over", Product,
        "it is not told who of those who wait has got a lock (hazard 32)",
        "whoever watches misses nothing";
    LastNoticesOnly => "last-notices-only", Product,
        "of what several operations have to tell, a node hands out only what the last of its step does",
        "whoever watches misses nothing" | "whoever watches knows how it is in the end";
    OwnPositions => "own-positions", Product,
        "a message does not tell its place in the log, but how much its node has done since it started",
        "all who watch are told the same";
    UntoldGap => "untold-gap", Product,
        "those who listen are not told that a snapshot has taken the place of messages",
        "whoever watches misses nothing" | "whoever watches knows how it is in the end";
    ForgottenNotices => "forgotten-notices", Product,
        "a node pushes out messages for want of room, and does not know that whoever comes back misses them",
        "whoever watches misses nothing" | "whoever watches knows how it is in the end";
    EarlyExpiry => "early-expiry", Product,
        "keys expire half a second before their time",
        "nothing expires early" | "one holder at a time";
    TokenReset => "token-reset", Product,
        "a restored snapshot has forgotten which fencing tokens were given",
        "equal machines at equal indexes";
    SessionlessSnapshot => "sessionless-snapshot", Product,
        "a restored snapshot has no sessions, and so no duplicates",
        "equal machines at equal indexes";
    NoExpiry => "no-expiry", Product,
        "what has a time-to-live lives for ever",
        "what has a time-to-live expires";
    RevivedKeys => "revived-keys", Product,
        "what has expired is there again in each other millisecond (hazard 30)",
        "what has expired stays expired";
    KeptToken => "kept-token", Product,
        "what is made anew gets the token that was given last",
        "fencing tokens grow";
    GreedySet => "greedy-set", Product,
        "SET NX overwrites what is there",
        "one holder at a time";
    AppliedTwice => "applied-twice", Product,
        "a command that is sent again is logged again, and applied again (hazard 26)",
        "each write takes effect at most once";
    RefusedApplied => "refused-applied", Product,
        "a command that was refused for want of a leader is sent all the same (hazard 27)",
        "what was refused is not applied";
    TornTransaction => "torn-transaction", Product,
        "of a transaction the first command is not carried out, and the last one twice",
        "a transaction takes effect as a whole";
    AbsoluteTtl => "absolute-ttl", Product,
        "PTTL shows the deadline, not what is left until then",
        "PTTL is within the time-to-live";
    SkippedChecksum => "skipped-checksum", Product,
        "recovery does not look at the checksums of records",
        "what was durable is recovered" | "assertions hold";
    SlotAlone => "slot-alone", Product,
        "recovery takes term and vote from the newest slot that is whole, be it older than the log",
        "what was durable is recovered" | "assertions hold";
    UnsyncedName => "unsynced-name", Product,
        "a snapshot counts as published before its name is durable",
        "a node recovers from any crash";
    CutCorruption => "cut-corruption", Product,
        "recovery cuts what rotted as if a power cut had torn it (hazard 20)",
        "what was durable is recovered";
}

impl Bug {
    /// Whether worlds of Raft have it.
    #[must_use]
    pub const fn is_of_raft(self) -> bool {
        !matches!(self.place(), Place::Paxos)
    }

    /// Whether it is about Multi-Paxos: worlds of it have also what is made outside of the engine, which is then tried in those
    /// of Raft alone.
    #[must_use]
    pub const fn is_of_paxos(self) -> bool {
        matches!(self.place(), Place::Engines | Place::Paxos)
    }

    /// Those that this build can have.
    pub fn all() -> impl Iterator<Item = Self> + Clone {
        let is_here = |bug: &Self| cfg!(feature = "seeded") || bug.place() == Place::World;
        Self::LISTED.iter().copied().filter(is_here)
    }
}

/// Whether this thread has the defect: never, in a build that ships.
#[cfg(not(feature = "seeded"))]
#[must_use]
#[inline]
pub const fn on(_bug: Bug) -> bool {
    false
}

/// Does nothing: in a build that ships there are no defects of the product.
#[cfg(not(feature = "seeded"))]
pub fn plant(_bug: Option<Bug>) {}

#[cfg(feature = "seeded")]
pub use seeded::{on, plant};

#[cfg(feature = "seeded")]
mod seeded {
    use std::cell::Cell;

    use super::Bug;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Whether this thread has the defect.
    #[must_use]
    pub fn on(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// Gives this thread a defect, or takes it away.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_defects_apart() {
        let mut names: Vec<_> = Bug::LISTED.iter().map(|bug| bug.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Bug::LISTED.len());
    }

    #[test]
    fn a_build_that_ships_has_no_defect() {
        plant(Some(Bug::TwoVotes));
        assert_eq!(on(Bug::TwoVotes), cfg!(feature = "seeded"));
        assert_eq!(Bug::all().any(|bug| bug == Bug::TwoVotes), cfg!(feature = "seeded"));
    }
}
