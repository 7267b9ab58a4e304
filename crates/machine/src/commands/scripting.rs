//! EVAL and its kin, and the cache of scripts.
//!
//! The cache is replicated: EVALSHA travels as the name and finds the script when it is applied, so that it works
//! on every node alike. A read (EVAL_RO, EVALSHA_RO outside of the log) neither adds a script nor marks one as used.

use bytes::Bytes;

use crate::command::{Group, KeySpec, Spec};
use crate::commands::help;
use crate::context::{Access, Caller, Context, execute};
use crate::flags::Flags;
use crate::integer;
use crate::publication::Mark;
use crate::reply::Reply;
use crate::script::{self, Budgets, Host, Invocation};
use crate::script_cache::{ScriptSha, script_sha};
use crate::work::{self, Spent};

const COUNTED: KeySpec = KeySpec::Counted { count_at: 2 };
const RUNS: Flags = Flags::NOSCRIPT.and(Flags::MOVABLEKEYS);
const READS: Flags = RUNS.and(Flags::READONLY);

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::script("eval", -3, eval).with(RUNS).keys(COUNTED).doc(
        "2.6.0",
        "EVAL script numkeys [key [key ...]] [arg [arg ...]]",
        "Runs a Lua script.",
    ),
    Spec::script("evalsha", -3, evalsha).with(RUNS).keys(COUNTED).doc(
        "2.6.0",
        "EVALSHA sha1 numkeys [key [key ...]] [arg [arg ...]]",
        "Runs a cached Lua script.",
    ),
    Spec::script("eval_ro", -3, eval_ro).with(READS).keys(COUNTED).doc(
        "7.0.0",
        "EVAL_RO script numkeys [key [key ...]] [arg [arg ...]]",
        "Runs a Lua script that may not write.",
    ),
    Spec::script("evalsha_ro", -3, evalsha_ro).with(READS).keys(COUNTED).doc(
        "7.0.0",
        "EVALSHA_RO sha1 numkeys [key [key ...]] [arg [arg ...]]",
        "Runs a cached Lua script that may not write.",
    ),
    Spec::script("script", -2, container).with(Flags::NOSCRIPT).container(SUBCOMMANDS).doc(
        "2.6.0",
        "SCRIPT EXISTS|FLUSH|HELP|KILL|LOAD",
        "Holds the commands on the cache of scripts.",
    ),
];

const SUBCOMMANDS: &[Spec] = &[
    Spec::read(Group::Scripting, "script|exists", -3, exists).with(Flags::NOSCRIPT).doc(
        "2.6.0",
        "SCRIPT EXISTS sha1 [sha1 ...]",
        "Answers for each name whether the script is cached.",
    ),
    Spec::script("script|flush", -2, flush).with(Flags::NOSCRIPT).doc(
        "2.6.0",
        "SCRIPT FLUSH [ASYNC | SYNC]",
        "Forgets all cached scripts.",
    ),
    Spec::pure(Group::Scripting, "script|help", 2, |_, _| Ok(help("script"))).with(Flags::NOSCRIPT).doc(
        "5.0.0",
        "SCRIPT HELP",
        "Answers what subcommands there are.",
    ),
    Spec::pure(Group::Scripting, "script|kill", 2, kill).with(Flags::NOSCRIPT).doc(
        "2.6.0",
        "SCRIPT KILL",
        "Answers that no script runs: one that runs too long ends by its budget.",
    ),
    Spec::script("script|load", 3, load).with(Flags::NOSCRIPT).doc(
        "2.6.0",
        "SCRIPT LOAD script",
        "Caches a script and answers its name.",
    ),
];

fn eval(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    run_text(context, args, context.access)
}

fn eval_ro(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    run_text(context, args, Access::Read)
}

fn evalsha(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    run_cached(context, args, context.access)
}

fn evalsha_ro(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    run_cached(context, args, Access::Read)
}

fn run_text(context: &mut Context<'_>, args: &[Bytes], access: Access) -> Result<Reply, Reply> {
    let (keys, arguments) = keys_and_arguments(args)?;
    let body = &args[1];
    script::check(body)?;
    let sha = match context.access {
        Access::Write => context.state.scripts.load(body, &context.state.settings),
        Access::Read => script_sha(body),
    };
    Ok(run(context, &Invocation { sha, body, keys, args: arguments }, access))
}

fn run_cached(context: &mut Context<'_>, args: &[Bytes], access: Access) -> Result<Reply, Reply> {
    let no_script = || Reply::error("NOSCRIPT No matching script. Please use EVAL.");
    if args[1].len() != size_of::<ScriptSha>() {
        return Err(no_script());
    }
    let (keys, arguments) = keys_and_arguments(args)?;
    let (sha, body) = context.state.scripts.get(&args[1]).ok_or_else(no_script)?;
    if context.access == Access::Write {
        context.state.scripts.touch(&sha);
    }
    Ok(run(context, &Invocation { sha, body: &body, keys, args: arguments }, access))
}

fn keys_and_arguments(args: &[Bytes]) -> Result<(&[Bytes], &[Bytes]), Reply> {
    let given = &args[3..];
    let count = integer::parse(&args[2]).ok_or(Reply::not_an_integer())?;
    if count < 0 {
        return Err(Reply::error("ERR Number of keys can't be negative"));
    }
    let count = usize::try_from(count).ok().filter(|count| *count <= given.len());
    match count {
        Some(count) => Ok(given.split_at(count)),
        None => Err(Reply::error("ERR Number of keys can't be greater than number of args")),
    }
}

fn run(context: &mut Context<'_>, invocation: &Invocation<'_>, access: Access) -> Reply {
    let settings = &context.state.settings;
    let budgets = Budgets {
        steps: context.script_steps_max,
        memory_bytes: usize::try_from(settings.script_memory_bytes_max).unwrap_or(usize::MAX),
    };
    let before = (context.db, context.access, context.caller);
    context.access = access;
    context.caller = Caller::Script;
    let mut running = Running {
        db: context.db,
        draws: context.draws,
        published: Mark::default(),
        spent_before: context.spent,
        spent: 0,
        context,
    };
    let reply = script::run(invocation, budgets, &mut running);
    (context.db, context.access, context.caller) = before;
    reply
}

/// A script's view of the state, and what to go back to beside the keyspace.
struct Running<'c, 'a> {
    context: &'c mut Context<'a>,
    db: usize,
    draws: u64,
    published: Mark,
    spent_before: Spent,
    /// What the last command did cost.
    spent: u64,
}

impl Host for Running<'_, '_> {
    fn call(&mut self, args: Vec<Bytes>) -> Reply {
        let before = self.context.spent.units();
        let reply = execute(self.context, &args);
        self.spent = self.context.spent.units() - before;
        reply
    }

    fn price(&self, args: &[Bytes]) -> u64 {
        work::price(self.context, args)
    }

    fn spent(&self) -> u64 {
        self.spent
    }

    fn forbid_writes(&mut self) {
        self.context.access = Access::Read;
    }

    fn checkpoint(&mut self) {
        (self.db, self.draws) = (self.context.db, self.context.draws);
        self.published = self.context.state.publications.mark();
        self.spent_before = self.context.spent;
        if self.context.access == Access::Write {
            self.context.state.keyspace.checkpoint();
        }
    }

    fn commit(&mut self) {
        if self.context.access == Access::Write {
            self.context.state.keyspace.commit();
        }
    }

    fn rollback(&mut self) {
        (self.context.db, self.context.draws) = (self.db, self.draws);
        self.context.state.publications.take_back(self.published);
        // Whether there was a run that is taken back differs between replicas, and a transaction pays for what counts.
        self.context.spent = self.spent_before;
        if self.context.access == Access::Write {
            self.context.state.keyspace.rollback();
        }
    }
}

fn container(_: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Reply> {
    Err(Reply::error("ERR wrong number of arguments for 'script' command"))
}

fn load(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    script::check(&args[2])?;
    let name = context.state.scripts.load(&args[2], &context.state.settings);
    Ok(Reply::Bulk(Bytes::copy_from_slice(&name)))
}

fn exists(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let known = args[2..].iter().map(|name| Reply::flag(context.state.scripts.get(name).is_some()));
    Ok(Reply::Array(known.collect()))
}

fn flush(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let is_mode = |mode: &Bytes| mode.eq_ignore_ascii_case(b"sync") || mode.eq_ignore_ascii_case(b"async");
    match &args[2..] {
        [] => {}
        [mode] if is_mode(mode) => {}
        _ => return Err(Reply::error("ERR SCRIPT FLUSH only support SYNC|ASYNC option")),
    }
    context.state.scripts.flush();
    Ok(Reply::ok())
}

fn kill(_: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Reply> {
    Err(Reply::error("NOTBUSY No scripts in execution right now."))
}
