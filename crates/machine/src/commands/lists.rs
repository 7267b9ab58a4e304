//! Lists: elements in the order in which they were put. Finding elements by value is in [`super::list_searches`].

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::places::{Places, place};
use super::popping::{End, Popping, parse_count};
use crate::command::{Group, KeySpec, Run, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;
use crate::script::WORK_BYTES;
use crate::value::List;
use crate::work::{self, price_of_elements, price_of_pairs};

const fn read(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::read(Group::List, name, arity, run).keys(KeySpec::ONE)
}

const fn write(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::write(Group::List, name, arity, run).keys(KeySpec::ONE)
}

/// May add elements.
const fn grow(name: &'static str, arity: i32, run: Run) -> Spec {
    write(name, arity, run).with(Flags::DENYOOM)
}

pub(crate) const COMMANDS: &[Spec] = &[
    grow("lpush", -3, lpush).with(Flags::FAST).priced(price_of_elements).doc(
        "1.0.0",
        "LPUSH key element [element ...]",
        "Puts elements in front of a list, the last one foremost, and answers its length.",
    ),
    grow("rpush", -3, rpush).with(Flags::FAST).priced(price_of_elements).doc(
        "1.0.0",
        "RPUSH key element [element ...]",
        "Puts elements at the end of a list, and answers its length.",
    ),
    grow("lpushx", -3, lpushx).with(Flags::FAST).priced(price_of_elements).doc(
        "2.2.0",
        "LPUSHX key element [element ...]",
        "Puts elements in front of a list that exists.",
    ),
    grow("rpushx", -3, rpushx).with(Flags::FAST).priced(price_of_elements).doc(
        "2.2.0",
        "RPUSHX key element [element ...]",
        "Puts elements at the end of a list that exists.",
    ),
    write("lpop", -2, lpop).with(Flags::FAST).priced(price_of_pop).doc(
        "1.0.0",
        "LPOP key [count]",
        "Takes the first element out of a list, or a count of them.",
    ),
    write("rpop", -2, rpop).with(Flags::FAST).priced(price_of_pop).doc(
        "1.0.0",
        "RPOP key [count]",
        "Takes the last element out of a list, or a count of them.",
    ),
    write("lmpop", -4, lmpop)
        .keys(KeySpec::Counted { count_at: 1 })
        .with(Flags::MOVABLEKEYS)
        .priced(price_of_lmpop)
        .doc(
            "7.0.0",
            "LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
            "Takes elements out of the first of several lists that exists.",
        ),
    grow("lmove", 5, lmove).keys(KeySpec::TWO).priced(price_of_transfer).doc(
        "6.2.0",
        "LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        "Moves an element from an end of one list to an end of another, or of the same.",
    ),
    grow("rpoplpush", 3, rpoplpush).keys(KeySpec::TWO).priced(price_of_transfer).doc(
        "1.2.0",
        "RPOPLPUSH source destination",
        "Moves the last element of one list to the front of another, or of the same.",
    ),
    read("llen", 2, llen).with(Flags::FAST).doc("1.0.0", "LLEN key", "Answers how many elements a list has."),
    read("lrange", 4, lrange).priced(price_of_range).doc(
        "1.0.0",
        "LRANGE key start stop",
        "Answers the elements between two places; negative places count from the end.",
    ),
    read("lindex", 3, lindex).doc("1.0.0", "LINDEX key index", "Answers the element at a place."),
    grow("lset", 4, lset).priced(price_of_pairs).doc(
        "1.0.0",
        "LSET key index element",
        "Puts another element in the place of one.",
    ),
    write("ltrim", 4, ltrim).priced(price_of_ltrim).doc(
        "1.0.0",
        "LTRIM key start stop",
        "Removes all elements but those between two places.",
    ),
];

fn len(context: &Context<'_>, key: &[u8]) -> usize {
    context.collection(key).ok().flatten().map_or(0, List::len)
}

/// Elements must be allowed before they are put, and so must be what the list at a key will grow by.
pub(super) fn admit(
    context: &mut Context<'_>,
    key: &[u8],
    elements: &[Bytes],
    growth: usize,
) -> Result<(), Reply> {
    elements.iter().try_for_each(|element| context.check_value_bytes(element.len()))?;
    context.check_growth(key, growth)?;
    context.spent.copied_bytes += elements.iter().map(|element| element.len() as u64).sum::<u64>();
    Ok(())
}

fn put(list: &mut List, end: End, element: &[u8]) {
    match end {
        End::First => list.push_front(element),
        End::Last if bug::on(Bug::TurnedQueue) => list.push_front(element),
        End::Last => list.push_back(element),
    }
}

/// Takes one element out of a list that has some.
fn take(list: &mut List, end: End) -> Bytes {
    match end {
        End::First => list.remove(0),
        End::Last => list.remove(list.len() - 1),
    }
}

const fn pushed_at(end: End) -> Event {
    match end {
        End::First => Event::LPUSH,
        End::Last => Event::RPUSH,
    }
}

const fn popped_at(end: End) -> Event {
    match end {
        End::First => Event::LPOP,
        End::Last => Event::RPOP,
    }
}

/// Puts elements, one after the other, at an end of the list at a key, or of a new one. Answers its length.
pub(super) fn push(
    context: &mut Context<'_>,
    key: &[u8],
    elements: &[Bytes],
    end: End,
) -> Result<usize, Reply> {
    context.collection::<List>(key)?;
    let growth = elements.iter().map(|element| List::element_bytes(element)).sum();
    admit(context, key, elements, growth)?;
    let len = context.edit(key, elements.len(), |list: &mut List| {
        elements.iter().for_each(|element| put(list, end, element));
        list.len()
    });
    context.notify(pushed_at(end), key);
    Ok(len)
}

fn lpush(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    push(context, &args[1], &args[2..], End::First).map(Reply::count)
}

fn rpush(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    push(context, &args[1], &args[2..], End::Last).map(Reply::count)
}

fn push_if_present(context: &mut Context<'_>, args: &[Bytes], end: End) -> Result<Reply, Reply> {
    match context.collection::<List>(&args[1])? {
        None => Ok(Reply::Integer(0)),
        Some(_) => push(context, &args[1], &args[2..], end).map(Reply::count),
    }
}

fn lpushx(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    push_if_present(context, args, End::First)
}

fn rpushx(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    push_if_present(context, args, End::Last)
}

/// Takes up to `count` elements out of the list at a key, the outermost first; `None` if there is no such list.
pub(super) fn pop(
    context: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
) -> Result<Option<Vec<Reply>>, Reply> {
    let Some(list) = context.collection::<List>(key)? else { return Ok(None) };
    let len = list.len();
    let count = count.min(len);
    let taken: Vec<Reply> = match end {
        End::First => list.range(0, count).cloned().map(Reply::Bulk).collect(),
        End::Last => list.range(len - count, len).rev().cloned().map(Reply::Bulk).collect(),
    };
    if count == len {
        context.spent.visited += count as u64;
        context.remove(key);
    } else if count > 0 {
        context.edit(key, count, |list: &mut List| (0..count).for_each(|_| drop(take(list, end))));
    }
    if count > 0 {
        context.notify_loss(popped_at(end), key);
    }
    Ok(Some(taken))
}

fn price_of_pop(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let count = args.get(2).map_or(1, |count| parse_count(count).unwrap_or(0));
    let len = len(context, &args[1]);
    work::of_removal(len, count.min(len))
}

fn pop_from(context: &mut Context<'_>, args: &[Bytes], end: End, name: &str) -> Result<Reply, Reply> {
    match args {
        [_, key] => {
            let taken = pop(context, key, end, 1)?;
            Ok(taken.and_then(|mut taken| taken.pop()).unwrap_or(Reply::Null))
        }
        [_, key, count] => {
            let taken = pop(context, key, end, parse_count(count)?)?;
            Ok(taken.map_or(Reply::NullArray, Reply::Array))
        }
        _ => Err(Reply::error_text(format!("ERR wrong number of arguments for '{name}' command"))),
    }
}

fn lpop(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    pop_from(context, args, End::First, "lpop")
}

fn rpop(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    pop_from(context, args, End::Last, "rpop")
}

fn price_of_lmpop(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let Ok(popping) = Popping::parse(&args[1..], End::of_list) else { return 0 };
    let first = popping.keys.iter().find(|key| context.exists(key));
    let len = first.map_or(0, |key| len(context, key));
    work::of_removal(len, popping.count.min(len))
}

/// Takes elements out of the first of the lists that exists, and answers them with its key.
pub(super) fn pop_first(context: &mut Context<'_>, popping: &Popping<'_>) -> Result<Option<Reply>, Reply> {
    for key in popping.keys {
        if let Some(taken) = pop(context, key, popping.end, popping.count)? {
            return Ok(Some(Reply::Array(vec![Reply::Bulk(key.clone()), Reply::Array(taken)])));
        }
    }
    Ok(None)
}

fn lmpop(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let popping = Popping::parse(&args[1..], End::of_list)?;
    Ok(pop_first(context, &popping)?.unwrap_or(Reply::NullArray))
}

/// The element at an end of a list, which is not empty.
fn outermost(list: &List, end: End) -> Bytes {
    let element = match end {
        End::First => list.get(0),
        End::Last => list.get(list.len() - 1),
    };
    element.cloned().unwrap_or_default()
}

fn price_of_transfer(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let from = args.get(3).map_or(Ok(End::Last), |end| End::of_list(end));
    from.map_or(0, |from| price_of_move(context, &args[1], from))
}

/// The price of moving the element at an end of the list at a key, which is put as a copy.
pub(super) fn price_of_move(context: &Context<'_>, key: &[u8], from: End) -> u64 {
    let list = context.collection::<List>(key).ok().flatten();
    let bytes = list.map(|list| outermost(list, from).len() as u64);
    bytes.map_or(0, |bytes| work::of_changes(2) + bytes / WORK_BYTES as u64)
}

/// Moves an element between ends of two lists, or of one; `None` if there is no source.
pub(super) fn transfer(
    context: &mut Context<'_>,
    [source, destination]: [&[u8]; 2],
    [from, to]: [End; 2],
) -> Result<Option<Bytes>, Reply> {
    let Some(list) = context.collection::<List>(source)? else { return Ok(None) };
    let element = outermost(list, from);
    if source == destination {
        context.spent.copied_bytes += element.len() as u64;
        context.edit(source, 2, |list: &mut List| {
            let element = take(list, from);
            put(list, to, &element);
        });
    } else {
        context.collection::<List>(destination)?;
        let growth = List::element_bytes(&element);
        admit(context, destination, std::slice::from_ref(&element), growth)?;
        context.edit(source, 1, |list: &mut List| take(list, from));
        context.edit(destination, 1, |list: &mut List| put(list, to, &element));
    }
    context.notify(pushed_at(to), destination);
    context.notify_loss(popped_at(from), source);
    Ok(Some(element))
}

fn lmove(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let ends = [End::of_list(&args[3])?, End::of_list(&args[4])?];
    Ok(transfer(context, [&args[1], &args[2]], ends)?.map_or(Reply::Null, Reply::Bulk))
}

fn rpoplpush(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let moved = transfer(context, [&args[1], &args[2]], [End::Last, End::First])?;
    Ok(moved.map_or(Reply::Null, Reply::Bulk))
}

fn llen(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(context.collection(&args[1])?.map_or(0, List::len)))
}

fn price_of_range(context: &Context<'_>, args: &[Bytes]) -> u64 {
    Places::parse(&args[2], &args[3]).map_or(0, |places| places.within(len(context, &args[1])).len() as u64)
}

fn lrange(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let places = Places::parse(&args[2], &args[3])?;
    let Some(list) = context.collection::<List>(&args[1])? else { return Ok(Reply::Array(vec![])) };
    let range = places.within(list.len());
    let elements = list.range(range.start, range.end).cloned().map(Reply::Bulk).collect();
    context.spent.visited += range.len() as u64;
    Ok(Reply::Array(elements))
}

fn lindex(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let Some(list) = context.collection::<List>(&args[1])? else { return Ok(Reply::Null) };
    let index = integer::parse(&args[2]).ok_or(Reply::not_an_integer())?;
    let element = place(index, list.len()).and_then(|place| list.get(place));
    Ok(element.cloned().map_or(Reply::Null, Reply::Bulk))
}

fn lset(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (key, element) = (&args[1], &args[3]);
    let list = context.collection::<List>(key)?.ok_or(Reply::error("ERR no such key"))?;
    let index = integer::parse(&args[2]).ok_or(Reply::not_an_integer())?;
    let place = place(index, list.len()).ok_or(Reply::error("ERR index out of range"))?;
    let growth = element.len().saturating_sub(list.get(place).map_or(0, Bytes::len));
    admit(context, key, std::slice::from_ref(element), growth)?;
    context.edit(key, 1, |list: &mut List| list.replace(place, element));
    context.notify(Event::LSET, key);
    Ok(Reply::ok())
}

/// Elements to be removed, or those that stay, whichever are fewer.
fn ltrim_changes(len: usize, kept: usize) -> usize {
    kept.min(len - kept)
}

fn price_of_ltrim(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let len = len(context, &args[1]);
    let changes =
        Places::parse(&args[2], &args[3]).map(|places| ltrim_changes(len, places.within(len).len()));
    work::of_changes(changes.unwrap_or(0))
}

fn ltrim(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let key = &args[1];
    let places = Places::parse(&args[2], &args[3])?;
    let Some(list) = context.collection::<List>(key)? else { return Ok(Reply::ok()) };
    let (len, kept) = (list.len(), places.within(list.len()));
    if kept.is_empty() {
        context.remove(key);
    } else if kept.len() < len {
        if kept.len() < len / 2 {
            context.state.keyspace.part_with(context.db, key);
        }
        context.edit(key, ltrim_changes(len, kept.len()), |list: &mut List| list.trim(kept));
    }
    context.notify_loss(Event::LTRIM, key);
    Ok(Reply::ok())
}
