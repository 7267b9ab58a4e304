//! How many make a quorum. All arithmetic of quorums is here.

/// Quorums among some voters, of whom any so many are one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorums {
    /// How many vote.
    pub voters: usize,
    /// How many of them commit, at least one, where it is not a majority: the *phase-2 quorum*.
    pub phase2: Option<u8>,
}

impl Quorums {
    /// How many commit an entry. Of nobody, one, which is never there.
    #[must_use]
    pub fn to_commit(self) -> usize {
        self.phase2.map_or(self.majority(), usize::from)
    }

    /// How many elect a leader: so many that each such quorum meets each that commits.
    #[must_use]
    pub fn to_elect(self) -> usize {
        let rest = |_| (self.voters + 1).saturating_sub(self.to_commit());
        self.phase2.map_or(self.majority(), rest)
    }

    /// How many a candidate must reach, so that it can be elected and commit.
    #[must_use]
    pub fn to_lead(self) -> usize {
        self.to_commit().max(self.to_elect())
    }

    fn majority(self) -> usize {
        self.voters / 2 + 1
    }

    /// Whether there are such quorums, and each of one kind meets each of the other.
    pub(crate) fn exist(self) -> bool {
        let possible = 1..=self.voters;
        self.phase2.is_none()
            || [self.to_commit(), self.to_elect()].iter().all(|size| possible.contains(size))
    }

    /// How many of the voters may be gone, whichever, while there can be a leader, and all that was committed is there.
    pub(crate) fn losses_borne(self) -> usize {
        self.voters.saturating_sub(self.to_lead())
    }
}
