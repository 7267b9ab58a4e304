//! Keys of any type, one or a few by name. Walking over many is in [`super::scan`].

use bytes::Bytes;

use crate::command::{Group, KeySpec, Run, Spec};
use crate::context::Context;
use crate::database::Slot;
use crate::flags::Flags;
use crate::notification::Event;
use crate::reply::Reply;
use crate::value::{Held, Value};

const fn look(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::read(Group::Generic, name, arity, run).with(Flags::FAST)
}

const fn change(name: &'static str, arity: i32, run: Run) -> Spec {
    Spec::write(Group::Generic, name, arity, run)
}

pub(crate) const COMMANDS: &[Spec] = &[
    change("del", -2, del).keys(KeySpec::ALL).doc(
        "1.0.0",
        "DEL key [key ...]",
        "Removes keys and answers how many there were.",
    ),
    change("unlink", -2, del).keys(KeySpec::ALL).with(Flags::FAST).doc(
        "4.0.0",
        "UNLINK key [key ...]",
        "Removes keys, as DEL does.",
    ),
    change("delex", -2, delex).keys(KeySpec::ONE).with(Flags::FAST).doc(
        "8.4.0",
        "DELEX key [IFEQ comparison-value | IFNE comparison-value]",
        "Removes a key if its string equals, or differs from, a value.",
    ),
    look("exists", -2, exists).keys(KeySpec::ALL).doc(
        "1.0.0",
        "EXISTS key [key ...]",
        "Answers how many of the keys exist, repeated ones repeatedly.",
    ),
    look("touch", -2, exists).keys(KeySpec::ALL).doc(
        "3.2.1",
        "TOUCH key [key ...]",
        "Answers how many of the keys exist; nothing is evicted here.",
    ),
    look("type", 2, type_of).keys(KeySpec::ONE).doc(
        "1.0.0",
        "TYPE key",
        "Answers the type of a key's value, or none.",
    ),
    change("copy", -3, copy).keys(KeySpec::TWO).with(Flags::DENYOOM).doc(
        "6.2.0",
        "COPY source destination [DB destination-db] [REPLACE]",
        "Copies a value with its deadline to another key.",
    ),
    change("rename", 3, rename).keys(KeySpec::TWO).doc(
        "1.0.0",
        "RENAME key newkey",
        "Renames a key; what the new name held is replaced.",
    ),
    change("renamenx", 3, renamenx).keys(KeySpec::TWO).with(Flags::FAST).doc(
        "1.0.0",
        "RENAMENX key newkey",
        "Renames a key only if the new name is free.",
    ),
];

fn del(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(args[1..].iter().filter(|key| context.delete(key)).count()))
}

fn delex(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (key, option, expected) = match args {
        [_, _] => return del(context, args),
        [_, key, option, expected] => (key, option, expected),
        _ => return Err(Reply::error("ERR wrong number of arguments for 'delex' command")),
    };
    let deletes_equal = match &option.to_ascii_uppercase()[..] {
        b"IFEQ" => true,
        b"IFNE" => false,
        _ => return Err(Reply::syntax_error()),
    };
    let value = context.string(key)?;
    let deletes = value.is_some_and(|value| (value == expected) == deletes_equal);
    if deletes {
        context.delete(key);
    }
    Ok(Reply::flag(deletes))
}

fn exists(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::count(args[1..].iter().filter(|key| context.exists(key)).count()))
}

fn type_of(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::status(context.get(&args[1]).map_or("none", |slot| slot.value.type_name())))
}

fn copy(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (source, destination) = (&args[1], &args[2]);
    let (mut db, mut replaces, mut options) = (context.db, false, &args[3..]);
    while let [option, rest @ ..] = options {
        options = rest;
        match (&option.to_ascii_uppercase()[..], rest) {
            (b"REPLACE", _) => replaces = true,
            (b"DB", [argument, rest @ ..]) => {
                db = Context::parse_database(argument)?;
                options = rest;
            }
            _ => return Err(Reply::syntax_error()),
        }
    }
    if db == context.db && source == destination {
        return Err(Reply::error("ERR source and destination objects are the same"));
    }
    context.notify_missing([source]);
    let Some(slot) = context.get(source).cloned() else { return Ok(Reply::Integer(0)) };
    if context.state.keyspace.get(db, destination, context.now).is_some() && !replaces {
        return Ok(Reply::Integer(0));
    }
    check_is_portable(&slot)?;
    put(context, db, destination, slot);
    context.notify_in(db, Event::COPY_TO, destination);
    Ok(Reply::Integer(1))
}

/// What several have has a name. Permits belong to it: under another one, or returned there and brought back, a token would be
/// good for something again. And a copy of what a session that has ended had with others, in another database, would be kept for it.
fn check_is_portable(slot: &Slot) -> Result<(), Reply> {
    match slot.value {
        Value::Semaphore(_) => {
            Err(Reply::error("ERR a semaphore keeps its name: it is neither copied nor renamed"))
        }
        Value::Lock(ref lock) if matches!(lock.held, Held::Shared(_)) => {
            Err(Reply::error("ERR a lock that is shared keeps its name: it is neither copied nor renamed"))
        }
        Value::String(_)
        | Value::List(_)
        | Value::Hash(_)
        | Value::Set(_)
        | Value::SortedSet(_)
        | Value::Lock(_) => Ok(()),
    }
}

/// Puts what another key has. As in Redis, the key is new, whether it replaces another or not.
fn put(context: &mut Context<'_>, db: usize, key: &[u8], slot: Slot) {
    let replaces = context.state.keyspace.get(db, key, context.now).is_some();
    context.create(db, key, slot.value, slot.deadline);
    if replaces {
        context.notify_in(db, Event::NEW, key);
    }
}

fn rename(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    move_key(context, &args[1], &args[2], true)?;
    Ok(Reply::ok())
}

fn renamenx(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    Ok(Reply::flag(move_key(context, &args[1], &args[2], false)?))
}

/// Renames a key. Returns whether it did; to rename a key to itself changes nothing.
fn move_key(context: &mut Context<'_>, from: &[u8], to: &[u8], replaces: bool) -> Result<bool, Reply> {
    if !context.exists(from) {
        return Err(Reply::error("ERR no such key"));
    }
    if from == to {
        return Ok(false);
    }
    if !replaces && context.exists(to) {
        return Ok(false);
    }
    context.get(from).map_or(Ok(()), check_is_portable)?;
    if let Some(slot) = context.remove(from) {
        put(context, context.db, to, slot);
        context.notify(Event::RENAME_FROM, from);
        context.notify(Event::RENAME_TO, to);
    }
    Ok(true)
}
