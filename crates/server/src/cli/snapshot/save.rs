//! `quorate snapshot save`: a backup of a running cluster.
//!
//! The file is written aside, in the same folder, and every checksum is verified on the way; only a whole and durable
//! backup gets the file's name. So whatever happens, FILE is a good backup or not there.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use quorate_log::BackupReader;
use tempfile::NamedTempFile;

use super::{EXIT_HELP, download::Download};
use crate::{
    cli::{
        Exit,
        address::Servers,
        problem::{Problem, failed, told},
        progress::{Progress, size},
    },
    config::Address,
};

const EXAMPLES: &str = "\
Examples:
  quorate snapshot save quorate.backup
  quorate snapshot save /backups/$(date +%F).backup --addr 10.0.0.1:7379,10.0.0.2:7379
  quorate snapshot save - | gpg --encrypt -r ops > quorate.backup.gpg

All that was acknowledged before the command began is in it, whichever node is asked; the first
that answers is. The cluster goes on meanwhile. `-` is standard output.";

/// The flags of `snapshot save`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = format!("{EXAMPLES}\n{EXIT_HELP}"))]
pub(super) struct Args {
    /// Where to save it
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    servers: Servers,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args) -> Exit {
    told("snapshot save", save(args))
}

fn save(args: &Args) -> Result<(), Problem> {
    let to_stdout = args.file.as_os_str() == "-";
    if !to_stdout && !args.force && args.file.try_exists().unwrap_or(true) {
        return Err(exists(&args.file));
    }
    let (address, download) = begin(&args.servers.addresses)?;
    let (node_id, begin) = (download.node_id, Instant::now());
    let saved = if to_stdout {
        copy(download, &mut io::stdout().lock(), Path::new("standard output"))?
    } else {
        save_file(download, &args.file, args.force)?
    };
    eprintln!(
        "saved {} of cluster {}, up to entry {}, from node {node_id} ({address}) in {:.1} s",
        size(saved.bytes),
        saved.cluster_id,
        saved.index,
        begin.elapsed().as_secs_f64()
    );
    Ok(())
}

fn exists(file: &Path) -> Problem {
    Problem::Failed(format!("{} is there already: choose another name, or --force", file.display()))
}

/// The first node that gives a backup.
fn begin(addresses: &[Address]) -> Result<(&Address, Download), Problem> {
    for address in addresses {
        match Download::begin(address) {
            Ok(download) => return Ok((address, download)),
            Err(error) => eprintln!("quorate snapshot save: {address}: {error}"),
        }
    }
    Err(Problem::Failed("no node gave a backup: --addr or QUORATE_ADDR say where to look".to_owned()))
}

/// What was saved.
struct Saved {
    cluster_id: String,
    index: u64,
    bytes: u64,
}

fn save_file(download: Download, path: &Path, force: bool) -> Result<Saved, Problem> {
    let failed = failed(path);
    let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
    let mut prefix = path.file_name().unwrap_or_default().to_owned();
    prefix.push(".");
    let aside: NamedTempFile =
        tempfile::Builder::new().prefix(&prefix).suffix(".partial").tempfile_in(folder).map_err(&failed)?;
    let saved = copy(download, &mut Steady { file: aside.as_file(), unsynced: 0 }, path)?;
    aside.as_file().sync_all().map_err(&failed)?;
    let named = if force { aside.persist(path) } else { aside.persist_noclobber(path) };
    match named {
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => return Err(exists(path)),
        named => named.map_err(|error| failed(error.error))?,
    };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(saved)
}

/// A file that is synced bit by bit: one long sync at its end would hold up everything else on its disk, and that may be
/// the disk of a node.
struct Steady<'a> {
    file: &'a File,
    unsynced: usize,
}

/// What is written between two syncs.
const SYNC_EVERY_BYTES: usize = 4 << 20;

impl Write for Steady<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.unsynced += written;
        if self.unsynced >= SYNC_EVERY_BYTES {
            self.file.sync_data()?;
            self.unsynced = 0;
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// Writes the backup to `to`, which is called `name`, while it is verified. Until this has succeeded, what was written is
/// worth nothing.
fn copy(download: Download, to: &mut impl Write, name: &Path) -> Result<Saved, Problem> {
    let mut copying = Copying { from: download.body, to, refused: None };
    let saved = verify(&mut copying);
    match copying.refused {
        Some(error) => Err(failed(name)(error)),
        None => saved,
    }
}

/// Reads a backup to its end.
fn verify(from: impl Read) -> Result<Saved, Problem> {
    let mut progress = Progress::new("saving", None);
    let mut reader = BackupReader::open(from, "what the node has sent")?;
    while let Some(block) = reader.next() {
        block?;
        progress.at(reader.position());
    }
    Ok(Saved {
        cluster_id: format!("{:032x}", reader.label().cluster_id),
        index: reader.header().index,
        bytes: reader.position(),
    })
}

/// Passes on what is read through it.
struct Copying<R, W> {
    from: R,
    to: W,
    /// Why it could not be passed on.
    refused: Option<io::Error>,
}

impl<R: Read, W: Write> Read for Copying<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.from.read(buffer)?;
        let written = if read == 0 { self.to.flush() } else { self.to.write_all(&buffer[..read]) };
        match written {
            Ok(()) => Ok(read),
            Err(error) => {
                let kind = error.kind();
                self.refused = Some(error);
                Err(kind.into())
            }
        }
    }
}
