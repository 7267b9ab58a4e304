//! When the cluster's version rises, with nodes of two builds side by side.

use std::time::Duration;

use quorate_consensus::{Change, NodeId, Step};
use quorate_machine::ClusterVersion;
use quorate_node::{Action, Config};

use crate::cluster::{Cluster, integer, write};

const OLD: ClusterVersion = ClusterVersion::FIRST;
const NEW: ClusterVersion = ClusterVersion::REHEARSED;
/// Long enough for each node to tell all others about itself several times.
const A_WHILE: Duration = Duration::from_secs(2);

/// Three nodes, of which those named know the new version.
fn cluster(new: &'static [u64]) -> Cluster {
    Cluster::configured(3, |config: &mut Config| {
        config.version = if new.contains(&config.node.0) { NEW } else { OLD };
    })
}

fn versions(cluster: &Cluster) -> Vec<ClusterVersion> {
    assert!(cluster.nodes.values().all(|node| node.fatal.is_none()), "a node has ended");
    cluster.nodes.values().map(|node| node.driver.machine().version()).collect()
}

#[test]
fn cluster_rises_by_itself_once_all_members_know_the_version() {
    let mut cluster = cluster(&[1, 2, 3]);
    let leader = cluster.elect();
    cluster.pass(A_WHILE);
    assert_eq!(versions(&cluster), [NEW; 3]);
    let told =
        |node: u64| cluster.nodes[&node].notices.iter().filter(|text| text.contains("version is 2")).count();
    assert_eq!([told(1), told(2), told(3)], [1; 3], "each node tells it once");
    cluster.ask(leader, 1, vec![write("incr k")]);
    assert_eq!(cluster.answers(leader), [integer(1, 1)]);
}

#[test]
fn one_old_member_keeps_all_at_its_version_and_reads_what_the_new_ones_log() {
    for old_one in [1, 2, 3] {
        let new: &[u64] = [&[2, 3], &[1, 3], &[1, 2]][old_one - 1];
        let mut cluster = cluster(new);
        cluster.elect();
        for node in 1..=3 {
            cluster.ask(node, 1, vec![write("incr k")]);
            cluster.pass(A_WHILE);
            assert_eq!(cluster.answers(node), [integer(1, i64::try_from(node).unwrap())]);
        }
        assert_eq!(versions(&cluster), [OLD; 3]);
    }
}

/// It may be about to start with its old program.
#[test]
fn nothing_rises_while_a_member_is_silent() {
    let mut cluster = cluster(&[1, 2, 3]);
    cluster.cut_off.insert(3);
    cluster.elect();
    cluster.pass(A_WHILE);
    assert_eq!(versions(&cluster), [OLD; 3]);
    cluster.cut_off.remove(&3);
    cluster.pass(A_WHILE);
    assert_eq!(versions(&cluster), [NEW; 3]);
}

/// The leader's last message to it may carry what the others have logged since, which its program does not know: it ended as one
/// that cannot go on, and not as one that was removed.
#[test]
fn old_member_that_is_removed_need_not_know_what_follows() {
    let mut cluster = cluster(&[2, 3]);
    let leader = cluster.elect();
    assert_ne!(leader, 1, "the last one asks first");
    let remove = Step::Remove { node: NodeId(1) };
    cluster.cut_off.insert(1);
    cluster.ask(leader, 1, vec![Action::Reconfigure(Change(vec![remove]))]);
    cluster.pass(Duration::from_millis(400));
    let others = [2, 3].map(|node| cluster.nodes[&node].driver.machine().version());
    assert_eq!(others, [NEW; 2]);
    cluster.cut_off.clear();
    cluster.pass(A_WHILE);
    let removed = &cluster.nodes[&1];
    assert_eq!((&removed.fatal, removed.driver.machine().version()), (&None, OLD));
    let status = removed.driver.status(cluster.now).engine;
    assert!(status.commit > status.applied, "it has the entry that it cannot read");
    assert!(removed.notices.iter().any(|notice| notice.contains("was removed")), "{:?}", removed.notices);
}

#[test]
fn next_leader_goes_on_in_the_version_that_has_risen() {
    let mut cluster = cluster(&[1, 2, 3]);
    let first = cluster.elect();
    cluster.pass(A_WHILE);
    cluster.cut_off.insert(first);
    cluster.pass(A_WHILE);
    let second = cluster.elect();
    assert_ne!(first, second);
    cluster.ask(second, 1, vec![write("incr k")]);
    cluster.pass(A_WHILE);
    assert_eq!(cluster.answers(second), [integer(1, 1)]);
    assert_eq!(versions(&cluster), [NEW; 3]);
}
