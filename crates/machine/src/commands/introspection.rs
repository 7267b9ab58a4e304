//! COMMAND: the table as clients see it. Nothing here depends on the state.

use bytes::Bytes;

use super::help;
use crate::command::{self, Group, KeySpec, Spec, all, lookup};
use crate::context::Context;
use crate::flags::Flags;
use crate::glob;
use crate::reply::Reply;

const ANY_TIME: Flags = Flags::LOADING.and(Flags::STALE);

pub(crate) const COMMANDS: &[Spec] =
    &[Spec::pure(Group::Server, "command", -1, |_, _| Ok(Reply::Array(all().map(info).collect())))
        .with(ANY_TIME)
        .container(SUBCOMMANDS)
        .doc("2.8.13", "COMMAND", "Answers what is known of every command.")];

const SUBCOMMANDS: &[Spec] =
    &[
        Spec::pure(Group::Server, "command|count", 2, |_, _| Ok(Reply::count(all().count())))
            .with(ANY_TIME)
            .doc("2.8.13", "COMMAND COUNT", "Answers how many commands there are."),
        Spec::pure(Group::Server, "command|info", -2, command_info).with(ANY_TIME).doc(
            "2.8.13",
            "COMMAND INFO [command-name [command-name ...]]",
            "Answers arity, flags, keys and subcommands of commands.",
        ),
        Spec::pure(Group::Server, "command|docs", -2, command_docs).with(ANY_TIME).doc(
            "7.0.0",
            "COMMAND DOCS [command-name [command-name ...]]",
            "Answers what commands do.",
        ),
        Spec::pure(Group::Server, "command|list", -2, command_list).with(ANY_TIME).doc(
            "7.0.0",
            "COMMAND LIST [FILTERBY <MODULE module-name | ACLCAT category | PATTERN pattern>]",
            "Answers the names of commands.",
        ),
        Spec::pure(Group::Server, "command|getkeys", -4, command_getkeys).with(ANY_TIME).doc(
            "2.8.13",
            "COMMAND GETKEYS command [arg [arg ...]]",
            "Answers which arguments of a command are keys.",
        ),
        Spec::pure(Group::Server, "command|help", 2, |_, _| Ok(help("command"))).with(ANY_TIME).doc(
            "5.0.0",
            "COMMAND HELP",
            "Answers what subcommands there are.",
        ),
    ];

fn texts<'a>(texts: impl Iterator<Item = &'a str>) -> Vec<Reply> {
    texts.map(|text| Reply::Status(Bytes::copy_from_slice(text.as_bytes()))).collect()
}

/// A map of names to values.
fn fields(fields: Vec<(&'static str, Reply)>) -> Reply {
    Reply::fields(fields)
}

/// The command or, as `config|get`, the subcommand of a name.
fn find(name: &[u8]) -> Option<&'static Spec> {
    let Some(at) = name.iter().position(|byte| *byte == b'|') else { return lookup(name) };
    let mut subcommands = lookup(&name[..at])?.subcommands.iter();
    subcommands.find(|spec| spec.name.as_bytes().eq_ignore_ascii_case(name))
}

fn command_info(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    if args.len() == 2 {
        return Ok(Reply::Array(all().map(info).collect()));
    }
    Ok(Reply::Array(args[2..].iter().map(|name| find(name).map_or(Reply::Null, info)).collect()))
}

fn info(spec: &Spec) -> Reply {
    let (first, last, step) = spec.keys.range();
    let mut flags = texts(spec.flags.names());
    if matches!(spec.keys, KeySpec::Counted { .. }) && !spec.flags.contains(Flags::MOVABLEKEYS) {
        flags.push(Reply::status("movablekeys"));
    }
    Reply::Array(vec![
        Reply::Bulk(Bytes::from_static(spec.name.as_bytes())),
        Reply::Integer(i64::from(spec.arity)),
        Reply::Set(flags),
        Reply::Integer(i64::from(first)),
        Reply::Integer(i64::from(last)),
        Reply::Integer(i64::from(step)),
        Reply::Set(categories(spec).map(|name| Reply::Status(Bytes::from(format!("@{name}")))).collect()),
        Reply::Array(Vec::new()),
        Reply::Array(key_specs(spec)),
        Reply::Array(spec.subcommands.iter().map(info).collect()),
    ])
}

/// The ACL categories, without their `@`.
fn categories(spec: &Spec) -> impl Iterator<Item = &'static str> {
    let has = |flag| spec.flags.contains(flag);
    let group = match spec.group {
        Group::String => "string",
        Group::List => "list",
        Group::Hash => "hash",
        Group::Set => "set",
        Group::SortedSet => "sortedset",
        Group::Generic => "keyspace",
        Group::PubSub => "pubsub",
        Group::Lock | Group::Election | Group::Semaphore | Group::Barrier => "lock",
        Group::Session => "session",
        Group::Fencing => "fencing",
        Group::Transactions => "transaction",
        Group::Scripting => "scripting",
        Group::Connection | Group::Cluster => "connection",
        Group::Server => "",
    };
    let all = [
        (has(Flags::WRITE), "write"),
        (has(Flags::READONLY), "read"),
        (has(Flags::ADMIN), "admin"),
        (has(Flags::ADMIN) || has(Flags::DANGEROUS), "dangerous"),
        (has(Flags::BLOCKING), "blocking"),
        (!group.is_empty(), group),
        (has(Flags::FAST), "fast"),
        (!has(Flags::FAST), "slow"),
    ];
    all.into_iter().filter(|(holds, _)| *holds).map(|(_, name)| name)
}

fn key_specs(spec: &Spec) -> Vec<Reply> {
    let flags = if spec.is_readonly() { ["RO", "access"] } else { ["RW", "update"] };
    match spec.keys {
        KeySpec::None => Vec::new(),
        KeySpec::Range { first, last, step } => vec![range_of_keys(first, last, step, flags)],
        KeySpec::Counted { count_at } => vec![counted_keys(count_at, flags)],
        // Others are found by what stands there alone.
        KeySpec::Guarded { .. } | KeySpec::FirstUnless { .. } => {
            vec![range_of_keys(1, 1, 1, ["RO", "access"])]
        }
        KeySpec::DestinationAndCounted { count_at } => {
            vec![range_of_keys(1, 1, 1, ["OW", "update"]), counted_keys(count_at, ["RO", "access"])]
        }
    }
}

fn range_of_keys(first: i32, last: i32, step: i32, flags: [&'static str; 2]) -> Reply {
    // Relative to the first key, unless counted from the end.
    let last = if last < 0 { last } else { last - first };
    key_spec(first, flags, "range", [("lastkey", last), ("keystep", step), ("limit", 0)])
}

fn counted_keys(count_at: usize, flags: [&'static str; 2]) -> Reply {
    let count_at = i32::try_from(count_at).unwrap_or(i32::MAX);
    key_spec(count_at, flags, "keynum", [("keynumidx", 0), ("firstkey", 1), ("keystep", 1)])
}

fn key_spec(
    begin: i32,
    flags: [&'static str; 2],
    kind: &'static str,
    find: [(&'static str, i32); 3],
) -> Reply {
    let integer = |value: i32| Reply::Integer(i64::from(value));
    let find = find.map(|(name, value)| (name, integer(value))).to_vec();
    let begin_search =
        vec![("type", Reply::bulk("index")), ("spec", fields(vec![("index", integer(begin))]))];
    let find_keys = vec![("type", Reply::bulk(kind)), ("spec", fields(find))];
    fields(vec![
        ("flags", Reply::Set(texts(flags.into_iter()))),
        ("begin_search", fields(begin_search)),
        ("find_keys", fields(find_keys)),
    ])
}

fn command_docs(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let named: Vec<&Spec> = if args.len() == 2 {
        all().collect()
    } else {
        args[2..].iter().filter_map(|name| find(name)).collect()
    };
    Ok(docs(&named))
}

fn docs(specs: &[&Spec]) -> Reply {
    let describe = |spec: &&Spec| {
        let mut entries = vec![
            ("summary", Reply::Bulk(Bytes::from_static(spec.summary.as_bytes()))),
            ("since", Reply::Bulk(Bytes::from_static(spec.since.as_bytes()))),
            ("group", Reply::bulk(spec.group.name())),
        ];
        if !spec.subcommands.is_empty() {
            entries.push(("subcommands", docs(&spec.subcommands.iter().collect::<Vec<_>>())));
        }
        (Reply::Bulk(Bytes::from_static(spec.name.as_bytes())), fields(entries))
    };
    Reply::Map(specs.iter().map(describe).collect())
}

fn command_list(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let name = |spec: &Spec| Reply::Bulk(Bytes::from_static(spec.name.as_bytes()));
    let (filter, argument) = match &args[2..] {
        [] => return Ok(Reply::Array(all().map(name).collect())),
        [by, filter, argument] if by.eq_ignore_ascii_case(b"FILTERBY") => {
            (filter.to_ascii_uppercase(), argument.to_ascii_lowercase())
        }
        _ => return Err(Reply::syntax_error()),
    };
    let specs = || all().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands));
    let found: Vec<Reply> = match &filter[..] {
        b"MODULE" => Vec::new(),
        b"ACLCAT" => {
            let belongs = |spec: &&Spec| categories(spec).any(|name| name.as_bytes() == argument);
            specs().filter(belongs).map(name).collect()
        }
        b"PATTERN" => {
            specs().filter(|spec| glob::matches(&argument, spec.name.as_bytes())).map(name).collect()
        }
        _ => return Err(Reply::syntax_error()),
    };
    Ok(Reply::Array(found))
}

fn command_getkeys(_: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let command = &args[2..];
    if lookup(&command[0]).is_none() {
        return Err(Reply::error("ERR Invalid command specified"));
    }
    let spec = command::check(command)
        .map_err(|_| Reply::error("ERR Invalid number of arguments specified for command"))?;
    if spec.keys == KeySpec::None {
        return Err(Reply::error("ERR The command has no key arguments"));
    }
    let keys = spec.keys.keys(command).ok_or(Reply::error("ERR Invalid arguments specified for command"))?;
    Ok(Reply::Array(keys.into_iter().map(Reply::Bulk).collect()))
}
