//! What commands cost: the price of each to a script, and an estimate of the time for whoever drives the machine.
//!
//! Both go by what a command did, never by a clock, and begin with [`Spent`], which commands that work in proportion
//! to the data keep as they go. A script pays for it with steps, so that the price is the same on every replica. The
//! meter of [`crate::Machine::work`] is nobody's but this process's.

use bytes::Bytes;

use crate::command::{self, Class};
use crate::context::Context;
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

/// What it takes to put an element into a collection, or to take one out, in visits: a way down its trees.
const CHANGE: u64 = 8;

/// What it costs to change so many elements.
pub(crate) fn of_changes(elements: usize) -> u64 {
    CHANGE.saturating_mul(elements as u64)
}

/// What it costs to take so many out of a collection of `len`. All of them go at once, with the key.
pub(crate) fn of_removals(len: usize, removed: usize) -> u64 {
    if removed == len { removed as u64 } else { of_changes(removed) }
}

/// What the change of one element copies at the most where a journal or a snapshot holds the collection: the nodes on
/// its way, in bytes.
pub(crate) const CHANGE_BYTES: usize = 3 << 10;

/// More is not visited by one SCAN or HSCAN, whatever it asks for, but to the end of a page: some milliseconds.
pub(crate) const SCAN_KEYS_MAX: usize = 10_000;

/// What a command will cost beyond its arguments and its reply, as far as the arguments tell: see
/// [`crate::script::Host::price`].
pub(crate) fn price(context: &Context<'_>, args: &[Bytes]) -> u64 {
    let Ok(spec) = command::check(args) else { return 0 };
    let keyspace = &context.state.keyspace;
    if spec.flags.contains(Flags::DANGEROUS) {
        return keyspace.databases().iter().map(|database| database.keys() as u64).sum();
    }
    // A write may copy the values that it changes, and the journal keeps them until the script ends.
    let changed = if spec.flags.contains(Flags::WRITE) { spec.keys.keys(args) } else { None };
    let value_bytes =
        |key: &Bytes| context.get(key).map_or(0, |slot| slot.value.bytes_copied_by_change() as u64);
    let copied = changed.iter().flatten().map(value_bytes).sum::<u64>() / WORK_BYTES as u64;
    copied + spec.price.map_or(0, |price| price(context, args))
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

/// What the passing of time took, in microseconds: `expired` keys were counted and `freed` ones freed.
pub(crate) fn of_time(expired: u64, freed: u64) -> u64 {
    expired / EXPIRIES + freed
}
