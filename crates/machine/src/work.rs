//! What commands cost: the price of each to a script, and an estimate of the time for whoever drives the machine.
//!
//! Both go by what a command did, never by a clock, and begin with [`Spent`], which commands that work in proportion
//! to the data keep as they go. A script pays for it with steps, so that the price is the same on every replica. The
//! meter of [`crate::Machine::work`] is nobody's but this process's.

use bytes::Bytes;

use crate::command::{self, Class, Spec};
use crate::context::Context;
use crate::database::Database;
use crate::flags::Flags;
use crate::reply::Reply;
use crate::script::{self, WORK_BYTES};
use crate::settings::Limits;

/// What a command took beyond what its arguments and its reply tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spent {
    /// Keys and elements that were looked at one after another, pages by [`of_pages`], changes by [`of_changes`].
    pub(crate) visited: u64,
    /// Bytes of values that were copied.
    pub(crate) copied_bytes: u64,
}

impl Spent {
    /// In units of work on [`WORK_BYTES`] bytes or on one key, in which scripts pay.
    pub(crate) fn units(self) -> u64 {
        self.visited + self.copied_bytes / WORK_BYTES as u64
    }
}

/// Pages whose look-up takes about as long as visiting one key.
const PAGES_PER_KEY: usize = 32;
/// How many times longer it takes to free a page.
const FREEING: u64 = 4;

/// What walking over pages costs beside their keys, in visits of keys. Emptied pages are visited, too.
pub(crate) fn of_pages(pages: usize) -> u64 {
    (pages / PAGES_PER_KEY) as u64
}

/// What it costs to take the pages of a flushed database away, in visits of keys. The keys are freed later.
pub(crate) fn of_flushed_pages(pages: usize) -> u64 {
    FREEING * of_pages(pages)
}

/// What it takes to put an element into a collection, to take one out, or to put one in its place, in visits: a way
/// down its trees, and to copy the nodes on it, some 3 KiB, where a journal or a snapshot holds them.
const CHANGE: u64 = 12;

/// What it takes to tell subscribers of a key, in visits, beside copying its name.
pub(crate) const NOTIFICATION: u64 = 4;

/// What it costs to change so many elements of a collection, whatever its type.
pub(crate) fn of_changes(elements: usize) -> u64 {
    CHANGE.saturating_mul(elements as u64)
}

/// What it costs to remove so many elements of a collection that has `len`: all of them go at once.
pub(crate) fn of_removal(len: usize, removed: usize) -> u64 {
    if removed == len { removed as u64 } else { of_changes(removed) }
}

/// The price of a command that changes one element for each argument behind its key.
pub(crate) fn price_of_elements(_: &Context<'_>, args: &[Bytes]) -> u64 {
    of_changes(args.len() - 2)
}

/// The price of a command that changes one element for every two arguments behind its key.
pub(crate) fn price_of_pairs(_: &Context<'_>, args: &[Bytes]) -> u64 {
    of_changes((args.len() - 2).div_ceil(2))
}

/// More is not visited by one SCAN or HSCAN, whatever it asks for, but to the end of a page: some milliseconds.
pub(crate) const SCAN_KEYS_MAX: usize = 10_000;

/// What a command will cost beyond its arguments and its reply, as far as the arguments tell: see
/// [`crate::script::Host::price`].
pub(crate) fn price(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let Ok(spec) = command::check(args) else { return 0 };
    let keyspace = &context.state.keyspace;
    if spec.flags.contains(Flags::DANGEROUS) {
        let of = |(db, database): (usize, &Database)| database.keys() + keyspace.waiting.vacancies(db);
        return keyspace.databases().iter().enumerate().map(of).sum::<usize>() as u64;
    }
    let copied = if spec.flags.contains(Flags::WRITE) { copied_bytes(context, spec, args) } else { 0 };
    copied / WORK_BYTES as u64 + spec.price.map_or(0, |price| price(context, args))
}

/// A write may copy what it was given and the values that it changes, and the journal keeps these until the script ends.
fn copied_bytes(context: &Context<'_>, spec: &Spec, args: &[Bytes]) -> u64 {
    let value_bytes =
        |key: &Bytes| context.get(key).map_or(0, |slot| slot.value.bytes_copied_by_change() as u64);
    let values: u64 = spec.keys.keys(args).iter().flatten().map(value_bytes).sum();
    values + args.iter().map(|argument| argument.len() as u64).sum::<u64>()
}

/// What the commands of one transaction may cost together, and each of its scripts. Everything in it is replicated, so
/// that a transaction ends at the same command everywhere.
///
/// What a script really took is not the same everywhere (a warm VM counts less), so that scripts have a share each.
#[derive(Debug)]
pub(crate) struct Purse {
    steps_max: u64,
    left: u64,
    script_steps_max: u64,
}

impl Purse {
    /// What calling a command costs in itself.
    const COMMAND: u64 = 16;
    /// Nested replies take memory until the transaction is answered: at the default setting some 64 MiB.
    const NESTED_BYTES: u64 = 32;

    pub(crate) fn new(commands: &[(u32, Vec<Bytes>)], limits: &Limits) -> Self {
        let is_script = |args: &[Bytes]| command::check(args).is_ok_and(|spec| spec.class == Class::Script);
        let scripts = commands.iter().filter(|(_, args)| is_script(args)).count() as u64;
        let steps_max = limits.script_steps_max;
        Self { steps_max, left: steps_max, script_steps_max: steps_max / scripts.max(1) }
    }

    /// The steps of each of its scripts.
    pub(crate) fn script_steps_max(&self) -> u64 {
        self.script_steps_max
    }

    /// Pays in advance for a command that costs `price`, or answers why it is not run.
    pub(crate) fn pay(&mut self, price: u64) -> Result<(), Reply> {
        match self.left.checked_sub(Self::COMMAND + price) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                // No later command runs, be it as cheap as it may: the transaction ends here.
                self.left = 0;
                Err(Reply::error_text(format!(
                    "ERR transaction exceeded its budget of {} steps",
                    self.steps_max
                )))
            }
        }
    }

    /// Pays for what showed only when the command was run.
    pub(crate) fn settle(&mut self, price: u64, spent: Spent, reply: &Reply) {
        let bytes = reply.bytes() as u64;
        let reply = bytes / if reply.depth() == 0 { WORK_BYTES as u64 } else { Self::NESTED_BYTES };
        self.left = self.left.saturating_sub(spent.units().saturating_sub(price) + reply);
    }
}

/// What it takes to end the waiting for so many keys, in microseconds.
pub(crate) fn of_end_of_wait(keys: usize) -> u64 {
    OPERATION + keys as u64 / ARGUMENTS
}

/// What it takes to know of so many who share a key that their end may let somebody have what he waits for, or to forget it, in
/// microseconds.
pub(crate) fn of_shares(shares: usize) -> u64 {
    of_changes(shares) / VISITS
}

/// What any operation takes, in microseconds: to decode it, to admit it, to retain its reply.
pub(crate) const OPERATION: u64 = 1;

// How much is done in a microsecond. Measured with 1 to 300,000 keys: the more of them the slower.

/// Arguments, of which most are keys to look up or values to set.
const ARGUMENTS: u64 = 2;
const VISITS: u64 = 12;
const COPIED_BYTES: u64 = 4 << 10;
/// Replies within a reply are built one by one.
const NESTED_BYTES: u64 = 1 << 10;
/// What is shared instead of copied costs little whatever its length.
const SHARED_BYTES: u64 = 16 << 10;
const EXPIRIES: u64 = 16;

/// What a command took, in microseconds, the script that it may have run included.
pub(crate) fn of_command(args: &[Bytes], reply: &Reply, spent: Spent) -> u64 {
    let argument_bytes: u64 = args.iter().map(|argument| argument.len() as u64).sum();
    args.len() as u64 / ARGUMENTS
        + argument_bytes / SHARED_BYTES
        + of_reply(reply)
        + spent.visited / VISITS
        + spent.copied_bytes / COPIED_BYTES
        + script::take_work()
}

fn of_reply(reply: &Reply) -> u64 {
    let bytes = reply.bytes() as u64;
    if reply.depth() == 0 { bytes / SHARED_BYTES } else { bytes / NESTED_BYTES }
}

/// What the passing of time took, in microseconds: `expired` keys were counted, and `freed` keys and elements freed.
pub(crate) fn of_time(expired: u64, freed: u64) -> u64 {
    expired / EXPIRIES + freed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::{Access, Caller, Patience, execute};
    use crate::identifiers::Stamp;
    use crate::requests::Asker;
    use crate::state::State;

    /// LPOP with a count was priced one step an element and took nine, LREM did not pay for what it removes, and ZADD and
    /// RPUSH took nothing at all: a script could go on long after it had used up its budget.
    #[test]
    fn no_change_of_elements_costs_more_than_its_price() {
        let mut state = State::new(Limits::default());
        let mut run = |line: &str| {
            let args: Vec<Bytes> =
                line.split(' ').map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
            let mut context = Context {
                state: &mut state,
                db: 0,
                now: Stamp(0),
                present: Stamp(0),
                access: Access::Write,
                caller: Caller::Client,
                asker: Asker::default(),
                seed: 1,
                draws: 0,
                script_steps_max: 0,
                spent: Spent::default(),
                patience: Patience::None,
            };
            let price = price(&context, &args);
            let reply = execute(&mut context, &args);
            assert!(!reply.is_error(), "{line}: {reply:?}");
            (price, context.spent.units())
        };
        let names = |name: &str| (0..100).map(|n| format!(" {name}{}", n % 90)).collect::<String>();
        let (elements, pairs) = (names("m"), names("5 m"));
        for line in [
            format!("RPUSH l{elements}"),
            format!("LPUSH l{elements}"),
            format!("RPUSHX l{elements}"),
            "LSET l 7 other".into(),
            "LINSERT l BEFORE m89 other".into(),
            "LREM l -2 m1".into(),
            "LREM l 0 m2".into(),
            "LMOVE l l LEFT RIGHT".into(),
            "LMOVE l k LEFT RIGHT".into(),
            "RPOPLPUSH l k".into(),
            "LPOP l 20".into(),
            "RPOP l".into(),
            "LMPOP 2 none l LEFT COUNT 5".into(),
            "LTRIM l 10 -10".into(),
            "LTRIM l 0 9".into(),
            "LPOP l 99".into(),
            format!("ZADD z{pairs}"),
            "ZADD z XX CH 6 m3".into(),
            "ZINCRBY z 3 m4".into(),
            format!("ZREM z{}", names("m1")),
            "ZRANGESTORE d z 0 20".into(),
            "ZRANGESTORE d z 0 -1".into(),
            "ZPOPMIN z 9".into(),
            "ZREMRANGEBYRANK z 1 4".into(),
            "ZMPOP 1 z MAX COUNT 99".into(),
            format!("HSET h{elements}"),
            "HINCRBY h new 1".into(),
            "HSETNX h newer 1".into(),
            format!("HDEL h{}", names("m2")),
            format!("SADD s{elements}"),
            "SMOVE s t m5".into(),
            "SPOP s 9".into(),
            format!("SREM s{}", names("m1")),
            "SUNIONSTORE u s t".into(),
        ] {
            let (price, spent) = run(&line);
            assert!(spent > 0 && spent <= price, "{line}: a price of {price}, {spent} spent");
        }
    }
}
