//! One Luau VM: the sandbox, what a run is given, and what comes of it.
//!
//! Nothing that a script can reach is changed from one run to the next: its globals are frozen, its keys and
//! arguments are arguments of its function, and what this file keeps for a run (the host, the version of the
//! protocol, the random numbers, the walk of `next`) is set anew for each.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::LazyLock;

use bytes::Bytes;
use mlua::chunk::ChunkMode;
use mlua::{Function, Lua, LuaOptions, MultiValue, StdLib, Table, Value, VmState};

use super::budget::{Budgets, GARBAGE_BYTES_MAX, Limit, Meter, Warmth, collect_garbage};
use super::convert::{Resp, Returned, arguments, charge_for, to_script};
use super::libraries;
use super::programs::Program;
use super::random::Random;
use super::source::{CHUNK_NAME, compiler};
use super::{Host, Invocation, add_work};
use crate::reply::Reply;
use crate::script_cache::script_sha;

/// A call of the host costs about as much as this many steps.
const STEPS_PER_CALL: u64 = 16;
/// Bytes that SHA-1 takes about as long for as a step takes.
const DIGESTED_BYTES_PER_STEP: usize = 16;
/// What a VM takes to build.
const BUILD_MICROSECONDS: u64 = 100;
/// Turns of a loop take some 20 ns, a call of the host, which is 16 steps, less than a microsecond. With a large heap a
/// step is priced by the worst that it can stand for, and mostly takes a small part of that.
const STEPS_PER_MICROSECOND: u64 = 16;
/// How fast a long reply becomes a table.
const CONVERTED_BYTES_PER_MICROSECOND: usize = 64;
/// What Luau says when the heap may not grow.
const OUT_OF_MEMORY: &str = "not enough memory";
/// The sandbox's own code. Compiling it takes longer than all the rest of building a VM.
static PRELUDE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    compiler().compile(include_str!("prelude.luau")).expect("the prelude is part of the program and compiles")
});

/// The sandbox's libraries that Lua does not have, which the prelude calls.
static LIBRARIES: LazyLock<Vec<u8>> = LazyLock::new(|| {
    compiler()
        .compile(include_str!("libraries.luau"))
        .expect("the libraries are part of the program and compile")
});

/// What came of a run.
#[derive(Debug)]
pub(super) enum Outcome {
    Done(Reply),
    Exhausted(Limit),
}

/// What lasts for one run and is shared with the functions of the sandbox.
#[derive(Debug)]
struct Run {
    meter: Rc<Meter>,
    resp: Cell<Resp>,
    random: Cell<Random>,
}

#[derive(Debug)]
pub(super) struct Vm {
    lua: Lua,
    run: Rc<Run>,
    world: Table,
    start: Function,
    forget: Function,
    /// Bytes of the heap when it was last clean.
    ground: usize,
}

impl Vm {
    /// Builds a VM and its sandbox, which takes some 0.1 ms.
    pub(super) fn new(warmth: Warmth) -> Self {
        add_work(BUILD_MICROSECONDS);
        Self::build(warmth).expect("the sandbox is built from constants, without limits")
    }

    fn build(warmth: Warmth) -> mlua::Result<Self> {
        let libraries =
            StdLib::STRING | StdLib::TABLE | StdLib::MATH | StdLib::COROUTINE | StdLib::BIT | StdLib::DEBUG;
        let lua = Lua::new_with(libraries, LuaOptions::new())?;
        lua.gc_stop();
        let run = Rc::new(Run {
            meter: Rc::new(Meter::new(warmth)),
            resp: Cell::new(Resp::V2),
            random: Cell::new(Random::new(0)),
        });
        let prelude = lua.load(PRELUDE.as_slice()).set_name("=sandbox").set_mode(ChunkMode::Binary);
        let sandbox: Table = prelude.call(natives(&lua, &run)?)?;
        let interrupted = Rc::clone(&run);
        lua.set_interrupt(move |lua| interrupted.meter.step(lua).map(|()| VmState::Continue));
        let (world, start) = (sandbox.get("world")?, sandbox.get("start")?);
        let forget = sandbox.get("forget")?;
        collect_garbage(&lua)?;
        let ground = lua.used_memory();
        Ok(Self { lua, run, world, start, forget, ground })
    }

    /// Runs a script once. Whatever it did to the host stays done, also if a budget was exhausted.
    pub(super) fn run(
        &mut self,
        program: &Program,
        invocation: &Invocation<'_>,
        budgets: Budgets,
        host: &mut dyn Host,
    ) -> Outcome {
        self.run.resp.set(Resp::V2);
        self.run.random.set(Random::new(0));
        let result = self
            .run
            .meter
            .begin(&self.lua, budgets, self.ground)
            .and_then(|()| self.run_metered(program, invocation, host));
        let exhausted = self.run.meter.exhausted();
        let outcome = match (exhausted, result) {
            (Some(limit), _) => Outcome::Exhausted(limit),
            (None, Ok(reply)) => Outcome::Done(reply),
            (None, Err(error)) if is_out_of_memory(&error) => Outcome::Exhausted(Limit::Memory),
            // What is left is a stack of values that could not grow any more. When that is depends on what grew in a
            // warm VM before; in a fresh one it is the same on every replica.
            (None, Err(_)) if self.run.meter.is_warm() => Outcome::Exhausted(Limit::Memory),
            (None, Err(_)) => Outcome::Done(Reply::error("ERR the script needs too much stack")),
        };
        add_work(self.run.meter.used(budgets) / STEPS_PER_MICROSECOND);
        self.run.meter.end(&self.lua).expect("a VM without memory limit always takes it");
        outcome
    }

    fn run_metered(
        &self,
        program: &Program,
        invocation: &Invocation<'_>,
        host: &mut dyn Host,
    ) -> mlua::Result<Reply> {
        let function = self.function(program)?;
        let keys = strings(&self.lua, invocation.keys)?;
        let arguments = strings(&self.lua, invocation.args)?;
        let host = RefCell::new(host);
        let (ok, returned) = self.lua.scope(|scope| {
            let call =
                scope.create_function(|lua, values| self.run.call(lua, &values, &mut **host.borrow_mut()))?;
            self.start.call::<(bool, Value)>((call, function, keys, arguments))
        })?;
        if ok {
            return Returned::new(&self.run.meter, self.run.resp.get()).reply(&returned);
        }
        match returned {
            Value::Table(blame) => raised(&blame, invocation),
            Value::String(text) if text.as_bytes() == OUT_OF_MEMORY.as_bytes() => {
                Err(self.run.meter.exhaust(Limit::Memory))
            }
            Value::Error(error) => Err(*error),
            // The handler of errors failed itself, for want of stack.
            _ => Err(mlua::Error::StackError),
        }
    }

    /// The script's function, loaded anew for each run: a function keeps closures that it made, and whether two of
    /// them are one and the same shows in a comparison.
    fn function(&self, program: &Program) -> mlua::Result<Function> {
        let chunk = self.lua.load(program.bytecode.as_slice()).set_name(format!("={CHUNK_NAME}"));
        chunk.set_mode(ChunkMode::Binary).set_environment(self.world.clone()).into_function()
    }

    /// Prepares the VM for the next run.
    pub(super) fn settle(&mut self) {
        self.forget.call::<()>(()).expect("forgetting takes no memory");
        if self.lua.used_memory() > self.ground + GARBAGE_BYTES_MAX {
            collect_garbage(&self.lua).expect("collecting runs no code that could fail");
            self.ground = self.lua.used_memory();
        }
    }
}

impl Run {
    /// `redis.call` and `redis.pcall`, which differ only in what they do with an error.
    fn call(&self, lua: &Lua, values: &MultiValue, host: &mut dyn Host) -> mlua::Result<Value> {
        self.meter.charge(STEPS_PER_CALL)?;
        let reply = match arguments(values, &self.meter)? {
            Ok(arguments) => {
                let price = host.price(&arguments);
                self.meter.charge(price)?;
                let reply = host.call(arguments);
                self.meter.charge(host.spent().saturating_sub(price))?;
                reply
            }
            Err(text) => Reply::error(text),
        };
        charge_for(&reply, &self.meter)?;
        add_work((reply.bytes() / CONVERTED_BYTES_PER_MICROSECOND) as u64);
        to_script(lua, &reply, self.resp.get())
    }
}

/// The functions that the prelude cannot do without.
fn natives(lua: &Lua, run: &Rc<Run>) -> mlua::Result<Table> {
    let natives = lua.create_table()?;
    let metered = Rc::clone(run);
    // A number below 0 or none at all is charged as nothing, one beyond 64 bits as all there is.
    natives.set("charge", lua.create_function(move |_, steps: f64| metered.meter.charge(steps as u64))?)?;
    let working = Rc::clone(run);
    natives.set("work", lua.create_function(move |lua, steps: u64| working.meter.steps(lua, steps))?)?;
    let scanning = Rc::clone(run);
    natives.set("scan", lua.create_function(move |lua, ()| scanning.meter.scan(lua))?)?;
    let lengthening = Rc::clone(run);
    natives.set(
        "lengthen",
        lua.create_function(move |_, ()| {
            lengthening.meter.lengthen();
            Ok(())
        })?,
    )?;
    let widening = Rc::clone(run);
    natives.set(
        "widen",
        lua.create_function(move |_, values: f64| {
            widening.meter.widen(values as u64);
            Ok(())
        })?,
    )?;
    let drawing = Rc::clone(run);
    natives.set(
        "random",
        lua.create_function(move |_, ()| {
            let mut random = drawing.random.get();
            let fraction = random.fraction();
            drawing.random.set(random);
            Ok(fraction)
        })?,
    )?;
    let seeded = Rc::clone(run);
    natives.set(
        "randomseed",
        lua.create_function(move |_, seed: f64| {
            seeded.random.set(Random::new(seed as i32));
            Ok(())
        })?,
    )?;
    let switched = Rc::clone(run);
    natives.set(
        "setresp",
        lua.create_function(move |_, version: u8| {
            switched.resp.set(if version == 3 { Resp::V3 } else { Resp::V2 });
            Ok(())
        })?,
    )?;
    natives.set("metatable", lua.create_function(|_, table: Table| Ok(table.metatable()))?)?;
    let digesting = Rc::clone(run);
    natives.set(
        "sha1hex",
        lua.create_function(move |lua, text: mlua::LuaString| {
            digesting.meter.charge((text.as_bytes().len() / DIGESTED_BYTES_PER_STEP) as u64)?;
            lua.create_string(script_sha(&text.as_bytes()))
        })?,
    )?;
    let written = lua.load(LIBRARIES.as_slice()).set_name("=sandbox").set_mode(ChunkMode::Binary);
    natives.set("libraries", written.into_function()?)?;
    libraries::install(lua, &natives, &run.meter)?;
    natives.set("version", super::REDIS_VERSION)?;
    natives.set("version_number", super::REDIS_VERSION_NUMBER)?;
    Ok(natives)
}

fn strings(lua: &Lua, texts: &[Bytes]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(texts.len(), 0)?;
    for text in texts {
        table.raw_push(lua.create_string(text)?)?;
    }
    Ok(table)
}

/// The reply for an error that the script did not catch, in Redis's shape.
fn raised(blame: &Table, invocation: &Invocation<'_>) -> mlua::Result<Reply> {
    let text: mlua::LuaString = blame.raw_get("text")?;
    let line: Option<u64> = blame.raw_get("line")?;
    let mut text = text.as_bytes().to_vec();
    // Luau's own words for it begin with a small letter.
    const READ_ONLY: &[u8] = b"attempt to modify a readonly table";
    if text.ends_with(READ_ONLY) {
        let at = text.len() - READ_ONLY.len();
        text[at] = b'A';
    }
    if let Some(line) = line {
        let sha = String::from_utf8_lossy(&invocation.sha);
        text.extend_from_slice(format!(" script: {sha}, on @{CHUNK_NAME}:{line}.").as_bytes());
    }
    Ok(Reply::error_text(text))
}

fn is_out_of_memory(error: &mlua::Error) -> bool {
    match error {
        mlua::Error::MemoryError(_) => true,
        mlua::Error::RuntimeError(text) => text == OUT_OF_MEMORY,
        mlua::Error::CallbackError { cause, .. } | mlua::Error::WithContext { cause, .. } => {
            is_out_of_memory(cause)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_collector_never_runs_by_itself() {
        let mut vm = Vm::new(Warmth::Warm);
        assert!(!vm.lua.gc_is_running());
        vm.settle();
        assert!(!vm.lua.gc_is_running());
        vm.ground = 0;
        vm.settle();
        assert!(vm.ground > 0, "the heap was collected");
        assert!(!vm.lua.gc_is_running());
    }
}
