//! Members of sorted sets that nobody names: taken from an end, chosen by chance, or met by a scan.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::popping::{End, Popping, parse_count};
use super::scan::{price_of_entries, scan_entries};
use super::sorted_set_ranges::{pair, remove_ranks};
use super::sorted_sets::{len, read, score_reply, write};
use crate::command::{KeySpec, Spec};
use crate::context::Context;
use crate::double;
use crate::flags::Flags;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;
use crate::value::SortedSet;
use crate::work;

pub(crate) const COMMANDS: &[Spec] = &[
    write("zpopmin", -2, zpopmin).with(Flags::FAST).priced(price_of_pop).doc(
        "5.0.0",
        "ZPOPMIN key [count]",
        "Takes out the member with the lowest score, or a count of them.",
    ),
    write("zpopmax", -2, zpopmax).with(Flags::FAST).priced(price_of_pop).doc(
        "5.0.0",
        "ZPOPMAX key [count]",
        "Takes out the member with the highest score, or a count of them.",
    ),
    write("zmpop", -4, zmpop)
        .keys(KeySpec::Counted { count_at: 1 })
        .with(Flags::MOVABLEKEYS)
        .priced(price_of_zmpop)
        .doc(
            "7.0.0",
            "ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]",
            "Takes members out of the first of several sorted sets that exists.",
        ),
    read("zrandmember", -2, zrandmember).priced(price_of_zrandmember).doc(
        "6.2.0",
        "ZRANDMEMBER key [count [WITHSCORES]]",
        "Answers a member by chance, a count of different ones, or with a negative count of any.",
    ),
    read("zscan", -3, zscan).priced(price_of_entries::<SortedSet>).doc(
        "2.8.0",
        "ZSCAN key cursor [MATCH pattern] [COUNT count]",
        "Answers some members with their scores, and the cursor to go on with, which holds on every node.",
    ),
];

/// Takes up to `count` members from an end of the sorted set at a key, the outermost first; `None` if there is no such
/// set.
pub(super) fn pop(
    context: &mut Context<'_>,
    key: &[u8],
    end: End,
    count: usize,
) -> Result<Option<Vec<(Reply, Reply)>>, Reply> {
    let Some(set) = context.collection::<SortedSet>(key)? else { return Ok(None) };
    let (len, count) = (set.len(), count.min(set.len()));
    let (ranks, taken, event) = match end {
        End::First => (0..count, set.range(0, count).map(pair).collect(), Event::ZPOPMIN),
        End::Last => {
            (len - count..len, set.range(len - count, len).rev().map(pair).collect(), Event::ZPOPMAX)
        }
    };
    remove_ranks(context, key, ranks, event);
    Ok(Some(taken))
}

fn price_of_pop(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let count = args.get(2).map_or(1, |count| parse_count(count).unwrap_or(0));
    let len = len(context, &args[1]);
    work::of_removal(len, count.min(len))
}

/// A single member comes with its score, several are pairs.
fn pop_from(context: &mut Context<'_>, args: &[Bytes], end: End) -> Result<Reply, Reply> {
    match args {
        [_, key] => {
            let taken = pop(context, key, end, 1)?.unwrap_or_default();
            Ok(Reply::Array(taken.into_iter().flat_map(|(name, score)| [name, score]).collect()))
        }
        [_, key, count] => {
            let taken = pop(context, key, end, parse_count(count)?)?;
            Ok(Reply::Pairs(taken.unwrap_or_default()))
        }
        _ => Err(Reply::syntax_error()),
    }
}

fn zpopmin(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    pop_from(context, args, End::First)
}

fn zpopmax(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    pop_from(context, args, End::Last)
}

fn price_of_zmpop(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let Ok(popping) = Popping::parse(&args[1..], End::of_order) else { return 0 };
    let first = popping.keys.iter().find(|key| context.exists(key));
    let len = first.map_or(0, |key| len(context, key));
    work::of_removal(len, popping.count.min(len))
}

/// Takes members out of the first of the sorted sets that exists, and answers them with its key.
pub(super) fn pop_first(context: &mut Context<'_>, popping: &Popping<'_>) -> Result<Option<Reply>, Reply> {
    for key in popping.keys {
        if let Some(taken) = pop(context, key, popping.end, popping.count)? {
            // Arrays within the array in both protocols.
            let taken = taken.into_iter().map(|(name, score)| Reply::Array(vec![name, score])).collect();
            return Ok(Some(Reply::Array(vec![Reply::Bulk(key.clone()), Reply::Array(taken)])));
        }
    }
    Ok(None)
}

fn zmpop(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let popping = Popping::parse(&args[1..], End::of_order)?;
    Ok(pop_first(context, &popping)?.unwrap_or(Reply::NullArray))
}

/// More members are not chosen with repetition: 10 ms of work and some MiB of reply. Different ones have a bound by
/// nature.
const REPEATED_MAX: u64 = 100_000;

/// How many members ZRANDMEMBER asks for.
#[derive(Clone, Copy)]
enum Choice {
    /// At most so many, each once.
    Different(usize),
    /// So many, whichever.
    Repeated(usize),
}

impl Choice {
    fn parse(count: &[u8]) -> Result<Self, Reply> {
        let out_of_range = || Reply::error("ERR value is out of range");
        let signed = integer::parse(count).ok_or(Reply::not_an_integer())?;
        let count = usize::try_from(signed.unsigned_abs()).map_err(|_| out_of_range())?;
        match signed {
            0.. => Ok(Self::Different(count)),
            ..0 if signed.unsigned_abs() <= REPEATED_MAX => Ok(Self::Repeated(count)),
            ..0 => Err(out_of_range()),
        }
    }

    /// How many there will be of so many members.
    fn of(self, len: usize) -> usize {
        match self {
            Self::Different(count) => count.min(len),
            Self::Repeated(count) if len > 0 => count,
            Self::Repeated(_) => 0,
        }
    }

    /// Places of so many members.
    fn draw(self, context: &mut Context<'_>, len: usize) -> Vec<usize> {
        let below = |draw: u64, bound: usize| usize::try_from(draw % bound as u64).unwrap_or(0);
        match self {
            Self::Repeated(count) => (0..count).map(|_| below(context.random(), len)).collect(),
            Self::Different(count) if count >= len => (0..len).collect(),
            Self::Different(count) => {
                // Floyd's choice: the last of a growing range stands in for one that was chosen before.
                let mut chosen = BTreeSet::new();
                for last in len - count..len {
                    let place = below(context.random(), last + 1);
                    if !chosen.insert(place) {
                        chosen.insert(last);
                    }
                }
                chosen.into_iter().collect()
            }
        }
    }
}

fn price_of_zrandmember(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let choice = args.get(2).map_or(Ok(Choice::Different(1)), |count| Choice::parse(count));
    choice.map_or(0, |choice| choice.of(len(context, &args[1]))) as u64
}

fn zrandmember(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let key = &args[1];
    let (choice, with_scores) = match &args[2..] {
        [] => (None, false),
        [count] => (Some(Choice::parse(count)?), false),
        [count, option] if option.eq_ignore_ascii_case(b"WITHSCORES") => (Some(Choice::parse(count)?), true),
        [count, ..] => {
            Choice::parse(count)?;
            return Err(Reply::syntax_error());
        }
    };
    let len = context.collection(key)?.map_or(0, SortedSet::len);
    let wanted = choice.unwrap_or(Choice::Different(1));
    let places = if len > 0 { wanted.draw(context, len) } else { Vec::new() };
    context.spent.visited += places.len() as u64;
    let set = context.collection::<SortedSet>(key)?;
    let members = places.iter().filter_map(|place| set?.members().at(*place));
    let mut names = members.clone().map(|member| Reply::Bulk(member.name.clone()));
    Ok(match choice {
        None => names.next().unwrap_or(Reply::Null),
        Some(_) if with_scores => {
            Reply::Pairs(names.zip(members.map(|member| score_reply(member.value))).collect())
        }
        Some(_) => Reply::Array(names.collect()),
    })
}

fn zscan(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    scan_entries(context, args, SortedSet::members, |entry, found| {
        // Scores are strings in both protocols.
        let score = double::format(entry.value.value());
        found.extend([Reply::Bulk(entry.name.clone()), Reply::Bulk(Bytes::from(score))]);
    })
}
