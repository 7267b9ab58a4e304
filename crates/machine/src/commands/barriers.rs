//! Barriers and latches: those who have arrived are a set, and whoever waits does so until there are as many as he asks for.
//!
//! * Who arrives is a member of the set at the name: arriving twice is arriving once, so that a command that is sent again
//!   does no harm and needs no name of its own.
//! * The set is an ordinary one, and so is its end: SREM takes somebody back, EXPIRE and DEL end the round. Nobody is let go
//!   because the set has ended: he waits for as many to arrive as he asked for.
//! * The entry in which the last one arrives lets all go who wait for no more than there are, however it was added.

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use super::acquisition::parse_wait;
use super::help;
use super::locks::{parse_ttl, until};
use super::sets;
use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::identifiers::Stamp;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;
use crate::value::Set;
use crate::waiting::{Full, Kind, Share, Wait};

pub(crate) const COMMANDS: &[Spec] = &[Spec::pure(Group::Barrier, "barrier", -2, |_, _| Ok(help("barrier")))
    .container(BARRIER)
    .doc("quorate", "BARRIER", "A container for commands about barriers and latches.")];

const BARRIER: &[Spec] = &[
    Spec::write(Group::Barrier, "barrier|arrive", -5, run)
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .with(Flags::BLOCKING.and(Flags::DENYOOM).and(Flags::FAST))
        .waiting_if(asks_to_wait)
        .doc(
            "quorate",
            "BARRIER ARRIVE name parties id [TTL milliseconds] [WAIT milliseconds]",
            "Adds somebody to the set of those who have arrived, and answers how many have once it is so many, after waiting for the others if asked; nil if some are missing.",
        ),
    Spec::write(Group::Barrier, "barrier|await", -4, run)
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .with(Flags::BLOCKING.and(Flags::FAST))
        .waiting_if(asks_to_wait)
        .doc(
            "quorate",
            "BARRIER AWAIT name parties [WAIT milliseconds]",
            "Answers how many have arrived once it is so many, after waiting for them if asked; nil if some are missing.",
        ),
    Spec::pure(Group::Barrier, "barrier|help", 2, |_, _| Ok(help("barrier"))).doc(
        "quorate",
        "BARRIER HELP",
        "Lists the subcommands.",
    ),
];

/// What BARRIER ARRIVE or BARRIER AWAIT asks for.
struct Wish<'a> {
    name: &'a Bytes,
    parties: u64,
    /// Who arrives, if somebody does.
    arrives: Option<&'a Bytes>,
    /// For how long the set then lasts, whatever it lasted before.
    ttl_ms: Option<u64>,
    /// 0: not at all.
    wait_ms: u64,
}

/// The greatest number of parties. Those who wait are fewer: some 100,000 by the default of `quorate-waiting-bytes`, and what
/// comes beyond is refused.
const PARTIES_MAX: u64 = 1_000_000;

impl<'a> Wish<'a> {
    fn parse(args: &'a [Bytes]) -> Result<Self, Reply> {
        let [_, command, name, parties, rest @ ..] = args else { return Err(Reply::syntax_error()) };
        let parties = integer::parse(parties).and_then(|parties| u64::try_from(parties).ok());
        let parties = parties
            .filter(|parties| (1..=PARTIES_MAX).contains(parties))
            .ok_or(Reply::error("ERR the number of parties is 1 to 1000000"))?;
        let (arrives, mut rest) = match rest {
            [id, rest @ ..] if command.eq_ignore_ascii_case(b"ARRIVE") => (Some(id), rest),
            rest => (None, rest),
        };
        let mut wish = Self { name, parties, arrives, ttl_ms: None, wait_ms: 0 };
        let mut waits = None;
        while let [word, argument, following @ ..] = rest {
            let is_new = match &word.to_ascii_uppercase()[..] {
                b"TTL" if arrives.is_some() => wish.ttl_ms.replace(parse_ttl(argument)?).is_none(),
                b"WAIT" => waits.replace(parse_wait(argument)?).is_none(),
                _ => false,
            };
            if !is_new {
                return Err(Reply::syntax_error());
            }
            rest = following;
        }
        wish.wait_ms = waits.unwrap_or(0);
        if rest.is_empty() { Ok(wish) } else { Err(Reply::syntax_error()) }
    }

    /// How many have arrived, if they are enough.
    fn arrived(&self, context: &Context<'_>) -> Result<Option<Reply>, Reply> {
        let arrived = context.collection::<Set>(self.name)?.map_or(0, Set::len);
        let is_enough = arrived as u64 >= self.parties;
        Ok(is_enough.then(|| Reply::count(arrived)))
    }

    /// Whether there will not be enough when this one has arrived.
    fn are_missing(&self, context: &Context<'_>) -> Result<bool, Reply> {
        let set = context.collection::<Set>(self.name)?;
        let arrived = set.map_or(0, Set::len) as u64;
        let is_new = self.arrives.is_some_and(|id| !set.is_some_and(|set| set.contains(id)));
        Ok(arrived + u64::from(is_new) < self.parties)
    }

    fn wait(&self, now: Stamp) -> Wait {
        Wait {
            kind: Kind::Gathering,
            keys: vec![self.name.clone()],
            deadline: Some(Stamp(now.0.saturating_add(self.wait_ms))),
            priority: 0,
            share: Share::Members { count: self.parties },
            session: None,
            reentrant: None,
            request: None,
        }
    }
}

fn asks_to_wait(args: &[Bytes]) -> bool {
    Wish::parse(args).is_ok_and(|wish| wish.wait_ms > 0)
}

fn run(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let wish = Wish::parse(args)?;
    let wait = (wish.wait_ms > 0).then(|| wish.wait(context.now));
    // Who may not wait has not arrived: an error has no effect.
    if let Some(wait) = &wait
        && wish.are_missing(context)?
        && !context.has_room_to_wait(args, wait)
    {
        return Err(Reply::error(Full::TEXT));
    }
    if let Some(id) = wish.arrives {
        let added = sets::add(context, wish.name, std::slice::from_ref(id))?;
        if added == 0 && bug::on(Bug::CountedTwice) {
            sets::add(context, wish.name, &[[id, &b" again"[..]].concat().into()])?;
        }
        if let Some(ttl_ms) = wish.ttl_ms {
            context.set_deadline(wish.name, Some(until(context.now, ttl_ms, 0)));
            context.notify(Event::EXPIRE, wish.name);
        }
    }
    if let Some(arrived) = wish.arrived(context)? {
        return Ok(arrived);
    }
    if let Some(wait) = wait {
        context.wait(wait);
    }
    Ok(Reply::Null)
}

/// Lets somebody go who waited for as many as have arrived.
pub(crate) fn serve(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let arrived = Wish::parse(args)?.arrived(context)?;
    Ok(arrived.expect("who waits is let go when there are enough"))
}
