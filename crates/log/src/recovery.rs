//! Reading the log back, and deciding what a bad record means.
//!
//! Records are valid in a chain from the oldest segment on. Where the chain ends there are three cases:
//!
//! * all zeros behind it: the log ends here;
//! * anything else, and a durable mark says that this place was durable once: corruption, and an error;
//! * anything else, and no mark says so: a power cut has left a subset of the writes that were never synced.
//!   All of it is zeroed, durably, before anything new is written.
//!
//! Marks are looked for behind the bad place, too, since each batch that was written after a sync carries one. The slots
//! have one as well: of a segment that is missing, or all zeros, nothing else is left to say that it was there.
//!
//! Finally what lies above the greatest mark is written once more and synced. It may have survived in the page
//! cache alone, of a process that was killed or whose fdatasync failed, and is about to be promised.

use quorate_bug::{self as bug, Bug};

use crate::{
    Disk, DiskFile, Error, LogEntry,
    contents::Contents,
    disk::read_all,
    error::About,
    record::{self, Decoded, Record},
    reserve,
    segment::{self, HEADER_BYTES, Header},
    tail::Tail,
};

/// What the segments hold.
pub(crate) struct Recovery<F> {
    pub(crate) contents: Contents,
    /// The entries that are alive, contiguous.
    pub(crate) entries: Vec<LogEntry>,
    pub(crate) tail: Tail<F>,
    /// The greatest durable mark in the log.
    pub(crate) mark: u64,
    /// Whether the log is empty, or ends in a mark of all before it.
    pub(crate) ends_in_mark: bool,
    /// What was cut, in words.
    pub(crate) cut: Option<String>,
    /// The segments after the newest one, all zeros.
    pub(crate) unused: Vec<u64>,
}

/// A segment's bytes in memory. Missing bytes of a file that is too short read as zeros.
struct Image {
    number: u64,
    bytes: Vec<u8>,
    header: Option<Header>,
}

impl Image {
    fn load(disk: &impl Disk, number: u64) -> Result<Self, Error> {
        let name = segment::name(number);
        let file = disk.open(&name).about(disk, &name, "open")?;
        let mut bytes = read_all(&file).about(disk, &name, "read")?;
        let header = Header::decode(&bytes, &disk.path(&name))?.filter(|header| header.number == number);
        if let Some(header) = &header {
            let whole = usize::try_from(header.bytes).unwrap_or(usize::MAX).min(1 << 30);
            bytes.resize(bytes.len().max(whole), 0);
        }
        Ok(Self { number, bytes, header })
    }

    fn from(&self, offset: u64) -> &[u8] {
        usize::try_from(offset).ok().and_then(|offset| self.bytes.get(offset..)).unwrap_or_default()
    }
}

/// Where the records of one segment begin and end.
struct Extent {
    header: Header,
    end: u64,
}

/// The chain of valid records, as far as it has been followed.
struct Scan {
    contents: Contents,
    entries: Vec<LogEntry>,
    mark: u64,
    /// The end of the last mark that covers all before itself; at first the beginning.
    mark_end: u64,
    position: u64,
    chain: u32,
    extents: Vec<Extent>,
}

impl Scan {
    fn new(header: &Header) -> Self {
        Self {
            contents: Contents::starting_at(header),
            entries: Vec::new(),
            mark: header.durable,
            mark_end: header.first_position,
            position: header.first_position,
            chain: header.chain,
            extents: vec![Extent { header: header.clone(), end: header.first_position }],
        }
    }

    fn newest(&self) -> &Extent {
        self.extents.last().expect("a scan begins with a segment")
    }

    /// Where in the newest segment's file the chain ends.
    fn offset(&self) -> u64 {
        self.newest().header.offset_of(self.position)
    }

    /// Whether `header` belongs to the segment that goes on where the chain ends.
    fn goes_on_in(&self, header: &Header) -> bool {
        header.first_position == self.position && header.chain == self.chain
    }

    /// Segment `number` with its header, if the chain goes on in it.
    fn next_segment(&self, disk: &impl Disk, number: u64) -> Result<Option<(Image, Header)>, Error> {
        let next = Image::load(disk, number)?;
        let header = next.header.clone().filter(|header| self.goes_on_in(header));
        Ok(header.map(|header| (next, header)))
    }

    fn enter(&mut self, header: &Header) {
        self.mark = self.mark.max(header.durable);
        self.contents.begin_segment(header);
        self.extents.push(Extent { header: header.clone(), end: header.first_position });
    }

    /// Follows the chain to its end in this segment.
    fn follow(&mut self, image: &Image, path: &str) -> Result<(), Error> {
        while let Some(decoded) = record::decode(image.from(self.offset()), self.position, self.chain) {
            let offset = self.offset();
            self.take(decoded).map_err(|detail| Error::Corrupt { file: path.to_owned(), offset, detail })?;
        }
        Ok(())
    }

    fn take(&mut self, Decoded { record, crc, bytes }: Decoded) -> Result<(), String> {
        self.contents.apply(&record)?;
        let begin = self.position;
        self.position += bytes as u64;
        self.chain = crc;
        self.extents.last_mut().expect("a scan begins with a segment").end = self.position;
        match record {
            Record::Mark { durable, .. } => {
                self.mark = self.mark.max(durable);
                if durable == begin {
                    self.mark_end = self.position;
                }
            }
            Record::Entry(entry) => self.entries.push(entry),
            Record::Truncate { from } => {
                let kept = self.entries.partition_point(|entry| entry.index < from);
                self.entries.truncate(kept);
            }
            Record::Reset { .. } => self.entries.clear(),
            Record::HardState(_) => {}
        }
        Ok(())
    }
}

/// What lies behind the end of the chain.
struct Rest {
    /// Whether anything but zeros.
    damaged: bool,
    /// The greatest durable mark in it.
    mark: u64,
    /// Bytes that are not zero.
    bytes: u64,
    /// Which file is to blame, and where.
    file: String,
    offset: u64,
}

impl Rest {
    /// Looks at the rest of `current` and at all of the segments `later`.
    fn find(disk: &impl Disk, scan: &Scan, current: &Image, later: &[u64]) -> Result<Self, Error> {
        let offset = scan.offset();
        let rest = current.from(offset);
        let mut this = Self {
            damaged: false,
            mark: record::greatest_mark(rest, scan.position).unwrap_or(0),
            bytes: count_non_zero(rest),
            file: disk.path(&segment::name(current.number)),
            offset,
        };
        let current_is_zero = this.bytes == 0;
        for (place, &number) in later.iter().enumerate() {
            let image = Image::load(disk, number)?;
            let durable = image.header.as_ref().map_or(0, |header| header.durable);
            let first = image.header.as_ref().map_or(scan.position, |header| header.first_position);
            let mark = record::greatest_mark(image.from(HEADER_BYTES), first).unwrap_or(0);
            this.mark = this.mark.max(durable).max(mark);
            this.bytes += count_non_zero(&image.bytes);
            // The chain ended in order and the next segment's head is unreadable: the damage is there.
            if place == 0 && current_is_zero && image.header.is_none() {
                this.file = disk.path(&segment::name(number));
                this.offset = 0;
            }
        }
        this.damaged = this.bytes > 0;
        Ok(this)
    }

    /// What is there, of a log that is not corrupt.
    fn unsynced(&self) -> String {
        let Self { bytes, file, offset, .. } = self;
        format!("{bytes} bytes that were written and never synced, from {file} at byte {offset} on")
    }

    /// The error of a log whose chain ends at `position`, and which was durable up to `mark`, behind that.
    fn corruption(self, position: u64, mark: u64) -> Error {
        let detail = match self.damaged {
            true => {
                format!("the record at log position {position} is unreadable, and was durable up to {mark}")
            }
            false => format!(
                "the log ends at position {position}, and was durable up to {mark}: what followed is missing, or has \
                 become zeros"
            ),
        };
        Error::Corrupt { file: self.file, offset: self.offset, detail }
    }
}

fn count_non_zero(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte != 0).count() as u64
}

/// All segments, read to the end of the chain.
struct Reading {
    scan: Scan,
    rest: Rest,
    /// The segments behind the one in which the chain ends.
    later: Vec<u64>,
    /// The greatest durable mark in the log.
    mark: u64,
}

impl Reading {
    /// Reads all segments of the folder `names`. `owner` is the fingerprint of the folder's identity, and `promised` the
    /// durable mark of its slots.
    fn read(disk: &impl Disk, names: &[String], owner: u32, promised: u64) -> Result<Self, Error> {
        let numbers = segment_numbers(disk, names)?;
        let mut current = Image::load(disk, numbers[0])?;
        let mut scan = Scan::new(&oldest_header(disk, &current, owner)?);
        let mut later = &numbers[1..];
        loop {
            scan.follow(&current, &disk.path(&segment::name(current.number)))?;
            let Some((&number, others)) = later.split_first() else { break };
            let Some((next, header)) = scan.next_segment(disk, number)? else { break };
            scan.enter(&header);
            current = next;
            later = others;
        }
        let rest = Rest::find(disk, &scan, &current, later)?;
        let mark = scan.mark.max(rest.mark);
        let durable = mark.max(promised);
        if scan.position < durable && !bug::on(Bug::CutCorruption) {
            return Err(rest.corruption(scan.position, durable));
        }
        Ok(Self { scan, rest, later: later.to_vec(), mark })
    }
}

/// Reads all segments of the folder `names`, and cuts what was not synced. `owner` is the fingerprint of the
/// folder's identity, and `promised` the durable mark of its slots.
///
/// # Errors
/// [`Error::Corrupt`], [`Error::Refused`], [`Error::Newer`], and what the disk says.
pub(crate) fn recover<D: Disk>(
    disk: &D,
    names: &[String],
    owner: u32,
    promised: u64,
) -> Result<Recovery<D::File>, Error> {
    let Reading { scan, rest, later, mark } = Reading::read(disk, names, owner, promised)?;
    let cut = rest.damaged.then(|| format!("cut {}", rest.unsynced()));
    if rest.damaged {
        zero_rest(disk, &scan, &later)?;
    }
    confirm(disk, &scan, mark)?;
    let newest = &scan.newest().header;
    let name = segment::name(newest.number);
    let file = disk.open(&name).about(disk, &name, "open")?;
    Ok(Recovery {
        ends_in_mark: scan.mark_end == scan.position,
        tail: Tail::resume(file, newest, scan.position, scan.chain),
        contents: scan.contents,
        entries: scan.entries,
        mark,
        cut,
        unused: later,
    })
}

/// What [`recover`] would say and cut. Nothing is changed.
///
/// # Errors
/// Those of [`recover`].
pub(crate) fn check(
    disk: &impl Disk,
    names: &[String],
    owner: u32,
    promised: u64,
) -> Result<Option<String>, Error> {
    let Reading { rest, .. } = Reading::read(disk, names, owner, promised)?;
    Ok(rest.damaged.then(|| rest.unsynced()))
}

/// What of a damaged log is intact from its beginning on: the contents and the entries that are alive at the last
/// record before the first bad one; `None` if the log has no beginning. Nothing is changed.
///
/// # Errors
/// [`Error::Newer`], and what the disk says.
pub(crate) fn intact_beginning(
    disk: &impl Disk,
    names: &[String],
    owner: u32,
) -> Result<Option<(Contents, Vec<LogEntry>)>, Error> {
    let numbers = sorted_numbers(names);
    let Some((&first, mut later)) = numbers.split_first() else { return Ok(None) };
    let mut current = Image::load(disk, first)?;
    let Ok(header) = oldest_header(disk, &current, owner) else { return Ok(None) };
    let mut scan = Scan::new(&header);
    while scan.follow(&current, "").is_ok() {
        let Some((&number, others)) = later.split_first() else { break };
        let Some((next, header)) = scan.next_segment(disk, number)? else { break };
        scan.enter(&header);
        current = next;
        later = others;
    }
    Ok(Some((scan.contents, scan.entries)))
}

/// The numbers of the segments, ascending.
pub(crate) fn sorted_numbers(names: &[String]) -> Vec<u64> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::parse_name(name)).collect();
    numbers.sort_unstable();
    numbers
}

/// The numbers of the segments, ascending and without a gap.
fn segment_numbers(disk: &impl Disk, names: &[String]) -> Result<Vec<u64>, Error> {
    let numbers = sorted_numbers(names);
    let missing = match numbers.first() {
        None => Some(1),
        Some(_) => numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]).map(|pair| pair[0] + 1),
    };
    match missing {
        None => Ok(numbers),
        Some(number) => Err(Error::Corrupt {
            file: disk.path(&segment::name(number)),
            offset: 0,
            detail: "the segment is missing".to_owned(),
        }),
    }
}

/// The oldest segment was synced long ago, or when the folder was made: its header must be there.
fn oldest_header(disk: &impl Disk, image: &Image, owner: u32) -> Result<Header, Error> {
    let path = disk.path(&segment::name(image.number));
    match &image.header {
        None => Err(Error::Corrupt {
            file: path,
            offset: 0,
            detail: "the header of the oldest segment is unreadable".to_owned(),
        }),
        Some(header) if header.owner != owner => Err(Error::Refused {
            what: path,
            why: "was written by another node: choose the right data folder".to_owned(),
        }),
        Some(header) => Ok(header.clone()),
    }
}

/// Zeros what lies behind the chain, durably. A crash in between leaves the same end of the chain.
fn zero_rest(disk: &impl Disk, scan: &Scan, later: &[u64]) -> Result<(), Error> {
    for &number in later.iter().rev() {
        let name = segment::name(number);
        let mut file = disk.open(&name).about(disk, &name, "open")?;
        let bytes = file.len().about(disk, &name, "measure")?;
        reserve::zero(disk, &mut file, &name, 0, bytes)?;
    }
    let header = &scan.newest().header;
    let name = segment::name(header.number);
    let mut file = disk.open(&name).about(disk, &name, "open")?;
    reserve::zero(disk, &mut file, &name, scan.offset(), header.bytes)
}

/// Writes what no mark vouches for once more, and syncs it, together with the folder.
fn confirm(disk: &impl Disk, scan: &Scan, mark: u64) -> Result<(), Error> {
    for Extent { header, end } in scan.extents.iter().rev() {
        let name = segment::name(header.number);
        let mut file = disk.open(&name).about(disk, &name, "open")?;
        let from = header.offset_of(mark.clamp(header.first_position, *end));
        let mut bytes = vec![0; usize::try_from(header.offset_of(*end) - from).unwrap_or(usize::MAX)];
        file.read_at(from, &mut bytes).about(disk, &name, "read")?;
        file.write_at(from, &bytes).about(disk, &name, "write")?;
        file.write_at(0, &header.encode()).about(disk, &name, "write")?;
        file.sync_data().about(disk, &name, "sync")?;
        if header.first_position < mark {
            break;
        }
    }
    disk.sync_directory().about(disk, "", "sync")
}
