//! Commands that wait until there is something to take: BLPOP and its like, and LOCK ACQUIRE; or until all have come: BARRIER
//! AWAIT.
//!
//! A command that finds nothing takes a place in the queue of each of its keys, as part of its own log entry. Whatever
//! puts a collection at such a key wakes the queue, and those who wait are served behind the operation that did it, in
//! the same entry, in the order in which they came. Likewise whatever frees a key, time included, wakes those who wait for a
//! lock there: that is what they take. So every replica knows who waits, a new leader as well, and nobody
//! asks twice.
//!
//! Invariants:
//! * Between two entries nobody waits for a key that holds a collection of the kind that he waits for, a set of as many as he
//!   waits for, or for a lock that is free, or that he holds himself and may enter again; but for who waits for several locks, and those behind him.
//! * Who waits for several locks gets them once all are free and he is the first at each. Nobody waits for ever for somebody
//!   who waits for him: of all who wait, who came first is the first at each of his keys, and waits for time alone.
//! * Of each key that somebody waits for to be free it is known what ends without a command ([`Ends`]): a time, or a session.
//!   When that ends, whoever waits there is looked for, one key after another, so that no entry has more to do at once than
//!   another because of many who wait.
//! * Who waits is known by session and sequence, and waits once. So does a request that has a name ([`crate::requests`]): who
//!   asks it again takes its place over.
//! * What is waited with is bounded by the setting `quorate-waiting-bytes`.

mod encoding;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::RangeInclusive;
use std::sync::Arc;

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use crate::identifiers::{ClientSessionId, SessionId, Stamp};
use crate::keyspace::DATABASES;
use crate::reply::Reply;
use crate::requests::Request;
use crate::value::{Holder, Value};
use crate::weight;

/// What a command waits for at its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    List,
    SortedSet,
    /// That the key holds nothing, so that a lock can be taken there.
    Vacancy,
    /// That a set has so many members. Who waits takes nothing.
    Gathering,
}

impl Kind {
    /// The kind of a value, if anybody can wait to take of it: nobody waits for a lock, but for there to be none.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        match value {
            Value::List(_) => Some(Self::List),
            Value::SortedSet(_) => Some(Self::SortedSet),
            Value::String(_) | Value::Hash(_) | Value::Set(_) | Value::Lock(_) | Value::Semaphore(_) => None,
        }
    }

    /// What a command is answered that has got nothing.
    pub(crate) fn nothing(self) -> Reply {
        match self {
            Self::List | Self::SortedSet => Reply::NullArray,
            Self::Vacancy | Self::Gathering => Reply::Null,
        }
    }
}

/// What it wants of the lock, semaphore or set that it waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// All of it.
    Whole,
    /// To share a lock with others.
    Part,
    /// So many permits.
    Permits { count: u64 },
    /// That there are so many members.
    Members { count: u64 },
}

/// What a command that found nothing waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    pub(crate) kind: Kind,
    pub(crate) keys: Vec<Bytes>,
    /// It waits up to and including this; `None`: for ever.
    pub(crate) deadline: Option<Stamp>,
    /// Those of a greater one come before it at its keys. 0 for all but candidates.
    pub(crate) priority: u32,
    pub(crate) share: Share,
    /// For which session of a client, if for one: it gets nothing once that is gone.
    pub(crate) session: Option<ClientSessionId>,
    /// Who may enter a lock again that he holds, if it waits for one on his behalf.
    pub(crate) reentrant: Option<Holder>,
    /// What its client calls it, if it has a name.
    pub(crate) request: Option<Request>,
}

impl Wait {
    /// Whether it may share a lock with others.
    fn is_shared(&self) -> bool {
        self.share == Share::Part
    }

    /// Its place in the queue of each key.
    fn place(&self, ticket: Ticket) -> Place {
        let is_arrival_all = bug::on(Bug::FirstComeElected) && self.priority < u32::MAX;
        let rank = match self.share {
            // Who waits for the fewest can go first: he has the greatest rank.
            Share::Members { count } => u32::MAX - u32::try_from(count).unwrap_or(u32::MAX),
            Share::Whole | Share::Part | Share::Permits { .. } if is_arrival_all => 0,
            Share::Whole | Share::Part | Share::Permits { .. } => self.priority,
        };
        (self.kind, Reverse(rank), ticket)
    }
}

/// A command that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    /// On whose behalf.
    pub(crate) session: SessionId,
    /// The command's number in the session.
    pub(crate) sequence: u64,
    pub(crate) db: usize,
    pub(crate) args: Vec<Bytes>,
    pub(crate) wait: Wait,
}

impl Waiter {
    /// What it takes in memory, about: the same on every replica.
    fn bytes(&self) -> u64 {
        bytes_of(&self.args, &self.wait)
    }
}

fn bytes_of(args: &[Bytes], wait: &Wait) -> u64 {
    /// Of one place in one queue, of which the key's tables take most.
    const PLACE_BYTES: usize = 384;
    let places = wait.keys.iter().map(|key| PLACE_BYTES + key.len()).sum::<usize>();
    (weight::of_command(args) + places) as u64
}

/// Those who wait take as much as they may.
#[derive(Debug)]
pub(crate) struct Full;

impl Full {
    pub(crate) const TEXT: &str = "ERR too many commands wait (quorate-waiting-bytes)";
}

/// The order of arrival. Not part of the state: only which comes before which is.
pub(crate) type Ticket = u64;

/// A place in a queue: who has the greater rank comes first, his priority mostly, and of those of the same who came first.
type Place = (Kind, Reverse<u32>, Ticket);

/// The places of all who wait for a kind.
fn of_kind(kind: Kind) -> RangeInclusive<Place> {
    (kind, Reverse(u32::MAX), 0)..=(kind, Reverse(0), Ticket::MAX)
}

/// Those who wait for one key.
#[derive(Debug, Default)]
struct Queue {
    places: BTreeSet<Place>,
    /// Those of holders who may enter again, and whether they may share it.
    reentrant: BTreeSet<(Holder, bool, Ticket)>,
    /// How many of them wait for the key to be free.
    for_vacancy: usize,
    /// What may let them have it, as far as it is known to [`Waiting`].
    ends: Ends,
    is_woken: bool,
}

/// What ends without a command at a key, and may let somebody have it who waits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The last millisecond of the first time that ends.
    pub(crate) at: Option<Stamp>,
    /// The sessions that hold it.
    pub(crate) sessions: BTreeSet<ClientSessionId>,
}

/// All who wait.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiters: BTreeMap<Ticket, Arc<Waiter>>,
    by_sequence: BTreeMap<(SessionId, u64), Ticket>,
    by_request: BTreeMap<Bytes, Ticket>,
    /// Of each database.
    queues: Vec<BTreeMap<Bytes, Queue>>,
    /// The keys of each database that somebody waits for to be free.
    vacancies: Vec<BTreeSet<Bytes>>,
    /// Of these, those at which a time ends, and when.
    ends: BTreeSet<(Stamp, usize, Bytes)>,
    /// And those that sessions hold.
    held: BTreeMap<ClientSessionId, BTreeSet<(usize, Bytes)>>,
    /// Those of sessions that have ended, still to be woken. Empty between two entries.
    freed: VecDeque<BTreeSet<(usize, Bytes)>>,
    deadlines: BTreeSet<(Stamp, Ticket)>,
    next_ticket: Ticket,
    bytes: u64,
    /// Keys at which something has been put since, or that are free. Empty between two entries.
    woken: VecDeque<(usize, Bytes)>,
}

impl Default for Waiting {
    fn default() -> Self {
        Self {
            waiters: BTreeMap::new(),
            by_sequence: BTreeMap::new(),
            by_request: BTreeMap::new(),
            queues: std::iter::repeat_with(BTreeMap::new).take(DATABASES).collect(),
            vacancies: vec![BTreeSet::new(); DATABASES],
            ends: BTreeSet::new(),
            held: BTreeMap::new(),
            freed: VecDeque::new(),
            deadlines: BTreeSet::new(),
            next_ticket: 0,
            bytes: 0,
            woken: VecDeque::new(),
        }
    }
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.waiters.len()
    }

    /// What all who wait take in memory.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether a command without a name could wait, where all who do take no more than `bytes_max`.
    pub(crate) fn has_room(&self, args: &[Bytes], wait: &Wait, bytes_max: u64) -> bool {
        self.bytes.saturating_add(bytes_of(args, wait)) <= bytes_max
    }

    /// Takes the last place in the queues; or that of the command that asks the same request, which is answered and waits
    /// no longer. Not if it would make all who wait take more than `bytes_max`.
    pub(crate) fn add(&mut self, waiter: Waiter, bytes_max: u64) -> Result<Option<Arc<Waiter>>, Full> {
        let request = waiter.wait.request.as_ref();
        let place = request.and_then(|request| self.by_request.get(&request.id)).copied();
        let replaced = place.map_or(0, |ticket| self.waiters[&ticket].bytes());
        if (self.bytes - replaced).saturating_add(waiter.bytes()) > bytes_max {
            return Err(Full);
        }
        let before = place.and_then(|ticket| self.remove(ticket));
        let last = self.next_ticket;
        self.put(Arc::new(waiter), place.unwrap_or(last));
        Ok(before)
    }

    fn put(&mut self, waiter: Arc<Waiter>, ticket: Ticket) {
        self.next_ticket = self.next_ticket.max(ticket + 1);
        self.bytes += waiter.bytes();
        self.by_request.extend(waiter.wait.request.iter().map(|request| (request.id.clone(), ticket)));
        for key in &waiter.wait.keys {
            let queue = self.queues[waiter.db].entry(key.clone()).or_default();
            queue.places.insert(waiter.wait.place(ticket));
            queue.reentrant.extend(
                waiter.wait.reentrant.iter().map(|holder| (holder.clone(), waiter.wait.is_shared(), ticket)),
            );
            if waiter.wait.kind == Kind::Vacancy {
                queue.for_vacancy += 1;
                self.vacancies[waiter.db].insert(key.clone());
            }
        }
        self.deadlines.extend(waiter.wait.deadline.map(|deadline| (deadline, ticket)));
        self.by_sequence.insert((waiter.session, waiter.sequence), ticket);
        // What ends there must be known; and he may come before those who wait for a key that is free, and have it at once.
        if waiter.wait.kind == Kind::Vacancy {
            waiter.wait.keys.iter().for_each(|key| self.wake(waiter.db, key));
        }
        self.waiters.insert(ticket, waiter);
    }

    fn remove(&mut self, ticket: Ticket) -> Option<Arc<Waiter>> {
        let waiter = self.waiters.remove(&ticket)?;
        self.bytes -= waiter.bytes();
        self.by_sequence.remove(&(waiter.session, waiter.sequence));
        if let Some(request) = &waiter.wait.request {
            self.by_request.remove(&request.id);
        }
        if let Some(deadline) = waiter.wait.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        let queues = &mut self.queues[waiter.db];
        for key in &waiter.wait.keys {
            let Some(queue) = queues.get_mut(key) else { continue };
            queue.places.remove(&waiter.wait.place(ticket));
            if let Some(holder) = &waiter.wait.reentrant {
                queue.reentrant.remove(&(holder.clone(), waiter.wait.is_shared(), ticket));
            }
            if waiter.wait.kind == Kind::Vacancy {
                queue.for_vacancy -= 1;
                if queue.for_vacancy == 0 {
                    self.vacancies[waiter.db].remove(key);
                }
            }
        }
        // Those behind him may join the readers of a lock whom he would not have joined.
        waiter.wait.keys.iter().for_each(|key| self.wake(waiter.db, key));
        Some(waiter)
    }

    /// Something was put at a key, or the key is free. It is not taken back when a script is undone: who is woken in vain goes
    /// on waiting.
    pub(crate) fn wake(&mut self, db: usize, key: &[u8]) {
        let Some(queue) = self.queues[db].get_mut(key) else { return };
        if !std::mem::replace(&mut queue.is_woken, true) {
            self.woken.push_back((db, Bytes::copy_from_slice(key)));
        }
    }

    /// All keys of a database are free. How many of them somebody waits for to be so.
    pub(crate) fn wake_all(&mut self, db: usize) -> usize {
        let keys: Vec<Bytes> = self.vacancies[db].iter().cloned().collect();
        keys.iter().for_each(|key| self.wake(db, key));
        keys.len()
    }

    /// A session has ended: the keys that it held are woken one after another.
    pub(crate) fn end_client_session(&mut self, id: ClientSessionId) {
        self.freed.extend(self.held.remove(&id));
    }

    /// A key at which something has ended by now.
    fn take_ended(&mut self, now: Stamp) -> Option<(usize, Bytes)> {
        while let Some(keys) = self.freed.front_mut() {
            match keys.pop_first() {
                Some(place) => return Some(place),
                None => drop(self.freed.pop_front()),
            }
        }
        self.ends.first().filter(|(at, _, _)| *at < now)?;
        self.ends.pop_first().map(|(_, db, key)| (db, key))
    }

    /// How many keys of a database somebody waits for to be free.
    pub(crate) fn vacancies(&self, db: usize) -> usize {
        self.vacancies[db].len()
    }

    /// How many wait for a key to be free.
    pub(crate) fn waiting_for_vacancy(&self, db: usize, key: &[u8]) -> usize {
        self.queues[db].get(key).map_or(0, |queue| queue.for_vacancy)
    }

    /// Those who wait for a key to be free, in order.
    pub(crate) fn for_vacancy(&self, db: usize, key: &[u8]) -> impl Iterator<Item = (Ticket, &Arc<Waiter>)> {
        let places = self.queues[db].get(key).map(|queue| queue.places.range(of_kind(Kind::Vacancy)));
        places.into_iter().flatten().map(|(_, _, ticket)| (*ticket, &self.waiters[ticket]))
    }

    /// Puts one of them before all others.
    pub(crate) fn put_first(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.remove(ticket) {
            let wait = Wait { priority: u32::MAX, ..waiter.wait.clone() };
            self.put(Arc::new(Waiter { wait, ..(*waiter).clone() }), ticket);
        }
    }

    /// The key that was woken first, by what has ended by now if by nothing else.
    pub(crate) fn first_woken(&mut self, now: Stamp) -> Option<(usize, Bytes)> {
        while self.woken.is_empty()
            && let Some((db, key)) = self.take_ended(now)
        {
            self.wake(db, &key);
        }
        self.woken.front().cloned()
    }

    /// Nobody can be served at the key that was woken first, before one of these has ended. Of how many sessions that was known
    /// before.
    pub(crate) fn settle(&mut self, ends: Ends) -> usize {
        let Some((db, key)) = self.woken.pop_front() else { return 0 };
        let Some(queue) = self.queues[db].get_mut(&key) else { return 0 };
        queue.is_woken = false;
        let ends = if queue.for_vacancy > 0 { ends } else { Ends::default() };
        let before = std::mem::replace(&mut queue.ends, ends.clone());
        if queue.places.is_empty() {
            self.queues[db].remove(&key);
        }
        let known = before.sessions.len();
        if before != ends {
            self.forget_ends(db, &key, before);
            self.ends.extend(ends.at.map(|at| (at, db, key.clone())));
            for id in ends.sessions {
                self.held.entry(id).or_default().insert((db, key.clone()));
            }
        }
        known
    }

    fn forget_ends(&mut self, db: usize, key: &Bytes, ends: Ends) {
        let place = (db, key.clone());
        for id in ends.sessions {
            if let Some(keys) = self.held.get_mut(&id) {
                keys.remove(&place);
                if keys.is_empty() {
                    self.held.remove(&id);
                }
            }
        }
        if let Some(at) = ends.at {
            self.ends.remove(&(at, db, place.1));
        }
    }

    /// Takes who waits longest for something of a kind at a key out of all queues.
    pub(crate) fn take_first(&mut self, db: usize, key: &[u8], kind: Kind) -> Option<Arc<Waiter>> {
        let queue = self.queues[db].get(key)?;
        let (_, _, ticket) = *queue.places.range(of_kind(kind)).next()?;
        self.remove(ticket)
    }

    /// Takes who waits for the fewest members of a set that has so many, if there are enough for him.
    pub(crate) fn take_first_for_members(&mut self, db: usize, key: &[u8], len: u64) -> Option<Arc<Waiter>> {
        let (_, _, ticket) = *self.queues[db].get(key)?.places.range(of_kind(Kind::Gathering)).next()?;
        let Share::Members { count } = self.waiters[&ticket].wait.share else {
            unreachable!("who waits for a gathering waits for members")
        };
        if count <= len && !bug::on(Bug::LeftBehind) { self.remove(ticket) } else { None }
    }

    /// Takes who waits longest for a key to be free out of all queues, if he has not to wait for another one.
    pub(crate) fn take_first_for_vacancy(
        &mut self,
        db: usize,
        key: &[u8],
        is_free: impl Fn(&[u8]) -> bool,
    ) -> Option<Arc<Waiter>> {
        let first = |key: &[u8]| self.for_vacancy(db, key).next().map(|(ticket, _)| ticket);
        let ticket = first(key)?;
        let keys = &self.waiters[&ticket].wait.keys;
        if keys[0] != key && bug::on(Bug::UnservedAtLast) {
            return None;
        }
        let is_due = keys.iter().all(|key| is_free(key) && first(key) == Some(ticket));
        if is_due { self.remove(ticket) } else { None }
    }

    /// Takes who waits longest at a key to hold it alone, of those who may enter again what this holder holds so.
    pub(crate) fn take_reentrant(&mut self, db: usize, key: &[u8], holder: &Holder) -> Option<Arc<Waiter>> {
        // Of who holds it alone it does not matter whether he would share it.
        let of = |is_shared| (holder.clone(), is_shared, 0)..=(holder.clone(), is_shared, Ticket::MAX);
        let queue = self.queues[db].get(key)?;
        let firsts = [false, true].map(|is_shared| queue.reentrant.range(of(is_shared)).next());
        let ticket = firsts.into_iter().flatten().map(|(_, _, ticket)| *ticket).min()?;
        self.remove(ticket)
    }

    /// Takes one of those at a key who may join the readers of a lock: who waits longest of all if he would share it and
    /// `has_room`, or who may enter it again.
    pub(crate) fn take_reader<'r>(
        &mut self,
        db: usize,
        key: &[u8],
        has_room: bool,
        readers: impl Iterator<Item = &'r Holder>,
    ) -> Option<Arc<Waiter>> {
        let queue = self.queues[db].get(key)?;
        let first = self.for_vacancy(db, key).next();
        let first = first.filter(|(_, waiter)| has_room && waiter.wait.is_shared()).map(|(ticket, _)| ticket);
        let again = |reader: &Holder| {
            let of = |ticket| (reader.clone(), true, ticket);
            queue.reentrant.range(of(0)..=of(Ticket::MAX)).next().map(|(_, _, ticket)| *ticket)
        };
        let mut readers = readers.filter(|_| !queue.reentrant.is_empty());
        let ticket = first.or_else(|| readers.find_map(again))?;
        self.remove(ticket)
    }

    /// Takes the first who waits for a key to be free out of all queues, if his session is gone: he gets nothing, and nobody waits
    /// behind him.
    pub(crate) fn take_gone(
        &mut self,
        db: usize,
        key: &[u8],
        is_gone: impl Fn(ClientSessionId) -> bool,
    ) -> Option<Arc<Waiter>> {
        let (ticket, waiter) = self.for_vacancy(db, key).next()?;
        if waiter.wait.session.is_some_and(is_gone) { self.remove(ticket) } else { None }
    }

    /// Takes who waits longest at a semaphore of which so many permits are free, if these are enough for him.
    pub(crate) fn take_first_for_permits(&mut self, db: usize, key: &[u8], free: u64) -> Option<Arc<Waiter>> {
        let greedy = bug::on(Bug::PassedPermits);
        let is_due = |waiter: &Waiter| match waiter.wait.share {
            Share::Permits { count } => count <= free,
            Share::Whole | Share::Part | Share::Members { .. } => false,
        };
        let queue = self.for_vacancy(db, key).take(if greedy { usize::MAX } else { 1 });
        let ticket = queue.filter(|(_, waiter)| is_due(waiter)).map(|(ticket, _)| ticket).next()?;
        self.remove(ticket)
    }

    /// The session on whose behalf the first waits for a key to be free.
    pub(crate) fn session_of_first(&self, db: usize, key: &[u8]) -> Option<ClientSessionId> {
        self.for_vacancy(db, key).next()?.1.wait.session
    }

    /// Takes somebody whose time is up.
    pub(crate) fn take_expired(&mut self, now: Stamp) -> Option<Arc<Waiter>> {
        let (_, ticket) = *self.deadlines.first().filter(|(deadline, _)| *deadline < now)?;
        self.remove(ticket)
    }

    pub(crate) fn next_deadline(&self) -> Option<Stamp> {
        let deadline = self.deadlines.first().map(|(deadline, _)| *deadline);
        deadline.into_iter().chain(self.ends.first().map(|(at, _, _)| *at)).min()
    }

    /// What waits under the name of a request.
    pub(crate) fn request(&self, id: &[u8]) -> Option<&Request> {
        self.waiters.get(self.by_request.get(id)?)?.wait.request.as_ref()
    }

    /// Whether a command waits.
    pub(crate) fn contains(&self, session: SessionId, sequence: u64) -> bool {
        self.by_sequence.contains_key(&(session, sequence))
    }

    /// Until when a command waits, if it does and not for ever.
    pub(crate) fn deadline_of(&self, session: SessionId, sequence: u64) -> Option<Stamp> {
        self.waiters.get(self.by_sequence.get(&(session, sequence))?)?.wait.deadline
    }

    /// Takes a command out of all queues, if it waits.
    pub(crate) fn take(&mut self, session: SessionId, sequence: u64) -> Option<Arc<Waiter>> {
        let ticket = *self.by_sequence.get(&(session, sequence))?;
        self.remove(ticket)
    }

    /// Takes one of a session's commands out of all queues, if any waits.
    pub(crate) fn take_one_of(&mut self, session: SessionId) -> Option<Arc<Waiter>> {
        let (_, ticket) = self.by_sequence.range((session, 0)..=(session, u64::MAX)).next()?;
        self.remove(*ticket)
    }

    /// The sessions of which somebody waits.
    pub(crate) fn sessions(&self) -> Vec<SessionId> {
        let first = self.by_sequence.keys().next().map(|(session, _)| *session);
        let next = |session: &SessionId| {
            let behind = (Excluded((*session, u64::MAX)), Unbounded);
            self.by_sequence.range(behind).next().map(|((session, _), _)| *session)
        };
        std::iter::successors(first, next).collect()
    }

    /// What a snapshot holds: all who wait, in the order of arrival. Shares their memory.
    pub(crate) fn waiters(&self) -> Vec<Arc<Waiter>> {
        let is_settled = self.woken.is_empty() && self.freed.is_empty();
        assert!(is_settled, "all who can be served are, between two entries");
        self.waiters.values().cloned().collect()
    }

    /// The queues of those who wait, in the order of arrival. All their keys are to be settled.
    pub(crate) fn of(waiters: Vec<Arc<Waiter>>) -> Self {
        let mut waiting = Self::default();
        for (ticket, waiter) in (0..).zip(waiters) {
            waiting.put(waiter, ticket);
        }
        waiting
    }
}
