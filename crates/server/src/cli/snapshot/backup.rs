//! A backup's file, read to its end: verified, and made a machine again.

use std::{fs::File, path::Path};

use quorate_consensus::Membership;
use quorate_log::{BackupLabel, BackupReader, SnapshotHeader};
use quorate_machine::Machine;
use quorate_node::record::decode_membership;

use crate::cli::{
    problem::{Problem, failed, refused},
    progress::Progress,
};

/// A whole backup, of which every byte was verified.
#[derive(Debug)]
pub(super) struct Backup {
    pub(super) label: BackupLabel,
    pub(super) header: SnapshotHeader,
    pub(super) membership: Membership,
    pub(super) machine: Machine,
    /// The size of the file.
    pub(super) file_bytes: u64,
}

impl Backup {
    /// Reads the backup in `path`; `doing` is for whoever watches.
    pub(super) fn load(path: &Path, doing: &'static str) -> Result<Self, Problem> {
        let file = File::open(path).map_err(failed(path))?;
        let file_bytes = file.metadata().map_err(failed(path))?.len();
        let mut progress = Progress::new(doing, Some(file_bytes));
        let mut reader = BackupReader::open(file, path.display().to_string())?;
        let mut broken = None;
        let blocks = std::iter::from_fn(|| {
            let block = reader.next()?.map_err(|error| broken = Some(error)).ok();
            progress.at(reader.position());
            block
        });
        let machine = Machine::restore(blocks);
        if let Some(error) = broken {
            return Err(error.into());
        }
        let machine = machine.map_err(refused(path))?;
        let (label, header) = (reader.label().clone(), reader.header().clone());
        let membership = decode_membership(&header.membership).map_err(refused(path))?;
        let backup = Self { label, header, membership, machine, file_bytes };
        backup.check(path)?;
        Ok(backup)
    }

    /// Whether what the parts say of each other is true. Their checksums are right; so only a defect of who made the
    /// backup is found here.
    fn check(&self, path: &Path) -> Result<(), Problem> {
        let Self { label, header, machine, .. } = self;
        let said = (header.index, header.stamp, Some(label.cluster_id));
        let found = (machine.applied(), machine.stamp(), machine.cluster_id());
        if said == found {
            return Ok(());
        }
        Err(Problem::Refused(format!(
            "{} is labelled as entry {} of cluster {:032x}, and holds another state",
            path.display(),
            header.index,
            label.cluster_id
        )))
    }
}
