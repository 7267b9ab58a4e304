//! The real disk: the one file of this crate that touches the file system.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{FallocateFlags, FlockOperation, fallocate, flock, statvfs},
    io::Errno,
};

use crate::{Disk, DiskFile};

const SNAPSHOTS: &str = "snapshots";

/// A folder of the operating system's file system. It must be a local one: flock and fdatasync have to mean
/// what they say.
#[derive(Clone, Debug)]
pub struct OsDisk {
    folder: Arc<Path>,
}

impl OsDisk {
    /// Takes `folder` for a node's data, and makes it (durably) if it does not exist.
    ///
    /// # Errors
    /// Whatever the operating system says about making or opening the folder.
    pub fn new(folder: impl Into<PathBuf>) -> io::Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(folder.join(SNAPSHOTS))?;
        sync_folder(&folder)?;
        // Only the nearest parent: the others are the operator's. `fs::canonicalize` gives a relative path one.
        if let Some(parent) = fs::canonicalize(&folder)?.parent() {
            sync_folder(parent)?;
        }
        Ok(Self { folder: folder.into() })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// The names of the plain files in `folder`, each with `prefix`.
fn names_in(folder: &Path, prefix: &str) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // A name that is not UTF-8 is none of ours.
        if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
            names.push(format!("{prefix}{name}"));
        }
    }
    Ok(names)
}

impl Disk for OsDisk {
    type File = OsFile;
    type Lock = OsLock;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = names_in(&self.folder, "")?;
        names.extend(names_in(&self.file(SNAPSHOTS), "snapshots/")?);
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<OsFile> {
        Ok(OsFile { file: OpenOptions::new().read(true).write(true).open(self.file(name))? })
    }

    fn create(&self, name: &str) -> io::Result<OsFile> {
        let mut options = OpenOptions::new();
        Ok(OsFile { file: options.read(true).write(true).create(true).truncate(true).open(self.file(name))? })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.file(from), self.file(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.file(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        sync_folder(&self.file(SNAPSHOTS))?;
        sync_folder(&self.folder)
    }

    fn lock(&self, name: &str) -> io::Result<OsLock> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(self.file(name))?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(OsLock { _file: file })
    }

    fn available_bytes(&self) -> io::Result<u64> {
        let status = statvfs(&*self.folder)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    fn path(&self, name: &str) -> String {
        self.file(name).display().to_string().trim_end_matches('/').to_owned()
    }
}

/// The lock on a folder, held until it is dropped or the process ends.
#[derive(Debug)]
pub struct OsLock {
    _file: File,
}

/// A file of an [`OsDisk`].
#[derive(Debug)]
pub struct OsFile {
    file: File,
}

impl DiskFile for OsFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(count) => read += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn preallocate(&mut self, len: u64) -> io::Result<()> {
        match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            // Some file systems cannot. The caller writes zeros anyway, and learns of a full disk then.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                if self.len()? < len {
                    self.file.set_len(len)?;
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }
}
