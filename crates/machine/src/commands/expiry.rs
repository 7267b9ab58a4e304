//! How long keys live.
//!
//! Clients give a time span, or a point of the calendar. Either becomes a deadline in cluster time when the command
//! is applied, and later changes of the calendar do not move it.

use bytes::Bytes;
use quorate_bug::{self as bug, Bug};

use crate::command::{Group, KeySpec, Run, Spec};
use crate::context::Context;
use crate::database::Slot;
use crate::flags::Flags;
use crate::identifiers::Stamp;
use crate::integer;
use crate::notification::Event;
use crate::reply::Reply;

const fn change(name: &'static str, run: Run) -> Spec {
    Spec::write(Group::Generic, name, -3, run).keys(KeySpec::ONE).with(Flags::FAST)
}

const fn look(name: &'static str, run: Run) -> Spec {
    Spec::read(Group::Generic, name, 2, run).keys(KeySpec::ONE).with(Flags::FAST)
}

pub(crate) const COMMANDS: &[Spec] = &[
    change("expire", expire).doc(
        "1.0.0",
        "EXPIRE key seconds [NX | XX | GT | LT]",
        "Sets how many seconds a key has to live.",
    ),
    change("pexpire", pexpire).doc(
        "2.6.0",
        "PEXPIRE key milliseconds [NX | XX | GT | LT]",
        "Sets how many milliseconds a key has to live.",
    ),
    change("expireat", expireat).doc(
        "1.2.0",
        "EXPIREAT key unix-time-seconds [NX | XX | GT | LT]",
        "Sets the second of the calendar at which a key expires.",
    ),
    change("pexpireat", pexpireat).doc(
        "2.6.0",
        "PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]",
        "Sets the millisecond of the calendar at which a key expires.",
    ),
    look("ttl", ttl).doc(
        "1.0.0",
        "TTL key",
        "Answers how many seconds a key has to live; -1: it does not expire, -2: there is none.",
    ),
    look("pttl", pttl).doc(
        "2.6.0",
        "PTTL key",
        "Answers how many milliseconds a key has to live; -1: it does not expire, -2: there is none.",
    ),
    look("expiretime", expiretime).doc(
        "7.0.0",
        "EXPIRETIME key",
        "Answers the second of the calendar at which a key expires; -1: never, -2: there is none.",
    ),
    look("pexpiretime", pexpiretime).doc(
        "7.0.0",
        "PEXPIRETIME key",
        "Answers the millisecond of the calendar at which a key expires; -1: never, -2: there is none.",
    ),
    Spec::write(Group::Generic, "persist", 2, persist).keys(KeySpec::ONE).with(Flags::FAST).doc(
        "2.2.0",
        "PERSIST key",
        "Lets a key live for ever.",
    ),
];

/// How a client gives a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
    CalendarSeconds,
    CalendarMilliseconds,
}

impl Unit {
    /// By the name of an option of SET and GETEX.
    pub(super) fn parse(option: &[u8]) -> Option<Self> {
        match &option.to_ascii_uppercase()[..] {
            b"EX" => Some(Self::Seconds),
            b"PX" => Some(Self::Milliseconds),
            b"EXAT" => Some(Self::CalendarSeconds),
            b"PXAT" => Some(Self::CalendarMilliseconds),
            _ => None,
        }
    }

    /// The point of the calendar in milliseconds, if it is within range.
    fn calendar_ms(self, time: i64, now_ms: i64) -> Option<i64> {
        match self {
            Self::Seconds => time.checked_mul(1000)?.checked_add(now_ms),
            Self::Milliseconds => time.checked_add(now_ms),
            Self::CalendarSeconds => time.checked_mul(1000),
            Self::CalendarMilliseconds => Some(time),
        }
    }
}

/// Until when a key is to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry {
    Never,
    At(Stamp),
    /// As long as it had before.
    Kept(Stamp),
    /// It is over already.
    Past,
}

impl Expiry {
    /// A time as SET and GETEX take it: positive.
    pub(super) fn parse(
        context: &Context<'_>,
        unit: Unit,
        time: &[u8],
        command: &str,
    ) -> Result<Self, Reply> {
        let time = integer::parse(time).ok_or(Reply::not_an_integer())?;
        if time <= 0 {
            return Err(invalid(command));
        }
        let calendar_ms = unit.calendar_ms(time, context.calendar_ms()).filter(|ms| *ms > 0);
        Ok(Self::at_calendar(context, calendar_ms.ok_or_else(|| invalid(command))?))
    }

    fn at_calendar(context: &Context<'_>, calendar_ms: i64) -> Self {
        let deadline = calendar_ms.saturating_sub(context.state.calendar_offset_ms);
        match u64::try_from(deadline) {
            Ok(deadline) if Stamp(deadline) > context.now => Self::At(Stamp(deadline)),
            Ok(_) | Err(_) => Self::Past,
        }
    }

    /// Makes it the expiry of a key that exists.
    pub(super) fn put_on(self, context: &mut Context<'_>, key: &[u8]) {
        match self {
            Self::Never => {
                context.set_deadline(key, None);
                context.notify(Event::PERSIST, key);
            }
            Self::At(deadline) | Self::Kept(deadline) => {
                context.set_deadline(key, Some(deadline));
                context.notify(Event::EXPIRE, key);
            }
            Self::Past => {
                context.delete(key);
            }
        }
    }
}

fn invalid(command: &str) -> Reply {
    Reply::error_text(format!("ERR invalid expire time in '{command}' command"))
}

/// On which condition EXPIRE and its like change a key.
#[derive(Default)]
struct Conditions {
    absent: bool,
    present: bool,
    greater: bool,
    less: bool,
}

impl Conditions {
    fn parse(args: &[Bytes]) -> Result<Self, Reply> {
        let mut conditions = Self::default();
        for option in args {
            match &option.to_ascii_uppercase()[..] {
                b"NX" => conditions.absent = true,
                b"XX" => conditions.present = true,
                b"GT" => conditions.greater = true,
                b"LT" => conditions.less = true,
                _ => {
                    let mut text = b"ERR Unsupported option ".to_vec();
                    text.extend_from_slice(option);
                    return Err(Reply::error_text(text));
                }
            }
        }
        if conditions.absent && (conditions.present || conditions.greater || conditions.less) {
            return Err(Reply::error("ERR NX and XX, GT or LT options at the same time are not compatible"));
        }
        if conditions.greater && conditions.less {
            return Err(Reply::error("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(conditions)
    }

    /// No deadline counts as one that never comes.
    fn allow(&self, present: Option<Stamp>, asked: Expiry) -> bool {
        let later = match (asked, present) {
            (_, None) | (Expiry::Past, Some(_)) => false,
            (Expiry::Never, Some(_)) => true,
            (Expiry::At(asked) | Expiry::Kept(asked), Some(present)) => asked > present,
        };
        let earlier = match (asked, present) {
            (Expiry::Never, _) => false,
            (Expiry::Past | Expiry::At(_) | Expiry::Kept(_), None) | (Expiry::Past, Some(_)) => true,
            (Expiry::At(asked) | Expiry::Kept(asked), Some(present)) => asked < present,
        };
        (!self.absent || present.is_none())
            && (!self.present || present.is_some())
            && (!self.greater || later)
            && (!self.less || earlier)
    }
}

fn expire(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    change_expiry(context, args, Unit::Seconds, "expire")
}

fn pexpire(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    change_expiry(context, args, Unit::Milliseconds, "pexpire")
}

fn expireat(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    change_expiry(context, args, Unit::CalendarSeconds, "expireat")
}

fn pexpireat(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    change_expiry(context, args, Unit::CalendarMilliseconds, "pexpireat")
}

fn change_expiry(
    context: &mut Context<'_>,
    args: &[Bytes],
    unit: Unit,
    command: &str,
) -> Result<Reply, Reply> {
    let conditions = Conditions::parse(&args[3..])?;
    let time = integer::parse(&args[2]).ok_or(Reply::not_an_integer())?;
    let calendar_ms = unit.calendar_ms(time, context.calendar_ms()).ok_or_else(|| invalid(command))?;
    let asked = Expiry::at_calendar(context, calendar_ms);
    let key = &args[1];
    check_time(context, key)?;
    let allowed = context.exists(key) && conditions.allow(context.deadline(key), asked);
    if allowed {
        asked.put_on(context, key);
    }
    Ok(Reply::flag(allowed))
}

/// That a key has a time of its own, if it has one.
fn check_time(context: &Context<'_>, key: &[u8]) -> Result<(), Reply> {
    if context.get(key).is_some_and(Slot::has_time_of_holders) {
        return Err(Reply::error(
            "ERR the key has the time of who holds it, or held it last: of a session, of readers or of permits; or a DELAY",
        ));
    }
    Ok(())
}

/// -2 and -1, or what `show` makes of the deadline.
fn show_deadline(context: &Context<'_>, key: &[u8], show: impl FnOnce(Stamp) -> i64) -> Reply {
    Reply::Integer(match context.get(key) {
        None => -2,
        Some(slot) => context.lasts_until(slot).map_or(-1, show),
    })
}

/// A key that exists has at least a millisecond to live, however late the reader's clock says it is.
pub(super) fn remaining_ms(context: &Context<'_>, deadline: Stamp) -> i64 {
    let present = if bug::on(Bug::AbsoluteTtl) { 0 } else { context.present.0 };
    i64::try_from(deadline.0.saturating_sub(present)).unwrap_or(i64::MAX).max(1)
}

fn to_seconds(ms: i64) -> i64 {
    ms.saturating_add(500) / 1000
}

fn ttl(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(show_deadline(context, &args[1], |deadline| to_seconds(remaining_ms(context, deadline))))
}

fn pttl(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(show_deadline(context, &args[1], |deadline| remaining_ms(context, deadline)))
}

fn expiretime(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(show_deadline(context, &args[1], |deadline| to_seconds(context.state.calendar_of(deadline))))
}

fn pexpiretime(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(show_deadline(context, &args[1], |deadline| context.state.calendar_of(deadline)))
}

fn persist(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    check_time(context, &args[1])?;
    let expires = context.deadline(&args[1]).is_some();
    if expires {
        Expiry::Never.put_on(context, &args[1]);
    }
    Ok(Reply::flag(expires))
}
