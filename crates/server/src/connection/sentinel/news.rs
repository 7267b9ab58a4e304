//! `+switch-master` and `+slave`: a new leader, as this node learns of it.
//!
//! Some clients follow by nothing but the first (Jedis's pool), and all need it while the old leader still lives: their connections
//! to it do not break. When it was killed they do, and then most clients are asking for the new leader already. One of them
//! ends for good if the message comes while it connects (ioredis's `failoverDetector`), and any would connect once more for
//! nothing. So:
//!
//! * `+slave`, that the old leader follows the new one, comes at once: by it node-redis looks again, whose command may
//!   otherwise wait for seconds at a node that is gone. No library that is known ends a connection for it.
//! * `+switch-master` comes at once while the old leader still has connections, and [`SETTLING`] later when it has none.
//! * The first leader after a start is told like one whose predecessor is dead, if it was elected since. After a mere
//!   restart nothing is told: a client that is well would end its connection for nothing.
//! * Whoever subscribes after this node has learnt of a leader gets no message about it: the answers name it by then.
//! * Messages keep the order of the leaders.

use std::sync::Arc;

use bytes::Bytes;
use quorate_machine::{ChannelKind, Publication};
use tokio::time::{Duration, Instant, sleep_until};

use super::Switch;
use crate::connection::FrontDoor;

/// The channel. Stock clients subscribe to it by name, or to all by a pattern.
const SWITCH_MASTER: &[u8] = b"+switch-master";

/// The channel of nodes that do not lead.
const SLAVE: &[u8] = b"+slave";

/// Time for clients whose connections broke to find the new leader: ten of their usual pauses, and not so much that the
/// others are late.
const SETTLING: Duration = Duration::from_secs(1);

/// News that not everybody needs at once.
struct Late {
    at: Instant,
    /// By which it is told who had subscribed before.
    number: u64,
    news: Publication,
}

/// Watches the node's status, and tells the subscribers of its Sentinel door of each new leader; until the status ends.
pub async fn announce(front: Arc<FrontDoor>) {
    let Some(sentinel) = &front.sentinel else { return };
    let subscriptions = front.shard.subscriptions();
    let mut status = front.shard.watch_status();
    let mut late: Option<Late> = None;
    loop {
        let now = status.borrow_and_update().clone();
        if let Some(Switch { switch, slave, is_noticed }) = sentinel.observe(&now) {
            tracing::info!("tells Sentinel clients of a new leader: {switch}");
            let (number, news) = (subscriptions.number(), publication(SWITCH_MASTER, switch));
            subscriptions.deliver(number, publication(SLAVE, slave));
            if let Some(Late { number, news, .. }) = late.take() {
                subscriptions.deliver(number, news);
            }
            match is_noticed {
                true => late = Some(Late { at: Instant::now() + SETTLING, number, news }),
                false => drop(subscriptions.deliver(number, news)),
            }
        }
        tokio::select! {
            changed = status.changed() => if changed.is_err() { return },
            () = until(late.as_ref()) => if let Some(Late { number, news, .. }) = late.take() {
                subscriptions.deliver(number, news);
            }
        }
    }
}

fn publication(channel: &'static [u8], text: String) -> Publication {
    let channel = Bytes::from_static(channel);
    Publication { kind: ChannelKind::Ordinary, channel, message: Bytes::from(text), position: None }
}

/// Resolves when the news is due; never without any.
async fn until(late: Option<&Late>) {
    match late {
        Some(late) => sleep_until(late.at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio::{sync::watch, time::sleep};

    use super::*;
    use crate::{
        config::Address,
        connection::{Limits, SentinelSettings},
        handle::{ConnId, Reply, ShardHandle},
        status::{Leader, NodeStatus, Peer},
        subscriptions::{Mailbox, Subscriptions, Topic},
    };

    struct Bench {
        front: Arc<FrontDoor>,
        status: watch::Sender<Arc<NodeStatus>>,
        subscribers: u64,
    }

    impl Bench {
        async fn led_by(node_id: u64) -> Self {
            let mut bench = Self::of((*led_by(node_id, &[2, 3])).clone());
            bench.turns(led_by(node_id, &[2, 3])).await;
            bench
        }

        fn of(status: NodeStatus) -> Self {
            let (inputs, _) = crossbeam_channel::unbounded();
            let (status, watched) = watch::channel(Arc::new(status));
            let shard = ShardHandle::new(inputs, watched, Subscriptions::new().0);
            let settings = SentinelSettings {
                master_name: "q".to_owned(),
                advertise: Address::new("h", 1),
                down_after: Duration::from_secs(1),
            };
            let front = FrontDoor::for_sentinel(shard, Limits::of_sentinel(1), 0, settings);
            tokio::spawn(announce(Arc::clone(&front)));
            Self { front, status, subscribers: 0 }
        }

        /// The status changes, and whoever watches it has seen so.
        async fn turns(&mut self, status: Arc<NodeStatus>) {
            self.status.send_replace(status);
            sleep(Duration::from_millis(1)).await;
        }

        fn subscriber(&mut self) -> Mailbox {
            self.subscriber_of(SWITCH_MASTER)
        }

        fn subscriber_of(&mut self, channel: &'static [u8]) -> Mailbox {
            self.subscribers += 1;
            let (subscriptions, conn) = (self.front.shard.subscriptions(), ConnId(self.subscribers));
            let mailbox = subscriptions.open(conn, 1 << 10);
            subscriptions.subscribe(conn, Topic::Channel, &[Bytes::from_static(channel)]);
            mailbox
        }
    }

    /// Node 1 follows a node, and has connections to these.
    fn led_by(node_id: u64, connected: &[u64]) -> Arc<NodeStatus> {
        let port = |node_id: u64| u16::try_from(node_id).unwrap();
        let leader = Leader { node_id, host: "h".to_owned(), port: port(node_id), connected: true };
        let peer = |node_id| Peer {
            node_id,
            port: port(node_id),
            connected: connected.contains(&node_id),
            ..Peer::default()
        };
        let peers = vec![peer(2), peer(3)];
        Arc::new(NodeStatus { node_id: 1, leader: Some(leader), peers, ..NodeStatus::default() })
    }

    fn text(mailbox: &mut Mailbox) -> Option<String> {
        let message = mailbox.take()?;
        match &message.push {
            Reply::Push(words) => match words.last() {
                Some(Reply::Bulk(text)) => Some(String::from_utf8_lossy(text).into_owned()),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_leader_that_lives_and_leads_no_more_is_told_at_once() {
        let mut bench = Bench::led_by(2).await;
        let mut subscriber = bench.subscriber();
        bench.turns(led_by(3, &[2, 3])).await;
        assert_eq!(text(&mut subscriber).as_deref(), Some("q h 2 h 3"));
    }

    /// ioredis ends for good if the message comes while it connects.
    #[tokio::test(start_paused = true)]
    async fn clients_of_a_dead_leader_have_time_to_find_the_new_one() {
        let mut bench = Bench::led_by(2).await;
        let mut subscriber = bench.subscriber();
        bench.turns(led_by(3, &[3])).await;
        let mut later = bench.subscriber();
        sleep(SETTLING / 2).await;
        assert_eq!(text(&mut subscriber), None);
        sleep(SETTLING / 2).await;
        assert_eq!(text(&mut subscriber).as_deref(), Some("q h 2 h 3"));
        assert_eq!(text(&mut later), None, "it has asked since, or can");
    }

    /// node-redis knows of a new leader by nothing else, and once left a command for 5 s at a node that was gone.
    #[tokio::test(start_paused = true)]
    async fn a_dead_leader_is_told_at_once_to_have_become_a_replica() {
        let mut bench = Bench::led_by(2).await;
        let mut subscriber = bench.subscriber_of(SLAVE);
        bench.turns(led_by(3, &[3])).await;
        assert_eq!(text(&mut subscriber).as_deref(), Some("slave h:2 h 2 @ q h 3"));
    }

    /// Who subscribed at a door that knew of nobody was told nil, and would not have heard of the leader ever.
    #[tokio::test(start_paused = true)]
    async fn the_first_leader_after_a_start_is_told_if_it_was_elected_since() {
        let mut bench = Bench::of(NodeStatus { term: 4, term_at_start: 4, ..NodeStatus::default() });
        let [mut subscriber, mut slaves] = [SWITCH_MASTER, SLAVE].map(|channel| bench.subscriber_of(channel));
        let elected = NodeStatus { term: 5, term_at_start: 4, ..(*led_by(3, &[2, 3])).clone() };
        bench.turns(Arc::new(elected)).await;
        assert_eq!(text(&mut slaves).as_deref(), Some("slave h:1 h 1 @ q h 3"));
        assert_eq!(text(&mut subscriber), None, "it may be looking for it just now");
        sleep(SETTLING).await;
        assert_eq!(text(&mut subscriber).as_deref(), Some("q h 1 h 3"));
    }

    /// It told clients that it replicates itself, and sent them from itself to itself.
    #[tokio::test(start_paused = true)]
    async fn a_node_alone_is_no_news_after_a_start() {
        let mut bench = Bench::of(NodeStatus { term: 4, term_at_start: 4, ..NodeStatus::default() });
        let [mut subscriber, mut slaves] = [SWITCH_MASTER, SLAVE].map(|channel| bench.subscriber_of(channel));
        let led = (*led_by(1, &[])).clone();
        let alone = NodeStatus { term: 5, term_at_start: 4, peers: Vec::new(), ..led };
        bench.turns(Arc::new(alone)).await;
        sleep(SETTLING * 2).await;
        assert_eq!((text(&mut slaves), text(&mut subscriber)), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn the_leader_that_goes_on_while_a_node_is_started_anew_is_no_news() {
        let mut bench = Bench::of(NodeStatus { term: 4, term_at_start: 4, ..NodeStatus::default() });
        let mut subscriber = bench.subscriber();
        let same = NodeStatus { term: 4, term_at_start: 4, ..(*led_by(3, &[2, 3])).clone() };
        bench.turns(Arc::new(same)).await;
        sleep(SETTLING * 2).await;
        assert_eq!(text(&mut subscriber), None);
    }

    #[tokio::test(start_paused = true)]
    async fn leaders_are_told_in_their_order() {
        let mut bench = Bench::led_by(2).await;
        let mut subscriber = bench.subscriber();
        bench.turns(led_by(3, &[3])).await;
        let mut later = bench.subscriber();
        bench.turns(led_by(2, &[2, 3])).await;
        assert_eq!(text(&mut subscriber).as_deref(), Some("q h 2 h 3"));
        assert_eq!(text(&mut subscriber).as_deref(), Some("q h 3 h 2"));
        assert_eq!(text(&mut later).as_deref(), Some("q h 3 h 2"));
        sleep(SETTLING * 2).await;
        assert_eq!(text(&mut subscriber), None);
    }
}
