//! Snapshots: all that is replicated, as a stream of bytes.
//!
//! [`Machine::snapshot`] clones pointers only; another thread can then draw the bytes while the machine goes on, and
//! the machine copies the pages that it changes meanwhile. The stream does not depend on how it is cut: the log
//! stores and sends it in blocks of its own.
//!
//! ```text
//! stream  := magic:8 bytes  frame*
//! frame   := length:u32le  crc32c(payload):u32le  payload
//! payload := 0 version:varint state                               header, the first frame
//!          | 1 db page*                                           in order
//!          | 2 slots:varint                                       end, the last frame
//! state   := [rehearsed_at] applied stamp cluster_id:16 bytes le (0: none) calendar_offset_ms:signed
//!            fence version limits sessions scripts waiting requests
//!            client_sessions force_releases
//!            flushed*                                              for each database
//! page    := number removed slots:list                            in order of key; cut after 64 KiB, the rest comes
//!                                                                 first in the next frame, with the same head
//! slot    := key value deadline:option token version
//! ```
//!
//! The version is the state's active one: a snapshot is in the form that all members know. From version 2 on
//! `rehearsed_at` is there, and before it is not.
//!
//! Equal states have equal streams, which is what makes [`Machine::hash`] and the simulator's comparison work.

use std::hash::Hasher;
use std::ops::Bound;
use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use quorate_bug::{self as bug, Bug};
use siphasher::sip::SipHasher13;

use crate::client_session::ClientSessions;
use crate::cluster_version::ClusterVersion;
use crate::database::{Database, PAGES, Page, Slot, page_of};
use crate::error::Error;
use crate::force_release::ForceReleases;
use crate::identifiers::{FencingToken, Stamp, Version};
use crate::keyspace::DATABASES;
use crate::machine::Machine;
use crate::requests::Requests;
use crate::script_cache::ScriptCache;
use crate::session::Sessions;
use crate::settings::Limits;
use crate::state::State;
use crate::value::Value;
use crate::waiting::{Waiter, Waiting};
use crate::wire::{Decoder, Encoder};

const MAGIC: &[u8; 8] = b"QUORATE\x01";
const HEADER: u8 = 0;
const PAGES_OF: u8 = 1;
const END: u8 = 2;

/// Chunks are about this long: small enough to copy and checksum between two heartbeats.
const CHUNK_BYTES: usize = 64 << 10;

/// A frame holds at least one slot and begins none behind [`CHUNK_BYTES`], so that it can be as long as the longest key
/// and value together, of which a collection has 1 GiB at the most and a string 512 MiB; or as the sessions' retained
/// replies and the commands that wait. Beyond this a length is taken for damage.
const FRAME_BYTES_MAX: usize = 2 << 30;

const FRAME_HEAD_BYTES: usize = 8;

/// A copy-on-write view of a machine; draws its chunks lazily. Cheap to make, and can go to another thread.
#[derive(Clone, Debug)]
pub struct Snapshot {
    active: ClusterVersion,
    applied: u64,
    stamp: Stamp,
    /// All but the keys, until it was drawn.
    header: Option<Header>,
    /// Pages that were not drawn yet, last first.
    pages: Vec<Part>,
    slots: u64,
    ended: bool,
    /// Drawn bytes that no chunk has had yet.
    pending: Bytes,
}

/// A page and where it belongs.
#[derive(Clone, Debug)]
struct Part {
    db: usize,
    number: usize,
    page: Arc<Page>,
    /// The last key that was drawn, if any was.
    drawn: Option<Bytes>,
}

/// Everything that is not a key. Its replies and scripts share their memory with the machine's.
#[derive(Clone, Debug)]
struct Header {
    active: ClusterVersion,
    rehearsed_at: u64,
    applied: u64,
    stamp: Stamp,
    cluster_id: Option<u128>,
    calendar_offset_ms: i64,
    fence: FencingToken,
    version: Version,
    settings: Limits,
    sessions: Sessions,
    scripts: ScriptCache,
    waiters: Vec<Arc<Waiter>>,
    requests: Requests,
    client_sessions: ClientSessions,
    force_releases: ForceReleases,
    /// Of each database.
    flushed: Vec<Version>,
}

impl Snapshot {
    /// The last entry whose effects are in it.
    #[must_use]
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The active version, in which it is written.
    #[must_use]
    pub fn version(&self) -> ClusterVersion {
        self.active
    }

    /// That entry's stamp.
    #[must_use]
    pub fn stamp(&self) -> u64 {
        self.stamp.0
    }

    /// The next frame's payload.
    fn payload(&mut self) -> Option<Vec<u8>> {
        if let Some(header) = self.header.take() {
            return Some(header.encode());
        }
        if let Some(part) = self.pages.last() {
            let db = part.db;
            return Some(self.pages_of(db));
        }
        if self.ended {
            return None;
        }
        self.ended = true;
        let mut end = Encoder::default();
        end.u8(END);
        end.varint(self.slots);
        Some(end.0)
    }

    /// A frame of pages of one database. The last of them may be cut, and goes on with the next frame.
    fn pages_of(&mut self, db: usize) -> Vec<u8> {
        let mut to = Encoder(Vec::with_capacity(CHUNK_BYTES));
        let mut slots = Encoder::default();
        to.u8(PAGES_OF);
        to.count(db);
        while to.0.len() < CHUNK_BYTES
            && let Some(mut part) = self.pages.pop_if(|part| part.db == db)
        {
            let (count, has_more) = part.encode(&mut to, &mut slots);
            self.slots += count;
            if has_more {
                self.pages.push(part);
                break;
            }
        }
        to.0
    }
}

impl Iterator for Snapshot {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        while self.pending.is_empty() {
            let first = self.header.is_some();
            let payload = self.payload()?;
            let mut bytes = Vec::with_capacity(MAGIC.len() + FRAME_HEAD_BYTES + payload.len());
            if first {
                bytes.extend_from_slice(MAGIC);
            }
            let length =
                u32::try_from(payload.len()).expect("the limits of a value and of replies are below 4 GiB");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
            bytes.extend_from_slice(&payload);
            self.pending = Bytes::from(bytes);
        }
        Some(self.pending.split_to(self.pending.len().min(CHUNK_BYTES)))
    }
}

impl Machine {
    /// A view of the present state that later changes do not touch.
    ///
    /// # Panics
    /// If an entry is under way: a snapshot holds the effects of whole entries only.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        assert!(!self.is_applying(), "a snapshot is taken between two entries");
        let state = &self.state;
        let databases = state.keyspace.databases().iter().enumerate().rev();
        let pages = databases.flat_map(|(db, database)| {
            let pages = database.written_pages();
            let told = pages.filter(|(_, page)| !page.slots.is_empty() || page.removed != Version(0));
            told.map(move |(number, page)| Part { db, number, page: Arc::clone(page), drawn: None })
        });
        Snapshot {
            active: state.active,
            applied: state.applied,
            stamp: state.stamp,
            header: Some(Header::of(state)),
            pages: pages.collect(),
            slots: 0,
            ended: false,
            pending: Bytes::new(),
        }
    }

    /// The machine that a snapshot was taken of. Chunks may be cut anywhere.
    ///
    /// # Errors
    /// [`Error::Newer`], [`Error::Checksum`] or [`Error::Malformed`]: there is no machine in these bytes.
    pub fn restore(chunks: impl IntoIterator<Item = Bytes>) -> Result<Self, Error> {
        Self::restore_up_to(chunks, ClusterVersion::NEWEST)
    }

    /// The same by a build that knows versions up to `known`.
    ///
    /// # Errors
    /// Those of [`Machine::restore`].
    pub fn restore_up_to(
        chunks: impl IntoIterator<Item = Bytes>,
        known: ClusterVersion,
    ) -> Result<Self, Error> {
        let mut frames = Frames { chunks: chunks.into_iter(), buffer: BytesMut::new() };
        if frames.take(MAGIC.len())? != MAGIC[..] {
            return Err(Error::Malformed("snapshot's first bytes"));
        }
        let mut frame = frames.next_frame()?;
        let mut state = Header::decode(&mut frame, known)?.into_state();
        frame.finish()?;
        let (mut slots, mut place) = (0, Place::default());
        loop {
            let mut frame = frames.next_frame()?;
            match frame.u8()? {
                PAGES_OF => slots += place.decode_pages(&mut frame, &mut state)?,
                END if frame.varint()? == slots => {
                    frame.finish()?;
                    frames.finish()?;
                    state.keyspace.advance(state.stamp);
                    state.keyspace.end_unknown_client_sessions();
                    state.keyspace.settle_all(state.stamp);
                    if bug::on(Bug::TokenReset) {
                        state.keyspace.fence = FencingToken(1);
                    }
                    return Ok(Self::from_state(state).of_build(known));
                }
                _ => return Err(frame.malformed()),
            }
        }
    }

    /// A fingerprint of the whole replicated state: equal states have equal ones. Takes time in proportion to the
    /// data.
    ///
    /// # Panics
    /// If an entry is under way, as [`Machine::snapshot`] does.
    #[must_use]
    pub fn hash(&self) -> u64 {
        let mut hasher = SipHasher13::new();
        let mut snapshot = self.snapshot();
        while let Some(payload) = snapshot.payload() {
            hasher.write_u64(payload.len() as u64);
            hasher.write(&payload);
        }
        hasher.finish()
    }
}

impl Header {
    fn of(state: &State) -> Self {
        Self {
            active: state.active,
            rehearsed_at: state.rehearsed_at,
            applied: state.applied,
            stamp: state.stamp,
            cluster_id: state.cluster_id,
            calendar_offset_ms: state.calendar_offset_ms,
            fence: state.keyspace.fence,
            version: state.keyspace.version,
            settings: state.settings.clone(),
            sessions: state.sessions.clone(),
            scripts: state.scripts.clone(),
            waiters: state.keyspace.waiting.waiters(),
            requests: state.requests.clone(),
            client_sessions: state.keyspace.client_sessions.clone(),
            force_releases: state.force_releases.clone(),
            flushed: state.keyspace.databases().iter().map(Database::flushed).collect(),
        }
    }

    /// The state without its keys.
    fn into_state(self) -> State {
        let mut state = State::new(self.settings);
        state.active = self.active;
        state.rehearsed_at = self.rehearsed_at;
        state.applied = self.applied;
        state.stamp = self.stamp;
        state.cluster_id = self.cluster_id;
        state.calendar_offset_ms = self.calendar_offset_ms;
        state.keyspace.fence = self.fence;
        state.keyspace.version = self.version;
        state.sessions = if bug::on(Bug::SessionlessSnapshot) { Sessions::default() } else { self.sessions };
        state.scripts = self.scripts;
        state.keyspace.waiting = Waiting::of(self.waiters);
        state.requests = self.requests;
        state.keyspace.client_sessions = self.client_sessions;
        state.force_releases = self.force_releases;
        for (db, flushed) in self.flushed.into_iter().enumerate() {
            state.keyspace.restoring(db).restore_flushed(flushed);
        }
        state
    }

    fn encode(&self) -> Vec<u8> {
        let mut to = Encoder::default();
        to.u8(HEADER);
        to.varint(u64::from(self.active.0));
        if self.active >= ClusterVersion::REHEARSED {
            to.varint(self.rehearsed_at);
        }
        to.varint(self.applied);
        to.varint(self.stamp.0);
        to.fixed(&self.cluster_id.unwrap_or(0).to_le_bytes());
        to.signed(self.calendar_offset_ms);
        to.varint(self.fence.0);
        to.varint(self.version.0);
        self.settings.encode(&mut to);
        self.sessions.encode(&mut to);
        self.scripts.encode(&mut to);
        Waiting::encode(&self.waiters, &mut to);
        self.requests.encode(&mut to);
        self.client_sessions.encode(&mut to);
        self.force_releases.encode(&mut to);
        self.flushed.iter().for_each(|version| to.varint(version.0));
        to.0
    }

    fn decode(from: &mut Decoder, known: ClusterVersion) -> Result<Self, Error> {
        if from.u8()? != HEADER {
            return Err(from.malformed());
        }
        let active = ClusterVersion(u16::try_from(from.varint()?).unwrap_or(u16::MAX));
        if active > known {
            return Err(Error::Newer { found: active, known });
        }
        if active < ClusterVersion::OLDEST {
            return Err(from.malformed());
        }
        // The fields of a literal are read in the order in which they are written here.
        Ok(Self {
            active,
            rehearsed_at: if active >= ClusterVersion::REHEARSED { from.varint()? } else { 0 },
            applied: from.varint()?,
            stamp: Stamp(from.varint()?),
            cluster_id: Some(u128::from_le_bytes(from.array()?)).filter(|id| *id != 0),
            calendar_offset_ms: from.signed()?,
            fence: FencingToken(from.varint()?),
            version: Version(from.varint()?),
            settings: Limits::decode(from)?,
            sessions: Sessions::decode(from)?,
            scripts: ScriptCache::decode(from)?,
            waiters: Waiting::decode(from)?,
            requests: Requests::decode(from)?,
            client_sessions: ClientSessions::decode(from)?,
            force_releases: ForceReleases::decode(from)?,
            flushed: (0..DATABASES).map(|_| from.varint().map(Version)).collect::<Result<_, _>>()?,
        })
    }
}

impl Part {
    /// What was not drawn yet.
    fn left(&self) -> impl Iterator<Item = (&Bytes, &Slot)> {
        let from = self.drawn.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.page.slots.range::<Bytes, _>((from, Bound::Unbounded))
    }

    /// Draws slots up to the frame's length. Returns how many, and whether more are left. `slots` is room for them until
    /// their number is known.
    fn encode(&mut self, to: &mut Encoder, slots: &mut Encoder) -> (u64, bool) {
        let (mut count, mut drawn, mut has_more) = (0, None, false);
        slots.0.clear();
        for (key, slot) in self.left() {
            if to.0.len() + slots.0.len() >= CHUNK_BYTES {
                has_more = true;
                break;
            }
            slots.bytes(key);
            slot.value.encode(slots);
            slots.option(slot.deadline.map(|deadline| deadline.0));
            slots.varint(slot.token.0);
            slots.varint(slot.version.0);
            count += 1;
            drawn = Some(key);
        }
        self.drawn = if has_more { drawn.cloned() } else { None };
        to.count(self.number);
        to.varint(self.page.removed.0);
        to.count(count);
        to.fixed(&slots.0);
        (count as u64, has_more)
    }
}

/// How far the slots of a snapshot have been put back: they come in order of database, page and key.
#[derive(Default)]
struct Place {
    db: usize,
    /// The last page and what was removed from it. `None` before the first page of a database.
    page: Option<(usize, Version)>,
    /// The last key of that page.
    key: Option<Bytes>,
}

impl Place {
    /// Puts a frame's pages into the keyspace. Returns how many slots there were.
    fn decode_pages(&mut self, from: &mut Decoder, state: &mut State) -> Result<u64, Error> {
        let db = usize::try_from(from.varint()?).unwrap_or(usize::MAX);
        if db >= DATABASES || db < self.db {
            return Err(from.malformed());
        }
        if db > self.db {
            *self = Self { db, ..Self::default() };
        }
        let (mut slots, mut is_first) = (0, true);
        while !from.is_empty() {
            slots += self.decode_page(from, state, is_first)?;
            is_first = false;
        }
        Ok(slots)
    }

    /// Only the first page of a frame can go on with the one before it.
    fn decode_page(&mut self, from: &mut Decoder, state: &mut State, is_first: bool) -> Result<u64, Error> {
        let (fence, version) = (state.keyspace.fence, state.keyspace.version);
        let number = usize::try_from(from.varint()?).unwrap_or(usize::MAX);
        let removed = Version(from.varint()?);
        let count = from.count()?;
        let last = self.key.take();
        let goes_on = is_first && count > 0 && last.is_some() && self.page == Some((number, removed));
        let is_next = self.page.is_none_or(|(before, _)| before < number);
        if number >= PAGES || removed > version || !(goes_on || is_next) {
            return Err(from.malformed());
        }
        self.page = Some((number, removed));
        self.key = last.filter(|_| goes_on);
        let database = state.keyspace.restoring(self.db);
        database.restore_removed(number, removed);
        for _ in 0..count {
            let (key, slot) = decode_slot(from)?;
            let possible = page_of(&key) == number && slot.token <= fence && slot.version <= version;
            if !possible || self.key.as_ref().is_some_and(|last| *last >= key) {
                return Err(from.malformed());
            }
            let present = database.put(&key, slot);
            assert!(present.is_none(), "keys in ascending order are different");
            self.key = Some(key);
        }
        Ok(count as u64)
    }
}

fn decode_slot(from: &mut Decoder) -> Result<(Bytes, Slot), Error> {
    let key = from.bytes()?;
    let value = Value::decode(from)?;
    let deadline = from.option()?.map(Stamp);
    let (token, version) = (FencingToken(from.varint()?), Version(from.varint()?));
    let slot = Slot { value, deadline, token, version };
    let is_possible = match &slot.value {
        Value::Semaphore(semaphore) => {
            semaphore.last_token() <= Some(token) && semaphore.deadline() == deadline
        }
        Value::Lock(lock) => lock.fits(deadline),
        _ => true,
    };
    if !is_possible {
        return Err(from.malformed());
    }
    Ok((key, slot))
}

/// Finds frames in chunks that were cut anywhere.
struct Frames<I> {
    chunks: I,
    buffer: BytesMut,
}

impl<I: Iterator<Item = Bytes>> Frames<I> {
    fn take(&mut self, length: usize) -> Result<Bytes, Error> {
        while self.buffer.len() < length {
            let chunk = self.chunks.next().ok_or(Error::Malformed("snapshot: it ends early"))?;
            self.buffer.extend_from_slice(&chunk);
        }
        Ok(self.buffer.split_to(length).freeze())
    }

    fn next_frame(&mut self) -> Result<Decoder, Error> {
        let mut head = self.take(FRAME_HEAD_BYTES)?;
        let (length, checksum) = (head.get_u32_le() as usize, head.get_u32_le());
        if length > FRAME_BYTES_MAX {
            return Err(Error::Malformed("snapshot's frame length"));
        }
        let payload = self.take(length)?;
        if crc32c::crc32c(&payload) != checksum {
            return Err(Error::Checksum("snapshot"));
        }
        Ok(Decoder::new(payload, "snapshot"))
    }

    fn finish(&mut self) -> Result<(), Error> {
        let rest = self.chunks.by_ref().map(|chunk| chunk.len()).sum::<usize>() + self.buffer.len();
        if rest == 0 { Ok(()) } else { Err(Error::Malformed("snapshot: it goes on after its end")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Batch, Group, Operation};
    use crate::identifiers::SessionId;
    use crate::value::{Grant, Held, Holder, Lock, Purpose, Semaphore};

    /// One key with a deadline, one session with a retained reply, one script.
    fn sample() -> Machine {
        let session = SessionId { node: 3, incarnation: 200 };
        let args = ["SET", "k", "v", "PX", "5"].map(|word| Bytes::from_static(word.as_bytes())).to_vec();
        let wait = ["BLPOP", "q", "1"].map(|word| Bytes::from_static(word.as_bytes())).to_vec();
        let group = |first_sequence, operation| Group {
            session,
            stream: 0,
            acked: 0,
            first_sequence,
            operations: vec![operation],
        };
        let groups = vec![
            group(0, Operation::Birth { cluster_id: 0x0102, fence_base: 9, calendar_ms: 1000 }),
            group(0, Operation::OpenSession),
            group(1, Operation::Command { db: 2, user: 0, args }),
            group(2, Operation::Command { db: 5, user: 0, args: wait }),
        ];
        // The default that version 1 had first: the bytes are those of that time.
        let limits =
            Limits { script_steps_max: 10_000_000, script_memory_bytes_max: 64 << 20, ..Limits::default() };
        let mut machine = Machine::new(limits);
        let payload = Batch { version: ClusterVersion::FIRST, groups }.encode();
        machine.apply(1, 1000, Some(&payload)).expect("a well-formed entry");
        let limits = machine.state.settings.clone();
        machine.state.scripts.load(b"return 1", &limits);
        machine
    }

    #[test]
    fn the_bytes_of_version_1_stay_as_they_are() {
        let golden = concat!(
            "51554f5241544501", // magic
            "be000000",
            "78cec698",
            "00",
            "01", // header frame: length, checksum, kind, machine version
            "01",
            "e807",
            "02010000000000000000000000000000",
            "00", // applied, stamp, cluster, calendar offset
            "0a",
            "01", // fence, version
            "10",
            "8080808004",
            "80808008",
            "80ade204",
            "80808020",
            "8008", // settings
            "80808008",
            "8008",
            "808004",
            "80808010",
            "8008",
            "8080808001",
            "80808020",
            "00",
            "808004",
            "c0cf24",
            "808004", // settings
            "01",
            "03",
            "c801",
            "02",
            "01",
            "02",
            "0102024f4b",
            "00", // sessions: node, incarnation, last, used, replies
            "01",
            "01",
            "65306531663966616266633964343830306338373761373033623832336163303537386666386462",
            "01",
            "0872657475726e2031", // scripts: uses, count, name, used, body
            "01",
            "03",
            "c801",
            "02",
            "05",
            "03",
            "05424c504f50",
            "0171",
            "0131",
            "00",
            "01",
            "0171",
            "01d00f",
            "00",
            "00",
            "00",
            "00", // waiting: session, sequence, database, command, kind, keys, deadline, not shared, no client's session, no owner, no request
            "00", // requests
            "00", // client sessions
            "00", // force-releases
            "00000000000000000000000000000000", // what each database has flushed
            "10000000",
            "daa59327",
            "01",
            "02", // pages frame, database
            "a771",
            "00",
            "01", // page, removed, slots
            "016b",
            "000176",
            "01ed07",
            "0a",
            "01", // key, value, deadline, token, version
            "02000000",
            "3fc44f24",
            "02",
            "01", // end frame, slots
        );
        let hex: String = sample().snapshot().flatten().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
    }

    /// The time of what is shared is that of the last who has a share. Another one would let the key expire early, or never.
    #[test]
    fn what_is_shared_has_the_time_of_its_last_share() {
        let holder = Holder::Owner("me".into());
        let held = Held::shared_by(&holder, Some(Stamp(2000)));
        let lock = Lock { purpose: Purpose::Exclusion, held, delay_ms: 0, value: None };
        let mut semaphore = Semaphore::new(1);
        semaphore.put(FencingToken(1), Grant { holder, permits: 1, until: Some(Stamp(2000)) });
        for value in [Value::Lock(Box::new(lock)), Value::Semaphore(Box::new(semaphore))] {
            for (deadline, is_possible) in [(Some(2000), true), (Some(2001), false), (None, false)] {
                let mut machine = sample();
                machine.state.keyspace.create(0, b"shared", value.clone(), deadline.map(Stamp));
                assert_eq!(
                    Machine::restore(machine.snapshot()).is_ok(),
                    is_possible,
                    "{value:?} {deadline:?}"
                );
            }
        }
    }

    #[test]
    fn machines_and_snapshots_can_go_to_another_thread() {
        fn goes_to_another_thread<T: Send + 'static>(_: T) {}
        goes_to_another_thread(sample().snapshot());
        goes_to_another_thread(sample());
    }

    #[test]
    fn a_newer_snapshot_is_told_from_a_damaged_one() {
        let newer = ClusterVersion(ClusterVersion::NEWEST.0 + 1);
        let payload = [HEADER, u8::try_from(newer.0).unwrap()];
        let mut stream = MAGIC.to_vec();
        stream.extend_from_slice(&2u32.to_le_bytes());
        stream.extend_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
        stream.extend_from_slice(&payload);
        let newer = Error::Newer { found: newer, known: ClusterVersion::NEWEST };
        assert_eq!(Machine::restore([Bytes::from(stream)]).err(), Some(newer));
    }

    #[test]
    fn a_large_value_is_drawn_in_chunks() {
        let mut machine = sample();
        let value = Value::String(Bytes::from(vec![7; 1 << 20]));
        machine.state.keyspace.write(0, b"large", value, None, Stamp(0));
        let chunks: Vec<Bytes> = machine.snapshot().collect();
        assert!(chunks.len() > 16 && chunks.iter().all(|chunk| chunk.len() <= CHUNK_BYTES));
        assert_eq!(Machine::restore(chunks).map(|machine| machine.hash()), Ok(machine.hash()));
    }

    /// Keys that live in one page.
    fn neighbours(count: usize) -> Vec<String> {
        let page = page_of(b"0");
        (0..).map(|n: u64| n.to_string()).filter(|key| page_of(key.as_bytes()) == page).take(count).collect()
    }

    /// A page was drawn whole. Some collections of the largest size in one page made a frame that no node would restore,
    /// and a few more made the leader fail.
    #[test]
    fn a_page_of_large_values_is_cut_between_them() {
        let mut machine = sample();
        for key in neighbours(5) {
            let value = Value::String(Bytes::from(vec![7; CHUNK_BYTES / 2 + 1]));
            machine.state.keyspace.write(0, key.as_bytes(), value, None, Stamp(0));
        }
        let mut snapshot = machine.snapshot();
        let payloads: Vec<usize> =
            std::iter::from_fn(|| snapshot.payload()).map(|frame| frame.len()).collect();
        assert_eq!(payloads.len(), 6, "the header, two slots, two, one, the other database, the end");
        assert!(payloads.iter().all(|payload| *payload < CHUNK_BYTES * 3 / 2), "{payloads:?}");
        assert_eq!(Machine::restore(machine.snapshot()).map(|machine| machine.hash()), Ok(machine.hash()));
    }

    #[test]
    fn pages_and_keys_out_of_order_are_refused() {
        let keys = neighbours(3);
        let number = page_of(keys[0].as_bytes());
        let mut sorted: Vec<&str> = keys.iter().map(|key| &key[..]).collect();
        sorted.sort_unstable();
        let page = |number: usize, removed: u64, keys: &[&str]| {
            let mut to = Encoder::default();
            to.count(number);
            to.varint(removed);
            to.count(keys.len());
            for key in keys {
                to.bytes(key.as_bytes());
                Value::String(Bytes::new()).encode(&mut to);
                to.option(None);
                to.varint(1);
                to.varint(1);
            }
            to.0
        };
        // Each is a frame's pages, of database 0.
        let is_restored = |frames: &[Vec<u8>]| {
            let mut state = sample().state;
            let mut place = Place::default();
            let mut decode = |pages: &Vec<u8>| {
                let payload = [&[0], &pages[..]].concat();
                place.decode_pages(&mut Decoder::new(Bytes::from(payload), "snapshot"), &mut state)
            };
            frames.iter().all(|pages| decode(pages).is_ok())
        };
        let (one, two) = (page(number, 1, &sorted[..1]), page(number, 1, &sorted[1..]));
        assert!(is_restored(&[page(number, 1, &sorted)]), "whole");
        assert!(is_restored(&[one.clone(), two.clone()]), "cut");
        assert!(!is_restored(&[[&one[..], &two[..]].concat()]), "cut within a frame");
        assert!(!is_restored(&[two, one.clone()]), "keys descend");
        assert!(!is_restored(&[one.clone(), one.clone()]), "a key comes twice");
        assert!(!is_restored(&[page(number, 1, &[sorted[1], sorted[0]])]), "keys descend within a page");
        assert!(!is_restored(&[one.clone(), page(number, 0, &sorted[1..])]), "another head");
        assert!(!is_restored(&[one.clone(), page(number, 1, &[])]), "nothing goes on");
        assert!(!is_restored(&[one.clone(), page(number - 1, 1, &[])]), "pages descend");
        assert!(is_restored(&[one, page(number + 1, 1, &[])]), "pages ascend");
    }
}
