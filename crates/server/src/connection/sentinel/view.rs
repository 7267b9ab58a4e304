//! The cluster in the words of Sentinel: pure functions of a node's status.
//!
//! The fields are those of Redis 7.0, in its order, so that whatever a client reads is there. `flags` is what clients
//! judge by: `master`, `slave` or `sentinel`, followed by `s_down` and `disconnected` for a node that this one is not in
//! touch with, and `o_down` for a leader without whom nobody leads.

use super::{Master, SentinelSettings};
use crate::{
    connection::arguments::text,
    handle::Reply,
    status::{NodeStatus, Peer},
};

/// The leader, if this node is in touch with it and knows its address.
pub(super) fn leader(status: &NodeStatus) -> Option<Master> {
    let leader = status.leader.as_ref().filter(|leader| leader.port != 0 && !status.removed)?;
    // A leader that is killed closes its connections long before it is missed.
    let is_linked = |peer: &Peer| peer.node_id == leader.node_id && peer.connected;
    let in_touch = leader.node_id == status.node_id || leader.connected && status.peers.iter().any(is_linked);
    in_touch.then(|| Master { node_id: leader.node_id, host: leader.host.clone(), port: leader.port })
}

/// What the door of a node says.
#[derive(Debug)]
pub(in crate::connection) struct View<'a> {
    settings: &'a SentinelSettings,
    status: &'a NodeStatus,
    /// The leader, or else the last one that is known.
    master: Option<Master>,
    is_up: bool,
}

impl<'a> View<'a> {
    pub(super) fn new(settings: &'a SentinelSettings, status: &'a NodeStatus, last: Option<Master>) -> Self {
        let leader = leader(status);
        let is_up = leader.is_some();
        Self { settings, status, master: leader.or(last), is_up }
    }

    /// Whether the cluster has this name.
    pub(super) fn is_called(&self, name: &[u8]) -> bool {
        self.settings.master_name.as_bytes() == name
    }

    /// GET-MASTER-ADDR-BY-NAME.
    pub(super) fn address(&self) -> Reply {
        match &self.master {
            Some(master) if self.is_up => {
                Reply::Array(vec![text(master.host.clone()), text(master.port.to_string())])
            }
            Some(_) | None => Reply::NullArray,
        }
    }

    /// MASTERS.
    pub(super) fn masters(&self) -> Reply {
        Reply::Array(self.master().into_iter().collect())
    }

    /// MASTER; none before the first leader is known.
    pub(super) fn master(&self) -> Option<Reply> {
        let master = self.master.as_ref()?;
        let peer = self.status.peers.iter().find(|peer| peer.node_id == master.node_id);
        let mut fields = Fields::of(&self.settings.master_name, &master.host, master.port);
        fields.instance(&self.id_of(master.node_id), self.master_flags(), peer, !self.is_up);
        fields.number("down-after-milliseconds", self.down_after_ms());
        fields.role("master", peer);
        fields.number("config-epoch", self.status.term);
        fields.number("num-slaves", self.followers().count() as u64);
        fields.number("num-other-sentinels", self.other_doors().count() as u64);
        fields.number("quorum", self.status.quorums().to_lead() as u64);
        // Neither means anything here, but some clients read all there is.
        fields.number("failover-timeout", 0);
        fields.number("parallel-syncs", 1);
        Some(fields.into_reply())
    }

    /// REPLICAS: the nodes that do not lead.
    pub(super) fn replicas(&self) -> Reply {
        Reply::Array(self.followers().map(|node| self.replica(&node)).collect())
    }

    fn replica(&self, node: &Node<'_>) -> Reply {
        let mut fields = Fields::of(&format!("{}:{}", node.host, node.port), node.host, node.port);
        let flags = if node.is_up { "slave" } else { "slave,s_down,disconnected" };
        fields.instance(&self.id_of(node.id), flags, node.peer, !node.is_up);
        fields.number("down-after-milliseconds", self.down_after_ms());
        fields.role("slave", node.peer);
        let (host, port) = self.master.as_ref().map_or(("?", 0), |master| (&master.host, master.port));
        fields.number("master-link-down-time", 0);
        fields.text("master-link-status", if node.is_up && self.is_up { "ok" } else { "err" });
        fields.text("master-host", host);
        fields.number("master-port", port.into());
        fields.number("slave-priority", 100);
        fields.number("slave-repl-offset", node.offset);
        fields.number("replica-announced", 1);
        fields.into_reply()
    }

    /// SENTINELS: the doors of the other nodes.
    pub(super) fn sentinels(&self) -> Reply {
        Reply::Array(self.other_doors().map(|peer| self.door(peer)).collect())
    }

    fn door(&self, peer: &Peer) -> Reply {
        let id = self.id_of(peer.node_id);
        let mut fields = Fields::of(&id, &peer.sentinel_host, peer.sentinel_port);
        let flags = if peer.connected { "sentinel" } else { "sentinel,s_down,disconnected" };
        fields.instance(&id, flags, Some(peer), !peer.connected);
        fields.number("down-after-milliseconds", self.down_after_ms());
        fields.number("last-hello-message", heard_ms_ago(Some(peer)));
        fields.text("voted-leader", "?");
        fields.number("voted-leader-epoch", 0);
        fields.into_reply()
    }

    /// CKQUORUM.
    pub(super) fn quorum(&self) -> Reply {
        let usable = self.status.voters().filter(|node_id| self.status.reaches(*node_id)).count();
        if usable >= self.status.quorums().to_lead() && !self.status.removed {
            let text =
                format!("OK {usable} usable Sentinels. Quorum and failover authorization can be reached");
            return Reply::Status(text.into());
        }
        Reply::error_text(format!(
            "NOQUORUM {usable} usable Sentinels. Not enough available Sentinels to reach the majority and authorize a \
             failover"
        ))
    }

    /// MYID.
    pub(super) fn own_id(&self) -> Reply {
        text(self.id_of(self.status.node_id))
    }

    /// INFO's line about the master, without its number; none before the first leader is known.
    pub(in crate::connection) fn line(&self) -> Option<String> {
        let master = self.master.as_ref()?;
        let word = match (self.is_up, &self.status.leader) {
            (true, _) => "ok",
            (false, Some(_)) => "sdown",
            (false, None) => "odown",
        };
        Some(format!(
            "name={},status={word},address={}:{},slaves={},sentinels={}",
            self.settings.master_name,
            master.host,
            master.port,
            self.followers().count(),
            self.other_doors().count() + 1
        ))
    }

    fn master_flags(&self) -> &'static str {
        match (self.is_up, &self.status.leader) {
            (true, _) => "master",
            (false, Some(_)) => "master,s_down,disconnected",
            (false, None) => "master,s_down,o_down,disconnected",
        }
    }

    /// The nodes that do not lead and whose address is known, by their ids.
    fn followers(&self) -> impl Iterator<Item = Node<'_>> {
        let advertise = &self.settings.advertise;
        let own = Node {
            id: self.status.node_id,
            host: &advertise.host,
            port: advertise.port,
            is_up: true,
            offset: self.status.log.applied,
            peer: None,
        };
        let own = Some(own).filter(|own| self.status.has_data(own.id));
        let mut nodes: Vec<_> = self.status.servers().map(Node::of).chain(own).collect();
        nodes.sort_by_key(|node| node.id);
        let master = self.master.as_ref().map(|master| master.node_id);
        nodes.into_iter().filter(move |node| Some(node.id) != master)
    }

    /// A node that does not lead, if there is one.
    pub(super) fn any_follower(&self) -> Option<Master> {
        let node = self.followers().next()?;
        Some(Master { node_id: node.id, host: node.host.to_owned(), port: node.port })
    }

    fn other_doors(&self) -> impl Iterator<Item = &Peer> {
        self.status.peers.iter().filter(|peer| peer.sentinel_port != 0)
    }

    fn down_after_ms(&self) -> u64 {
        u64::try_from(self.settings.down_after.as_millis()).unwrap_or(u64::MAX)
    }

    /// 40 hexadecimal digits, as Redis's run ids have them, which stay the same for the node's whole life.
    fn id_of(&self, node_id: u64) -> String {
        format!("{:0>32}{node_id:08x}", self.status.cluster_id.as_deref().unwrap_or(""))
    }
}

/// A node that does not lead.
struct Node<'a> {
    id: u64,
    host: &'a str,
    port: u16,
    is_up: bool,
    offset: u64,
    /// None for the node that is asked.
    peer: Option<&'a Peer>,
}

impl<'a> Node<'a> {
    fn of(peer: &'a Peer) -> Self {
        let Peer { node_id: id, port, connected: is_up, matched: offset, .. } = *peer;
        Self { id, host: &peer.host, port, is_up, offset, peer: Some(peer) }
    }
}

/// Milliseconds since a node was heard; 0 for the node itself, and for one that was never heard.
fn heard_ms_ago(peer: Option<&Peer>) -> u64 {
    peer.and_then(|peer| peer.heard_ms_ago).unwrap_or(0)
}

/// The fields of a node, all of them text.
struct Fields(Vec<(Reply, Reply)>);

impl Fields {
    fn of(name: &str, host: &str, port: u16) -> Self {
        let mut fields = Self(Vec::new());
        fields.text("name", name);
        fields.text("ip", host);
        fields.number("port", port.into());
        fields
    }

    /// What Sentinel tells of each node, whatever it is.
    fn instance(&mut self, id: &str, flags: &str, peer: Option<&Peer>, is_down: bool) {
        let heard = heard_ms_ago(peer);
        self.text("runid", id);
        self.text("flags", flags);
        self.number("link-pending-commands", 0);
        self.number("link-refcount", 1);
        self.number("last-ping-sent", 0);
        self.number("last-ok-ping-reply", heard);
        self.number("last-ping-reply", heard);
        if is_down {
            self.number("s-down-time", heard);
        }
    }

    /// What it tells of each that holds data.
    fn role(&mut self, role: &str, peer: Option<&Peer>) {
        self.number("info-refresh", heard_ms_ago(peer));
        self.text("role-reported", role);
        self.number("role-reported-time", 0);
    }

    fn text(&mut self, name: &'static str, value: &str) {
        self.0.push((Reply::bulk(name), text(value)));
    }

    fn number(&mut self, name: &'static str, value: u64) {
        self.text(name, &value.to_string());
    }

    fn into_reply(self) -> Reply {
        Reply::Map(self.0)
    }
}

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;
