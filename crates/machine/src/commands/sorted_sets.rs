//! Sorted sets: members in the order of their scores. Here are those commands that name the members; ranges are in
//! [`super::sorted_set_ranges`], members by chance or from the ends in [`super::sorted_set_picks`].

use bytes::Bytes;

use crate::command::{Group, KeySpec, Run, Spec};
use crate::context::Context;
use crate::double;
use crate::flags::Flags;
use crate::notification::Event;
use crate::reply::Reply;
use crate::value::{Score, SortedSet};
use crate::work::{price_of_elements, price_of_pairs};

pub(super) const fn read(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::read(Group::SortedSet, name, arity, run).keys(KeySpec::ONE)
}

pub(super) const fn write(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::write(Group::SortedSet, name, arity, run).keys(KeySpec::ONE)
}

const ADD: Flags = Flags::DENYOOM.and(Flags::FAST);

pub(crate) const COMMANDS: &[Spec] = &[
    write("zadd", -4, zadd).with(ADD).priced(price_of_pairs).doc(
        "1.2.0",
        "ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]",
        "Gives members scores and answers how many are new, or with CH, new or changed; with INCR, adds to one.",
    ),
    write("zincrby", 4, zincrby).with(ADD).priced(price_of_pairs).doc(
        "1.2.0",
        "ZINCRBY key increment member",
        "Adds to a member's score and answers it.",
    ),
    write("zrem", -3, zrem).with(Flags::FAST).priced(price_of_elements).doc(
        "1.2.0",
        "ZREM key member [member ...]",
        "Removes members and answers how many there were.",
    ),
    read("zcard", 2, zcard).with(Flags::FAST).doc(
        "1.2.0",
        "ZCARD key",
        "Answers how many members a sorted set has.",
    ),
    read("zscore", 3, zscore).with(Flags::FAST).doc(
        "1.2.0",
        "ZSCORE key member",
        "Answers a member's score.",
    ),
    read("zmscore", -3, zmscore).with(Flags::FAST).doc(
        "6.2.0",
        "ZMSCORE key member [member ...]",
        "Answers the scores of members.",
    ),
    read("zrank", -3, zrank).with(Flags::FAST).doc(
        "2.0.0",
        "ZRANK key member [WITHSCORE]",
        "Answers how many members have lower scores; WITHSCORE is of 7.2.",
    ),
    read("zrevrank", -3, zrevrank).with(Flags::FAST).doc(
        "2.0.0",
        "ZREVRANK key member [WITHSCORE]",
        "Answers how many members have higher scores; WITHSCORE is of 7.2.",
    ),
];

/// How many members the sorted set at a key has, for prices.
pub(super) fn len(context: &Context<'_>, key: &[u8]) -> usize {
    context.collection(key).ok().flatten().map_or(0, SortedSet::len)
}

pub(super) fn score_reply(score: Score) -> Reply {
    Reply::Double(score.value())
}

/// Makes a sorted set the value of a key, whatever that held, and answers how many members it has. An empty one
/// removes the key.
pub(super) fn store(
    context: &mut Context<'_>,
    key: &[u8],
    set: SortedSet,
    event: Event,
) -> Result<Reply, Reply> {
    let len = set.len();
    context.replace(key, set, event)?;
    Ok(Reply::count(len))
}

/// Which members ZADD touches, and how.
struct Addition {
    only_new: bool,
    only_present: bool,
    only_greater: bool,
    only_less: bool,
    counts_changed: bool,
    increments: bool,
}

impl Addition {
    const OPTIONS: [&'static str; 6] = ["NX", "XX", "GT", "LT", "CH", "INCR"];

    /// Reads the options in front of the pairs of score and member, and answers these, too.
    fn parse(args: &[Bytes], increments: bool) -> Result<(Self, &[[Bytes; 2]]), Reply> {
        let is = |argument: &Bytes, option: &str| argument.eq_ignore_ascii_case(option.as_bytes());
        let is_option = |argument: &&Bytes| Self::OPTIONS.iter().any(|option| is(argument, option));
        let (options, pairs) = args.split_at(args.iter().take_while(is_option).count());
        let has = |option: &str| options.iter().any(|argument| is(argument, option));
        let addition = Self {
            only_new: has("NX"),
            only_present: has("XX"),
            only_greater: has("GT"),
            only_less: has("LT"),
            counts_changed: has("CH"),
            increments: increments || has("INCR"),
        };
        let (pairs, rest) = pairs.as_chunks::<2>();
        if pairs.is_empty() || !rest.is_empty() {
            return Err(Reply::syntax_error());
        }
        addition.check(pairs.len())?;
        Ok((addition, pairs))
    }

    fn check(&self, pairs: usize) -> Result<(), Reply> {
        if self.only_new && self.only_present {
            return Err(Reply::error("ERR XX and NX options at the same time are not compatible"));
        }
        if [self.only_new, self.only_greater, self.only_less].iter().filter(|only| **only).count() > 1 {
            return Err(Reply::error("ERR GT, LT, and/or NX options at the same time are not compatible"));
        }
        if self.increments && pairs > 1 {
            return Err(Reply::error("ERR INCR option supports a single increment-element pair"));
        }
        Ok(())
    }

    /// The score that a member is to have, which may be the one that it has; `None` if it is left alone.
    fn decide(&self, present: Option<Score>, given: Score) -> Result<Option<Score>, Reply> {
        let Some(present) = present else { return Ok((!self.only_present).then_some(given)) };
        if self.only_new {
            return Ok(None);
        }
        let score = if self.increments {
            let sum = Score::new(present.value() + given.value());
            sum.ok_or(Reply::error("ERR resulting score is not a number (NaN)"))?
        } else {
            given
        };
        let refused = (self.only_greater && score <= present) || (self.only_less && score >= present);
        Ok((!refused).then_some(score))
    }
}

/// What members and scores would do to a set, found before anything is changed.
struct Survey {
    /// Whether there is anything to change at all: the first pair that changes something meets the set as it is.
    changes: bool,
    /// What the set will grow by in memory at the most: a new member that is named twice counts twice.
    growth: usize,
    /// What was decided about the last pair, which for INCR is the only one.
    decided: Option<Score>,
}

fn survey(
    context: &Context<'_>,
    key: &[u8],
    addition: &Addition,
    pairs: &[(Score, &Bytes)],
) -> Result<Survey, Reply> {
    let set = context.collection::<SortedSet>(key)?;
    let mut survey = Survey { changes: false, growth: 0, decided: None };
    for (given, name) in pairs {
        let present = set.and_then(|set| set.score(name));
        survey.decided = addition.decide(present, *given)?;
        let Some(score) = survey.decided else { continue };
        survey.changes |= present != Some(score);
        if present.is_none() {
            context.check_value_bytes(name.len())?;
            survey.growth += SortedSet::member_bytes(name);
        }
    }
    Ok(survey)
}

/// Gives the members their scores; answers how many were new and how many had another score.
fn put(set: &mut SortedSet, addition: &Addition, pairs: &[(Score, &Bytes)]) -> (usize, usize) {
    let (mut added, mut changed) = (0, 0);
    for (given, name) in pairs {
        let present = set.score(name);
        let Ok(Some(score)) = addition.decide(present, *given) else { continue };
        if present != Some(score) {
            set.insert(name, score);
            added += usize::from(present.is_none());
            changed += usize::from(present.is_some());
        }
    }
    (added, changed)
}

fn add(context: &mut Context<'_>, args: &[Bytes], increments: bool) -> Result<Reply, Reply> {
    let key = &args[1];
    let (addition, pairs) = Addition::parse(&args[2..], increments)?;
    let pairs: Option<Vec<_>> = pairs
        .iter()
        .map(|[score, name]| double::parse(score).and_then(Score::new).map(|score| (score, name)))
        .collect();
    let pairs = pairs.ok_or(Reply::error("ERR value is not a valid float"))?;
    let survey = survey(context, key, &addition, &pairs)?;
    let (mut added, mut changed) = (0, 0);
    if survey.changes {
        context.check_growth(key, survey.growth)?;
        context.spent.copied_bytes += pairs.iter().map(|(_, name)| name.len() as u64).sum::<u64>();
        (added, changed) = context.edit(key, pairs.len(), |set: &mut SortedSet| put(set, &addition, &pairs));
        context.notify(if addition.increments { Event::ZINCR } else { Event::ZADD }, key);
    }
    Ok(if addition.increments {
        survey.decided.map_or(Reply::Null, score_reply)
    } else {
        Reply::count(if addition.counts_changed { added + changed } else { added })
    })
}

fn zadd(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    add(context, args, false)
}

fn zincrby(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    add(context, args, true)
}

fn zrem(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (key, names) = (&args[1], &args[2..]);
    let Some(set) = context.collection::<SortedSet>(key)? else { return Ok(Reply::Integer(0)) };
    let present = names.iter().filter(|name| set.members().contains(name)).count();
    if present == 0 {
        return Ok(Reply::Integer(0));
    }
    let remove = |set: &mut SortedSet| names.iter().filter(|name| set.remove(name).is_some()).count();
    let removed = context.edit(key, present, remove);
    context.notify_loss(Event::ZREM, key);
    Ok(Reply::count(removed))
}

fn zcard(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(context.collection(&args[1])?.map_or(0, SortedSet::len)))
}

fn zscore(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let score = context.collection::<SortedSet>(&args[1])?.and_then(|set| set.score(&args[2]));
    Ok(score.map_or(Reply::Null, score_reply))
}

fn zmscore(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let set = context.collection::<SortedSet>(&args[1])?;
    let score = |name: &Bytes| set.and_then(|set| set.score(name)).map_or(Reply::Null, score_reply);
    Ok(Reply::Array(args[2..].iter().map(score).collect()))
}

/// A member's rank, from the greatest score down if `backwards`, with its score if that is asked for.
fn rank(context: &Context<'_>, args: &[Bytes], backwards: bool) -> Result<Reply, Reply> {
    let with_score = match &args[3..] {
        [] => false,
        [option] if option.eq_ignore_ascii_case(b"WITHSCORE") => true,
        [_] => return Err(Reply::syntax_error()),
        _ => {
            let name = if backwards { "zrevrank" } else { "zrank" };
            return Err(Reply::error_text(format!("ERR wrong number of arguments for '{name}' command")));
        }
    };
    let found = context.collection::<SortedSet>(&args[1])?.and_then(|set| {
        let rank = set.rank(&args[2])?;
        Some((if backwards { set.len() - 1 - rank } else { rank }, set.score(&args[2])?))
    });
    Ok(match (found, with_score) {
        (Some((rank, _)), false) => Reply::count(rank),
        (Some((rank, score)), true) => Reply::Array(vec![Reply::count(rank), score_reply(score)]),
        (None, false) => Reply::Null,
        (None, true) => Reply::NullArray,
    })
}

fn zrank(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    rank(context, args, false)
}

fn zrevrank(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    rank(context, args, true)
}
