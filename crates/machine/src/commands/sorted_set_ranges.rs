//! Ranges of sorted sets: by rank, by score, or by name among members of one score.
//!
//! A range becomes a range of ranks in logarithmic time, whatever it was given by; counting, answering, removing and
//! storing go on from there. By name in a set whose scores differ, Redis leaves open what is found; here it must be the
//! same on every replica, so that nothing may decide but the members themselves: see [`SortedSet::bisect`].

use std::ops::Range;

use bytes::Bytes;

use super::places::Places;
use super::sorted_sets::{len, read, score_reply, store, write};
use crate::command::{KeySpec, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;
use crate::value::{Ranked, Score, SortedSet};
use crate::work;

pub(crate) const COMMANDS: &[Spec] = &[
    read("zrange", -4, zrange).priced(price_of_range).doc(
        "1.2.0",
        "ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]",
        "Answers the members between two ranks, scores or names.",
    ),
    read("zrevrange", -4, zrange).priced(price_of_range).doc(
        "1.2.0",
        "ZREVRANGE key start stop [WITHSCORES]",
        "Answers the members between two ranks, from the greatest score down.",
    ),
    read("zrangebyscore", -4, zrange).priced(price_of_range).doc(
        "1.0.5",
        "ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]",
        "Answers the members between two scores; ( in front of one excludes it.",
    ),
    read("zrevrangebyscore", -4, zrange).priced(price_of_range).doc(
        "2.2.0",
        "ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]",
        "Answers the members between two scores, from the greatest down.",
    ),
    read("zrangebylex", -4, zrange).priced(price_of_range).doc(
        "2.8.9",
        "ZRANGEBYLEX key min max [LIMIT offset count]",
        "Answers the members between two names: [ includes one, ( excludes it, - and + are the ends.",
    ),
    read("zrevrangebylex", -4, zrange).priced(price_of_range).doc(
        "2.8.9",
        "ZREVRANGEBYLEX key max min [LIMIT offset count]",
        "Answers the members between two names, from the greatest down.",
    ),
    write("zrangestore", -5, zrangestore)
        .keys(KeySpec::TWO)
        .with(Flags::DENYOOM)
        .priced(price_of_zrangestore)
        .doc(
            "6.2.0",
            "ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]",
            "Stores a range of one sorted set at another key.",
        ),
    read("zcount", 4, zcount).with(Flags::FAST).doc(
        "2.0.0",
        "ZCOUNT key min max",
        "Answers how many members there are between two scores.",
    ),
    read("zlexcount", 4, zlexcount).with(Flags::FAST).doc(
        "2.8.9",
        "ZLEXCOUNT key min max",
        "Answers how many members there are between two names.",
    ),
    write("zremrangebyrank", 4, zremrangebyrank).priced(price_of_removal).doc(
        "2.0.0",
        "ZREMRANGEBYRANK key start stop",
        "Removes the members between two ranks.",
    ),
    write("zremrangebyscore", 4, zremrangebyscore).priced(price_of_removal).doc(
        "1.2.0",
        "ZREMRANGEBYSCORE key min max",
        "Removes the members between two scores.",
    ),
    write("zremrangebylex", 4, zremrangebylex).priced(price_of_removal).doc(
        "2.8.9",
        "ZREMRANGEBYLEX key min max",
        "Removes the members between two names.",
    ),
];

/// What a range is given by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Name,
}

/// An end of a range that may belong to it or not.
struct Bound<T> {
    at: T,
    is_open: bool,
}

impl<T: Ord> Bound<T> {
    /// As a lower end: what lies in front of the range.
    fn is_above(&self, value: &T) -> bool {
        *value < self.at || (self.is_open && *value == self.at)
    }

    /// As an upper end: what does not lie behind the range.
    fn reaches(&self, value: &T) -> bool {
        *value < self.at || (!self.is_open && *value == self.at)
    }
}

/// Unlike a score, a bound may lie beyond all doubles, and none at all is 0, as C reads it.
fn parse_score_bound(text: &[u8]) -> Result<Bound<Score>, Reply> {
    let (is_open, number) = text.strip_prefix(b"(").map_or((false, text), |number| (true, number));
    let number = std::str::from_utf8(number).ok().map(|number| if number.is_empty() { "0" } else { number });
    let score = number.and_then(|number| number.parse().ok()).and_then(Score::new);
    let at = score.ok_or(Reply::error("ERR min or max is not a float"))?;
    Ok(Bound { at, is_open })
}

/// A name, or what lies before or behind all of them, in this order.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Name<'a> {
    Lowest,
    Named(&'a [u8]),
    Highest,
}

fn parse_name_bound(text: &[u8]) -> Result<Bound<Name<'_>>, Reply> {
    match text {
        b"-" => Ok(Bound { at: Name::Lowest, is_open: true }),
        b"+" => Ok(Bound { at: Name::Highest, is_open: true }),
        [b'[', name @ ..] => Ok(Bound { at: Name::Named(name), is_open: false }),
        [b'(', name @ ..] => Ok(Bound { at: Name::Named(name), is_open: true }),
        _ => Err(Reply::error("ERR min or max not valid string range item")),
    }
}

/// From one end to another, the lower one first.
enum Interval<'a> {
    Ranks(Places),
    Scores(Bound<Score>, Bound<Score>),
    Names(Bound<Name<'a>>, Bound<Name<'a>>),
}

impl<'a> Interval<'a> {
    fn parse(by: By, min: &'a Bytes, max: &'a Bytes) -> Result<Self, Reply> {
        Ok(match by {
            By::Rank => Self::Ranks(Places::parse(min, max)?),
            By::Score => Self::Scores(parse_score_bound(min)?, parse_score_bound(max)?),
            By::Name => Self::Names(parse_name_bound(min)?, parse_name_bound(max)?),
        })
    }

    /// The ranks of the members within.
    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let (from, to) = match self {
            Self::Ranks(places) => return places.within(set.len()),
            Self::Scores(min, max) => (
                set.partition_point(|ranked| min.is_above(&ranked.score)),
                set.partition_point(|ranked| max.reaches(&ranked.score)),
            ),
            Self::Names(min, max) => (
                set.bisect(|ranked| min.is_above(&Name::Named(&ranked.name))),
                set.bisect(|ranked| max.reaches(&Name::Named(&ranked.name))),
            ),
        };
        from..to.max(from)
    }
}

/// What a command's name leaves to its arguments.
struct Form {
    /// `None`: the arguments say.
    by: Option<By>,
    /// `None`: the arguments say.
    is_backwards: Option<bool>,
    stores: bool,
}

impl Form {
    fn of(name: &[u8]) -> Self {
        let (by, is_backwards) = match &name.to_ascii_uppercase()[..] {
            b"ZREVRANGE" => (Some(By::Rank), Some(true)),
            b"ZRANGEBYSCORE" => (Some(By::Score), Some(false)),
            b"ZREVRANGEBYSCORE" => (Some(By::Score), Some(true)),
            b"ZRANGEBYLEX" => (Some(By::Name), Some(false)),
            b"ZREVRANGEBYLEX" => (Some(By::Name), Some(true)),
            _ => (None, None),
        };
        Self { by, is_backwards, stores: name.eq_ignore_ascii_case(b"ZRANGESTORE") }
    }
}

/// So many of a range are passed over, and so many answered: with a negative count all that are left.
#[derive(Clone, Copy)]
struct Limit {
    offset: i64,
    count: i64,
}

impl Limit {
    const NONE: Self = Self { offset: 0, count: -1 };

    fn within(self, range: Range<usize>, is_backwards: bool) -> Range<usize> {
        let offset = usize::try_from(self.offset).unwrap_or(usize::MAX).min(range.len());
        let count = usize::try_from(self.count).unwrap_or(usize::MAX).min(range.len() - offset);
        if is_backwards {
            range.end - offset - count..range.end - offset
        } else {
            range.start + offset..range.start + offset + count
        }
    }
}

/// What ZRANGE and its kin ask for.
struct Query<'a> {
    interval: Interval<'a>,
    is_backwards: bool,
    limit: Limit,
    with_scores: bool,
}

impl<'a> Query<'a> {
    /// Reads `min max [option ...]`, and finds faults in the order in which Redis does.
    fn parse(name: &[u8], args: &'a [Bytes]) -> Result<Self, Reply> {
        let Form { mut by, mut is_backwards, stores } = Form::of(name);
        let (mut limit, mut with_scores, mut options) = (Limit::NONE, false, &args[2..]);
        while let [option, rest @ ..] = options {
            options = rest;
            match (&option.to_ascii_uppercase()[..], rest) {
                (b"WITHSCORES", _) if !stores => with_scores = true,
                (b"LIMIT", [offset, count, rest @ ..]) => {
                    let number = |text: &Bytes| integer::parse(text).ok_or(Reply::not_an_integer());
                    limit = Limit { offset: number(offset)?, count: number(count)? };
                    options = rest;
                }
                (b"REV", _) if is_backwards.is_none() => is_backwards = Some(true),
                (b"BYSCORE", _) if by.is_none() => by = Some(By::Score),
                (b"BYLEX", _) if by.is_none() => by = Some(By::Name),
                _ => return Err(Reply::syntax_error()),
            }
        }
        let (by, is_backwards) = (by.unwrap_or(By::Rank), is_backwards.unwrap_or(false));
        if by == By::Rank && limit.count != Limit::NONE.count {
            return Err(Reply::error(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if by == By::Name && with_scores {
            return Err(Reply::error("ERR syntax error, WITHSCORES not supported in combination with BYLEX"));
        }
        // Backwards, the upper end is given first, but for ranks, which are then counted from above.
        let (min, max) =
            if is_backwards && by != By::Rank { (&args[1], &args[0]) } else { (&args[0], &args[1]) };
        Ok(Self { interval: Interval::parse(by, min, max)?, is_backwards, limit, with_scores })
    }

    fn ranks(&self, set: &SortedSet) -> Range<usize> {
        let (len, ranks) = (set.len(), self.interval.ranks(set));
        match &self.interval {
            // An offset without a count is no limit to ranks.
            Interval::Ranks(_) if self.is_backwards => len - ranks.end..len - ranks.start,
            Interval::Ranks(_) => ranks,
            Interval::Scores(..) | Interval::Names(..) => self.limit.within(ranks, self.is_backwards),
        }
    }
}

/// A member's name and score.
pub(super) fn pair(ranked: &Ranked) -> (Reply, Reply) {
    (Reply::Bulk(ranked.name.clone()), score_reply(ranked.score))
}

pub(super) fn members_reply<'a>(members: impl Iterator<Item = &'a Ranked>, with_scores: bool) -> Reply {
    if with_scores {
        Reply::Pairs(members.map(pair).collect())
    } else {
        Reply::Array(members.map(|ranked| Reply::Bulk(ranked.name.clone())).collect())
    }
}

/// How many members a query finds, if it can be read.
fn found(context: &Context<'_>, key: &[u8], query: Result<Query<'_>, Reply>) -> usize {
    let set = context.collection::<SortedSet>(key).ok().flatten();
    set.zip(query.ok()).map_or(0, |(set, query)| query.ranks(set).len())
}

fn price_of_range(context: &Context<'_>, args: &[Bytes]) -> u64 {
    found(context, &args[1], Query::parse(&args[0], &args[2..])) as u64
}

/// ZRANGE and all that can be said by it.
fn zrange(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let query = Query::parse(&args[0], &args[2..])?;
    let Some(set) = context.collection::<SortedSet>(&args[1])? else { return Ok(Reply::Array(vec![])) };
    let ranks = query.ranks(set);
    let members = set.range(ranks.start, ranks.end);
    let reply = if query.is_backwards {
        members_reply(members.rev(), query.with_scores)
    } else {
        members_reply(members, query.with_scores)
    };
    context.spent.visited += ranks.len() as u64;
    Ok(reply)
}

/// What it costs to build a set of so many members of one that has `len`: all of them are shared instead.
fn cost_of_part(len: usize, members: usize) -> u64 {
    if members == len { 1 } else { work::of_changes(members) }
}

fn price_of_zrangestore(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let found = found(context, &args[2], Query::parse(&args[0], &args[3..]));
    cost_of_part(len(context, &args[2]), found)
}

/// The members of a range of ranks as a set, if it will be allowed.
fn part(context: &Context<'_>, set: &SortedSet, ranks: &Range<usize>) -> Result<SortedSet, Reply> {
    if ranks.len() == set.len() {
        return Ok(set.clone());
    }
    let members = || set.range(ranks.start, ranks.end);
    context.check_collection_bytes(members().map(|ranked| SortedSet::member_bytes(&ranked.name)).sum())?;
    let mut part = SortedSet::default();
    members().for_each(|ranked| part.append(ranked));
    Ok(part)
}

fn zrangestore(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let query = Query::parse(&args[0], &args[3..])?;
    let Some(set) = context.collection::<SortedSet>(&args[2])? else {
        context.notify_missing([&args[2]]);
        return store(context, &args[1], SortedSet::default(), Event::ZRANGESTORE);
    };
    let ranks = query.ranks(set);
    let (cost, part) = (cost_of_part(set.len(), ranks.len()), part(context, set, &ranks));
    context.spent.visited += cost;
    store(context, &args[1], part?, Event::ZRANGESTORE)
}

/// How many members there are in an interval.
fn count(context: &Context<'_>, args: &[Bytes], by: By) -> Result<Reply, Reply> {
    let interval = Interval::parse(by, &args[2], &args[3])?;
    let set = context.collection::<SortedSet>(&args[1])?;
    Ok(Reply::count(set.map_or(0, |set| interval.ranks(set).len())))
}

fn zcount(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    count(context, args, By::Score)
}

fn zlexcount(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    count(context, args, By::Name)
}

/// Removes the members of a range of ranks from the sorted set at a key.
pub(super) fn remove_ranks(context: &mut Context<'_>, key: &[u8], ranks: Range<usize>, event: Event) {
    if ranks.is_empty() {
        return;
    }
    let len = len(context, key);
    if ranks.len() == len {
        context.spent.visited += len as u64;
        context.remove(key);
    } else {
        context.edit(key, ranks.len(), |set: &mut SortedSet| {
            ranks.rev().for_each(|rank| drop(set.take(rank)));
        });
    }
    context.notify_loss(event, key);
}

fn price_of_removal(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let by = match &args[0].to_ascii_uppercase()[..] {
        b"ZREMRANGEBYRANK" => By::Rank,
        b"ZREMRANGEBYSCORE" => By::Score,
        _ => By::Name,
    };
    let set = context.collection::<SortedSet>(&args[1]).ok().flatten();
    let interval = Interval::parse(by, &args[2], &args[3]).ok();
    set.zip(interval).map_or(0, |(set, interval)| work::of_removal(set.len(), interval.ranks(set).len()))
}

fn remove_range(context: &mut Context<'_>, args: &[Bytes], by: By) -> Result<Reply, Reply> {
    let interval = Interval::parse(by, &args[2], &args[3])?;
    let Some(set) = context.collection::<SortedSet>(&args[1])? else { return Ok(Reply::Integer(0)) };
    let ranks = interval.ranks(set);
    let removed = ranks.len();
    let event = match by {
        By::Rank => Event::ZREMRANGEBYRANK,
        By::Score => Event::ZREMRANGEBYSCORE,
        By::Name => Event::ZREMRANGEBYLEX,
    };
    remove_ranks(context, &args[1], ranks, event);
    Ok(Reply::count(removed))
}

fn zremrangebyrank(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    remove_range(context, args, By::Rank)
}

fn zremrangebyscore(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    remove_range(context, args, By::Score)
}

fn zremrangebylex(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    remove_range(context, args, By::Name)
}
