//! Channels and their subscribers. PUBLISH goes through the log; who subscribes is known to the server alone.

use bytes::Bytes;

use super::help;
use crate::command::{Group, Spec};
use crate::context::Context;
use crate::flags::Flags;
use crate::publication::{CHANNEL_BYTES_MAX, ChannelKind, Publication};
use crate::reply::Reply;
use crate::turnover;

/// Of what makes a connection listen.
const LISTENS: Flags = Flags::PUBSUB.and(Flags::NOSCRIPT).and(Flags::LOADING).and(Flags::STALE);
/// Of what sends and asks.
const TELLS: Flags = Flags::PUBSUB.and(Flags::LOADING).and(Flags::STALE);

const fn listening(name: &'static str, arity: i32) -> Spec {
    Spec::connection(Group::PubSub, name, arity).with(LISTENS)
}

const fn asking(name: &'static str, arity: i32) -> Spec {
    Spec::node(Group::PubSub, name, arity).with(TELLS)
}

pub(crate) const COMMANDS: &[Spec] = &[
    Spec::publish("publish", publish).doc(
        "2.0.0",
        "PUBLISH channel message",
        "Sends a message to a channel's subscribers at all nodes; answers how many there are at this one.",
    ),
    Spec::publish("spublish", spublish).doc(
        "7.0.0",
        "SPUBLISH shardchannel message",
        "Sends a message to a sharded channel's subscribers; answers how many there are at this node.",
    ),
    listening("subscribe", -2).doc("2.0.0", "SUBSCRIBE channel [channel ...]", "Listens to channels."),
    listening("psubscribe", -2).doc(
        "2.0.0",
        "PSUBSCRIBE pattern [pattern ...]",
        "Listens to all channels whose names match a pattern.",
    ),
    listening("ssubscribe", -2).doc(
        "7.0.0",
        "SSUBSCRIBE shardchannel [shardchannel ...]",
        "Listens to sharded channels.",
    ),
    listening("unsubscribe", -1).doc(
        "2.0.0",
        "UNSUBSCRIBE [channel [channel ...]]",
        "Listens no more to channels, or to none at all.",
    ),
    listening("punsubscribe", -1).doc(
        "2.0.0",
        "PUNSUBSCRIBE [pattern [pattern ...]]",
        "Listens no more to patterns, or to none at all.",
    ),
    listening("sunsubscribe", -1).doc(
        "7.0.0",
        "SUNSUBSCRIBE [shardchannel [shardchannel ...]]",
        "Listens no more to sharded channels, or to none at all.",
    ),
    Spec::node(Group::PubSub, "pubsub", -2).container(PUBSUB).doc(
        "2.8.0",
        "PUBSUB",
        "A container for commands that ask who listens at this node.",
    ),
];

const PUBSUB: &[Spec] = &[
    asking("pubsub|channels", -2).doc(
        "2.8.0",
        "PUBSUB CHANNELS [pattern]",
        "Answers which channels have subscribers at this node.",
    ),
    asking("pubsub|numsub", -2).doc(
        "2.8.0",
        "PUBSUB NUMSUB [channel [channel ...]]",
        "Answers how many subscribers each of the channels has at this node.",
    ),
    asking("pubsub|numpat", 2).doc(
        "2.8.0",
        "PUBSUB NUMPAT",
        "Answers how many different patterns have subscribers at this node.",
    ),
    asking("pubsub|shardchannels", -2).doc(
        "7.0.0",
        "PUBSUB SHARDCHANNELS [pattern]",
        "Answers which sharded channels have subscribers at this node.",
    ),
    asking("pubsub|shardnumsub", -2).doc(
        "7.0.0",
        "PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]",
        "Answers how many subscribers each of the sharded channels has at this node.",
    ),
    Spec::pure(Group::PubSub, "pubsub|help", 2, |_, _| Ok(help("pubsub"))).with(TELLS).doc(
        "6.2.0",
        "PUBSUB HELP",
        "Answers what subcommands there are.",
    ),
];

fn publish(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    send(context, ChannelKind::Ordinary, args)
}

fn spublish(context: &mut Context<'_>, args: &[Bytes]) -> Result<Reply, Reply> {
    send(context, ChannelKind::Sharded, args)
}

/// The machine knows of no subscribers; the node that the client is on puts its number in the place of this one.
fn send(context: &mut Context<'_>, kind: ChannelKind, args: &[Bytes]) -> Result<Reply, Reply> {
    context.writable();
    if args[1].len() > CHANNEL_BYTES_MAX {
        return Err(Reply::error("ERR the name of a channel is longer than 1024 bytes"));
    }
    if kind == ChannelKind::Ordinary && turnover::is_reserved(&args[1]) {
        return Err(Reply::error("ERR who holds a lock or leads is told on this channel, and nothing else"));
    }
    let (channel, message) = (args[1].clone(), args[2].clone());
    context.state.publications.add(Publication { kind, channel, message, position: None })?;
    Ok(Reply::Integer(0))
}
