//! `+switch-master`: a new leader, as this node learns of it.

use std::sync::Arc;

use bytes::Bytes;
use quorate_machine::{ChannelKind, Publication};

use crate::connection::FrontDoor;

/// The channel. Stock clients subscribe to it by name, or to all by a pattern.
const SWITCH_MASTER: &[u8] = b"+switch-master";

/// Watches the node's status, and tells the subscribers of its Sentinel door of each new leader; until the status ends.
pub async fn announce(front: Arc<FrontDoor>) {
    let Some(sentinel) = &front.sentinel else { return };
    let mut status = front.shard.watch_status();
    loop {
        let now = status.borrow_and_update().clone();
        if let Some(news) = sentinel.observe(&now) {
            tracing::info!("tells Sentinel clients of a new leader: {news}");
            front.shard.subscriptions().publish(vec![Publication {
                kind: ChannelKind::Ordinary,
                channel: Bytes::from_static(SWITCH_MASTER),
                message: Bytes::from(news),
            }]);
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}
