//! Sets: members, each of them once. What makes one set of several is in [`super::set_algebra`].
//!
//! Members come in the dictionary's order, see [`crate::value::Dictionary`].

use bytes::Bytes;

use super::sampling::{self, Sample};
use super::scan;
use crate::command::{Group, KeySpec, Run, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;
use crate::value::{Entry, Set};
use crate::work;

const fn look(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::read(Group::Set, name, arity, run).keys(KeySpec::ONE)
}

const fn change(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::write(Group::Set, name, arity, run).keys(KeySpec::ONE).with(Flags::FAST)
}

pub(crate) const COMMANDS: &[Spec] = &[
    change("sadd", -3, sadd).with(Flags::DENYOOM).priced(work::price_of_elements).doc(
        "1.0.0",
        "SADD key member [member ...]",
        "Adds members to a set and answers how many of them are new.",
    ),
    change("srem", -3, srem).priced(work::price_of_elements).doc(
        "1.0.0",
        "SREM key member [member ...]",
        "Removes members of a set and answers how many there were; a set without members is gone.",
    ),
    look("sismember", 3, sismember).with(Flags::FAST).doc(
        "1.0.0",
        "SISMEMBER key member",
        "Answers whether a set has a member.",
    ),
    look("smismember", -3, smismember).with(Flags::FAST).doc(
        "6.2.0",
        "SMISMEMBER key member [member ...]",
        "Answers for each of several members whether a set has it.",
    ),
    look("smembers", 2, smembers).priced(price_of_all).doc(
        "1.0.0",
        "SMEMBERS key",
        "Answers all members of a set.",
    ),
    look("scard", 2, scard).with(Flags::FAST).doc(
        "1.0.0",
        "SCARD key",
        "Answers how many members a set has.",
    ),
    change("spop", -2, spop).priced(price_of_spop).doc(
        "1.0.0",
        "SPOP key [count]",
        "Removes members of a set by chance, the same on all nodes, and answers them.",
    ),
    look("srandmember", -2, srandmember).priced(sampling::price::<Set>).doc(
        "1.0.0",
        "SRANDMEMBER key [count]",
        "Answers members of a set by chance: different ones, or with a negative count any.",
    ),
    change("smove", 4, smove).keys(KeySpec::TWO).priced(|_, _| work::of_changes(2)).doc(
        "1.0.0",
        "SMOVE source destination member",
        "Moves a member from one set to another.",
    ),
    look("sscan", -3, sscan).priced(scan::price_of_entries::<Set>).doc(
        "2.8.0",
        "SSCAN key cursor [MATCH pattern] [COUNT count]",
        "Answers some members of a set and the cursor to go on with, as SCAN does.",
    ),
];

fn price_of_all(context: &Context<'_>, args: &[Bytes]) -> u64 {
    context.elements::<Set>(&args[1])
}

fn price_of_spop(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let popped = sampling::price::<Set>(context, args);
    work::of_changes(usize::try_from(popped).unwrap_or(usize::MAX))
}

/// The members of a set as replies.
pub(super) fn members(set: &Set) -> Vec<Reply> {
    set.iter().map(|member| Reply::Bulk(member.name.clone())).collect()
}

fn sadd(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    add(context, &args[1], &args[2..]).map(Reply::count)
}

/// Adds members to a set; how many are new.
pub(super) fn add(context: &mut Context<'_>, key: &Bytes, members: &[Bytes]) -> Result<usize, Reply> {
    let set = context.collection::<Set>(key)?;
    let is_new = |member: &&Bytes| !set.is_some_and(|set| set.contains(member));
    let members: Vec<&Bytes> = members.iter().filter(is_new).collect();
    if members.is_empty() {
        return Ok(0);
    }
    members.iter().try_for_each(|member| context.check_value_bytes(member.len()))?;
    context.check_growth(key, members.iter().map(|member| Set::entry_bytes(member)).sum())?;
    context.spent.copied_bytes += members.iter().map(|member| member.len() as u64).sum::<u64>();
    // A member that was named twice is added once, though it counted twice against the limits.
    let add = |set: &mut Set| members.iter().filter(|member| set.insert(member, ()).is_none()).count();
    let added = context.edit(key, members.len(), add);
    context.notify(Event::SADD, key);
    Ok(added)
}

fn srem(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let Some(set) = context.collection::<Set>(&args[1])? else { return Ok(Reply::Integer(0)) };
    let members: Vec<&Bytes> = args[2..].iter().filter(|member| set.contains(member)).collect();
    if members.is_empty() {
        return Ok(Reply::Integer(0));
    }
    let remove = |set: &mut Set| members.iter().filter(|member| set.remove(member).is_some()).count();
    let removed = context.edit(&args[1], members.len(), remove);
    context.notify_loss(Event::SREM, &args[1]);
    Ok(Reply::count(removed))
}

fn sismember(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let set = context.collection::<Set>(&args[1])?;
    Ok(Reply::flag(set.is_some_and(|set| set.contains(&args[2]))))
}

fn smismember(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let set = context.collection::<Set>(&args[1])?;
    let is_member = |member: &Bytes| Reply::flag(set.is_some_and(|set| set.contains(member)));
    Ok(Reply::Array(args[2..].iter().map(is_member).collect()))
}

fn smembers(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let found = context.collection::<Set>(&args[1])?.map(members).unwrap_or_default();
    context.spent.visited += found.len() as u64;
    Ok(Reply::Set(found))
}

fn scard(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(context.collection::<Set>(&args[1])?.map_or(0, Set::len)))
}

fn spop(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let count = match &args[2..] {
        [] => None,
        [count] => {
            let count = integer::parse(count).and_then(|count| usize::try_from(count).ok());
            Some(count.ok_or(Reply::error("ERR value is out of range, must be positive"))?)
        }
        _ => return Err(Reply::syntax_error()),
    };
    let len = context.collection::<Set>(&args[1])?.map_or(0, Set::len);
    let places = Sample::Distinct(count.unwrap_or(1)).places(context, len);
    let mut popped = Vec::new();
    if !places.is_empty() {
        // From the last one on, so that the places of the others stay what they are.
        let take = |set: &mut Set| places.iter().rev().map(|place| set.remove_at(*place).0).collect();
        popped = context.edit(&args[1], places.len(), take);
        context.notify_loss(Event::SPOP, &args[1]);
    }
    let mut popped = popped.into_iter().map(Reply::Bulk);
    Ok(match count {
        None => popped.next().unwrap_or(Reply::Null),
        Some(_) => Reply::Set(popped.collect()),
    })
}

fn srandmember(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    if args.len() > 3 {
        return Err(Reply::syntax_error());
    }
    let sample = args.get(2).map(|count| Sample::parse(count)).transpose()?;
    let len = context.collection::<Set>(&args[1])?.map_or(0, Set::len);
    let places = sample.unwrap_or(Sample::Distinct(1)).places(context, len);
    context.spent.visited += places.len() as u64;
    let set = context.collection::<Set>(&args[1])?;
    let members = places.into_iter().filter_map(|place| set.and_then(|set| set.at(place)));
    let mut members = members.map(|member| Reply::Bulk(member.name.clone()));
    Ok(match sample {
        None => members.next().unwrap_or(Reply::Null),
        Some(_) => Reply::Array(members.collect()),
    })
}

fn smove(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (source, destination, member) = (&args[1], &args[2], &args[3]);
    let Some(from) = context.collection::<Set>(source)? else { return Ok(Reply::Integer(0)) };
    let to = context.collection::<Set>(destination)?;
    let (is_member, is_new) = (from.contains(member), !to.is_some_and(|to| to.contains(member)));
    if !is_member || source == destination {
        return Ok(Reply::flag(is_member));
    }
    if is_new {
        context.check_growth(destination, Set::entry_bytes(member))?;
    }
    context.edit(source, 1, |set: &mut Set| set.remove(member));
    context.notify_loss(Event::SREM, source);
    if is_new {
        context.edit(destination, 1, |set: &mut Set| set.insert(member, ()));
        context.notify(Event::SADD, destination);
    }
    Ok(Reply::Integer(1))
}

fn sscan(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let show = |member: &Entry<()>, found: &mut Vec<Reply>| {
        found.push(Reply::Bulk(member.name.clone()));
    };
    scan::scan_entries(context, args, |set: &Set| set, show)
}
