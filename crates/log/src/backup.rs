//! Backups: a snapshot that leaves the node, with a label that says whose it is.
//!
//! A backup is a label and behind it the very bytes of a snapshot file (see [`snapshot`](crate::snapshot)): so every
//! byte is covered by a checksum, and blocks of another snapshot do not fit. The label holds the checksum of the
//! snapshot's head, so that it is the label of this snapshot alone.
//!
//! It is made and read as a stream, a block at a time, whatever its size: [`BackupEncoder`] gives bytes away, and
//! [`BackupReader`] takes them from anything that can be read, a file or a connection.

mod label;
mod reader;

pub use label::{BACKUP_FORMAT, BackupLabel};
pub use reader::BackupReader;

use bytes::Bytes;

use crate::{Error, SnapshotHeader, snapshot::encoder::Encoder};

/// Makes the bytes of a backup out of a machine's data.
///
/// ```
/// use quorate_log::{BackupEncoder, BackupLabel, BackupReader, SnapshotHeader};
///
/// let label = BackupLabel { cluster_id: 7, node_id: 1, made_ms: 0, machine_version: 1, program: "0.1.0".into() };
/// let header = SnapshotHeader { index: 5, term: 2, stamp: 900, membership: "n1".into(), bytes: 0 };
/// let (mut encoder, mut file) = BackupEncoder::begin(&label, &header)?;
/// let mut data = &b"the machine's state"[..];
/// while !data.is_empty() {
///     file.extend(encoder.add(&mut data).unwrap_or_default());
/// }
/// file.extend(encoder.finish());
///
/// let reader = BackupReader::open(&file[..], "a.backup")?;
/// assert_eq!(reader.label(), &label);
/// let data = reader.collect::<Result<Vec<_>, _>>()?.concat();
/// assert_eq!(data, b"the machine's state");
/// # Ok::<(), quorate_log::Error>(())
/// ```
pub struct BackupEncoder(Encoder);

impl BackupEncoder {
    /// Begins a backup, and gives its first bytes. [`SnapshotHeader::bytes`] is not looked at.
    ///
    /// # Errors
    /// [`Error::Refused`] if the membership is too large for a snapshot's head.
    pub fn begin(label: &BackupLabel, header: &SnapshotHeader) -> Result<(Self, Vec<u8>), Error> {
        let (encoder, head) = Encoder::begin(header)?;
        let mut first = label.seal(encoder.head_crc());
        first.extend(head);
        Ok((Self(encoder), first))
    }

    /// Takes data, as much as completes a block, and gives the bytes that come next, if some are ready.
    pub fn add(&mut self, data: &mut &[u8]) -> Option<Bytes> {
        self.0.add(data).map(Bytes::from)
    }

    /// The last bytes. Nothing may be added behind them.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        self.0.finish().into()
    }
}
