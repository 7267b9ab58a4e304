//! Hashes: fields with values at a key. Numbers in fields are in [`super::hash_numbers`].
//!
//! Fields come in the dictionary's order, see [`crate::value::Dictionary`].

use bytes::Bytes;

use super::sampling::{self, Sample};
use super::scan;
use crate::command::{Group, KeySpec, Run, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::notification::Event;
use crate::reply::Reply;
use crate::value::Hash;
use crate::work;

const fn look(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::read(Group::Hash, name, arity, run).keys(KeySpec::ONE)
}

const fn look_up(name: &'static str, arity: i32, run: Run) -> Spec {
    look(name, arity, run).with(Flags::FAST)
}

pub(super) const fn grow(name: &'static str, arity: i32, run: Run) -> Spec {
    let spec = Spec::write(Group::Hash, name, arity, run).keys(KeySpec::ONE);
    spec.with(Flags::DENYOOM.and(Flags::FAST)).priced(work::price_of_pairs)
}

pub(crate) const COMMANDS: &[Spec] = &[
    grow("hset", -4, hset).doc(
        "2.0.0",
        "HSET key field value [field value ...]",
        "Sets fields of a hash and answers how many of them are new.",
    ),
    grow("hmset", -4, hmset).doc(
        "2.0.0",
        "HMSET key field value [field value ...]",
        "Sets fields of a hash, as HSET does, and answers OK.",
    ),
    grow("hsetnx", 4, hsetnx).doc(
        "2.0.0",
        "HSETNX key field value",
        "Sets a field of a hash only if it does not exist.",
    ),
    look_up("hget", 3, hget).doc("2.0.0", "HGET key field", "Answers the value of a field of a hash."),
    look_up("hmget", -3, hmget).doc(
        "2.0.0",
        "HMGET key field [field ...]",
        "Answers the values of several fields of a hash.",
    ),
    look("hgetall", 2, hgetall).priced(price_of_all).doc(
        "2.0.0",
        "HGETALL key",
        "Answers all fields of a hash with their values.",
    ),
    Spec::write(Group::Hash, "hdel", -3, hdel)
        .keys(KeySpec::ONE)
        .with(Flags::FAST)
        .priced(work::price_of_elements)
        .doc(
            "2.0.0",
            "HDEL key field [field ...]",
            "Removes fields of a hash and answers how many there were; a hash without fields is gone.",
        ),
    look_up("hexists", 3, hexists).doc("2.0.0", "HEXISTS key field", "Answers whether a hash has a field."),
    look_up("hlen", 2, hlen).doc("2.0.0", "HLEN key", "Answers how many fields a hash has."),
    look("hkeys", 2, hkeys).priced(price_of_all).doc("2.0.0", "HKEYS key", "Answers all fields of a hash."),
    look("hvals", 2, hvals).priced(price_of_all).doc("2.0.0", "HVALS key", "Answers all values of a hash."),
    look_up("hstrlen", 3, hstrlen).doc(
        "3.2.0",
        "HSTRLEN key field",
        "Answers the length of the value of a field of a hash, 0 if there is none.",
    ),
    look("hrandfield", -2, hrandfield).priced(sampling::price::<Hash>).doc(
        "6.2.0",
        "HRANDFIELD key [count [WITHVALUES]]",
        "Answers fields of a hash by chance: different ones, or with a negative count any.",
    ),
    look("hscan", -3, hscan).priced(scan::price_of_entries::<Hash>).doc(
        "2.8.0",
        "HSCAN key cursor [MATCH pattern] [COUNT count]",
        "Answers some fields of a hash with their values and the cursor to go on with, as SCAN does.",
    ),
];

fn price_of_all(context: &Context<'_>, args: &[Bytes]) -> u64 {
    context.elements::<Hash>(&args[1])
}

fn bulk(bytes: &Bytes) -> Reply {
    Reply::Bulk(bytes.clone())
}

fn hset(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(put(context, &args[1], pairs(&args[2..], "hset")?, Event::HSET)?))
}

fn hmset(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    put(context, &args[1], pairs(&args[2..], "hmset")?, Event::HSET)?;
    Ok(Reply::ok())
}

fn hsetnx(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    if context.collection::<Hash>(&args[1])?.is_some_and(|hash| hash.fields().contains(&args[2])) {
        return Ok(Reply::Integer(0));
    }
    Ok(Reply::count(put(context, &args[1], pairs(&args[2..], "hsetnx")?, Event::HSET)?))
}

fn pairs<'a>(args: &'a [Bytes], name: &str) -> Result<&'a [[Bytes; 2]], Reply> {
    match args.as_chunks::<2>() {
        (pairs, []) => Ok(pairs),
        _ => Err(Reply::error_text(format!("ERR wrong number of arguments for '{name}' command"))),
    }
}

/// Sets fields once all of them are allowed, and answers how many are new. A field that is named twice counts twice
/// against the limits.
pub(super) fn put(
    context: &mut Context<'_>,
    key: &[u8],
    pairs: &[[Bytes; 2]],
    event: Event,
) -> Result<usize, Reply> {
    let hash = context.collection::<Hash>(key)?;
    let growth = |[field, value]: &[Bytes; 2]| match hash.and_then(|hash| hash.get(field)) {
        None => Hash::field_bytes(field, value),
        Some(former) => value.len().saturating_sub(former.len()),
    };
    pairs.iter().flatten().try_for_each(|part| context.check_value_bytes(part.len()))?;
    context.check_growth(key, pairs.iter().map(growth).sum())?;
    context.spent.copied_bytes += pairs.iter().flatten().map(|part| part.len() as u64).sum::<u64>();
    let set = |hash: &mut Hash| pairs.iter().filter(|[field, value]| hash.insert(field, value)).count();
    let new = context.edit(key, pairs.len(), set);
    context.notify(event, key);
    Ok(new)
}

fn hget(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let hash = context.collection::<Hash>(&args[1])?;
    Ok(hash.and_then(|hash| hash.get(&args[2])).map_or(Reply::Null, bulk))
}

fn hmget(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let hash = context.collection::<Hash>(&args[1])?;
    let value = |field: &Bytes| hash.and_then(|hash| hash.get(field)).map_or(Reply::Null, bulk);
    Ok(Reply::Array(args[2..].iter().map(value).collect()))
}

fn hgetall(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let entries = context.collection::<Hash>(&args[1])?.map(|hash| hash.fields().iter());
    let pairs = entries.into_iter().flatten().map(|entry| (bulk(&entry.name), bulk(&entry.value)));
    Ok(Reply::Map(visited(context, pairs.collect())))
}

fn hkeys(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let entries = context.collection::<Hash>(&args[1])?.map(|hash| hash.fields().iter());
    let fields = entries.into_iter().flatten().map(|entry| bulk(&entry.name)).collect();
    Ok(Reply::Array(visited(context, fields)))
}

fn hvals(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let entries = context.collection::<Hash>(&args[1])?.map(|hash| hash.fields().iter());
    let values = entries.into_iter().flatten().map(|entry| bulk(&entry.value)).collect();
    Ok(Reply::Array(visited(context, values)))
}

/// Counts what was gathered by walking over all fields.
fn visited<T>(context: &mut Context<'_>, gathered: Vec<T>) -> Vec<T> {
    context.spent.visited += gathered.len() as u64;
    gathered
}

fn hdel(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let Some(hash) = context.collection::<Hash>(&args[1])? else { return Ok(Reply::Integer(0)) };
    let fields: Vec<&Bytes> = args[2..].iter().filter(|field| hash.fields().contains(field)).collect();
    if fields.is_empty() {
        return Ok(Reply::Integer(0));
    }
    // A field that was named twice is removed once.
    let remove = |hash: &mut Hash| fields.iter().filter(|field| hash.remove(field).is_some()).count();
    let removed = context.edit(&args[1], fields.len(), remove);
    context.notify_loss(Event::HDEL, &args[1]);
    Ok(Reply::count(removed))
}

fn hexists(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let hash = context.collection::<Hash>(&args[1])?;
    Ok(Reply::flag(hash.is_some_and(|hash| hash.fields().contains(&args[2]))))
}

fn hlen(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(context.collection::<Hash>(&args[1])?.map_or(0, Hash::len)))
}

fn hstrlen(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let hash = context.collection::<Hash>(&args[1])?;
    Ok(Reply::count(hash.and_then(|hash| hash.get(&args[2])).map_or(0, Bytes::len)))
}

fn hrandfield(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let sample = args.get(2).map(|count| Sample::parse(count)).transpose()?;
    let with_values = match args.get(3..) {
        None | Some([]) => false,
        Some([option]) if option.eq_ignore_ascii_case(b"WITHVALUES") => true,
        Some(_) => return Err(Reply::syntax_error()),
    };
    // Redis doubles the count for the length of its reply.
    if with_values && matches!(sample, Some(Sample::Distinct(count)) if count > i64::MAX as usize / 2) {
        return Err(Reply::error("ERR value is out of range"));
    }
    let len = context.collection::<Hash>(&args[1])?.map_or(0, Hash::len);
    let places = sample.unwrap_or(Sample::Distinct(1)).places(context, len);
    context.spent.visited += places.len() as u64;
    let hash = context.collection::<Hash>(&args[1])?;
    let mut entries = places.into_iter().filter_map(|place| hash.and_then(|hash| hash.fields().at(place)));
    Ok(match (sample, with_values) {
        (None, _) => entries.next().map_or(Reply::Null, |entry| bulk(&entry.name)),
        (Some(_), false) => Reply::Array(entries.map(|entry| bulk(&entry.name)).collect()),
        (Some(_), true) => {
            Reply::Pairs(entries.map(|entry| (bulk(&entry.name), bulk(&entry.value))).collect())
        }
    })
}

fn hscan(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    scan::scan_entries(context, args, Hash::fields, |entry, found| {
        found.extend([bulk(&entry.name), bulk(&entry.value)]);
    })
}
