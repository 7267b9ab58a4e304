//! CONFIG: the replicated settings are the machine's, the others are this node's and are told, not changed.

use std::collections::BTreeMap;

use bytes::Bytes;
use quorate_machine::settings::setting;

use crate::{
    connection::{
        FrontDoor,
        arguments::{matches, quoted, text},
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
            front.stats.reset();
            Reply::ok()
        }
        // REWRITE: settings of the cluster are in the log, those of the node are not changed at run time.
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
    let own = [
        ("maxclients".to_owned(), limits.clients_max.to_string()),
        ("timeout".to_owned(), idle_s.to_string()),
        ("client-query-buffer-limit".to_owned(), limits.frame.frame_bytes_max.to_string()),
    ];
    fixed.chain(own).chain(front.settings.clone()).collect()
}

/// Whether `CONFIG SET name value ..` is for this node to answer: unless all its settings are replicated.
pub(in crate::connection) fn is_own(arguments: &[Bytes]) -> bool {
    !arguments[2..].chunks(2).all(|pair| setting(&pair[0]).is_some())
}

/// A setting of this node is as it was started. Setting it to what it is succeeds, as some tools do that.
pub(in crate::connection) fn set(front: &FrontDoor, arguments: &[Bytes]) -> Reply {
    let settings = all(front);
    for pair in arguments.chunks(2) {
        let name = String::from_utf8_lossy(&pair[0]).to_ascii_lowercase();
        let [_, value] = pair else {
            return Reply::error("ERR wrong number of arguments for 'config|set' command");
        };
        match settings.get(&name) {
            Some(present) if present.as_bytes() == value => {}
            Some(_) => return immutable(&pair[0], "can't set immutable config"),
            None if setting(&pair[0]).is_some() => {
                return immutable(
                    &pair[0],
                    "a replicated setting is set by a command of its own, outside of MULTI",
                );
            }
            None => {
                return Reply::error_text(format!(
                    "ERR Unknown option or number of arguments for CONFIG SET - '{}'",
                    quoted(&pair[0])
                ));
            }
        }
    }
    Reply::ok()
}

fn immutable(name: &[u8], reason: &str) -> Reply {
    Reply::error_text(format!(
        "ERR CONFIG SET failed (possibly related to argument '{}') - {reason}",
        quoted(name)
    ))
}
