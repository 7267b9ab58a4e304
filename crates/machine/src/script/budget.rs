//! What a script may use up, and how that is counted alike on every replica.
//!
//! Luau calls an *interrupt* at each call, return and backward jump, and at each step of pattern matching. An
//! interrupt is a **step**, and takes some 60 ns at most. What takes longer costs more of them:
//!
//! * Library functions that work long (`sort`, a plain `find`, a call of the host) charge for it, and so do they for
//!   long strings that they make numbers of (`prelude.luau`).
//! * What the language itself does without any step is made to cost some by changing the script's text
//!   ([`super::guards`]).
//! * What was allocated since the last step is charged by its bytes: to make a string takes as long as it is.
//! * Each step passes on the values that are on the stack, and goes through a part of the heap
//!   ([`HEAP_BYTES_PER_STEP`]); tables that stand behind others as `__index` make it longer, too.
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

/// So many bytes of the heap make each step dearer by one: what has no price of its own, such as to follow a chain of
/// equal hashes, takes longer the more there is. An ordinary script can still write some thousands of keys one by one
/// over a megabyte of data.
const HEAP_BYTES_PER_STEP: usize = 32 << 10;
/// To allocate, fill and hash so many bytes takes about as long as a step.
const ALLOCATED_BYTES_PER_STEP: usize = 128;
/// An element may be looked for in as many tables while a step is made.
const METATABLES_PER_STEP: u64 = 4;
/// A step may pass on so many values.
const VALUES_PER_STEP: u64 = 128;
/// To lay out so many bytes of a table anew takes about as long as a step.
const SCANNED_BYTES_PER_STEP: usize = 128;
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
/// What all it allocates can cost there.
const ALLOCATED_STEPS_MAX: u64 = (COLLECT_FIRST_BYTES / ALLOCATED_BYTES_PER_STEP) as u64;
/// What going through a table costs in a warm VM, so that it is dear enough for a fresh one.
const WARM_STEPS_PER_SCAN: u64 = 1 + (HEAP_BYTES_PER_STEP / SCANNED_BYTES_PER_STEP) as u64;

// The allocator takes memory in pages, at most one begun for each size of object: 1 MiB covers them.
const _: () = assert!(WARM_BYTES + 2 * GARBAGE_BYTES_MAX + (1 << 20) < COLLECT_FIRST_BYTES);

impl Budgets {
    /// The budgets of a warm run, `None` if there is no room for one.
    pub(super) fn warm(self) -> Option<Self> {
        let steps = self.steps.saturating_sub(ALLOCATED_STEPS_MAX) / WARM_STEPS_DIVISOR;
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
    /// The most bytes of the heap at a step since it was collected.
    seen: Cell<usize>,
    /// Metatables that the script has given to tables.
    metatables: Cell<u64>,
    /// The most values that the script had at once on its stack from one table or string.
    widest: Cell<u64>,
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
            seen: Cell::new(0),
            metatables: Cell::new(0),
            widest: Cell::new(0),
        }
    }

    /// Begins to count against `budgets`, over a heap that had `ground` bytes when it was last clean.
    pub(super) fn begin(&self, lua: &Lua, budgets: Budgets, ground: usize) -> mlua::Result<()> {
        self.steps_left.set(budgets.steps);
        self.memory_bytes.set(budgets.memory_bytes);
        self.exhausted.set(None);
        self.ground.set(ground);
        self.seen.set(ground);
        self.metatables.set(0);
        self.widest.set(0);
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

    pub(super) fn is_warm(&self) -> bool {
        self.warmth == Warmth::Warm
    }

    /// The bytes that one command's arguments, or the reply, may take outside of the heap.
    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_bytes.get()
    }

    /// Counts one step, and what the heap has grown by since the last one.
    pub(super) fn step(&self, lua: &Lua) -> mlua::Result<()> {
        self.steps(lua, 1)
    }

    /// Counts as many steps at once.
    pub(super) fn steps(&self, lua: &Lua, steps: u64) -> mlua::Result<()> {
        let price = 1 + self.metatables.get() / METATABLES_PER_STEP + self.widest.get() / VALUES_PER_STEP;
        if self.warmth == Warmth::Warm {
            return self.charge(steps.saturating_mul(price));
        }
        let used = lua.used_memory();
        let allocated = used.saturating_sub(self.seen.get());
        self.seen.set(self.seen.get().max(used));
        if used >= self.collect_at.get() {
            self.collect(lua)?;
        }
        let price = price + (used.saturating_sub(self.ground.get()) / HEAP_BYTES_PER_STEP) as u64;
        self.charge(steps.saturating_mul(price) + (allocated / ALLOCATED_BYTES_PER_STEP) as u64)
    }

    /// One more table can stand behind another one, where an element is looked for.
    pub(super) fn lengthen(&self) {
        self.metatables.set(self.metatables.get() + 1);
    }

    /// So many values can be passed on by each call and return.
    pub(super) fn widen(&self, values: u64) {
        self.widest.set(self.widest.get().max(values));
    }

    /// Counts what takes as long as going through the largest table that there can be.
    pub(super) fn scan(&self, lua: &Lua) -> mlua::Result<()> {
        match self.warmth {
            Warmth::Warm => self.charge(WARM_STEPS_PER_SCAN),
            Warmth::Fresh => {
                let grown = lua.used_memory().saturating_sub(self.ground.get());
                self.charge(1 + (grown / SCANNED_BYTES_PER_STEP) as u64)
            }
        }
    }

    fn collect(&self, lua: &Lua) -> mlua::Result<()> {
        collect_garbage(lua)?;
        self.seen.set(lua.used_memory());
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
