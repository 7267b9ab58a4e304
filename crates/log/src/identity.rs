//! Whose folder this is.
//!
//! The file is small and rewritten as a whole: written aside, synced, renamed. A folder is a node's from the
//! moment this file is there. Incarnation 0 says that the folder is still being made, so that nothing in it has
//! been promised to anybody; the first successful open ends with incarnation 1.

use bytes::{Buf, BufMut, Bytes};

use crate::{
    Disk, DiskFile, Error, Options,
    disk::read_all,
    error::About,
    seal::{self, Kind, Unsealed},
};

pub(crate) const NAME: &str = "identity";
const ASIDE: &str = "identity.partial";
const KIND: Kind = Kind { magic: b"quor-idt", version: 1 };

/// Whose folder this is, and how often it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The node; ids are never reused.
    pub node_id: u64,
    /// The cluster; `None` until the node belongs to one.
    pub cluster_id: Option<u128>,
    /// Grows by one with each successful open, from 1 on.
    pub incarnation: u64,
    /// The name of the consensus engine.
    pub engine: String,
    /// What was given as [`Options::birth`] when the folder was made.
    pub birth: Bytes,
}

impl Identity {
    /// The identity of a folder that is being made.
    pub(crate) fn unborn(options: &Options) -> Self {
        Self {
            node_id: options.node_id,
            cluster_id: options.cluster_id,
            incarnation: 0,
            engine: options.engine.clone(),
            birth: options.birth.clone(),
        }
    }

    /// A number that stands in every segment and slot, so that a file copied from another node's folder is
    /// noticed. It does not depend on what may change later.
    pub(crate) fn fingerprint(&self) -> u32 {
        let crc = crc32c::crc32c(&self.node_id.to_le_bytes());
        crc32c::crc32c_append(crc, self.engine.as_bytes())
    }

    fn encode(&self) -> Vec<u8> {
        let mut body = Vec::new();
        body.put_u64_le(self.node_id);
        body.put_u8(u8::from(self.cluster_id.is_some()));
        body.put_u128_le(self.cluster_id.unwrap_or(0));
        body.put_u64_le(self.incarnation);
        body.put_u8(u8::try_from(self.engine.len()).expect("options limit the engine's name to 255 bytes"));
        body.put_slice(self.engine.as_bytes());
        body.put_slice(&self.birth);
        seal::seal(KIND, &body)
    }

    fn from_body(mut body: &[u8]) -> Option<Self> {
        let node_id = body.try_get_u64_le().ok()?;
        let born = body.try_get_u8().ok()? == 1;
        let cluster_id = body.try_get_u128_le().ok()?;
        let incarnation = body.try_get_u64_le().ok()?;
        let engine_bytes = usize::from(body.try_get_u8().ok()?);
        let (engine, birth) = body.split_at_checked(engine_bytes)?;
        Some(Self {
            node_id,
            cluster_id: born.then_some(cluster_id),
            incarnation,
            engine: String::from_utf8(engine.to_vec()).ok()?,
            birth: Bytes::copy_from_slice(birth),
        })
    }

    /// Whose a folder is, if it is anybody's. Nothing is changed, and nobody kept out.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Newer`], [`Error::Io`].
    pub fn find(disk: &impl Disk) -> Result<Option<Self>, Error> {
        let names = disk.list().about(disk, "", "list")?;
        names.iter().any(|name| name == NAME).then(|| Self::load(disk)).transpose()
    }

    /// Reads the identity of a folder that has one.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Newer`], [`Error::Io`].
    pub fn load(disk: &impl Disk) -> Result<Self, Error> {
        let file = disk.open(NAME).about(disk, NAME, "open")?;
        let bytes = read_all(&file).about(disk, NAME, "read")?;
        let identity = match seal::unseal(KIND, &bytes) {
            Unsealed::Body(body, _) => Self::from_body(body),
            Unsealed::Newer(found) => {
                return Err(Error::Newer { file: disk.path(NAME), found, known: KIND.version });
            }
            Unsealed::Damaged => None,
        };
        identity.ok_or_else(|| Error::Corrupt {
            file: disk.path(NAME),
            offset: 0,
            detail: "the checksum of the identity does not match".to_owned(),
        })
    }

    /// Makes this the folder's identity; durable on return.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoRoom`]: then either the old or the new identity is there.
    pub(crate) fn store(&self, disk: &impl Disk) -> Result<(), Error> {
        self.store_by(disk, ASIDE)
    }

    /// The same, written aside as `aside`, which is gone afterwards.
    ///
    /// # Errors
    /// Those of [`Self::store`].
    pub(crate) fn store_by(&self, disk: &impl Disk, aside: &str) -> Result<(), Error> {
        let mut file = disk.create(aside).about(disk, aside, "create")?;
        file.write_at(0, &self.encode()).about(disk, aside, "write")?;
        file.sync_data().about(disk, aside, "sync")?;
        disk.rename(aside, NAME).about(disk, NAME, "rename")?;
        disk.sync_directory().about(disk, "", "sync")
    }

    /// Whether a node with these options may use the folder.
    ///
    /// # Errors
    /// [`Error::Refused`], with the file and what does not fit.
    pub(crate) fn admit(&self, options: &Options, disk: &impl Disk) -> Result<(), Error> {
        let refuse = |why: String| Err(Error::Refused { what: disk.path(NAME), why });
        if self.node_id != options.node_id {
            return refuse(format!(
                "belongs to node {}, and this is node {}: choose the right data folder or node id",
                self.node_id, options.node_id
            ));
        }
        if self.engine != options.engine {
            return refuse(format!(
                "was written by the engine {}, and {} is set: start the node with its own engine, \
                 or let it join anew under a new id",
                self.engine, options.engine
            ));
        }
        match (self.cluster_id, options.cluster_id) {
            (Some(ours), Some(theirs)) if ours != theirs => refuse(format!(
                "belongs to cluster {ours:032x}, and cluster {theirs:032x} is set: choose the right data folder"
            )),
            (Some(_), Some(_) | None) | (None, Some(_) | None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/log-format.md` draws these bytes: they change only together with the format version.
    #[test]
    fn golden_bytes_of_an_identity() {
        let identity = Identity {
            node_id: 1,
            cluster_id: Some(2),
            incarnation: 3,
            engine: "raft".to_owned(),
            birth: Bytes::from_static(b"birth"),
        };
        let mut expected = b"quor-idt\x01\0\0\0\x2b\0\0\0".to_vec();
        expected.extend_from_slice(&[1, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(b"\x04raftbirth");
        let crc = crc32c::crc32c(&expected);
        expected.extend_from_slice(&crc.to_le_bytes());
        assert_eq!(identity.encode(), expected);
        let body = &expected[seal::LEAD_BYTES..expected.len() - 4];
        assert_eq!(Identity::from_body(body), Some(identity));
    }
}
