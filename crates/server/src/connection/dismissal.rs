//! Sending clients away from a node that cannot serve them any longer.
//!
//! A client that asks something is told: by an error that says *not applied*, or by the end of its connection if the outcome
//! is unknown. But one that listens to channels hears nothing from a node that is cut off, as if nothing happened; one that
//! waits in a queue (BLPOP) may have lost its place; and an idle one would only learn of it when it asks next, and then stay,
//! since an error is no reason for a library to look for another node. The end of a connection is. So:
//!
//! * **A node that has known no leader for `leaderless-timeout` ends the connections that its clients have by then**, once
//!   for each such time. Who is owed an answer gets it first: nothing that was asked goes unanswered for that reason. Who
//!   connects afterwards is served as far as possible, and else told by errors.
//! * **A node that was removed from its cluster does so at once**, and refuses all commands that need the data from then on.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::timeout;

use super::FrontDoor;
use crate::status::NodeStatus;

/// The refusal of a node that was removed. The code is one that stock clients know.
pub(super) const REMOVED: &str =
    "CLUSTERDOWN this node was removed from its cluster: use another one. The command was not applied";

/// How a node stands with its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// There is a leader, or the node is still recovering and has promised nobody anything.
    Serving,
    /// It knows no leader: an election goes on, or it is cut off.
    Leaderless,
    /// It is no member any more, for good.
    Removed,
}

impl Standing {
    fn of(status: &NodeStatus) -> Self {
        match (status.removed, status.loading, &status.leader) {
            (true, ..) => Self::Removed,
            (false, false, None) => Self::Leaderless,
            (false, true, None) | (false, _, Some(_)) => Self::Serving,
        }
    }
}

/// Sends the clients of a door away whenever the node has known no leader for `patience`, and when it is removed; until
/// then, or until nobody tells its status any more.
pub async fn dismiss_when_useless(front: Arc<FrontDoor>, patience: Duration) {
    let mut status = front.shard.watch_status();
    loop {
        let useless = |status: &Arc<NodeStatus>| Standing::of(status) != Standing::Serving;
        let Ok(standing) = status.wait_for(useless).await.map(|status| Standing::of(&status)) else { return };
        if standing == Standing::Removed {
            front.removed.store(true, Ordering::Relaxed);
            return front.dismiss_all("this node was removed from its cluster");
        }
        let changed = |status: &Arc<NodeStatus>| Standing::of(status) != Standing::Leaderless;
        if timeout(patience, status.wait_for(changed)).await.is_err() {
            front.dismiss_all("this node has known no leader for leaderless-timeout");
        }
        // At once if something has changed, so that there is one dismissal for each time without a leader.
        if status.wait_for(changed).await.is_err() {
            return;
        }
    }
}

impl FrontDoor {
    /// Asks all connections to end that there are now.
    fn dismiss_all(&self, reason: &str) {
        let clients = self.clients.all();
        if !clients.is_empty() {
            tracing::warn!(clients = clients.len(), reason, "sends its clients away");
        }
        for client in clients {
            client.dismiss();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::sync::watch;

    use super::*;
    use crate::{
        connection::{Endpoints, Limits, clients::Summons},
        handle::{ConnId, ShardHandle},
        status::Leader,
        subscriptions::Subscriptions,
    };

    const PATIENCE: Duration = Duration::from_secs(5);

    struct Bench {
        front: Arc<FrontDoor>,
        status: watch::Sender<Arc<NodeStatus>>,
        connected: u64,
    }

    impl Bench {
        /// A door whose node serves.
        fn new() -> Self {
            let (inputs, _) = crossbeam_channel::unbounded();
            let (status, watched) = watch::channel(Arc::new(led(true)));
            let shard = ShardHandle::new(inputs, watched, Subscriptions::new().0);
            let front = FrontDoor::new(shard, Limits::default(), BTreeMap::new(), 0);
            tokio::spawn(dismiss_when_useless(Arc::clone(&front), PATIENCE));
            Self { front, status, connected: 0 }
        }

        /// Connects a client; true once it was dismissed within so long.
        async fn is_dismissed_within(&mut self, bound: Duration) -> bool {
            self.connected += 1;
            let address = ([127, 0, 0, 1], 5).into();
            let endpoints = Endpoints { remote: address, local: address };
            let client = self.front.clients.admit(ConnId(self.connected), endpoints, 10).unwrap();
            timeout(bound, client.summoned()).await == Ok(Summons::Dismissal)
        }
    }

    fn led(is_led: bool) -> NodeStatus {
        NodeStatus { leader: is_led.then(Leader::default), ..NodeStatus::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn clients_go_once_the_time_without_a_leader_has_passed_and_only_once() {
        let mut bench = Bench::new();
        bench.status.send_replace(Arc::new(led(false)));
        assert!(!bench.is_dismissed_within(PATIENCE - Duration::from_secs(1)).await);
        assert!(bench.is_dismissed_within(Duration::from_secs(2)).await);
        assert!(!bench.is_dismissed_within(PATIENCE * 10).await, "who comes later may stay");
        bench.status.send_replace(Arc::new(led(true)));
        assert!(!bench.is_dismissed_within(PATIENCE * 10).await);
        bench.status.send_replace(Arc::new(led(false)));
        assert!(bench.is_dismissed_within(PATIENCE * 2).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_election_and_a_recovery_send_nobody_away() {
        let mut bench = Bench::new();
        bench.status.send_replace(Arc::new(NodeStatus { loading: true, ..led(false) }));
        assert!(!bench.is_dismissed_within(PATIENCE * 10).await);
        bench.status.send_replace(Arc::new(led(false)));
        assert!(!bench.is_dismissed_within(PATIENCE - Duration::from_millis(1)).await);
        bench.status.send_replace(Arc::new(led(true)));
        assert!(!bench.is_dismissed_within(PATIENCE * 10).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_removed_node_sends_its_clients_away_at_once() {
        let mut bench = Bench::new();
        bench.status.send_replace(Arc::new(NodeStatus { removed: true, ..led(true) }));
        assert!(bench.is_dismissed_within(Duration::from_millis(1)).await);
        assert!(bench.front.removed.load(Ordering::Relaxed));
    }
}
