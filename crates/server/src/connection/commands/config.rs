//! CONFIG: the replicated settings are the machine's, the others are this node's. Of those the ones of the slow log can
//! be changed; the rest is told.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use quorate_machine::settings::setting;

use crate::{
    connection::{
        FrontDoor, SlowLogSettings,
        arguments::{integer, is, matches, quoted, text},
    },
    handle::Reply,
};

/// What Redis has a name for and this node a fixed answer.
const FIXED: &[(&str, &str)] = &[
    ("appendfsync", "always"),
    ("appendonly", "yes"),
    ("cluster-enabled", "no"),
    ("databases", "16"),
    ("maxmemory-policy", "noeviction"),
    ("requirepass", ""),
    ("save", ""),
    ("tcp-keepalive", "300"),
];

pub(super) fn run(front: &FrontDoor, subcommand: &str) -> Reply {
    match subcommand {
        "resetstat" => {
            front.statistics.reset();
            Reply::ok()
        }
        // REWRITE: settings of the cluster are in the log, those of the node are in its file as its owner wants them.
        _ => Reply::error("ERR The server is running without a config file"),
    }
}

/// The settings of this node that match one of the patterns.
pub(in crate::connection) fn own_settings(front: &FrontDoor, patterns: &[Bytes]) -> Vec<(Reply, Reply)> {
    let mut settings = all(front);
    settings.retain(|name, _| patterns.iter().any(|pattern| matches(pattern, name)));
    settings.into_iter().map(|(name, value)| (text(name), text(value))).collect()
}

fn all(front: &FrontDoor) -> BTreeMap<String, String> {
    let limits = &front.limits;
    let fixed = FIXED.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let idle_s = limits.idle_max.map_or(0, |idle| idle.as_secs());
    let slow_log = front.slow_log.settings();
    let own = [
        ("maxclients".to_owned(), limits.clients_max.to_string()),
        ("timeout".to_owned(), idle_s.to_string()),
        ("client-query-buffer-limit".to_owned(), limits.frame.frame_bytes_max.to_string()),
    ];
    let changed = [
        (SLOWER_THAN.to_owned(), slow_log.slower_than_us.to_string()),
        (ENTRIES_MAX.to_owned(), slow_log.entries_max.to_string()),
    ];
    let mut all: BTreeMap<_, _> = fixed.chain(own).chain(front.settings.clone()).chain(changed).collect();
    // A node that joins a cluster, or whose folder says which one it is, learns it behind its open doors.
    all.entry("node-id".to_owned()).and_modify(|id| *id = front.shard.status().node_id.to_string());
    all
}

const SLOWER_THAN: &str = "slowlog-log-slower-than";
const ENTRIES_MAX: &str = "slowlog-max-len";

/// Whether `CONFIG SET name value ..` is for this node to answer: unless all its settings are replicated.
pub(in crate::connection) fn is_own(arguments: &[Bytes]) -> bool {
    !arguments[2..].chunks(2).all(|pair| setting(&pair[0]).is_some())
}

/// Changes settings of this node, all or none. Most of them are as it was started; setting one to what it is succeeds,
/// as some tools do that.
pub(in crate::connection) fn set(front: &FrontDoor, arguments: &[Bytes]) -> Reply {
    let settings = all(front);
    let mut slow_log = front.slow_log.settings();
    let mut changed = BTreeSet::new();
    for pair in arguments.chunks(2) {
        let [name, value] = pair else {
            return Reply::error("ERR wrong number of arguments for 'config|set' command");
        };
        let result = match set_slow_log(&mut slow_log, name, value) {
            Some(result) if changed.insert(name.to_ascii_lowercase()) => result,
            Some(_) => Err("duplicate parameter".to_owned()),
            None => match settings.get(&String::from_utf8_lossy(name).to_ascii_lowercase()) {
                Some(present) if present.as_bytes() == value => Ok(()),
                Some(_) => Err("can't set immutable config".to_owned()),
                None if setting(name).is_some() => {
                    Err("a replicated setting is set by a command of its own, outside of MULTI".to_owned())
                }
                None => return unknown(name),
            },
        };
        if let Err(reason) = result {
            return Reply::error_text(format!(
                "ERR CONFIG SET failed (possibly related to argument '{}') - {reason}",
                quoted(name)
            ));
        }
    }
    front.slow_log.set(slow_log);
    Reply::ok()
}

fn unknown(name: &[u8]) -> Reply {
    let name = quoted(name);
    Reply::error_text(format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'"))
}

/// Changes a setting of the slow log, if it is one, or says why not in Redis's words.
fn set_slow_log(settings: &mut SlowLogSettings, name: &[u8], value: &[u8]) -> Option<Result<(), String>> {
    let [least, most] = match name {
        name if is(name, SLOWER_THAN) => SlowLogSettings::SLOWER_THAN_US_ALLOWED,
        name if is(name, ENTRIES_MAX) => SlowLogSettings::ENTRIES_ALLOWED,
        _ => return None,
    };
    let Some(value) = integer(value) else {
        return Some(Err("argument couldn't be parsed into an integer".to_owned()));
    };
    if !(least..=most).contains(&value) {
        return Some(Err(format!("argument must be between {least} and {most} inclusive")));
    }
    if is(name, SLOWER_THAN) {
        settings.slower_than_us = value;
    } else {
        settings.entries_max = usize::try_from(value).unwrap_or_default();
    }
    Some(Ok(()))
}
