//! One set of several: intersections, unions and differences, answered, stored or counted.
//!
//! A result begins as a clone of one of the sets, which costs nothing, and loses or gains what the others say. So the
//! work is that of asking the smallest set's members for an intersection, or of adding all but the largest for a
//! union, and is known before it is done.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::sets::members;
use crate::command::{Group, KeySpec, Price, Run, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;
use crate::script::WORK_BYTES;
use crate::value::Set;
use crate::work;

const fn answers(name: &'static str, run: Run, price: Price) -> Spec {
    Spec::read(Group::Set, name, -2, run).keys(KeySpec::ALL).priced(price)
}

const fn stores(name: &'static str, run: Run, price: Price) -> Spec {
    Spec::write(Group::Set, name, -3, run).keys(KeySpec::ALL).with(Flags::DENYOOM).priced(price)
}

pub(crate) const COMMANDS: &[Spec] = &[
    answers(
        "sinter",
        |context, args| answer(context, Operation::Intersection, args),
        |context, args| price_of_answer(context, Operation::Intersection, &args[1..]),
    )
    .doc("1.0.0", "SINTER key [key ...]", "Answers the members that all sets have."),
    stores(
        "sinterstore",
        |context, args| store(context, Operation::Intersection, args),
        |context, args| price(context, Operation::Intersection, &args[2..]),
    )
    .doc(
        "1.0.0",
        "SINTERSTORE destination key [key ...]",
        "Puts the members that all sets have in the place of what a key held, and answers how many they are.",
    ),
    Spec::read(Group::Set, "sintercard", -3, sintercard)
        .keys(KeySpec::Counted { count_at: 1 })
        .with(Flags::MOVABLEKEYS)
        .priced(price_of_count)
        .doc(
            "7.0.0",
            "SINTERCARD numkeys key [key ...] [LIMIT limit]",
            "Answers how many members all sets have, counting up to a limit.",
        ),
    answers(
        "sunion",
        |context, args| answer(context, Operation::Union, args),
        |context, args| price_of_answer(context, Operation::Union, &args[1..]),
    )
    .doc("1.0.0", "SUNION key [key ...]", "Answers the members that any of the sets has."),
    stores(
        "sunionstore",
        |context, args| store(context, Operation::Union, args),
        |context, args| price(context, Operation::Union, &args[2..]),
    )
    .doc(
        "1.0.0",
        "SUNIONSTORE destination key [key ...]",
        "Puts the members that any of the sets has in the place of what a key held, and answers how many they are.",
    ),
    answers(
        "sdiff",
        |context, args| answer(context, Operation::Difference, args),
        |context, args| price_of_answer(context, Operation::Difference, &args[1..]),
    )
    .doc("1.0.0", "SDIFF key [key ...]", "Answers the members of the first set that no other has."),
    stores(
        "sdiffstore",
        |context, args| store(context, Operation::Difference, args),
        |context, args| price(context, Operation::Difference, &args[2..]),
    )
    .doc(
        "1.0.0",
        "SDIFFSTORE destination key [key ...]",
        "Puts the members of the first set that no other has in the place of what a key held, and answers how many they are.",
    ),
];

/// What is made of several sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Intersection,
    Union,
    Difference,
}

impl Operation {
    /// What is told of the key at which its result is stored.
    const fn stored(self) -> Event {
        match self {
            Self::Intersection => Event::SINTERSTORE,
            Self::Union => Event::SUNIONSTORE,
            Self::Difference => Event::SDIFFSTORE,
        }
    }
}

/// The sets of an operation, in the order in which it takes the fewest steps.
struct Operands {
    /// What the result begins with.
    first: Set,
    others: Vec<Set>,
}

impl Operands {
    /// The sets at keys, of which there is one at least; one that does not exist is empty. A key that comes again
    /// changes no result, and must not be worked for again: a command can name one large set thousands of times.
    fn gather(context: &Context<'_>, operation: Operation, keys: &[Bytes]) -> Result<Self, Reply> {
        let set = |key: &Bytes| Ok(context.collection::<Set>(key)?.cloned().unwrap_or_default());
        let mut named = BTreeSet::new();
        let others = keys[1..].iter().filter(|key| named.insert(*key));
        let mut sets: Vec<Set> = keys.iter().take(1).chain(others).map(set).collect::<Result<_, Reply>>()?;
        match operation {
            Operation::Intersection => sets.sort_by_key(Set::len),
            Operation::Union => sets.sort_by_key(|set| Reverse(set.len())),
            Operation::Difference => {}
        }
        let others = sets.split_off(1);
        Ok(Self { first: sets.remove(0), others })
    }

    /// How many members are asked for in other sets.
    fn looked_up(&self) -> usize {
        self.first.len().saturating_mul(self.others.len())
    }

    /// How many members the other sets have.
    fn in_others(&self) -> usize {
        self.others.iter().map(Set::len).sum()
    }

    /// What it takes to find the result, beside what leaves the first set. Names are read to be found.
    fn visits(&self, operation: Operation) -> u64 {
        let asking = price_of_asking(self.first.len(), self.first.bytes(), self.others.len());
        let read = (self.others.iter().map(Set::bytes).sum::<usize>() / WORK_BYTES) as u64;
        match operation {
            Operation::Intersection => asking,
            Operation::Union => work::of_changes(self.in_others()) + read,
            Operation::Difference => asking.min(self.in_others() as u64 + read),
        }
    }

    /// What it takes at the most that members leave the first set.
    fn leaving_max(&self, operation: Operation) -> u64 {
        work::of_changes(match operation {
            Operation::Intersection if self.others.is_empty() => 0,
            Operation::Intersection => self.first.len(),
            Operation::Difference => self.first.len().min(self.in_others()),
            Operation::Union => 0,
        })
    }

    /// How many members the result has at least, as far as that shows without making it.
    fn result_min(&self, operation: Operation) -> u64 {
        let is_first = self.others.is_empty() || operation == Operation::Union;
        if is_first { self.first.len() as u64 } else { 0 }
    }

    fn are_common(&self, member: &[u8]) -> bool {
        self.others.iter().all(|other| other.contains(member))
    }

    fn intersection(self) -> Set {
        let leaving = self.first.iter().filter(|member| !self.are_common(&member.name));
        let leaving: Vec<Bytes> = leaving.map(|member| member.name.clone()).collect();
        without(self.first, leaving.iter())
    }

    fn union(self) -> Set {
        let mut result = self.first;
        for member in self.others.iter().flat_map(Set::iter) {
            result.insert(&member.name, ());
        }
        result
    }

    fn difference(self) -> Set {
        if self.in_others() < self.looked_up() {
            return without(self.first, self.others.iter().flat_map(Set::iter).map(|member| &member.name));
        }
        let is_elsewhere = |member: &[u8]| self.others.iter().any(|other| other.contains(member));
        let leaving = self.first.iter().filter(|member| is_elsewhere(&member.name));
        let leaving: Vec<Bytes> = leaving.map(|member| member.name.clone()).collect();
        without(self.first, leaving.iter())
    }
}

fn without<'m>(mut set: Set, leaving: impl Iterator<Item = &'m Bytes>) -> Set {
    leaving.for_each(|member| drop(set.remove(member)));
    set
}

fn combine(context: &mut Context<'_>, operation: Operation, keys: &[Bytes]) -> Result<Set, Reply> {
    let operands = Operands::gather(context, operation, keys)?;
    context.spent.visited += operands.visits(operation);
    let before = operands.first.len();
    let result = match operation {
        Operation::Intersection => operands.intersection(),
        Operation::Union => operands.union(),
        Operation::Difference => operands.difference(),
    };
    context.spent.visited += work::of_changes(before.saturating_sub(result.len()));
    Ok(result)
}

fn price(context: &Context<'_>, operation: Operation, keys: &[Bytes]) -> u64 {
    let total = |operands: Operands| operands.visits(operation) + operands.leaving_max(operation);
    Operands::gather(context, operation, keys).map_or(0, total)
}

fn price_of_answer(context: &Context<'_>, operation: Operation, keys: &[Bytes]) -> u64 {
    let total = |operands: Operands| {
        operands.visits(operation) + operands.leaving_max(operation) + operands.result_min(operation)
    };
    Operands::gather(context, operation, keys).map_or(0, total)
}

fn answer(context: &mut Context<'_>, operation: Operation, args: &[Bytes]) -> Result<Reply, Reply> {
    let result = members(&combine(context, operation, &args[1..])?);
    context.spent.visited += result.len() as u64;
    Ok(Reply::Set(result))
}

fn store(context: &mut Context<'_>, operation: Operation, args: &[Bytes]) -> Result<Reply, Reply> {
    let result = combine(context, operation, &args[2..])?;
    let len = result.len();
    context.notify_missing(&args[2..]);
    context.replace(&args[1], result, operation.stored())?;
    Ok(Reply::count(len))
}

/// The keys of SINTERCARD, and up to how many members it counts.
fn parse_count(args: &[Bytes]) -> Result<(&[Bytes], usize), Reply> {
    let count = integer::parse(&args[1]).filter(|count| *count > 0);
    let count = count.ok_or(Reply::error("ERR numkeys should be greater than 0"))?;
    let given = &args[2..];
    let count = usize::try_from(count).ok().filter(|count| *count <= given.len());
    let count = count.ok_or(Reply::error("ERR Number of keys can't be greater than number of args"))?;
    let (keys, options) = given.split_at(count);
    let mut limit = 0;
    let (pairs, rest) = options.as_chunks::<2>();
    for [option, value] in pairs {
        if !option.eq_ignore_ascii_case(b"LIMIT") {
            return Err(Reply::syntax_error());
        }
        let value = integer::parse(value).and_then(|value| usize::try_from(value).ok());
        limit = value.ok_or(Reply::error("ERR LIMIT can't be negative"))?;
    }
    let limit = if limit == 0 { usize::MAX } else { limit };
    if rest.is_empty() { Ok((keys, limit)) } else { Err(Reply::syntax_error()) }
}

/// What counting takes at least.
fn price_of_count(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let Ok((keys, limit)) = parse_count(args) else { return 0 };
    let Ok(operands) = Operands::gather(context, Operation::Intersection, keys) else { return 0 };
    let counted = operands.first.len().min(limit);
    let read = counted * (operands.first.bytes() / operands.first.len().max(1));
    price_of_asking(counted, read, operands.others.len())
}

/// What it takes to ask so many sets for members of so many bytes together.
fn price_of_asking(members: usize, bytes: usize, sets: usize) -> u64 {
    ((members + bytes / WORK_BYTES) as u64).saturating_mul(sets as u64)
}

fn sintercard(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (keys, limit) = parse_count(args)?;
    let operands = Operands::gather(context, Operation::Intersection, keys)?;
    if operands.others.is_empty() {
        return Ok(Reply::count(operands.first.len().min(limit)));
    }
    let (mut asked, mut read) = (0, 0);
    let asked_for = operands.first.iter().inspect(|member| {
        asked += 1;
        read += member.name.len();
    });
    let count = asked_for.filter(|member| operands.are_common(&member.name)).take(limit).count();
    context.spent.visited += price_of_asking(asked, read, operands.others.len());
    Ok(Reply::count(count))
}
