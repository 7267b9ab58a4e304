//! Defects that the world makes on purpose, so that the checkers can be tested.

macro_rules! bugs {
    ($($name:ident => $text:literal, $explanation:literal;)*) => {
        /// A defect. Each must be noticed within some hundred seeds.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Bug {
            $(#[doc = $explanation] $name),*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The name on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $text),*
                }
            }

            /// What goes wrong, in a sentence.
            #[must_use]
            pub fn explanation(self) -> &'static str {
                match self {
                    $(Self::$name => $explanation),*
                }
            }
        }
    };
}

bugs! {
    LyingDisk => "lying-disk",
        "fdatasync says yes and does nothing";
    EarlyCompletion => "early-completion",
        "what waits for a write leaves before the write is durable";
    ForwardTwice => "forward-twice",
        "a forwarded group arrives a second time under the numbers that follow";
    FastClock => "fast-clock",
        "boot-time clocks run fast by a fifth, far beyond the stated bound";
    ForgottenVote => "forgotten-vote",
        "a restarted node has forgotten whom it voted for, and in which term";
    ShiftedAnswers => "shifted-answers",
        "a client's answers are those to its previous request";
    LocalRead => "local-read",
        "a node answers reads from its own machine, without asking a quorum how far it must be";
    ReusedSession => "reused-session",
        "a restarted node goes on under the session of its first life";
    ForgottenMembers => "forgotten-members",
        "a restarted node takes the newest configuration in its log for a blank entry (hazard 3)";
    HollowNewcomer => "hollow-newcomer",
        "machines that join acknowledge what is not on their disks: the old members alone have it";
    WipedNewcomer => "wiped-newcomer",
        "machines that join are wiped at each restart, and come back under their ids (hazard 22)";
    WrongRemoval => "wrong-removal",
        "a node says that it was removed, whether it was or not";
    ForgetfulWitness => "forgetful-witness",
        "a restarted witness has forgotten which configuration it has agreed to: it votes for who was set aside";
    EarlyRise => "early-rise",
        "nodes tell that they know a newer version than they do, so that the cluster rises before all can";
    VotesUnderRepair => "votes-under-repair",
        "a node whose disk has lost what it held takes part in elections as if it had not (hazard 23)";
}
