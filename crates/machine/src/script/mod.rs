//! Scripts: EVAL and its kin, in a Luau VM that gives the same replies on every replica.
//!
//! A script runs inside `apply`, so whatever it does must follow from the log alone. It has no clock, no files, no
//! addresses, a random sequence with a fixed seed, and loops over tables in an order of its keys, which are numbers,
//! strings and booleans (`prelude.luau`, [`guards`]). Its steps and memory are budgeted ([`budget`]), and a budget that
//! is used up is an ordinary error.
//!
//! Building a VM costs many times what a lock script does, so each thread keeps a **warm** VM. Its heap depends on
//! what ran before, even if no script can see that; so a run that comes near a limit there decides nothing: its
//! writes are undone, and it runs again in a **fresh** VM under the full budgets. That verdict counts.
//!
//! * No script sees anything of an earlier one.
//! * A run in a warm VM that ends within its budgets gives what a fresh VM would give.
//! * An error in a script leaves what the script had written, as in Redis. That holds for a budget, too.
//! * When the process cannot get memory, it ends: no reply ever depends on the memory of a machine.
//!
//! Lua 5.1 is what scripts are written for, and Luau differs in details: the texts of errors that Lua itself raises,
//! `tostring` of a number gives all its digits, and there is no `loadstring`. What Redis adds to Lua is in [`libraries`].
//! Mathematical functions come from the C library, so nodes of one cluster run the same build.

mod budget;
mod convert;
mod guards;
mod libraries;
mod number;
mod programs;
mod random;
mod reader;
mod source;
mod tokens;
mod vm;

use std::cell::{Cell, RefCell};

use bytes::Bytes;

pub(crate) use self::budget::Budgets;
use self::budget::{Limit, Warmth};
use self::programs::{Program, Programs};
use self::vm::{Outcome, Vm};
use crate::reply::Reply;
use crate::script_cache::{ScriptSha, script_sha};

/// The version that `redis.REDIS_VERSION` and INFO speak of.
const REDIS_VERSION: &str = "7.2.4";
const REDIS_VERSION_NUMBER: u32 = 0x0007_0204;

/// How fast the name of a script is made of its text.
const DIGESTED_BYTES_PER_MICROSECOND: usize = 512;

/// Bytes of arguments, values and replies that take about as long as one step.
pub(crate) const WORK_BYTES: usize = 256;

/// Runs the commands of a script, on the state that the script belongs to.
///
/// Calls come strictly one after another. A checkpoint is followed by either a commit or a rollback; after a rollback
/// the script starts again from the beginning, without a checkpoint.
pub(crate) trait Host {
    /// Runs one command by its name and arguments (at least the name), and answers what a client would get; an
    /// error reply is what the script is told.
    fn call(&mut self, args: Vec<Bytes>) -> Reply;
    /// What a command will cost beyond its arguments and its reply, as far as that can be told, in units of work on
    /// [`WORK_BYTES`] bytes or on one key. Asked before each call; a script that cannot pay for it does not get to
    /// make it.
    fn price(&self, args: &[Bytes]) -> u64;
    /// What the last call did cost, in the same units. What its price did not cover is paid afterwards.
    fn spent(&self) -> u64;
    /// From now on the script promises not to write: answer writes with Redis's error.
    fn forbid_writes(&mut self);
    /// Begins to remember the state as it is.
    fn checkpoint(&mut self);
    /// Forgets the checkpoint: what was done stays.
    fn commit(&mut self);
    /// Undoes all that was done through [`Host::call`] since the checkpoint, the selected database included.
    fn rollback(&mut self);
}

/// A script and what it is called with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invocation<'a> {
    /// The name of `body`.
    pub(crate) sha: ScriptSha,
    pub(crate) body: &'a [u8],
    pub(crate) keys: &'a [Bytes],
    pub(crate) args: &'a [Bytes],
}

/// Whether a script compiles, and the reply to its sender if it does not.
pub(crate) fn check(body: &[u8]) -> Result<(), Reply> {
    add_work((body.len() / DIGESTED_BYTES_PER_MICROSECOND) as u64);
    WARM.with_borrow_mut(|warm| warm.programs.get(script_sha(body), body).map(drop))
}

/// Runs a script to its end and answers what its client gets.
pub(crate) fn run(invocation: &Invocation<'_>, budgets: Budgets, host: &mut dyn Host) -> Reply {
    let program = WARM.with_borrow_mut(|warm| warm.programs.get(invocation.sha, invocation.body));
    let program = match program {
        Ok(program) => program,
        Err(reply) => return reply,
    };
    if program.is_read_only {
        host.forbid_writes();
    }
    match run_warm(&program, invocation, budgets, host) {
        Some(reply) => reply,
        None => run_fresh(&program, invocation, budgets, host),
    }
}

/// The reply, or `None` if nothing was done because a fresh VM must decide.
fn run_warm(
    program: &Program,
    invocation: &Invocation<'_>,
    budgets: Budgets,
    host: &mut dyn Host,
) -> Option<Reply> {
    let warm_budgets = budgets.warm()?;
    // The VM is taken out of its place, so that a panic in the host leaves none behind.
    let taken = WARM.with_borrow_mut(|warm| warm.vm.take());
    let mut vm = taken.unwrap_or_else(|| Vm::new(Warmth::Warm));
    host.checkpoint();
    match vm.run(program, invocation, warm_budgets, host) {
        Outcome::Done(reply) => {
            host.commit();
            vm.settle();
            WARM.with_borrow_mut(|warm| warm.vm = Some(vm));
            Some(reply)
        }
        Outcome::Exhausted(_) => {
            host.rollback();
            None
        }
    }
}

fn run_fresh(program: &Program, invocation: &Invocation<'_>, budgets: Budgets, host: &mut dyn Host) -> Reply {
    match Vm::new(Warmth::Fresh).run(program, invocation, budgets, host) {
        Outcome::Done(reply) => reply,
        Outcome::Exhausted(Limit::Steps) => {
            Reply::error_text(format!("ERR script exceeded its budget of {} steps", budgets.steps))
        }
        Outcome::Exhausted(Limit::Memory) => {
            Reply::error_text(format!("ERR script exceeded its budget of {} bytes", budgets.memory_bytes))
        }
    }
}

/// What a thread keeps between scripts; nothing in it shows in a reply, so machines on one thread share it.
#[derive(Debug, Default)]
struct Warm {
    vm: Option<Vm>,
    programs: Programs,
}

thread_local! {
    static WARM: RefCell<Warm> = RefCell::default();
    /// What [`take_work`] will answer.
    static WORK: Cell<u64> = const { Cell::new(0) };
}

/// About how many microseconds scripts have taken on this thread, compiling included, since this was last asked.
pub(crate) fn take_work() -> u64 {
    WORK.take()
}

fn add_work(microseconds: u64) {
    WORK.set(WORK.get().saturating_add(microseconds));
}

#[cfg(test)]
mod guarded;
#[cfg(test)]
mod tests;
