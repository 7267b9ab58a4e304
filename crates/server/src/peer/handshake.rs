//! Who may talk to whom.
//!
//! Both sides say who they are, and each judges the other by the same rules ([`Local::judge`]); either may refuse,
//! with a reason that an operator can act on. The rules keep a stranger's or a forgetful node's messages away
//! from the engine:
//! * a cluster version in common ([`super::versions`]), the same engine, and (once born) cluster;
//! * the sender is the node that it is taken for, and of the same cluster, or one of those that are to form it;
//! * **a node that lost its disk does not come back under its old id**: each data folder has a random number
//!   from its making on; a node remembers durably which number each member has shown, and refuses another.
//!
//! It is no authentication: who can reach the peer port can lie. Until it has passed, a connection costs us at
//! most [`HELLO_BYTES_MAX`] and [`TIMEOUT`].

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use quorate_machine::ClusterVersion;

use super::{
    acquaintances::Acquaintances,
    versions::{Accord, Versions},
    wire::Hello,
};
use crate::config::{Address, HostPort, Value as _};

/// The largest frame of the handshake.
pub(crate) const HELLO_BYTES_MAX: usize = 2 << 10;

/// How long a handshake may take in all.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(2);

/// This node, as it presents itself.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// Its id.
    pub(crate) node_id: u64,
    /// The members that its cluster is to be born with, or was, this node too; none if it has joined later.
    pub(crate) founders: BTreeSet<u64>,
    /// Set once the cluster is born, and never changed.
    pub(crate) cluster_id: Arc<OnceLock<u128>>,
    /// The random number of its data folder.
    pub(crate) disk_id: u128,
    /// How often it was started on its folder.
    pub(crate) incarnation: u64,
    /// The name of its engine.
    pub(crate) engine: &'static str,
    /// The cluster versions that it knows.
    pub(crate) versions: Arc<Versions>,
    /// The largest frame that it sends and takes.
    pub(crate) frame_bytes_max: usize,
    /// Where its clients connect.
    pub(crate) resp_address: Address,
    /// Where its HTTP is.
    pub(crate) http_address: Address,
    /// Where other nodes connect.
    pub(crate) peer_address: Address,
    /// Where its Sentinel door is, if it has one.
    pub(crate) sentinel_address: Option<Address>,
    /// Which folder each member has shown.
    pub(crate) acquaintances: Arc<Acquaintances>,
}

/// Another node, after it has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remote {
    /// Its id.
    pub(crate) node_id: u64,
    /// How the two talk.
    pub(crate) accord: Accord,
    /// The newest to which it lets the cluster rise.
    pub(crate) version_max: u32,
    /// The version of its program.
    pub(crate) program: String,
    /// Where its clients connect, if it said so.
    pub(crate) resp_address: Option<Address>,
    /// Where other nodes connect, if it said so.
    pub(crate) peer_address: Option<Address>,
    /// Where its Sentinel door is, if it has one.
    pub(crate) sentinel_address: Option<Address>,
}

/// Why another node is refused, in words for both operators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Refusal(pub(crate) String);

impl Local {
    /// What this node says to node `to`.
    pub(crate) fn hello(&self, to: u64) -> Hello {
        Hello {
            version: self.versions.told().0.into(),
            oldest_version: ClusterVersion::OLDEST.0.into(),
            active_version: self.versions.active().0.into(),
            known_version: self.versions.known().0.into(),
            from: self.node_id,
            to,
            cluster_id: self.cluster_id.get().map_or_else(Bytes::new, |&id| sixteen(id)),
            disk_id: sixteen(self.disk_id),
            incarnation: self.incarnation,
            engine: self.engine.to_owned(),
            frame_bytes_max: self.frame_bytes_max as u64,
            resp_address: self.resp_address.to_string(),
            http_address: self.http_address.to_string(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            peer_address: self.peer_address.to_string(),
            sentinel_address: self.sentinel_address.as_ref().map(ToString::to_string).unwrap_or_default(),
        }
    }

    /// Decides about the sender of `hello`, and remembers it if it passes.
    pub(crate) fn judge(&self, hello: &Hello) -> Result<Remote, Refusal> {
        let accord = self.versions.agree(self.node_id, hello)?;
        self.judge_identity(hello)?;
        self.judge_settings(hello)?;
        let disk_id =
            number(&hello.disk_id).ok_or_else(|| Refusal("it shows no id of its disk".to_owned()))?;
        self.acquaintances.meet(hello.from, disk_id)?;
        let resp_address = Address::read(&hello.resp_address, &HostPort);
        let peer_address = Address::read(&hello.peer_address, &HostPort);
        let sentinel_address = Address::read(&hello.sentinel_address, &HostPort);
        let (version_max, program) = (hello.version, hello.program.clone());
        Ok(Remote {
            node_id: hello.from,
            accord,
            version_max,
            program,
            resp_address,
            peer_address,
            sentinel_address,
        })
    }

    fn judge_settings(&self, hello: &Hello) -> Result<(), Refusal> {
        let refuse = |text: String| Err(Refusal(text));
        if hello.engine != self.engine {
            return refuse(self.other_engine(hello));
        }
        if hello.frame_bytes_max > self.frame_bytes_max as u64 {
            return refuse(format!(
                "node {} sends frames of up to {} bytes, node {} takes {}: give both the same max-request-bytes, \
                 max-message-bytes and snapshot-chunk-bytes",
                hello.from, hello.frame_bytes_max, self.node_id, self.frame_bytes_max
            ));
        }
        Ok(())
    }

    /// What to do when two founders were told different engines: a cluster has one for ever.
    fn other_engine(&self, hello: &Hello) -> String {
        let (ours, theirs) = ((self.node_id, self.engine), (hello.from, &hello.engine[..]));
        let anew = |(node, _): (u64, &str), (_, engine): (u64, &str)| {
            format!("start node {node} on an empty folder with --engine {engine}, and else as before")
        };
        let advice = match (self.cluster_id.get(), hello.cluster_id.is_empty()) {
            (Some(_), true) => anew(theirs, ours),
            (None, false) => anew(ours, theirs),
            (None, true) => "start all nodes of a new cluster with the same --engine".to_owned(),
            (Some(_), false) => "one of the two has not its own data folder".to_owned(),
        };
        format!("node {} runs the engine {}, node {} runs {}: {advice}", theirs.0, theirs.1, ours.0, ours.1)
    }

    fn judge_identity(&self, hello: &Hello) -> Result<(), Refusal> {
        let refuse = |text: String| Err(Refusal(text));
        if hello.to != self.node_id {
            return refuse(format!(
                "node {} looks for node {} here, but this is node {}: see the addresses of --peers",
                hello.from, hello.to, self.node_id
            ));
        }
        if hello.from == self.node_id {
            return refuse(format!(
                "two nodes are called {}: each needs a --node-id of its own",
                self.node_id
            ));
        }
        match (self.cluster_id.get(), number(&hello.cluster_id)) {
            (_, None) if !hello.cluster_id.is_empty() => refuse("it shows a malformed cluster id".to_owned()),
            (Some(&ours), Some(theirs)) if ours != theirs => refuse(format!(
                "node {} belongs to cluster {theirs:032x}, node {} to cluster {ours:032x}",
                hello.from, self.node_id
            )),
            // Who of them is a member, only the engine knows: one of the two may be behind.
            (Some(_), Some(_)) => Ok(()),
            (Some(_) | None, Some(_) | None) if self.founders.contains(&hello.from) => Ok(()),
            (Some(_) | None, Some(_) | None) => refuse(format!(
                "node {} is not among those that node {} is to form a cluster with: see the ids of --peers; to join \
                 a cluster that is there, start it with --join",
                hello.from, self.node_id
            )),
        }
    }
}

fn sixteen(number: u128) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

fn number(bytes: &Bytes) -> Option<u128> {
    Some(u128::from_be_bytes(bytes.as_ref().try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(node_id: u64, disk_id: u128) -> Local {
        Local {
            node_id,
            founders: BTreeSet::from([1, 2, 3]),
            cluster_id: Arc::new(OnceLock::new()),
            disk_id,
            incarnation: 1,
            engine: "raft",
            versions: Arc::new(Versions::new(ClusterVersion::NEWEST)),
            frame_bytes_max: 1 << 20,
            resp_address: Address::new("127.0.0.1", 7379),
            http_address: Address::new("127.0.0.1", 18_379),
            peer_address: Address::new("127.0.0.1", 17_379),
            sentinel_address: None,
            acquaintances: Arc::new(Acquaintances::in_memory()),
        }
    }

    fn born(node_id: u64, disk_id: u128, cluster_id: u128) -> Local {
        let local = local(node_id, disk_id);
        local.cluster_id.set(cluster_id).unwrap();
        local
    }

    #[test]
    fn members_of_one_cluster_pass_born_or_not() {
        let remote = born(1, 10, 7).judge(&born(2, 20, 7).hello(1)).unwrap();
        assert_eq!((remote.node_id, remote.resp_address), (2, Some(Address::new("127.0.0.1", 7379))));
        assert!(born(1, 10, 7).judge(&local(3, 30).hello(1)).is_ok());
        assert!(local(1, 10).judge(&born(2, 20, 7).hello(1)).is_ok());
    }

    #[test]
    fn strangers_are_refused_with_a_reason() {
        let refused = |local: &Local, hello: &Hello| local.judge(hello).unwrap_err().0;
        let one = born(1, 10, 7);
        assert!(refused(&one, &born(2, 20, 8).hello(1)).contains("belongs to cluster 00000"));
        assert!(
            refused(&one, &born(2, 20, 7).hello(3)).contains("looks for node 3 here, but this is node 1")
        );
        assert!(refused(&one, &local(9, 90).hello(1)).contains("see the ids of --peers"));
        assert!(refused(&local(1, 10), &born(9, 90, 7).hello(1)).contains("see the ids of --peers"));
        assert!(one.judge(&born(9, 90, 7).hello(1)).is_ok(), "it may have joined later");
        assert!(refused(&one, &born(1, 11, 7).hello(1)).contains("two nodes are called 1"));
        let mut other = born(2, 20, 7).hello(1);
        (other.version, other.oldest_version) = (99, 98);
        assert!(refused(&one, &other).contains("cluster versions 98 to 99"));
        let mut other = born(2, 20, 7).hello(1);
        other.engine = "paxos".to_owned();
        assert!(refused(&one, &other).contains("has not its own data folder"));
        other.cluster_id = sixteen(8);
        assert!(
            refused(&one, &other).contains("belongs to cluster"),
            "which engine it has there is its own affair"
        );
        other.cluster_id = Bytes::new();
        let told = refused(&one, &other);
        assert!(
            told.ends_with("start node 2 on an empty folder with --engine raft, and else as before"),
            "{told}"
        );
        let mut other = born(2, 20, 7).hello(1);
        other.frame_bytes_max = 1 << 30;
        assert!(refused(&one, &other).contains("max-request-bytes"));
        let mut other = born(2, 20, 7).hello(1);
        other.disk_id = Bytes::new();
        assert!(one.judge(&other).is_err());
    }

    /// A node whose disk was wiped has forgotten its votes: with its old id it could elect a second leader of a
    /// term, and lose what it had acknowledged (tigerbeetle#2767).
    #[test]
    fn a_node_whose_disk_was_wiped_does_not_come_back_under_its_old_id() {
        let one = born(1, 10, 7);
        one.judge(&born(2, 20, 7).hello(1)).unwrap();
        let refusal = one.judge(&local(2, 21).hello(1)).unwrap_err().0;
        assert!(refusal.contains("node 2 comes with another disk"), "{refusal}");
        assert!(one.judge(&born(2, 20, 7).hello(1)).is_ok(), "the true one is still welcome");
    }

    #[test]
    fn a_hello_fits_into_its_frame() {
        let mut local = born(u64::MAX, u128::MAX, u128::MAX);
        local.resp_address = Address::new(&"h".repeat(253), 65_535);
        local.http_address = Address::new(&"h".repeat(253), 65_535);
        local.sentinel_address = Some(Address::new(&"h".repeat(253), 65_535));
        local.peer_address = Address::new(&"h".repeat(253), 65_535);
        assert!(prost::Message::encoded_len(&local.hello(u64::MAX)) <= HELLO_BYTES_MAX);
    }
}
