//! What a script may use up, and how that is counted alike on every replica.
//!
//! Luau calls an *interrupt* at each call, return and backward jump, and at each step of pattern matching. An
//! interrupt is a **step**. Functions that work long without one (`sort`, a plain `find`, a call of the host)
//! charge steps of their own. What still remains is work in proportion to the heap, such as a comparison of two
//! huge strings or the rehash of a huge table: in a fresh VM each step therefore costs more the larger the heap
//! is ([`HEAP_BYTES_PER_STEP`]), so that steps bound the time whatever a script does.
//!
//! **Memory** is the growth of the heap since the script began. The collector never runs by itself, since Luau
//! paces it by the clock; a fresh VM collects at steps where the heap has reached a size. A warm VM has a heap
//! that depends on what ran before, so its measure is not the same everywhere. It is therefore only trusted to
//! say *yes*, and its budgets are so much smaller that whatever it finishes a fresh VM would finish, too, with the
//! same reply:
//!
//! * memory: a warm run grows by at most [`WARM_BYTES`] plus the garbage that was there ([`GARBAGE_BYTES_MAX`]),
//!   and saves at most as much again by finding strings and pages of earlier scripts. The sum stays below
//!   [`COLLECT_FIRST_BYTES`], where a fresh VM first collects, so that neither collects and even weak tables
//!   look the same. With less memory than that for a script no warm VM is used at all.
//! * steps: below that size of heap a step costs at most [`WARM_STEPS_DIVISOR`] in a fresh VM.
//!
//! Neither needs an allocator that fails: when memory really runs out the process ends, and answers nothing.

use std::cell::Cell;

use mlua::Lua;

/// The limits on one script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budgets {
    /// Steps, as this module counts them.
    pub(crate) steps: u64,
    /// Bytes of the script's heap, and apart from that of each of its commands and of its reply.
    pub(crate) memory_bytes: usize,
}

/// Which budget was used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    Steps,
    Memory,
}

/// How the VM was before the script came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Warmth {
    Warm,
    Fresh,
}

/// The slowest that a step may do to the heap (to compare two strings, to move all elements of a table) takes less than
/// a microsecond for so many bytes: with the default of 2 million steps even the worst of scripts ends in two seconds.
/// An ordinary one with a large heap pays for it, too, but can still write some thousands of keys one by one.
const HEAP_BYTES_PER_STEP: usize = 32 << 10;
/// What a script may add to a warm heap: many times what a lock script needs.
const WARM_BYTES: usize = 512 << 10;
/// Garbage that earlier scripts may leave on a warm heap. Collecting takes about 0.1 ms, so not after each one.
pub(super) const GARBAGE_BYTES_MAX: usize = 512 << 10;
/// Where a fresh heap is collected for the first time.
const COLLECT_FIRST_BYTES: usize = 4 << 20;
/// The least growth between two collections: they cost time in proportion to the whole heap.
const COLLECT_STEP_BYTES: usize = 1 << 20;
/// A collection is charged for what survives it.
const COLLECTED_BYTES_PER_STEP: usize = 64;
/// How many times dearer a step can be in a fresh VM for a script that fits into a warm one.
const WARM_STEPS_DIVISOR: u64 = 1 + (COLLECT_FIRST_BYTES / HEAP_BYTES_PER_STEP) as u64;

// The allocator takes memory in pages, at most one begun for each size of object: 1 MiB covers them.
const _: () = assert!(WARM_BYTES + 2 * GARBAGE_BYTES_MAX + (1 << 20) < COLLECT_FIRST_BYTES);

impl Budgets {
    /// The budgets of a warm run, `None` if there is no room for one.
    pub(super) fn warm(self) -> Option<Self> {
        let steps = self.steps / WARM_STEPS_DIVISOR;
        let has_room = steps > 0 && self.memory_bytes >= COLLECT_FIRST_BYTES;
        has_room.then_some(Self { steps, memory_bytes: WARM_BYTES })
    }
}

/// Counts what the running script uses up.
#[derive(Debug)]
pub(super) struct Meter {
    warmth: Warmth,
    steps_left: Cell<u64>,
    memory_bytes: Cell<usize>,
    exhausted: Cell<Option<Limit>>,
    /// Bytes of the heap before the script.
    ground: Cell<usize>,
    /// Bytes of the heap at which it is collected.
    collect_at: Cell<usize>,
}

impl Meter {
    pub(super) fn new(warmth: Warmth) -> Self {
        Self {
            warmth,
            steps_left: Cell::new(u64::MAX),
            memory_bytes: Cell::new(usize::MAX),
            exhausted: Cell::new(None),
            ground: Cell::new(0),
            collect_at: Cell::new(usize::MAX),
        }
    }

    /// Begins to count against `budgets`, over a heap that had `ground` bytes when it was last clean.
    pub(super) fn begin(&self, lua: &Lua, budgets: Budgets, ground: usize) -> mlua::Result<()> {
        self.steps_left.set(budgets.steps);
        self.memory_bytes.set(budgets.memory_bytes);
        self.exhausted.set(None);
        self.ground.set(ground);
        let (allowed, collect_at) = match self.warmth {
            Warmth::Warm => (budgets.memory_bytes + GARBAGE_BYTES_MAX, usize::MAX),
            Warmth::Fresh => (budgets.memory_bytes, ground + COLLECT_FIRST_BYTES),
        };
        self.collect_at.set(collect_at);
        lua.set_memory_limit(ground + allowed).map(drop)
    }

    /// Stops counting.
    pub(super) fn end(&self, lua: &Lua) -> mlua::Result<()> {
        self.steps_left.set(u64::MAX);
        self.exhausted.set(None);
        self.collect_at.set(usize::MAX);
        lua.set_memory_limit(0).map(drop)
    }

    /// The steps used up since the beginning under `budgets`.
    pub(super) fn used(&self, budgets: Budgets) -> u64 {
        budgets.steps - self.steps_left.get()
    }

    pub(super) fn exhausted(&self) -> Option<Limit> {
        self.exhausted.get()
    }

    /// The bytes that one command's arguments, or the reply, may take outside of the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes.get()
    }

    /// Counts one step.
    pub(super) fn step(&self, lua: &Lua) -> mlua::Result<()> {
        match self.warmth {
            Warmth::Warm => self.charge(1),
            Warmth::Fresh => {
                let used = lua.used_memory();
                if used >= self.collect_at.get() {
                    self.collect(lua)?;
                }
                let grown = used.saturating_sub(self.ground.get());
                self.charge(1 + (grown / HEAP_BYTES_PER_STEP) as u64)
            }
        }
    }

    fn collect(&self, lua: &Lua) -> mlua::Result<()> {
        collect_garbage(lua)?;
        let left = lua.used_memory().saturating_sub(self.ground.get());
        self.collect_at
            .set(self.ground.get() + (2 * left).max(left + COLLECT_STEP_BYTES).max(COLLECT_FIRST_BYTES));
        self.charge((left / COLLECTED_BYTES_PER_STEP) as u64)
    }

    /// Counts `steps`. After the last one every further step fails as well, so that no handler of errors in the
    /// script can go on.
    pub(super) fn charge(&self, steps: u64) -> mlua::Result<()> {
        match (self.exhausted.get(), self.steps_left.get().checked_sub(steps)) {
            (None, Some(left)) => {
                self.steps_left.set(left);
                Ok(())
            }
            (Some(limit), _) => Err(self.exhaust(limit)),
            (None, None) => Err(self.exhaust(Limit::Steps)),
        }
    }

    /// Ends the script at a limit.
    pub(super) fn exhaust(&self, limit: Limit) -> mlua::Error {
        self.exhausted.set(Some(limit));
        mlua::Error::runtime("the script's budget is exhausted")
    }
}

/// Collects all garbage and leaves the collector stopped: Luau starts it again after a collection.
pub(super) fn collect_garbage(lua: &Lua) -> mlua::Result<()> {
    let collected = lua.gc_collect();
    lua.gc_stop();
    collected
}
