//! OBJECT and MEMORY: how a value is kept. Values are kept in a way of our own; what is answered is how Redis would keep
//! the same value under its default settings, and what it counts for here.

use bytes::Bytes;

use super::help;
use crate::command::{Group, KeySpec, Spec};
use crate::context::Context;
use crate::integer;
use crate::reply::Reply;
use crate::value::Value;

/// Elements, and bytes of each, up to which a hash is one piece of memory in Redis.
const SMALL_HASH: (usize, usize) = (512, 64);
/// The same for sorted sets.
const SMALL_SORTED_SET: (usize, usize) = (128, 64);
/// Members up to which a set of integers is an array of them.
const INTEGERS_MAX: usize = 512;
/// Bytes of a string up to which it is kept beside what describes it.
const EMBEDDED_BYTES_MAX: usize = 44;

const DOCTOR: &[u8] = b"Memory is limited by maxmemory, and nothing is evicted. INFO memory has the figures.";

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::pure(Group::Generic, "object", -2, |_, _| Ok(help("object"))).container(OBJECT).doc(
        "2.2.3",
        "OBJECT",
        "A container for commands about how values are kept.",
    ),
    Spec::pure(Group::Server, "memory", -2, |_, _| Ok(help("memory"))).container(MEMORY).doc(
        "4.0.0",
        "MEMORY",
        "A container for commands about memory.",
    ),
];

const OBJECT: &[Spec] = &[
    Spec::read(Group::Generic, "object|encoding", 3, encoding).keys(KeySpec::BEHIND_SUBCOMMAND).doc(
        "2.2.3",
        "OBJECT ENCODING key",
        "Answers how Redis 7.0 would keep a new key with this value, under its default settings.",
    ),
    Spec::read(Group::Generic, "object|refcount", 3, |context, args| if_exists(context, args, 1))
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .doc("2.2.3", "OBJECT REFCOUNT key", "Answers 1 for a key that exists."),
    Spec::read(Group::Generic, "object|idletime", 3, |context, args| if_exists(context, args, 0))
        .keys(KeySpec::BEHIND_SUBCOMMAND)
        .doc(
            "2.2.3",
            "OBJECT IDLETIME key",
            "Answers 0 for a key that exists: when it was used last is not kept.",
        ),
    Spec::read(Group::Generic, "object|freq", 3, frequency).keys(KeySpec::BEHIND_SUBCOMMAND).doc(
        "4.0.0",
        "OBJECT FREQ key",
        "Answers an error for a key that exists: how often it is used is not kept.",
    ),
    Spec::pure(Group::Generic, "object|help", 2, |_, _| Ok(help("object"))).doc(
        "6.2.0",
        "OBJECT HELP",
        "Answers what subcommands there are.",
    ),
];

const MEMORY: &[Spec] = &[
    Spec::read(Group::Server, "memory|usage", -3, usage).keys(KeySpec::BEHIND_SUBCOMMAND).doc(
        "4.0.0",
        "MEMORY USAGE key [SAMPLES count]",
        "Answers the bytes that a key with its value counts for in the limit on data.",
    ),
    Spec::pure(Group::Server, "memory|doctor", 2, |_, _| Ok(Reply::Verbatim(Bytes::from_static(DOCTOR))))
        .doc("4.0.0", "MEMORY DOCTOR", "Answers where figures about memory are."),
    Spec::pure(Group::Server, "memory|purge", 2, |_, _| Ok(Reply::ok())).doc(
        "4.0.0",
        "MEMORY PURGE",
        "Does nothing.",
    ),
    Spec::pure(Group::Server, "memory|help", 2, |_, _| Ok(help("memory"))).doc(
        "4.0.0",
        "MEMORY HELP",
        "Answers what subcommands there are.",
    ),
];

fn if_exists(context: &Context<'_>, args: &[Bytes], answer: i64) -> Result<Reply, Reply> {
    Ok(if context.exists(&args[2]) { Reply::Integer(answer) } else { Reply::Null })
}

fn frequency(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    match context.exists(&args[2]) {
        false => Ok(Reply::Null),
        true => Err(Reply::error(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching \
             between policies at runtime LRU and LFU data will take some time to adjust.",
        )),
    }
}

fn encoding(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let Some(slot) = context.get(&args[2]) else { return Ok(Reply::Null) };
    let name = encoding_of(&slot.value);
    let elements = match &slot.value {
        Value::String(_) | Value::List(_) | Value::Lock(_) | Value::Semaphore(_) => 0,
        Value::Hash(hash) => hash.len(),
        Value::Set(set) => set.len(),
        Value::SortedSet(set) => set.len(),
    };
    context.spent.visited += elements.min(INTEGERS_MAX) as u64;
    Ok(Reply::bulk(name))
}

/// Looks at as many elements as a small collection may have.
fn encoding_of(value: &Value) -> &'static str {
    match value {
        Value::String(text) if integer::parse(text).is_some() => "int",
        Value::String(text) if text.len() <= EMBEDDED_BYTES_MAX => "embstr",
        Value::String(_) => "raw",
        Value::List(_) => "quicklist",
        Value::Hash(hash) => {
            let (elements_max, bytes_max) = SMALL_HASH;
            let fits = |text: &Bytes| text.len() <= bytes_max;
            let is_small = hash.len() <= elements_max
                && hash.fields().iter().all(|entry| fits(&entry.name) && fits(&entry.value));
            if is_small { "listpack" } else { "hashtable" }
        }
        Value::Set(set) => {
            let is_small =
                set.len() <= INTEGERS_MAX && set.iter().all(|entry| integer::parse(&entry.name).is_some());
            if is_small { "intset" } else { "hashtable" }
        }
        // Redis has none.
        Value::Lock(_) => "lock",
        Value::Semaphore(_) => "semaphore",
        Value::SortedSet(set) => {
            let (elements_max, bytes_max) = SMALL_SORTED_SET;
            let is_small =
                set.len() <= elements_max && set.members().iter().all(|entry| entry.name.len() <= bytes_max);
            if is_small { "listpack" } else { "skiplist" }
        }
    }
}

fn usage(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    // All of it is counted already, so how many elements are to be looked at makes no difference.
    for option in args[3..].chunks(2) {
        match option {
            [name, samples] if name.eq_ignore_ascii_case(b"SAMPLES") => match integer::parse(samples) {
                None => return Err(Reply::not_an_integer()),
                Some(..0) => return Err(Reply::syntax_error()),
                Some(_) => {}
            },
            _ => return Err(Reply::syntax_error()),
        }
    }
    let key = &args[2];
    Ok(context
        .get(key)
        .map_or(Reply::Null, |slot| Reply::Integer(i64::try_from(slot.bytes(key)).unwrap_or(i64::MAX))))
}
