//! What may be asked before the node has its data, or a place in its cluster.
//!
//! As with Redis, which commands may be executed meanwhile stands in the table; but those among them that look at the
//! keyspace or the replicated settings (TIME, CONFIG GET, WATCH) are refused here: Quorate has nothing yet that it could
//! answer them from.

use quorate_machine::{Class, Flags, Spec};

use crate::{handle::Reply, status::NodeStatus};

/// The answer to all others. Clients know the word and try again; nothing was begun.
const LOADING: &str = "LOADING Quorate is recovering its data; the command was not applied";

/// The same while the node has not joined its cluster yet.
const JOINING: &str = "LOADING Quorate is joining a cluster; the command was not applied";

/// What a node that is in this state answers.
pub(super) fn refusal(status: &NodeStatus) -> Reply {
    Reply::error(if status.joining.is_some() { JOINING } else { LOADING })
}

/// Commands of a connection that need to know how far the node is.
const LOOKING: &[&str] = &["watch", "subscribe", "psubscribe", "ssubscribe"];

/// Whether a command can be executed only with the data.
pub(super) fn needs_data(spec: &Spec) -> bool {
    match spec.class {
        Class::Read | Class::Write | Class::Script => true,
        Class::Pure | Class::Connection | Class::Node => {
            LOOKING.contains(&spec.name) || !spec.flags.contains(Flags::LOADING)
        }
    }
}

#[cfg(test)]
mod tests {
    use quorate_machine::all;

    use super::*;

    #[test]
    fn what_redis_allows_while_loading_and_needs_no_data_is_allowed() {
        let allowed: Vec<_> = all()
            .flat_map(|spec| std::iter::once(spec).chain(spec.subcommands))
            .filter(|spec| !needs_data(spec))
            .map(|spec| spec.name)
            .filter(|name| !name.contains('|'))
            .collect();
        let wanted = [
            "auth",
            "client",
            "command",
            "config",
            "discard",
            "echo",
            "exec",
            "freshness",
            "hello",
            "info",
            "latency",
            "multi",
            "punsubscribe",
            "quit",
            "readonly",
            "readwrite",
            "reset",
            "role",
            "select",
            "sunsubscribe",
            "unsubscribe",
            "unwatch",
        ];
        let mut sorted = allowed;
        sorted.sort_unstable();
        assert_eq!(sorted, wanted);
    }
}
