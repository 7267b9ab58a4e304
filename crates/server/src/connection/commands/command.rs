//! COMMAND: the machine's table, told to clients.

use bytes::Bytes;
use quorate_machine::{Flags, KeySpec, Spec, all, check, lookup};

use crate::{
    connection::arguments::{glob, help, is, text},
    handle::Reply,
};

pub(super) fn run(subcommand: &str, arguments: &[Bytes]) -> Reply {
    let rest = arguments.get(2..).unwrap_or_default();
    match subcommand {
        "" => Reply::Array(all().map(describe).collect()),
        "count" => Reply::count(all().count()),
        "info" if rest.is_empty() => Reply::Array(all().map(describe).collect()),
        "info" => {
            Reply::Array(rest.iter().map(|name| find(name).map_or(Reply::NullArray, describe)).collect())
        }
        "docs" if rest.is_empty() => Reply::Map(all().map(document).collect()),
        "docs" => Reply::Map(rest.iter().filter_map(|name| find(name)).map(document).collect()),
        "list" => list(rest),
        "getkeys" => keys(rest),
        _ => help("COMMAND", HELP),
    }
}

const HELP: &[&str] = &[
    "(no subcommand)",
    "    Return details about all commands.",
    "COUNT",
    "    Return the total number of commands in this server.",
    "LIST [FILTERBY (MODULE <name> | ACLCAT <category> | PATTERN <pattern>)]",
    "    Return a list of all commands in this server.",
    "INFO [<command-name> ...]",
    "    Return details about multiple commands.",
    "DOCS [<command-name> ...]",
    "    Return documentation details about multiple commands.",
    "GETKEYS <full-command>",
    "    Return the keys from a full command.",
];

/// The command or subcommand (`config|get`) of a name.
fn find(name: &[u8]) -> Option<&'static Spec> {
    let container = name.split(|byte| *byte == b'|').next().unwrap_or(name);
    let spec = lookup(container)?;
    if container.len() == name.len() {
        return Some(spec);
    }
    spec.subcommands.iter().find(|spec| is(name, spec.name))
}

/// The ten elements of COMMAND INFO.
fn describe(spec: &'static Spec) -> Reply {
    let (first, last, step) = spec.keys.range();
    Reply::Array(vec![
        text(spec.name),
        Reply::Integer(spec.arity.into()),
        Reply::Set(spec.flags.names().map(Reply::status).collect()),
        Reply::Integer(first.into()),
        Reply::Integer(last.into()),
        Reply::Integer(step.into()),
        Reply::Set(
            categories(spec).into_iter().map(|name| Reply::Status(format!("@{name}").into())).collect(),
        ),
        Reply::Array(Vec::new()),
        Reply::Array(key_specification(spec).into_iter().collect()),
        Reply::Array(spec.subcommands.iter().map(describe).collect()),
    ])
}

/// The ACL categories that follow from flags and chapter, in Redis's names.
fn categories(spec: &Spec) -> Vec<&'static str> {
    let has = |flag| spec.flags.contains(flag);
    let chapter = match spec.group.name() {
        "generic" => "keyspace",
        "transactions" => "transaction",
        "server" | "cluster" | "fencing" => "",
        other => other,
    };
    [
        (has(Flags::WRITE), "write"),
        (has(Flags::READONLY), "read"),
        (!chapter.is_empty(), chapter),
        (has(Flags::ADMIN), "admin"),
        (has(Flags::DANGEROUS) || has(Flags::ADMIN), "dangerous"),
        (has(Flags::BLOCKING), "blocking"),
        (has(Flags::FAST), "fast"),
        (!has(Flags::FAST), "slow"),
    ]
    .into_iter()
    .filter_map(|(applies, name)| applies.then_some(name))
    .collect()
}

/// How to find the keys, in the form that Redis 7 has for it; none if there are no keys.
fn key_specification(spec: &Spec) -> Option<Reply> {
    let (begin, find) = match spec.keys {
        KeySpec::None => return None,
        KeySpec::Range { first, last, step } => {
            let last = if last < 0 { last } else { last - first };
            let range = [("lastkey", last), ("keystep", step), ("limit", 0)];
            (first, search("range", &range))
        }
        KeySpec::Counted { count_at } => {
            let begin = i32::try_from(count_at).unwrap_or(i32::MAX);
            (begin, search("keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]))
        }
    };
    let access = match spec.flags.contains(Flags::READONLY) {
        true => ["RO", "access"],
        false => ["RW", "update"],
    };
    Some(Reply::Map(vec![
        (text("flags"), Reply::Set(access.map(Reply::status).to_vec())),
        (text("begin_search"), search("index", &[("index", begin)])),
        (text("find_keys"), find),
    ]))
}

fn search(kind: &str, fields: &[(&str, i32)]) -> Reply {
    let fields = fields.iter().map(|(name, value)| (text(*name), Reply::Integer((*value).into())));
    Reply::Map(vec![(text("type"), text(kind)), (text("spec"), Reply::Map(fields.collect()))])
}

fn document(spec: &'static Spec) -> (Reply, Reply) {
    let mut fields = vec![
        (text("summary"), text(spec.summary)),
        (text("since"), text(spec.since)),
        (text("group"), text(spec.group.name())),
        (text("syntax"), text(spec.syntax)),
    ];
    if !spec.subcommands.is_empty() {
        fields.push((text("subcommands"), Reply::Map(spec.subcommands.iter().map(document).collect())));
    }
    (text(spec.name), Reply::Map(fields))
}

/// `COMMAND LIST [FILTERBY ..]`.
fn list(arguments: &[Bytes]) -> Reply {
    let names = |keep: &dyn Fn(&Spec) -> bool| {
        Reply::Array(all().filter(|spec| keep(spec)).map(|spec| text(spec.name)).collect())
    };
    match arguments {
        [] => names(&|_| true),
        [filter, kind, _] if is(filter, "FILTERBY") && is(kind, "MODULE") => names(&|_| false),
        [filter, kind, category] if is(filter, "FILTERBY") && is(kind, "ACLCAT") => {
            names(&|spec| categories(spec).iter().any(|name| is(category, name)))
        }
        [filter, kind, pattern] if is(filter, "FILTERBY") && is(kind, "PATTERN") => {
            names(&|spec| glob(pattern, spec.name.as_bytes()))
        }
        _ => Reply::syntax_error(),
    }
}

/// `COMMAND GETKEYS command argument ..`.
fn keys(arguments: &[Bytes]) -> Reply {
    if arguments.first().is_none_or(|name| lookup(name).is_none()) {
        return Reply::error("ERR Invalid command specified");
    }
    let Ok(spec) = check(arguments) else {
        return Reply::error("ERR Invalid number of arguments specified for command");
    };
    match spec.keys.keys(arguments) {
        Some(keys) if !keys.is_empty() => Reply::Array(keys.into_iter().map(Reply::Bulk).collect()),
        Some(_) => Reply::error("ERR The command has no key arguments"),
        None => Reply::error("ERR Invalid arguments specified for command"),
    }
}
