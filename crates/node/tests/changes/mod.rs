//! Changes of members: who is asked, who answers, and what is told when something gets lost.

use std::time::Duration;

use quorate_consensus::{Address, Change, NodeId, Purpose, Step};
use quorate_machine::Reply;
use quorate_node::{Action, Answer, Input};

use crate::cluster::{Cluster, bulk, integer, is_error, read, write};

fn change(steps: Vec<Step>) -> Action {
    Action::Reconfigure(Change(steps))
}

fn remove(node: u64) -> Step {
    Step::Remove { node: NodeId(node) }
}

fn add(purpose: Purpose) -> Step {
    Step::Add { node: None, address: None, purpose }
}

fn done(conn: u64) -> (u64, Answer) {
    (conn, Answer::Reply(Reply::Status("OK".into())))
}

fn voters(cluster: &mut Cluster, node: u64) -> Vec<u64> {
    let now = cluster.now;
    let membership = cluster.node(node).driver.status(now).engine.membership;
    assert!(!membership.is_joint());
    membership.voters.iter().map(|voter| voter.0).collect()
}

#[test]
fn change_is_answered_at_any_node_when_it_is_done_and_what_follows_waits_for_it() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    let other = 6 - leader - follower;
    cluster.ask(follower, 1, vec![write("set a 1"), change(vec![remove(other)]), read("get a")]);
    cluster.pass(Duration::from_millis(300));
    let answers = cluster.answers(follower);
    assert_eq!(answers[1..], [done(1), bulk(1, "1")]);
    let mut both = [leader, follower];
    both.sort_unstable();
    for node in both {
        assert_eq!(voters(&mut cluster, node), both);
    }
    let told = cluster.node(other).notices.iter().any(|notice| notice.contains("was removed"));
    assert!(told, "it learned it from the leader's farewell");
}

#[test]
fn new_members_are_told_by_their_ids_and_catch_up() {
    let (mut cluster, _) = Cluster::with_leader(1);
    cluster.ask(1, 1, vec![change(vec![add(Purpose::Vote), add(Purpose::Learn)])]);
    cluster.pass(Duration::from_millis(100));
    let ids = [2, 3].map(Reply::Integer).to_vec();
    assert_eq!(cluster.answers(1), [(1, Answer::Reply(Reply::Array(ids)))]);
    cluster.join(2);
    cluster.join(3);
    cluster.pass(Duration::from_secs(1));
    assert_eq!(voters(&mut cluster, 3), [1, 2]);
    cluster.ask(3, 2, vec![change(vec![add(Purpose::Learn)])]);
    cluster.pass(Duration::from_millis(300));
    assert_eq!(cluster.answers(3), [integer(2, 4)]);
}

#[test]
fn refused_change_is_told_in_words_and_changes_nothing() {
    let (mut cluster, _) = Cluster::with_leader(3);
    let follower = cluster.follower();
    for (steps, reason) in [
        (vec![remove(9)], "n9 is no member"),
        (vec![remove(1), remove(1)], "two steps of the change name n1"),
        (vec![], "the change has no steps"),
    ] {
        cluster.ask(follower, 1, vec![change(steps)]);
        cluster.pass(Duration::from_millis(100));
        let [(1, Answer::Reply(Reply::Error(text)))] = &cluster.answers(follower)[..] else {
            panic!("an error")
        };
        let text = String::from_utf8_lossy(text);
        assert_eq!(text, format!("ERR the members stay as they are: {reason}"));
    }
    assert_eq!(voters(&mut cluster, follower), [1, 2, 3]);
}

#[test]
fn hazard_27_lost_question_is_told_as_unknown_and_no_leader_as_not_applied() {
    let (mut cluster, _) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.cut_off.insert(follower);
    cluster.ask(follower, 1, vec![change(vec![add(Purpose::Learn)])]);
    cluster.pass(Duration::from_secs(16));
    let answers = cluster.answers(follower);
    assert!(is_error(&answers[0].1, "ERR it is not known whether the members have changed"), "{answers:?}");
    cluster.ask(follower, 1, vec![change(vec![add(Purpose::Learn)])]);
    cluster.pass(Duration::from_secs(16));
    let answers = cluster.answers(follower);
    assert!(is_error(&answers[0].1, "CLUSTERDOWN no leader answered in time"), "{answers:?}");
}

#[test]
fn change_that_another_leader_overtakes_is_told_as_not_made() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.cut_off.insert(leader);
    cluster.ask(leader, 1, vec![change(vec![add(Purpose::Learn)])]);
    cluster.elect();
    cluster.cut_off.clear();
    cluster.pass(Duration::from_secs(1));
    let answers = cluster.answers(leader);
    assert!(
        is_error(&answers[0].1, "TRYAGAIN the members stay as they are: another leader took over"),
        "{answers:?}"
    );
    assert_eq!(voters(&mut cluster, leader), [1, 2, 3]);
}

#[test]
fn change_asked_of_a_leader_that_has_just_begun_waits_for_it() {
    let mut cluster = Cluster::new(3);
    cluster.ask(1, 1, vec![change(vec![add(Purpose::Learn)])]);
    cluster.elect();
    cluster.pass(Duration::from_secs(1));
    assert_eq!(cluster.answers(1), [integer(1, 4)]);
}

#[test]
fn leader_puts_down_where_members_say_that_they_are() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    let address = Address("h:1".into());
    cluster.input(leader, Input::Located { peer: NodeId(follower), address: address.clone() });
    cluster.input(leader, Input::Located { peer: NodeId(9), address: Address("h:9".into()) });
    cluster.pass(Duration::from_secs(1));
    for node in 1..=3 {
        let now = cluster.now;
        let known = cluster.node(node).driver.status(now).engine.membership.addresses;
        assert_eq!(known, [(NodeId(follower), address.clone())].into());
    }
}

/// Its clients could be answered by nobody, since it applies nothing any more.
#[test]
fn what_a_removed_node_forwards_is_ignored() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    let other = 6 - leader - follower;
    cluster.cut_off.insert(other);
    cluster.ask(leader, 1, vec![change(vec![remove(other)])]);
    cluster.pass(Duration::from_secs(2));
    assert_eq!(cluster.answers(leader), [done(1)]);
    cluster.cut_off.clear();
    // It takes the one who leads for its leader still, as far as anybody can tell.
    cluster.ask(other, 2, vec![write("set a 1")]);
    cluster.pass(Duration::from_secs(2));
    cluster.ask(leader, 3, vec![read("exists a")]);
    cluster.pass(Duration::from_millis(100));
    assert_eq!(cluster.answers(leader), [integer(3, 0)]);
}

/// A node that asked to join took it for its admission, at a leader that was cut off, while the others gave the id away.
#[test]
fn what_is_only_appended_is_not_told_as_agreed_on() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    cluster.cut_off.insert(leader);
    cluster.ask(leader, 1, vec![change(vec![add(Purpose::Vote)])]);
    let now = cluster.now;
    let status = cluster.node(leader).driver.status(now);
    assert!(status.engine.membership.contains(NodeId(4)) && !status.membership.contains(NodeId(4)));
}

/// The machine of a member died, and an operator says where its data are now; what it told itself is history.
#[test]
fn place_that_an_operator_has_ordered_is_not_taken_back() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    let (told, ordered) = (Address("h:1".into()), Address("h:2".into()));
    cluster.input(leader, Input::Located { peer: NodeId(follower), address: told });
    cluster.pass(Duration::from_secs(1));
    let node = NodeId(follower);
    cluster.ask(leader, 1, vec![change(vec![Step::Move { node, address: ordered.clone() }])]);
    cluster.pass(Duration::from_secs(2));
    assert_eq!(cluster.answers(leader), [done(1)]);
    let now = cluster.now;
    let known = cluster.node(leader).driver.status(now).membership.addresses;
    assert_eq!(known, [(node, ordered)].into());
}

#[test]
fn change_waits_while_another_is_under_way() {
    let (mut cluster, leader) = Cluster::with_leader(3);
    let follower = cluster.follower();
    cluster.ask(leader, 1, vec![change(vec![Step::Demote { node: NodeId(follower) }])]);
    cluster.ask(follower, 2, vec![change(vec![add(Purpose::Learn)])]);
    cluster.ask(leader, 3, vec![change(vec![add(Purpose::Learn)])]);
    cluster.pass(Duration::from_secs(2));
    let (first, second) = (cluster.answers(leader), cluster.answers(follower));
    assert_eq!(first[0], done(1));
    let in_some_order = [(integer(3, 4), integer(2, 5)), (integer(3, 5), integer(2, 4))];
    assert!(in_some_order.contains(&(first[1].clone(), second[0].clone())), "{first:?} {second:?}");
}
