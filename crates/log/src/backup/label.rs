//! What a backup says about itself before its snapshot begins.

use bytes::{Buf, BufMut};

use crate::seal::{self, Kind};

/// The longest name of a program's version. Longer ones are cut.
const PROGRAM_BYTES_MAX: usize = 256;

/// The longest label's body, which bounds what a damaged length can make us read.
pub(super) const BODY_BYTES_MAX: usize = 40 + PROGRAM_BYTES_MAX;

/// The format of backups that this program writes, and the only one that it reads.
pub const BACKUP_FORMAT: u32 = 1;

pub(super) const KIND: Kind = Kind { magic: b"quor-bak", version: BACKUP_FORMAT };

/// Whose backup it is, and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupLabel {
    /// The cluster whose state it holds.
    pub cluster_id: u128,
    /// The node that made it.
    pub node_id: u64,
    /// When, by that node's wall clock, in milliseconds since 1970. For people; nothing depends on it.
    pub made_ms: u64,
    /// The version of the machine whose data it holds: the caller's number.
    pub machine_version: u32,
    /// The version of the program that made it, for people: at most 256 bytes.
    pub program: String,
}

impl BackupLabel {
    /// The label as it stands before a snapshot whose head has this checksum.
    pub(super) fn seal(&self, head_crc: u32) -> Vec<u8> {
        let program = &self.program[..self.program.floor_char_boundary(PROGRAM_BYTES_MAX)];
        let mut body = Vec::new();
        body.put_u128_le(self.cluster_id);
        body.put_u64_le(self.node_id);
        body.put_u64_le(self.made_ms);
        body.put_u32_le(self.machine_version);
        body.put_u32_le(head_crc);
        body.put_slice(program.as_bytes());
        seal::seal(KIND, &body)
    }

    /// The label, and the checksum of the head that it belongs to.
    pub(super) fn from_body(mut body: &[u8]) -> Option<(Self, u32)> {
        let cluster_id = body.try_get_u128_le().ok()?;
        let node_id = body.try_get_u64_le().ok()?;
        let made_ms = body.try_get_u64_le().ok()?;
        let machine_version = body.try_get_u32_le().ok()?;
        let head_crc = body.try_get_u32_le().ok()?;
        let program = String::from_utf8(body.to_vec()).ok()?;
        Some((Self { cluster_id, node_id, made_ms, machine_version, program }, head_crc))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/log-format.md` draws these bytes: they change only together with the format version.
    #[test]
    fn golden_bytes_of_a_label() {
        let label = BackupLabel {
            cluster_id: 2,
            node_id: 3,
            made_ms: 4,
            machine_version: 5,
            program: "0.1.0".to_owned(),
        };
        let mut expected = b"quor-bak\x01\0\0\0\x2d\0\0\0".to_vec();
        expected.extend_from_slice(&2_u128.to_le_bytes());
        expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[5, 0, 0, 0, 6, 0, 0, 0]);
        expected.extend_from_slice(b"0.1.0");
        let crc = crc32c::crc32c(&expected);
        expected.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(label.seal(6), expected);
        let body = &expected[seal::LEAD_BYTES..expected.len() - 4];
        assert_eq!(BackupLabel::from_body(body), Some((label, 6)));
    }

    #[test]
    fn a_long_version_is_cut_between_its_letters() {
        let label = BackupLabel {
            cluster_id: 1,
            node_id: 1,
            made_ms: 0,
            machine_version: 1,
            program: "ä".repeat(200) + "x",
        };
        let sealed = label.seal(0);
        assert!(sealed.len() <= BODY_BYTES_MAX + seal::ENVELOPE_BYTES);
        let (read, _) = BackupLabel::from_body(&sealed[seal::LEAD_BYTES..sealed.len() - 4]).unwrap();
        assert_eq!(read.program, "ä".repeat(128));
    }
}
