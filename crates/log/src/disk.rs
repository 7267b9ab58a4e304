//! What the log asks of a disk, written as a contract so that a simulator can keep it to the letter, and break
//! it only where a real disk would.

use std::io;

/// A folder of files, owned by one log.
///
/// Names are flat, but for the prefix `snapshots/`. Handles are cheap clones of each other; the log uses one on
/// its own thread and the snapshot store another, never on the same file but for reading.
///
/// # What is durable when
///
/// * A file's bytes are durable once [`DiskFile::sync_data`] has returned without error. Until then a power cut
///   leaves any subset of them, torn anywhere. A crash of the process alone loses nothing.
/// * Creating, renaming and removing are at once visible, and durable after [`sync_directory`](Self::sync_directory).
///   Until then a power cut keeps, of the changes of each name, some prefix: no order holds among different names.
/// * Renaming replaces the target atomically: after a power cut the name leads to the old file or to the new one.
///   It says nothing about the file's bytes: who wants them there syncs them before.
pub trait Disk: Clone {
    /// An open file.
    type File: DiskFile;
    /// Held while the folder is locked; dropping it unlocks.
    type Lock;

    /// The names of all files, in ascending order, those under `snapshots/` with this prefix.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that exists, for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] if there is none; otherwise whatever the operating system says.
    fn open(&self, name: &str) -> io::Result<Self::File>;

    /// Opens a new, empty file, or empties the one that is there. Emptying is as durable as a write.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn create(&self, name: &str) -> io::Result<Self::File>;

    /// Gives a file another name, in the place of a file that has it.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Handles that are open go on reading it.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all creations, renames and removals so far durable, those under `snapshots/` included.
    ///
    /// # Errors
    /// Whatever the operating system says. Afterwards it is unknown what is durable.
    fn sync_directory(&self) -> io::Result<()>;

    /// Locks the folder by the file `name`, which is created if need be. Ends with the process, however it ends.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if another process holds it; otherwise whatever the operating system says.
    fn lock(&self, name: &str) -> io::Result<Self::Lock>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn available_bytes(&self) -> io::Result<u64>;

    /// The folder (`""`) or a file in it, as a person would look for it. For messages alone.
    fn path(&self, name: &str) -> String;
}

/// An open file. One writer at a time; reads may run beside it.
pub trait DiskFile {
    /// Reads from `offset` on until `buffer` is full or the file ends, and says how much it was.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all of `bytes`; the file grows if need be. Not durable before [`sync_data`](Self::sync_data).
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] without room; otherwise whatever the operating system says. How much has
    /// been written is then unknown.
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes all writes to the file durable that were made before the call, by any handle.
    ///
    /// # Errors
    /// Whatever the operating system says. What is durable is then unknown, and a second call may succeed
    /// without having written anything: the caller must not ask again.
    fn sync_data(&mut self) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Those of [`len`](Self::len).
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Makes the file at least `len` bytes long and takes the room for all of them; new bytes read as zeros.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] without room; otherwise whatever the operating system says.
    fn preallocate(&mut self, len: u64) -> io::Result<()>;
}

/// The whole content of a file.
pub(crate) fn read_all(file: &impl DiskFile) -> io::Result<Vec<u8>> {
    let len = file.len()?;
    let len = usize::try_from(len).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let mut bytes = vec![0; len];
    let read = file.read_at(0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}
