//! Which data folder each member has, this node too, remembered across restarts.
//!
//! A folder is told from another by a random number that it gets when a node first starts on it. A file in the data
//! folder beside the log has a line for each member. It is written before a member is talked
//! to for the first time, so that a node which may have promised something is known for ever by its folder.
//!
//! ```text
//! crc32c 8f2d01a7
//! 1 5a0c2f1e9b7746d38e10c4a2f7d95b63
//! 2 0e4411d7a35c4f0f9c6b8a21d3e5f790
//! ```
//!
//! The checksum is that of all that follows its line. Without it a bit that rots makes another disk of a member's, which
//! would be shut out for ever, and a file that has lost its end forgets members whose disks may have been wiped.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs::File,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::handshake::Refusal;

/// The file's name in the data folder.
const FILE: &str = "acquaintances";

/// The ids of members' data folders.
#[derive(Debug)]
pub(crate) struct Acquaintances {
    /// Where they are remembered; nowhere in some tests.
    folder: Option<PathBuf>,
    disks: Mutex<BTreeMap<u64, u128>>,
}

impl Acquaintances {
    /// Those that `folder` remembers.
    ///
    /// # Errors
    /// The file cannot be read; [`io::ErrorKind::InvalidData`], with file and offset, if it says what this program does not
    /// write.
    pub(crate) fn load(folder: &Path) -> io::Result<Self> {
        let disks = match std::fs::read(folder.join(FILE)) {
            Ok(bytes) => parse(&bytes).or_else(|| parse_old(&bytes)).ok_or_else(|| {
                let file = folder.join(FILE);
                let text = format!("{} is damaged at byte 0: its checksum does not match", file.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error),
        };
        Ok(Self { folder: Some(folder.to_owned()), disks: Mutex::new(disks) })
    }

    /// The id of this node's own folder: random, and made when it is first asked for.
    ///
    /// # Errors
    /// It cannot be remembered, or there is no randomness to be had.
    pub(crate) fn own(&self, node: u64) -> io::Result<u128> {
        let mut disks = self.lock();
        if let Some(&known) = disks.get(&node) {
            return Ok(known);
        }
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let mut more = disks.clone();
        let disk_id = *more.entry(node).or_insert(u128::from_le_bytes(random));
        self.store(&more)?;
        *disks = more;
        Ok(disk_id)
    }

    /// The nodes that were ever met, `node` itself left out.
    pub(crate) fn others(&self, node: u64) -> Vec<u64> {
        self.lock().keys().copied().filter(|&known| known != node).collect()
    }

    /// None yet, and none remembered.
    #[cfg(test)]
    pub(crate) fn in_memory() -> Self {
        Self { folder: None, disks: Mutex::new(BTreeMap::new()) }
    }

    /// Compares the disk that a node shows with what it has shown before, and remembers a first one durably.
    ///
    /// The file is written at most once for each member in the life of a folder, and so may block.
    ///
    /// # Errors
    /// The node shows another disk than before, or what it shows cannot be remembered.
    pub(crate) fn meet(&self, node: u64, disk_id: u128) -> Result<(), Refusal> {
        let mut disks = self.lock();
        match disks.get(&node) {
            Some(&known) if known == disk_id => Ok(()),
            Some(_) => Err(Refusal(format!(
                "node {node} comes with another disk than before: what it had promised there is lost, so it may not \
                 take part under its old id; give it back its data folder, or {}",
                way_back(node)
            ))),
            None => {
                let mut more = disks.clone();
                more.insert(node, disk_id);
                self.store(&more)
                    .map_err(|error| Refusal(format!("node {node} cannot be remembered on disk: {error}")))?;
                *disks = more;
                Ok(())
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, u128>> {
        self.disks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, disks: &BTreeMap<u64, u128>) -> io::Result<()> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let aside = folder.join("acquaintances.partial");
        let mut file = File::create(&aside)?;
        file.write_all(write(disks).as_bytes())?;
        file.sync_data()?;
        std::fs::rename(&aside, folder.join(FILE))?;
        File::open(folder)?.sync_all()
    }
}

/// How the machine of a node whose promises are lost becomes a member again. Where it was, its address is that of a voter
/// until this one is removed.
pub(crate) fn way_back(node: u64) -> String {
    format!(
        "let it join as a new member, on an empty folder: after `quorate member remove {node}` on another node by \
         `quorate serve --join ADDRESS`, or at another address at once by `--join-as replace:{node}`"
    )
}

/// What stands before the checksum.
const LEAD: &str = "crc32c ";

fn write(disks: &BTreeMap<u64, u128>) -> String {
    let mut lines = String::new();
    for (node, disk_id) in disks {
        writeln!(lines, "{node} {disk_id:032x}").expect("a string takes all text");
    }
    format!("{LEAD}{:08x}\n{lines}", crc32c::crc32c(lines.as_bytes()))
}

/// What [`write`] wrote, and nothing else.
fn parse(bytes: &[u8]) -> Option<BTreeMap<u64, u128>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (_, lines) = text.strip_prefix(LEAD)?.split_once('\n')?;
    members(lines).filter(|disks| write(disks) == text)
}

/// What programs before the checksum wrote: the same lines, at least one. No damage makes this of what [`write`] wrote,
/// which begins otherwise. The next member that is met has it written anew.
fn parse_old(bytes: &[u8]) -> Option<BTreeMap<u64, u128>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let is_whole =
        |disks: &BTreeMap<u64, u128>| !disks.is_empty() && write(disks).ends_with(&format!("\n{text}"));
    members(text).filter(is_whole)
}

fn members(lines: &str) -> Option<BTreeMap<u64, u128>> {
    let member = |line: &str| {
        let (node, disk_id) = line.split_once(' ')?;
        Some((node.parse().ok()?, u128::from_str_radix(disk_id, 16).ok()?))
    };
    lines.lines().map(member).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_known_by_its_disk_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let before = Acquaintances::load(folder.path()).unwrap();
        before.meet(2, 20).unwrap();
        before.meet(3, u128::MAX).unwrap();
        let after = Acquaintances::load(folder.path()).unwrap();
        assert!(after.meet(2, 20).is_ok() && after.meet(3, u128::MAX).is_ok());
        assert!(after.meet(2, 21).is_err());
    }

    #[test]
    fn a_folder_keeps_its_own_id_and_another_has_another() {
        let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let own = Acquaintances::load(folder.path()).unwrap().own(1).unwrap();
        assert_eq!(Acquaintances::load(folder.path()).unwrap().own(1).unwrap(), own);
        assert_ne!(Acquaintances::load(other.path()).unwrap().own(1).unwrap(), own);
    }

    #[test]
    fn a_member_that_cannot_be_remembered_is_not_talked_to() {
        let folder = tempfile::tempdir().unwrap();
        let acquaintances = Acquaintances::load(folder.path()).unwrap();
        drop(folder);
        assert!(acquaintances.meet(2, 20).is_err());
        assert!(acquaintances.meet(2, 20).is_err());
    }

    #[test]
    fn a_file_of_before_the_checksum_is_read_and_written_anew() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        std::fs::write(&file, "1 5a0c2f1e9b7746d38e10c4a2f7d95b63\n2 0e4411d7a35c4f0f9c6b8a21d3e5f790\n")
            .unwrap();
        let old = Acquaintances::load(folder.path()).unwrap();
        assert_eq!(old.own(1).unwrap(), 0x5a0c_2f1e_9b77_46d3_8e10_c4a2_f7d9_5b63);
        old.meet(3, 30).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().starts_with(LEAD));
        assert!(Acquaintances::load(folder.path()).unwrap().meet(2, 2).is_err(), "2 is known");
    }

    /// A flipped bit once made another disk of a member's, and a file that had lost its last line knew one member less.
    #[test]
    fn each_flipped_bit_and_each_lost_end_is_refused_with_file_and_offset() {
        let folder = tempfile::tempdir().unwrap();
        let acquaintances = Acquaintances::load(folder.path()).unwrap();
        acquaintances.meet(1, 1 << 100).unwrap();
        acquaintances.meet(2, 20).unwrap();
        let file = folder.path().join(FILE);
        let whole = std::fs::read(&file).unwrap();
        let flips = (0..whole.len() * 8).map(|bit| {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            bytes
        });
        for bytes in flips.chain((0..whole.len()).map(|length| whole[..length].to_vec())) {
            std::fs::write(&file, &bytes).unwrap();
            let error = Acquaintances::load(folder.path()).unwrap_err().to_string();
            assert!(
                error.contains("acquaintances is damaged at byte 0"),
                "{}: {error}",
                bytes.escape_ascii()
            );
        }
    }

    /// `docs/log-format.md` draws these bytes.
    #[test]
    fn golden_bytes_of_the_file() {
        let disks = BTreeMap::from([(1, 0x1f), (22, u128::MAX)]);
        let lines = "1 0000000000000000000000000000001f\n22 ffffffffffffffffffffffffffffffff\n";
        assert_eq!(write(&disks), format!("crc32c 64fc37c6\n{lines}"));
        assert_eq!(parse(write(&disks).as_bytes()), Some(disks));
    }
}
