//! Unions, intersections and differences of sorted sets. Plain sets take part, too: each of their members has score 1.

use bytes::Bytes;

use super::sorted_set_ranges::members_reply;
use super::sorted_sets::store;
use crate::command::{Group, KeySpec, Run, Spec};
use crate::context::Context;
use crate::double;
use crate::flags::Flags;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;
use crate::script::WORK_BYTES;
use crate::value::{Score, Set, SortedSet, Value};
use crate::work;

const fn read(name: &'static str, run: Run) -> Spec {
    Spec::read(Group::SortedSet, name, -3, run)
        .keys(KeySpec::Counted { count_at: 1 })
        .with(Flags::MOVABLEKEYS)
        .priced(price)
}

const fn write(name: &'static str, run: Run) -> Spec {
    Spec::write(Group::SortedSet, name, -4, run)
        .keys(KeySpec::DestinationAndCounted { count_at: 2 })
        .with(Flags::DENYOOM.and(Flags::MOVABLEKEYS))
        .priced(price)
}

pub(crate) const COMMANDS: &[Spec] = &[
    read("zunion", combined).doc(
        "6.2.0",
        "ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        "Answers what is a member of any of several sorted sets, its scores put together.",
    ),
    read("zinter", combined).doc(
        "6.2.0",
        "ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>] [WITHSCORES]",
        "Answers what is a member of all of several sorted sets, its scores put together.",
    ),
    read("zdiff", combined).doc(
        "6.2.0",
        "ZDIFF numkeys key [key ...] [WITHSCORES]",
        "Answers what is a member of the first sorted set and of no other.",
    ),
    read("zintercard", zintercard).doc(
        "7.0.0",
        "ZINTERCARD numkeys key [key ...] [LIMIT limit]",
        "Answers how many are members of all of several sorted sets, up to a limit.",
    ),
    write("zunionstore", stored).doc(
        "2.0.0",
        "ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        "Stores what ZUNION answers.",
    ),
    write("zinterstore", stored).doc(
        "2.0.0",
        "ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX>]",
        "Stores what ZINTER answers.",
    ),
    write("zdiffstore", stored).doc(
        "6.2.0",
        "ZDIFFSTORE destination numkeys key [key ...]",
        "Stores what ZDIFF answers.",
    ),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum SetOperation {
    Union,
    Intersection,
    Difference,
}

impl SetOperation {
    fn of(name: &[u8]) -> Self {
        match &name.to_ascii_uppercase()[..] {
            b"ZUNION" | b"ZUNIONSTORE" => Self::Union,
            b"ZDIFF" | b"ZDIFFSTORE" => Self::Difference,
            _ => Self::Intersection,
        }
    }

    /// What is told of the key at which its result is stored.
    const fn stored(self) -> Event {
        match self {
            Self::Union => Event::ZUNIONSTORE,
            Self::Intersection => Event::ZINTERSTORE,
            Self::Difference => Event::ZDIFFSTORE,
        }
    }
}

/// What becomes of the scores of a member that several sets have.
#[derive(Clone, Copy)]
enum Aggregate {
    Sum,
    Least,
    Greatest,
}

impl Aggregate {
    fn of(self, one: Score, other: Score) -> Score {
        match self {
            Self::Sum => or_zero(one.value() + other.value()),
            Self::Least => one.min(other),
            Self::Greatest => one.max(other),
        }
    }
}

/// Infinities that cancel each other give 0, as in Redis.
fn or_zero(value: f64) -> Score {
    Score::new(value).unwrap_or_default()
}

/// What a key holds.
enum Members {
    None,
    Set(Set),
    SortedSet(SortedSet),
}

/// One of the sets that are combined.
struct Source {
    members: Members,
    weight: f64,
}

impl Source {
    fn of(context: &Context<'_>, key: &[u8]) -> Result<Self, Reply> {
        let members = match context.get(key).map(|slot| &slot.value) {
            None => Members::None,
            Some(Value::Set(set)) => Members::Set(set.clone()),
            Some(Value::SortedSet(set)) => Members::SortedSet(set.clone()),
            Some(
                Value::String(_) | Value::List(_) | Value::Hash(_) | Value::Lock(_) | Value::Semaphore(_),
            ) => {
                return Err(Reply::wrong_type());
            }
        };
        Ok(Self { members, weight: 1.0 })
    }

    fn len(&self) -> usize {
        match &self.members {
            Members::None => 0,
            Members::Set(set) => set.len(),
            Members::SortedSet(set) => set.len(),
        }
    }

    fn bytes(&self) -> usize {
        match &self.members {
            Members::None => 0,
            Members::Set(set) => set.bytes(),
            Members::SortedSet(set) => set.bytes(),
        }
    }

    fn weighted(&self, score: f64) -> Score {
        or_zero(score * self.weight)
    }

    fn score(&self, name: &[u8]) -> Option<Score> {
        let score = match &self.members {
            Members::None => None,
            Members::Set(set) => set.contains(name).then_some(1.0),
            Members::SortedSet(set) => set.score(name).map(Score::value),
        };
        score.map(|score| self.weighted(score))
    }

    fn for_each(&self, mut visit: impl FnMut(&Bytes, Score)) {
        match &self.members {
            Members::None => {}
            Members::Set(set) => set.iter().for_each(|member| visit(&member.name, self.weighted(1.0))),
            Members::SortedSet(set) => set
                .range(0, set.len())
                .for_each(|ranked| visit(&ranked.name, self.weighted(ranked.score.value()))),
        }
    }
}

/// Reads `numkeys key [key ...]`, and answers the options behind them, too.
fn sources<'a>(
    context: &Context<'_>,
    name: &[u8],
    args: &'a [Bytes],
) -> Result<(Vec<Source>, &'a [Bytes]), Reply> {
    let count = integer::parse(&args[0]).ok_or(Reply::not_an_integer())?;
    let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or_else(|| {
        let name = name.to_ascii_lowercase();
        Reply::error_text([b"ERR at least 1 input key is needed for '", &name[..], b"' command"].concat())
    })?;
    let (keys, options) = args[1..].split_at_checked(count).ok_or(Reply::syntax_error())?;
    let sources: Result<_, _> = keys.iter().map(|key| Source::of(context, key)).collect();
    Ok((sources?, options))
}

/// What ZUNION and its kin ask for.
struct Combination {
    operation: SetOperation,
    sources: Vec<Source>,
    aggregate: Aggregate,
    with_scores: bool,
}

impl Combination {
    /// Reads `numkeys key [key ...] [option ...]`.
    fn parse(context: &Context<'_>, name: &[u8], args: &[Bytes], stores: bool) -> Result<Self, Reply> {
        let operation = SetOperation::of(name);
        let (mut sources, mut options) = sources(context, name, args)?;
        let (mut aggregate, mut with_scores) = (Aggregate::Sum, false);
        let aggregates = operation != SetOperation::Difference;
        while let [option, rest @ ..] = options {
            options = match (&option.to_ascii_uppercase()[..], rest) {
                (b"WEIGHTS", _) if aggregates && rest.len() >= sources.len() => {
                    let (weights, rest) = rest.split_at(sources.len());
                    for (source, weight) in sources.iter_mut().zip(weights) {
                        let not_a_float = Reply::error("ERR weight value is not a float");
                        source.weight = double::parse(weight).ok_or(not_a_float)?;
                    }
                    rest
                }
                (b"AGGREGATE", [word, rest @ ..]) if aggregates => {
                    aggregate = match &word.to_ascii_uppercase()[..] {
                        b"SUM" => Aggregate::Sum,
                        b"MIN" => Aggregate::Least,
                        b"MAX" => Aggregate::Greatest,
                        _ => return Err(Reply::syntax_error()),
                    };
                    rest
                }
                (b"WITHSCORES", _) if !stores => {
                    with_scores = true;
                    rest
                }
                _ => return Err(Reply::syntax_error()),
            };
        }
        if operation != SetOperation::Difference {
            // The smallest first, as in Redis: sums of doubles depend on their order.
            sources.sort_by_key(Source::len);
        }
        Ok(Self { operation, sources, aggregate, with_scores })
    }

    fn run(&self) -> SortedSet {
        let mut combined = SortedSet::default();
        let (first, others) = self.sources.split_first().expect("there is one at least");
        match self.operation {
            SetOperation::Union => self.sources.iter().for_each(|source| {
                source.for_each(|name, score| {
                    let present = combined.score(name);
                    let score = present.map_or(score, |present| self.aggregate.of(present, score));
                    combined.insert(name, score);
                });
            }),
            SetOperation::Intersection => first.for_each(|name, score| {
                let together = others.iter().try_fold(score, |so_far, other| {
                    other.score(name).map(|score| self.aggregate.of(so_far, score))
                });
                if let Some(score) = together {
                    combined.insert(name, score);
                }
            }),
            SetOperation::Difference => first.for_each(|name, score| {
                if others.iter().all(|other| other.score(name).is_none()) {
                    combined.insert(name, score);
                }
            }),
        }
        combined
    }
}

/// More steps are not taken, whatever is combined: about a second. A key may be named many times over.
const STEPS_MAX: u64 = 10_000_000;

/// What a combination takes at the most, in visits. Names are read to be found.
fn steps(operation: SetOperation, sources: &[Source]) -> u64 {
    let times = sources.len() as u64;
    match operation {
        SetOperation::Union => sources.iter().map(steps_of).sum(),
        SetOperation::Intersection => {
            let smallest = sources.iter().min_by_key(|source| source.len());
            smallest.map_or(0, steps_of).saturating_mul(times)
        }
        SetOperation::Difference => sources.first().map_or(0, steps_of).saturating_mul(times),
    }
}

/// What it takes to put all members of a set into another one.
fn steps_of(source: &Source) -> u64 {
    work::of_changes(source.len()) + (source.bytes() / WORK_BYTES) as u64
}

fn price(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let from = if args[0].to_ascii_uppercase().ends_with(b"STORE") { 2 } else { 1 };
    sources(context, &args[0], &args[from..])
        .map_or(0, |(sources, _)| steps(SetOperation::of(&args[0]), &sources))
}

/// Pays for a combination, or answers why it is not made.
fn pay(context: &mut Context<'_>, operation: SetOperation, sources: &[Source]) -> Result<(), Reply> {
    let steps = steps(operation, sources);
    if steps > STEPS_MAX {
        return Err(Reply::error("ERR the sorted sets are too large to be combined"));
    }
    context.spent.visited += steps;
    Ok(())
}

/// ZUNION, ZINTER and ZDIFF.
fn combined(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let combination = Combination::parse(context, &args[0], &args[1..], false)?;
    pay(context, combination.operation, &combination.sources)?;
    let combined = combination.run();
    Ok(members_reply(combined.range(0, combined.len()), combination.with_scores))
}

/// ZUNIONSTORE, ZINTERSTORE and ZDIFFSTORE.
fn stored(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let combination = Combination::parse(context, &args[0], &args[2..], true)?;
    pay(context, combination.operation, &combination.sources)?;
    let read = KeySpec::Counted { count_at: 2 }.keys(args);
    context.notify_missing(read.iter().flatten());
    store(context, &args[1], combination.run(), combination.operation.stored())
}

fn zintercard(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (mut sources, mut options) = sources(context, &args[0], &args[1..])?;
    let mut limit = usize::MAX;
    while let [option, value, rest @ ..] = options
        && option.eq_ignore_ascii_case(b"LIMIT")
    {
        let negative = Reply::error("ERR LIMIT can't be negative");
        let count = integer::parse(value).and_then(|count| usize::try_from(count).ok()).ok_or(negative)?;
        limit = if count == 0 { usize::MAX } else { count };
        options = rest;
    }
    if !options.is_empty() {
        return Err(Reply::syntax_error());
    }
    pay(context, SetOperation::Intersection, &sources)?;
    sources.sort_by_key(Source::len);
    let (smallest, others) = sources.split_first().expect("there is one at least");
    let mut found = 0;
    smallest.for_each(|name, _| found += usize::from(others.iter().all(|other| other.score(name).is_some())));
    Ok(Reply::count(found.min(limit)))
}
