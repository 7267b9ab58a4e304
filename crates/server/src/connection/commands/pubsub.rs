//! PUBSUB: who listens to what at this node.

use bytes::Bytes;
use quorate_machine::glob;

use crate::{connection::FrontDoor, handle::Reply, subscriptions::Topic};

pub(super) fn run(front: &FrontDoor, subcommand: &str, arguments: &[Bytes]) -> Reply {
    match subcommand {
        "channels" => channels(front, Topic::Channel, &arguments[2..]),
        "shardchannels" => channels(front, Topic::Sharded, &arguments[2..]),
        "numsub" => subscribers(front, Topic::Channel, &arguments[2..]),
        "shardnumsub" => subscribers(front, Topic::Sharded, &arguments[2..]),
        "numpat" => Reply::count(front.shard.subscriptions().names(Topic::Pattern).len()),
        _ => Reply::syntax_error(),
    }
}

fn channels(front: &FrontDoor, topic: Topic, arguments: &[Bytes]) -> Reply {
    let pattern = match arguments {
        [] => None,
        [pattern] => Some(pattern),
        _ => return Reply::syntax_error(),
    };
    let names = front.shard.subscriptions().names(topic).into_iter().map(|(name, _)| name);
    let wanted = names.filter(|name| pattern.is_none_or(|pattern| glob::matches(pattern, name)));
    Reply::Array(wanted.map(Reply::Bulk).collect())
}

/// Names and numbers in turn, flat in both versions of the protocol.
fn subscribers(front: &FrontDoor, topic: Topic, channels: &[Bytes]) -> Reply {
    let subscriptions = front.shard.subscriptions();
    let pair = |channel: &Bytes| {
        [Reply::Bulk(channel.clone()), Reply::count(subscriptions.subscribers(topic, channel))]
    };
    Reply::Array(channels.iter().flat_map(pair).collect())
}
