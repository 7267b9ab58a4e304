//! The bytes that operations count for wherever their number in flight is bounded: at their origin, on their way to the
//! leader, and in what a leader makes entries of. Never less than what encoding makes of them, so that what counts for
//! no more than an entry may have fits into one.

use bytes::Bytes;

use crate::entry::{Group, Operation, Watched};

/// The most that a batch, a group and an operation add around arguments.
const ENVELOPE_BYTES: usize = 128;
/// The most that surrounds one argument.
const SHARE_BYTES: usize = 16;

/// The weight of a command with these arguments.
#[must_use]
pub fn of_command(args: &[Bytes]) -> usize {
    ENVELOPE_BYTES + weigh_all(args)
}

/// The weight of a transaction of these commands.
#[must_use]
pub fn of_transaction(watched: &[Watched], commands: &[(u32, Vec<Bytes>)]) -> usize {
    let watched: usize = watched.iter().map(|watched| weigh(&watched.key) + SHARE_BYTES).sum();
    let commands: usize = commands.iter().map(|(_, args)| SHARE_BYTES + weigh_all(args)).sum();
    ENVELOPE_BYTES + watched + commands
}

/// The weight of a group: that of its operations.
#[must_use]
pub fn of_group(group: &Group) -> usize {
    group.operations.iter().map(of_operation).sum()
}

/// The weight of an operation.
#[must_use]
pub fn of_operation(operation: &Operation) -> usize {
    match operation {
        Operation::Command { args, .. } => of_command(args),
        Operation::Transaction { watched, commands } => of_transaction(watched, commands),
        Operation::GiveBack { args, tokens, .. } => of_command(args) + SHARE_BYTES * tokens.len(),
        Operation::OpenSession
        | Operation::Birth { .. }
        | Operation::Calendar { .. }
        | Operation::Leave { .. }
        | Operation::Abandon { .. }
        | Operation::Unblock { .. }
        | Operation::Nothing => ENVELOPE_BYTES,
    }
}

fn weigh_all(args: &[Bytes]) -> usize {
    args.iter().map(weigh).sum()
}

fn weigh(argument: &Bytes) -> usize {
    argument.len() + SHARE_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cluster_version::ClusterVersion,
        entry::{Batch, Seen},
        identifiers::{SessionId, Version},
    };

    #[test]
    fn nothing_is_encoded_larger_than_it_counts() {
        let args = vec![Bytes::from(vec![0; 300]); 40];
        let watched = Watched { db: u32::MAX, key: Bytes::from("k"), seen: Seen::Present(Version(u64::MAX)) };
        let operations = [
            Operation::Nothing,
            Operation::OpenSession,
            Operation::Birth { cluster_id: u128::MAX, fence_base: u64::MAX, calendar_ms: i64::MIN },
            Operation::Calendar { offset_ms: i64::MIN },
            Operation::Command { db: u32::MAX, user: u32::MAX, args: args.clone() },
            Operation::GiveBack {
                sequence: u64::MAX,
                db: u32::MAX,
                args: vec![],
                tokens: vec![u64::MAX; 99],
            },
            Operation::Command { db: u32::MAX, user: u32::MAX, args: vec![Bytes::new(); 1000] },
            Operation::Transaction {
                watched: vec![watched; 100],
                commands: vec![(u32::MAX, args), (u32::MAX, vec![])],
            },
        ];
        for operation in operations {
            let weight = of_operation(&operation);
            let group = Group {
                session: SessionId { node: u64::MAX, incarnation: u64::MAX },
                stream: u64::MAX,
                acked: u64::MAX,
                first_sequence: u64::MAX,
                operations: vec![operation],
            };
            for version in [ClusterVersion::FIRST, ClusterVersion::REHEARSED] {
                let encoded = Batch { version, groups: vec![group.clone()] }.encode().len();
                assert!(encoded <= weight, "{encoded} > {weight}");
            }
        }
    }
}
