//! Commands about the server: the calendar and the replicated settings. The figures of a node are the server's.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::help;
use crate::command::{Group, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::glob;
use crate::integer;
use crate::notification::Classes;
use crate::reply::Reply;
use crate::settings::{Form, SETTINGS, Setting, setting};

const ADMIN: Flags = Flags::ADMIN.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::read(Group::Server, "time", 1, time).with(Flags::LOADING.and(Flags::STALE).and(Flags::FAST)).doc(
        "2.6.0",
        "TIME",
        "Answers the cluster's calendar: seconds since 1970, and microseconds.",
    ),
    Spec::node(Group::Server, "config", -2).with(ADMIN).container(CONFIG).doc(
        "2.0.0",
        "CONFIG",
        "A container for commands about settings.",
    ),
    Spec::node(Group::Server, "info", -1).with(Flags::LOADING.and(Flags::STALE).and(Flags::DANGEROUS)).doc(
        "1.0.0",
        "INFO [section [section ...]]",
        "Answers facts and figures about the node and the cluster.",
    ),
    Spec::node(Group::Server, "role", 1)
        .with(Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST))
        .doc("2.8.12", "ROLE", "Answers whether this node leads (master) or follows (slave)."),
    Spec::node(Group::Server, "freshness", 1)
        .with(Flags::NOSCRIPT.and(Flags::LOADING).and(Flags::STALE).and(Flags::FAST))
        .doc(
            "quorate",
            "FRESHNESS",
            "Answers the last entry of the log that this node has applied, and for how many milliseconds it may have missed later ones: how old what a READONLY connection reads may be. Nil instead of an age that is not known yet.",
        ),
    Spec::node(Group::Generic, "wait", 3).doc(
        "3.0.0",
        "WAIT numreplicas timeout",
        "Answers how many followers have the connection's writes; an acknowledged one is on a quorum.",
    ),
    Spec::node(Group::Generic, "waitaof", 4).with(Flags::NOSCRIPT).doc(
        "7.2.0",
        "WAITAOF numlocal numreplicas timeout",
        "Answers how many nodes have the connection's writes on disk.",
    ),
];

const CONFIG: &[Spec] = &[
    Spec::read(Group::Server, "config|get", -3, config_get).with(ADMIN).doc(
        "2.0.0",
        "CONFIG GET parameter [parameter ...]",
        "Answers the settings whose names match.",
    ),
    Spec::write(Group::Server, "config|set", -4, config_set).with(ADMIN).doc(
        "2.0.0",
        "CONFIG SET parameter value [parameter value ...]",
        "Changes settings; replicated ones change on every node at the same place of the log.",
    ),
    Spec::node(Group::Server, "config|resetstat", 2).with(ADMIN).doc(
        "2.0.0",
        "CONFIG RESETSTAT",
        "Begins to count anew.",
    ),
    Spec::node(Group::Server, "config|rewrite", 2).with(ADMIN).doc(
        "2.8.0",
        "CONFIG REWRITE",
        "Answers an error: replicated settings are kept already, a node's are in its file.",
    ),
    Spec::pure(Group::Server, "config|help", 2, |_, _| Ok(help("config"))).doc(
        "5.0.0",
        "CONFIG HELP",
        "Answers what subcommands there are.",
    ),
];

fn time(context: &mut Context<'_>, _: &[Bytes]) -> Result<Reply, Reply> {
    let ms = context.calendar_ms();
    let (seconds, microseconds) = (ms.div_euclid(1000), ms.rem_euclid(1000) * 1000);
    Ok(Reply::Array(vec![Reply::Bulk(integer::format(seconds)), Reply::Bulk(integer::format(microseconds))]))
}

/// The replicated settings; the server adds those of the node.
fn config_get(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let matches = |setting: &&Setting| {
        let name = setting.name.as_bytes();
        args[2..].iter().any(|pattern| glob::matches(&pattern.to_ascii_lowercase(), name))
    };
    let show = |setting: &Setting| {
        let value = setting.text(setting.get(&context.state.settings));
        (Reply::bulk(setting.name), Reply::Bulk(Bytes::from(value)))
    };
    Ok(Reply::Map(SETTINGS.iter().filter(matches).map(show).collect()))
}

/// Changes replicated settings, all or none. The server keeps its own ones to itself.
fn config_set(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    let (pairs, rest) = args[2..].as_chunks::<2>();
    if !rest.is_empty() {
        return Err(Reply::error("ERR wrong number of arguments for 'config|set' command"));
    }
    let mut settings = context.state.settings.clone();
    let mut seen = BTreeSet::new();
    for [name, value] in pairs {
        let Some(setting) = setting(name) else {
            let mut text = b"ERR Unknown option or number of arguments for CONFIG SET - '".to_vec();
            text.extend_from_slice(name);
            text.push(b'\'');
            return Err(Reply::error_text(text));
        };
        let value = parse_value(setting, value).and_then(|value| {
            if seen.insert(setting.name) { Ok(value) } else { Err("duplicate parameter".to_owned()) }
        });
        let value = value.map_err(|why| {
            let name = setting.name;
            Reply::error_text(format!(
                "ERR CONFIG SET failed (possibly related to argument '{name}') - {why}"
            ))
        })?;
        setting.set(&mut settings, value);
    }
    context.writable();
    context.state.settings = settings;
    Ok(Reply::ok())
}

fn parse_value(setting: &Setting, text: &[u8]) -> Result<u64, String> {
    let value = match setting.form {
        Form::Memory => parse_memory(text).ok_or("argument must be a memory value")?,
        Form::Number => {
            let value = integer::parse(text).ok_or("argument couldn't be parsed into an integer")?;
            u64::try_from(value).unwrap_or(0)
        }
        Form::Events => {
            let classes = Classes::parse(text);
            classes.ok_or("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")?.0
        }
    };
    if (setting.min..=setting.max).contains(&value) {
        Ok(value)
    } else {
        Err(format!("argument must be between {} and {} inclusive", setting.min, setting.max))
    }
}

/// Bytes, perhaps with a unit: `k`, `m`, `g` count in thousands, `kb`, `mb`, `gb` in 1024s.
fn parse_memory(text: &[u8]) -> Option<u64> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, unit) = text.split_at(digits);
    let number: u64 = std::str::from_utf8(number).ok()?.parse().ok()?;
    let factor = match &unit.to_ascii_lowercase()[..] {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    number.checked_mul(factor)
}
