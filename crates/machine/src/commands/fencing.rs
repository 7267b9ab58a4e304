//! Fencing tokens, by which a guarded resource refuses a holder that lost its lock.

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use crate::command::{self, Class, Group, KeySpec, Spec};
use crate::context::{Context, Patience, execute};
use crate::flags::Flags;
use crate::identifiers::FencingToken;
use crate::integer;
use crate::reply::Reply;
use crate::work;

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::read(Group::Fencing, "fence", -2, fence)
        .keys(KeySpec::FirstUnless { words: CHECK_WORDS })
        .with(Flags::FAST.and(Flags::MOVABLEKEYS))
        .doc(
            "quorate",
            "FENCE <key [value] | CHECK key token>",
            "Answers the fencing token of a key, an integer greater than that of every earlier acquisition; nil if there is no such key, or it does not hold the value. CHECK answers OK if a key, such as a lock, has that token still; an error if not.",
        ),
    Spec::write(Group::Fencing, "fenced", -4, fenced)
        .keys(KeySpec::Guarded { command_at: 3 })
        .with(Flags::MOVABLEKEYS.and(Flags::NOSCRIPT))
        .priced(price)
        .doc(
            "quorate",
            "FENCED key token command [argument ...]",
            "Runs a command if a key, such as a lock, has that fencing token still; an error if not.",
        ),
];

/// How many words FENCE CHECK has.
const CHECK_WORDS: usize = 4;

/// Runs a command on behalf of whoever got a token: it takes effect while he holds the lock, or not at all.
fn fenced(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let token = parse_token(&args[2])?;
    if !bug::on(Bug::UnfencedWrite) {
        check_token(context, &args[1], token)?;
    }
    let guarded = guarded(args)?;
    // It answers at once: who waits may have lost the lock when there is something.
    let patience = std::mem::replace(&mut context.patience, Patience::None);
    let reply = execute(context, guarded);
    context.patience = patience;
    Ok(reply)
}

/// The command behind the fence: what reads or changes data. A script asks FENCE itself; its steps are counted by what it is
/// called in.
fn guarded(args: &[Bytes]) -> Result<&[Bytes], Reply> {
    let guarded = &args[3..];
    let spec = command::check(guarded)?;
    let is_of_data = matches!(spec.class, Class::Read | Class::Write)
        && spec.group != Group::PubSub
        && !spec.flags.contains(Flags::ADMIN);
    // Fences do not nest: each would call the next one.
    if is_of_data && !matches!(spec.keys, KeySpec::Guarded { .. }) {
        Ok(guarded)
    } else {
        Err(Reply::error(
            "ERR only commands that read or change data stand behind a fence, and no other fence",
        ))
    }
}

fn price(context: &Context<'_>, args: &[Bytes]) -> u64 {
    guarded(args).map_or(0, |guarded| work::price(context, guarded))
}

fn fence(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (key, expected) = match args {
        [_, key] => (key, None),
        [_, key, value] => (key, Some(value)),
        [_, word, key, token] if word.eq_ignore_ascii_case(b"CHECK") => {
            let token = parse_token(token)?;
            return check_token(context, key, token).map(|()| Reply::ok());
        }
        _ => return Err(Reply::error("ERR wrong number of arguments for 'fence' command")),
    };
    if let Some(expected) = expected
        && context.string(key)? != Some(expected)
    {
        return Ok(Reply::Null);
    }
    let token = context.get(key).and_then(|slot| slot.current_token(context.living()));
    Ok(token.map_or(Reply::Null, show_token))
}

/// Refuses a token that is good for nothing.
fn check_token(context: &Context<'_>, key: &[u8], token: FencingToken) -> Result<(), Reply> {
    let slot = context.get(key);
    if slot.is_some_and(|slot| slot.has_token(token, context.living())) {
        return Ok(());
    }
    Err(stale(token, slot.and_then(|slot| slot.current_token(context.living()))))
}

/// The refusal of a token that is not, or no longer, the current one.
pub(super) fn stale(token: FencingToken, current: Option<FencingToken>) -> Reply {
    Reply::error_text(match current {
        Some(current) => format!("STALE token {} is not the current one, which is {}", token.0, current.0),
        None => format!("STALE token {} is no longer valid: nobody holds it", token.0),
    })
}

pub(super) fn parse_token(text: &[u8]) -> Result<FencingToken, Reply> {
    let token = integer::parse(text).and_then(|token| u64::try_from(token).ok()).filter(|token| *token > 0);
    token.map(FencingToken).ok_or(Reply::error("ERR a fencing token is a positive integer"))
}

pub(super) fn show_token(token: FencingToken) -> Reply {
    Reply::Integer(i64::try_from(token.0).unwrap_or(i64::MAX))
}
