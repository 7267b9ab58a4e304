//! Sizes that follow from others: how much one request can make an entry of the log, and a message, hold.
//!
//! A chain of settings must relate, or a client could have something logged that no log can take: a *request* fits
//! into a *command*, a command or a full batch into an *entry*, an entry into a *segment* of the log and a *frame*
//! between nodes. Nodes compare their frames when they meet, so that the chain also holds between nodes with
//! different settings.

use quorate_log::Options;

use super::{Bytes, Config};

/// What a command counts for beside its arguments, at most, as the driver counts.
const AROUND_COMMAND_BYTES: usize = 128;
/// What an argument counts for beside its bytes, at most, as the driver counts.
const AROUND_ARGUMENT_BYTES: usize = 16;
/// The bytes of a request that an argument takes at least: an inline `a a a`.
const ARGUMENT_BYTES_MIN: usize = 2;
/// Room in an entry for what the cluster logs of its own: its birth, the calendar.
const OWN_OPERATIONS_BYTES: usize = 4 << 10;
/// Room in a frame for what surrounds its entries or its piece of a snapshot. More than the largest piece.
const AROUND_FRAME_BYTES: usize = 8 << 20;

impl Config {
    /// The most that a client's command or transaction can count for.
    #[must_use]
    pub fn command_bytes_max(&self) -> usize {
        let request = self.request_bytes_max.0;
        let arguments = self.arguments_max.min(request / ARGUMENT_BYTES_MIN);
        request + arguments * AROUND_ARGUMENT_BYTES + AROUND_COMMAND_BYTES
    }

    /// The most bytes of an entry of the log: a full batch, or one command.
    #[must_use]
    pub fn entry_bytes_max(&self) -> usize {
        self.message_bytes_max.0.max(self.command_bytes_max()) + OWN_OPERATIONS_BYTES
    }

    /// The most bytes of a frame between nodes. Depends on nothing but [`Self::entry_bytes_max`], so that nodes that
    /// agree on the one agree on the other.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        // Twice: encoding adds a little to each of many small entries, each of which counts for at least 32 bytes.
        2 * self.entry_bytes_max() + AROUND_FRAME_BYTES
    }

    /// Whether each entry fits into a segment of the log.
    pub(super) fn segments_hold_entries(&self) -> bool {
        let options =
            Options { segment_bytes: self.segment_bytes.0 as u64, ..Options::new(self.node_id, "") };
        options.entry_bytes_max() >= self.entry_bytes_max() as u64
    }

    /// The least segment that is surely large enough, in round numbers.
    pub(super) fn segment_bytes_wanted(&self) -> Bytes {
        const AROUND_ENTRIES_BYTES: usize = 16 << 10;
        rounded(self.entry_bytes_max() + AROUND_ENTRIES_BYTES)
    }
}

/// A size for people to read and type: the next number of 64 KiB.
pub(super) fn rounded(bytes: usize) -> Bytes {
    Bytes(bytes.next_multiple_of(64 << 10))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes as Text;
    use quorate_machine::{Batch, ClusterVersion, Group, Operation, SessionId};

    use super::{super::Given, *};

    /// The encoded size of a batch of one command with so many arguments of so many bytes.
    fn encoded(arguments: usize, bytes: usize) -> usize {
        let args = vec![Text::from(vec![b'a'; bytes]); arguments];
        let session = SessionId { node: u64::MAX, incarnation: u64::MAX };
        let operations = vec![Operation::Command { db: u32::MAX, user: u32::MAX, args }];
        let group = Group { session, stream: 0, acked: u64::MAX, first_sequence: 1 << 60, operations };
        Batch { version: ClusterVersion::NEWEST, groups: vec![group] }.encode().len()
    }

    #[test]
    fn the_largest_request_of_each_shape_fits_into_an_entry() {
        let (config, _) = Config::resolve(Given::default()).unwrap();
        let request = config.request_bytes_max.0;
        // One large argument; as many as there may be, small and as large as there is room for.
        let shapes = [
            (1, request),
            (config.arguments_max, 1),
            (config.arguments_max, request / config.arguments_max - "$255\r\n\r\n".len()),
        ];
        for (arguments, bytes) in shapes {
            assert!(encoded(arguments, bytes) <= config.command_bytes_max(), "{arguments} of {bytes}");
        }
        assert!(config.segments_hold_entries());
        assert!(config.segment_bytes >= config.segment_bytes_wanted());
    }
}
