//! Finding elements of a list by value, and what is done where they are found: LPOS, LINSERT, LREM.

use bytes::Bytes;

use super::lists::admit;
use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;
use crate::value::List;
use crate::work;

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::read(Group::List, "lpos", -3, lpos).keys(KeySpec::ONE).priced(price).doc(
        "6.0.6",
        "LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        "Answers the place of an element, or of several equal ones.",
    ),
    Spec::write(Group::List, "linsert", 5, linsert)
        .keys(KeySpec::ONE)
        .with(Flags::DENYOOM)
        .priced(|context, args| price(context, args) + work::of_changes(1))
        .doc(
            "2.2.0",
            "LINSERT key <BEFORE | AFTER> pivot element",
            "Puts an element before or after the first one that equals the pivot.",
        ),
    Spec::write(Group::List, "lrem", 4, lrem).keys(KeySpec::ONE).priced(price_of_lrem).doc(
        "1.0.0",
        "LREM key count element",
        "Removes the first, last (with a negative count) or all (with 0) elements that equal one.",
    ),
];

/// A search may go through the whole list.
fn price(context: &Context<'_>, args: &[Bytes]) -> u64 {
    context.collection(&args[1]).ok().flatten().map_or(0, List::len) as u64
}

/// As many elements may be found as are asked for.
fn price_of_lrem(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let len = context.collection(&args[1]).ok().flatten().map_or(0, List::len);
    len as u64 + work::of_changes(parse_found_max(&args[2]).unwrap_or(0).min(len))
}

/// Which of the equal elements are looked for, and where.
struct Search<'a> {
    element: &'a [u8],
    backwards: bool,
    /// So many of them are passed over.
    skipped: usize,
    /// So many are found at the most.
    found_max: usize,
    /// So many elements are looked at at the most.
    visited_max: usize,
}

impl Search<'_> {
    /// The places, in the order of the search, and how many elements were looked at.
    fn run(&self, list: &List) -> (Vec<usize>, u64) {
        let len = list.len();
        let range = match (self.backwards, self.visited_max.min(len)) {
            (false, visited_max) => 0..visited_max,
            (true, visited_max) => len - visited_max..len,
        };
        let mut elements = range.clone().zip(list.range(range.start, range.end));
        let (mut found, mut skipped, mut visited) = (Vec::new(), 0, 0);
        while found.len() < self.found_max
            && let Some((place, element)) =
                if self.backwards { elements.next_back() } else { elements.next() }
        {
            visited += 1;
            match element == self.element {
                true if skipped < self.skipped => skipped += 1,
                true => found.push(place),
                false => {}
            }
        }
        (found, visited)
    }
}

/// The places of a search in the list at a key; `None` if there is no such list.
fn search(context: &mut Context<'_>, key: &[u8], search: &Search<'_>) -> Result<Option<Vec<usize>>, Reply> {
    let Some(list) = context.collection::<List>(key)? else { return Ok(None) };
    let (found, visited) = search.run(list);
    context.spent.visited += visited;
    Ok(Some(found))
}

/// What LPOS asks for, and whether it is answered with an array.
fn parse_lpos(args: &[Bytes]) -> Result<(Search<'_>, bool), Reply> {
    let mut search =
        Search { element: &args[2], backwards: false, skipped: 0, found_max: 1, visited_max: usize::MAX };
    let mut answers_all = false;
    let (options, rest) = args[3..].as_chunks::<2>();
    for [option, value] in options {
        match &option.to_ascii_uppercase()[..] {
            b"RANK" => {
                let rank = parse_rank(value)?;
                search.backwards = rank < 0;
                search.skipped = usize::try_from(rank.unsigned_abs() - 1).unwrap_or(usize::MAX);
            }
            b"COUNT" => {
                search.found_max = parse_limit(value, Reply::error("ERR COUNT can't be negative"))?;
                answers_all = true;
            }
            b"MAXLEN" => {
                search.visited_max = parse_limit(value, Reply::error("ERR MAXLEN can't be negative"))?;
            }
            _ => return Err(Reply::syntax_error()),
        }
    }
    if rest.is_empty() { Ok((search, answers_all)) } else { Err(Reply::syntax_error()) }
}

fn parse_rank(text: &[u8]) -> Result<i64, Reply> {
    match integer::parse(text).ok_or(Reply::not_an_integer())? {
        0 => Err(Reply::error(
            "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the end of the list",
        )),
        i64::MIN => Err(Reply::error(
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        )),
        rank => Ok(rank),
    }
}

/// 0 is no limit.
fn parse_limit(text: &[u8], error: Reply) -> Result<usize, Reply> {
    let limit = integer::parse(text).and_then(|limit| usize::try_from(limit).ok()).ok_or(error)?;
    Ok(if limit == 0 { usize::MAX } else { limit })
}

fn lpos(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (wanted, answers_all) = parse_lpos(args)?;
    let found = search(context, &args[1], &wanted)?.unwrap_or_default();
    let mut places = found.into_iter().map(Reply::count);
    Ok(if answers_all { Reply::Array(places.collect()) } else { places.next().unwrap_or(Reply::Null) })
}

fn linsert(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (key, pivot, element) = (&args[1], &args[3], &args[4]);
    let behind = match &args[2].to_ascii_uppercase()[..] {
        b"BEFORE" => 0,
        b"AFTER" => 1,
        _ => return Err(Reply::syntax_error()),
    };
    let first =
        Search { element: pivot, backwards: false, skipped: 0, found_max: 1, visited_max: usize::MAX };
    let Some(found) = search(context, key, &first)? else { return Ok(Reply::Integer(0)) };
    let Some(place) = found.first() else { return Ok(Reply::Integer(-1)) };
    admit(context, key, std::slice::from_ref(element), List::element_bytes(element))?;
    let len = context.edit(key, 1, |list: &mut List| {
        list.insert(place + behind, element);
        list.len()
    });
    context.notify(Event::LINSERT, key);
    Ok(Reply::count(len))
}

/// How many elements LREM removes at the most.
fn parse_found_max(count: &[u8]) -> Option<usize> {
    let count = integer::parse(count)?.unsigned_abs();
    Some(if count == 0 { usize::MAX } else { usize::try_from(count).unwrap_or(usize::MAX) })
}

fn lrem(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let found_max = parse_found_max(&args[2]).ok_or(Reply::not_an_integer())?;
    let backwards = args[2].starts_with(b"-");
    let equal = Search { element: &args[3], backwards, skipped: 0, found_max, visited_max: usize::MAX };
    let mut found = search(context, &args[1], &equal)?.unwrap_or_default();
    // From the back, so that the places of those in front stay what they are.
    found.sort_unstable_by(|a, b| b.cmp(a));
    if !found.is_empty() {
        let remove = |list: &mut List| found.iter().for_each(|place| drop(list.remove(*place)));
        context.edit(&args[1], found.len(), remove);
        context.notify_loss(Event::LREM, &args[1]);
    }
    Ok(Reply::count(found.len()))
}
