//! Walking over a database: KEYS, SCAN, RANDOMKEY, DBSIZE and FLUSH; and what SCAN shares with the commands that walk
//! over the elements of one key.
//!
//! Keys come in order of page and then of name. A SCAN cursor is the number of the page to go on with: it depends
//! on nothing but the key's hash, so that a scan may go on at another node, after a restart, or while keys come and
//! go. A page is answered whole; a key that exists from the scan's beginning to its end is answered exactly once.

use bytes::Bytes;

use crate::command::{Group, Spec};
use crate::context::Context;
use crate::database::PAGES;
use crate::flags::Flags;
use crate::glob;
use crate::integer;
use crate::keyspace::DATABASES;
use crate::reply::Reply;
use crate::value::{Collection, Dictionary, Entry};
use crate::work;

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::read(Group::Generic, "keys", 2, keys).with(Flags::DANGEROUS).doc(
        "1.0.0",
        "KEYS pattern",
        "Answers every key that matches a pattern.",
    ),
    Spec::read(Group::Generic, "scan", -2, scan).priced(price_of_scan).doc(
        "2.8.0",
        "SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]",
        "Answers some keys and the cursor to go on with; it begins and ends with 0, and holds on every node.",
    ),
    Spec::read(Group::Generic, "randomkey", 1, randomkey).doc(
        "1.0.0",
        "RANDOMKEY",
        "Answers a key by chance.",
    ),
    Spec::read(Group::Server, "dbsize", 1, dbsize).with(Flags::FAST).doc(
        "1.0.0",
        "DBSIZE",
        "Answers how many keys the database has.",
    ),
    Spec::write(Group::Server, "flushdb", -1, flushdb).with(Flags::DANGEROUS).doc(
        "1.0.0",
        "FLUSHDB [ASYNC | SYNC]",
        "Removes all keys of the database.",
    ),
    Spec::write(Group::Server, "flushall", -1, flushall).with(Flags::DANGEROUS).doc(
        "1.0.0",
        "FLUSHALL [ASYNC | SYNC]",
        "Removes all keys of all databases.",
    ),
];

fn keys(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    check_pattern(&args[1])?;
    let database = context.state.keyspace.database(context.db);
    context.spent.visited += database.keys() as u64 + work::of_pages(PAGES);
    let live = database
        .pages()
        .iter()
        .flat_map(|page| &page.slots)
        .filter(|(_, slot)| database.has(slot, context.now));
    let matching = live.filter(|(key, _)| glob::matches(&args[1], key));
    Ok(Reply::Array(matching.map(|(key, _)| Reply::Bulk(key.clone())).collect()))
}

/// Longer patterns are refused: matching takes time in proportion to the product of both lengths.
const PATTERN_BYTES_MAX: usize = 1 << 10;

pub(super) fn check_pattern(pattern: &[u8]) -> Result<(), Reply> {
    if pattern.len() > PATTERN_BYTES_MAX {
        return Err(Reply::error("ERR the pattern is longer than 1024 bytes"));
    }
    Ok(())
}

/// What is walked over: elements have no types of their own to ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Walk {
    Keys,
    Elements,
}

/// What a SCAN asks for.
struct Scan<'a> {
    pattern: Option<&'a Bytes>,
    type_name: Option<&'a Bytes>,
    /// How many keys or elements to visit at least, while there are as many.
    count: usize,
}

impl<'a> Scan<'a> {
    /// As in Redis.
    const COUNT_DEFAULT: usize = 10;

    fn parse(walk: Walk, options: &'a [Bytes]) -> Result<Self, Reply> {
        let mut scan = Self { pattern: None, type_name: None, count: Self::COUNT_DEFAULT };
        let (pairs, rest) = options.as_chunks::<2>();
        for [option, value] in pairs {
            match &option.to_ascii_uppercase()[..] {
                b"MATCH" => {
                    check_pattern(value)?;
                    scan.pattern = Some(value);
                }
                b"TYPE" if walk == Walk::Keys => scan.type_name = Some(value),
                b"COUNT" => {
                    let count = integer::parse(value).ok_or(Reply::not_an_integer())?;
                    let count = usize::try_from(count).ok().filter(|count| *count > 0);
                    scan.count = count.ok_or(Reply::syntax_error())?.min(work::SCAN_KEYS_MAX);
                }
                _ => return Err(Reply::syntax_error()),
            }
        }
        if rest.is_empty() { Ok(scan) } else { Err(Reply::syntax_error()) }
    }

    fn matches(&self, name: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, name))
    }
}

fn parse_cursor(argument: &[u8]) -> Result<u64, Reply> {
    let cursor = std::str::from_utf8(argument).ok().and_then(|text| text.parse().ok());
    cursor.ok_or(Reply::error("ERR invalid cursor"))
}

fn step(cursor: u64, found: Vec<Reply>) -> Reply {
    Reply::Array(vec![Reply::Bulk(Bytes::from(cursor.to_string())), Reply::Array(found)])
}

/// One step of HSCAN, SSCAN or ZSCAN over the dictionary of a collection; `show` adds what is answered of an entry.
pub(super) fn scan_entries<C: Collection, V>(
    context: &mut Context<'_>,
    args: &[Bytes],
    dictionary: fn(&C) -> &Dictionary<V>,
    show: fn(&Entry<V>, &mut Vec<Reply>),
) -> Result<Reply, Reply> {
    let cursor = parse_cursor(&args[2])?;
    // As in Redis, options are not looked at if there is nothing to scan.
    let Some(collection) = context.collection::<C>(&args[1])? else { return Ok(step(0, Vec::new())) };
    let scan = Scan::parse(Walk::Elements, &args[3..])?;
    let (next, entries) = dictionary(collection).scan(cursor, scan.count);
    let (visited, mut found) = (entries.len(), Vec::new());
    entries.filter(|entry| scan.matches(&entry.name)).for_each(|entry| show(entry, &mut found));
    context.spent.visited += visited as u64;
    Ok(step(next, found))
}

/// What [`scan_entries`] will visit.
pub(super) fn price_of_entries<C: Collection>(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let wanted = Scan::parse(Walk::Elements, &args[3..]).map_or(0, |scan| scan.count as u64);
    wanted.min(context.elements::<C>(&args[1]))
}

fn price_of_scan(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let wanted = Scan::parse(Walk::Keys, &args[2..]).map_or(0, |scan| scan.count as u64);
    wanted.min(context.state.keyspace.database(context.db).keys() as u64)
}

fn scan(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let cursor = parse_cursor(&args[1])?;
    let scan = Scan::parse(Walk::Keys, &args[2..])?;
    let database = context.state.keyspace.database(context.db);
    // A database that was emptied may have pages here and none where it came by a snapshot.
    let pages = if database.keys() == 0 { &[][..] } else { database.pages() };
    let first = usize::try_from(cursor).unwrap_or(PAGES);
    let mut next = first;
    let (mut visited, mut found) = (0, Vec::new());
    while visited < scan.count
        && let Some(page) = pages.get(next)
    {
        next += 1;
        visited += page.slots.len();
        for (key, slot) in page.slots.iter().filter(|(_, slot)| database.has(slot, context.now)) {
            let type_name = slot.value.type_name().as_bytes();
            if scan.matches(key) && scan.type_name.is_none_or(|name| name.eq_ignore_ascii_case(type_name)) {
                found.push(Reply::Bulk(key.clone()));
            }
        }
    }
    context.spent.visited += visited as u64 + work::of_pages(next - first);
    Ok(step(if next < pages.len() { next as u64 } else { 0 }, found))
}

fn randomkey(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Reply> {
    let draw = context.random();
    let database = context.state.keyspace.database(context.db);
    if database.live_keys() == 0 {
        return Ok(Reply::Null);
    }
    // The key at a place among all, or the next one that has not expired, beginning anew after the last.
    let place = usize::try_from(draw % database.keys() as u64).unwrap_or(0);
    let (mut before, mut page) = (0, 0);
    while before + database.pages()[page].slots.len() <= place {
        before += database.pages()[page].slots.len();
        page += 1;
    }
    let onward = database.pages()[page..].iter().flat_map(|page| &page.slots).skip(place - before);
    let around = onward.chain(database.pages().iter().flat_map(|page| &page.slots));
    let mut visited = 0;
    let live = around.inspect(|_| visited += 1).find(|(_, slot)| database.has(slot, context.now));
    let key = live.map_or(Reply::Null, |(key, _)| Reply::Bulk(key.clone()));
    context.spent.visited += visited + work::of_pages(page);
    Ok(key)
}

fn dbsize(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(context.state.keyspace.database(context.db).live_keys()))
}

/// ASYNC and SYNC are the same here: keys are gone at once, memory is freed later.
fn check_flush_options(args: &[Bytes]) -> Result<(), Reply> {
    match &args[1..] {
        [] => Ok(()),
        [option] if option.eq_ignore_ascii_case(b"ASYNC") || option.eq_ignore_ascii_case(b"SYNC") => Ok(()),
        _ => Err(Reply::syntax_error()),
    }
}

fn flushdb(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    check_flush_options(args)?;
    flush(context, context.db);
    Ok(Reply::ok())
}

fn flushall(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    check_flush_options(args)?;
    (0..DATABASES).for_each(|db| flush(context, db));
    Ok(Reply::ok())
}

/// The keys themselves are freed later.
fn flush(context: &mut Context<'_>, db: usize) {
    context.writable();
    if context.state.keyspace.database(db).keys() > 0 {
        context.spent.visited += work::of_flushed_pages(PAGES);
    }
    let woken = context.state.keyspace.flush(db);
    context.spent.visited += woken as u64;
}
