//! One test for each cited paragraph of the Raft paper, sections 5 to 8 (extended version, 2014). The text of each
//! says in our words what the paper demands there.

use std::time::Duration;

use bytes::Bytes;
use quorate_consensus::{
    Engine as _, Entry, Index, Input, Membership, NodeId, Payload, Term,
    engine::{ProposalOutcome, ReadOutcome, RoleKind},
    raft::message::{Body, Message, Position},
};

use crate::cluster::{Cluster, Envelope};

fn at(index: u64, term: u64) -> Position {
    Position { index: Index(index), term: Term(term) }
}

/// A cluster that n1 leads in term 1, with its first entry committed everywhere.
fn led_by_n1(voters: u64) -> Cluster {
    let mut cluster = Cluster::new(voters);
    cluster.elect(1);
    cluster
}

fn message(term: u64, body: Body) -> Message {
    Message { term: Term(term), body }
}

fn hear(cluster: &mut Cluster, to: u64, from: u64, message: Message) {
    cluster.input(NodeId(to), Input::Message { from: NodeId(from), message });
}

fn kind(cluster: &Cluster, id: u64) -> RoleKind {
    cluster.status(id).role.kind
}

fn term(cluster: &Cluster, id: u64) -> Term {
    cluster.status(id).role.term
}

fn commit(cluster: &Cluster, id: u64) -> Index {
    cluster.status(id).commit
}

/// What is on its way to a node, taken out of the network.
fn taken(cluster: &mut Cluster, to: u64) -> Vec<Body> {
    let network = std::mem::take(&mut cluster.network);
    let (taken, left): (Vec<Envelope>, Vec<_>) =
        network.into_iter().partition(|envelope| envelope.to == NodeId(to));
    cluster.network = left.into();
    taken.into_iter().map(|envelope| envelope.message.body).collect()
}

/// 5.1, third paragraph: terms are exchanged with every message; who sees a greater one adopts it, and a leader or
/// candidate that does so follows from then on.
#[test]
fn section_5_1_leader_with_an_old_term_becomes_follower() {
    let mut cluster = led_by_n1(3);
    hear(&mut cluster, 1, 2, message(7, Body::Outdated));
    assert_eq!((kind(&cluster, 1), term(&cluster, 1)), (RoleKind::Follower, Term(7)));
}

/// 5.1, third paragraph: a request with an old term is turned down.
#[test]
fn section_5_1_requests_of_an_old_term_are_rejected() {
    let mut cluster = led_by_n1(3);
    hear(&mut cluster, 3, 1, message(9, Body::Outdated));
    cluster.persist(NodeId(3));
    hear(&mut cluster, 3, 2, message(8, Body::Vote { last: at(9, 8), transfer: true }));
    let append =
        Body::Append { base: at(1, 1), entries: Vec::new(), commit: Index(1), stamp: Default::default() };
    hear(&mut cluster, 3, 1, message(1, append));
    assert_eq!(taken(&mut cluster, 2), [Body::VoteAnswer { granted: false }]);
    assert_eq!(taken(&mut cluster, 1), [Body::Outdated]);
    assert_eq!(cluster.status(3).role.leader, None);
}

/// 5.2, first paragraph: nodes start as followers, and begin an election when they have heard nobody for an election
/// time-out.
#[test]
fn section_5_2_followers_elect_a_leader_when_they_hear_none() {
    let mut cluster = Cluster::new(3);
    assert!((1..=3).all(|id| kind(&cluster, id) == RoleKind::Follower));
    cluster.run(Duration::from_millis(299));
    assert_eq!(cluster.leader(), None);
    cluster.run(Duration::from_millis(900));
    assert!(cluster.leader().is_some());
}

/// 5.2, first paragraph: heartbeats alone keep a leader in office.
#[test]
fn section_5_2_heartbeats_keep_the_leader_in_office() {
    let mut cluster = led_by_n1(3);
    cluster.run(Duration::from_secs(10));
    assert_eq!((cluster.leader(), term(&cluster, 3)), (Some(1), Term(1)));
}

/// 5.2, third paragraph: a node has one vote in a term, and gives it to who asks first.
#[test]
fn section_5_2_one_vote_a_term() {
    let mut cluster = Cluster::new(3);
    for candidate in [1, 2, 1] {
        hear(&mut cluster, 3, candidate, message(1, Body::Vote { last: at(0, 0), transfer: false }));
    }
    cluster.settle();
    let votes: Vec<&String> = cluster.trace.iter().filter(|line| line.starts_with("n3->")).collect();
    let votes: Vec<&str> = votes.iter().map(|line| line.as_str()).collect();
    assert_eq!(
        votes,
        ["n3->n2 VoteAnswer t1 refused", "n3->n1 VoteAnswer t1 granted", "n3->n1 VoteAnswer t1 granted"]
    );
}

/// 5.2, fourth paragraph: a candidate that hears a leader of its own term follows it.
#[test]
fn section_5_2_candidate_recognises_the_leader_of_its_term() {
    let mut cluster = Cluster::new(3);
    cluster.input(NodeId(1), Input::Campaign);
    assert_eq!(kind(&cluster, 1), RoleKind::Candidate);
    let (stamp, preferred) = Default::default();
    let heartbeat = Body::Heartbeat { commit: Index(0), round: 0, stamp, preferred };
    hear(&mut cluster, 1, 2, message(1, heartbeat));
    assert_eq!(kind(&cluster, 1), RoleKind::Follower);
    assert_eq!(cluster.status(1).role.leader, Some(NodeId(2)));
}

/// 5.2, sixth paragraph: election time-outs are random, so that votes are seldom split.
#[test]
fn section_5_2_election_timeouts_are_random_within_their_bounds() {
    let timeouts: std::collections::BTreeSet<Duration> = (0..50)
        .map(|seed| {
            let cluster = Cluster::with(3, 0, |config| config.seed = seed);
            let raft = cluster.node(1).engine.as_ref().expect("started");
            raft.deadline().since(cluster.now)
        })
        .collect();
    assert!(timeouts.len() > 40);
    let bounds = Duration::from_millis(300)..Duration::from_millis(600);
    assert!(timeouts.iter().all(|timeout| bounds.contains(timeout)));
}

/// 5.3, first paragraph: the leader appends, replicates in parallel, and applies what is safely replicated.
#[test]
fn section_5_3_an_entry_is_applied_when_a_majority_has_it() {
    let mut cluster = led_by_n1(3);
    cluster.partition(&[3]);
    cluster.propose(1, "a");
    assert_eq!(commit(&cluster, 1), Index(1));
    cluster.settle();
    assert_eq!(commit(&cluster, 1), Index(2));
    assert_eq!(cluster.node(1).machine, ["a"]);
}

/// 5.3, first paragraph: the leader repeats itself until each follower has everything, however long that takes.
#[test]
fn section_5_3_leader_retries_until_all_followers_have_all_entries() {
    let mut cluster = led_by_n1(3);
    cluster.crash(NodeId(3), 0, 0);
    cluster.propose(1, "a");
    cluster.run(Duration::from_secs(60));
    cluster.start(NodeId(3));
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.node(3).machine, ["a"]);
}

/// 5.3, third paragraph: followers apply what they learn to be committed. A commit index that lies beyond what the
/// follower is known to share with the leader is cut there.
#[test]
fn section_5_3_follower_commits_only_what_it_shares_with_the_leader() {
    let mut cluster = led_by_n1(3);
    cluster.propose(1, "a");
    let appends = taken(&mut cluster, 3);
    cluster.settle();
    assert_eq!(commit(&cluster, 1), Index(2));
    let bare =
        Body::Append { base: at(1, 1), entries: Vec::new(), commit: Index(2), stamp: Default::default() };
    hear(&mut cluster, 3, 1, message(1, bare));
    assert_eq!(commit(&cluster, 3), Index(1));
    appends.into_iter().for_each(|append| hear(&mut cluster, 3, 1, message(1, append)));
    cluster.run(Duration::from_millis(100));
    assert_eq!(commit(&cluster, 3), Index(2));
}

/// 5.3, fourth and fifth paragraphs: new entries are refused unless the entry before them is there, with its term.
#[test]
fn section_5_3_consistency_check() {
    let mut cluster = led_by_n1(3);
    for (base, fits) in [(at(1, 1), true), (at(2, 1), false), (at(1, 0), false)] {
        let append = Body::Append { base, entries: Vec::new(), commit: Index(0), stamp: Default::default() };
        hear(&mut cluster, 3, 1, message(1, append));
        cluster.persist(NodeId(3));
        let accepted = matches!(taken(&mut cluster, 1).last(), Some(Body::AppendAccepted { .. }));
        assert_eq!(accepted, fits, "base {base}");
    }
}

/// 5.3, seventh and eighth paragraphs: the leader makes the followers' logs equal to its own. These are the logs of
/// figure 7: six followers that lack entries, have extra ones, or both, and the leader of term 8.
#[test]
fn section_5_3_figure_7_followers_logs_are_made_equal() {
    let leader: &[u64] = &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6];
    let followers: [&[u64]; 6] = [
        &[1, 1, 1, 4, 4, 5, 5, 6, 6],
        &[1, 1, 1, 4],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6],
        &[1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7],
        &[1, 1, 1, 4, 4, 4, 4],
        &[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3],
    ];
    let mut cluster = Cluster::new(7);
    cluster.restore(1, leader, 7);
    for (id, terms) in (2..).zip(followers) {
        cluster.restore(id, terms, 7);
    }
    cluster.input(NodeId(1), Input::Campaign);
    cluster.run(Duration::from_millis(200));
    assert_eq!(cluster.leader(), Some(1));
    for id in 2..=7 {
        assert_eq!(cluster.log_text(id), cluster.log_text(1), "n{id}");
    }
}

/// 5.3, last paragraph: a leader only ever appends to its own log.
#[test]
fn section_5_3_leader_only_appends() {
    let mut cluster = led_by_n1(3);
    for number in 0..20 {
        cluster.propose(1, &format!("c{number}"));
    }
    cluster.run(Duration::from_secs(1));
    let writes = cluster.trace.iter().filter(|line| line.starts_with("n1 writes"));
    assert!(writes.clone().count() > 20);
    assert!(writes.clone().all(|line| !line.contains("truncate")));
}

/// 5.4.1, second and third paragraphs: no vote for a log that is behind the voter's own: by the later last term, and
/// among equal terms by the length.
#[test]
fn section_5_4_1_votes_only_for_logs_that_are_up_to_date() {
    for (last, granted) in
        [(at(3, 2), true), (at(2, 2), true), (at(1, 2), false), (at(9, 1), false), (at(1, 3), true)]
    {
        let mut cluster = Cluster::new(3);
        cluster.restore(3, &[1, 2], 2);
        hear(&mut cluster, 3, 1, message(4, Body::Vote { last, transfer: false }));
        cluster.persist(NodeId(3));
        assert_eq!(taken(&mut cluster, 1), [Body::VoteAnswer { granted }], "{last}");
    }
}

/// 5.4.2: counting commits only entries of the leader's own term; older ones are committed along with them
/// (hazard 1).
#[test]
fn section_5_4_2_old_entries_commit_only_with_a_new_one() {
    let mut cluster = Cluster::new(3);
    cluster.restore(1, &[1, 1], 1);
    cluster.restore(2, &[1, 1], 1);
    cluster.input(NodeId(1), Input::Campaign);
    cluster.persist(NodeId(1));
    hear(&mut cluster, 1, 2, message(2, Body::VoteAnswer { granted: true }));
    assert_eq!(kind(&cluster, 1), RoleKind::Leader);
    hear(&mut cluster, 1, 2, message(2, Body::AppendAccepted { matched: Index(2) }));
    cluster.persist(NodeId(1));
    assert_eq!(commit(&cluster, 1), Index(0), "two of three have entry 2, of term 1");
    cluster.settle();
    assert_eq!(commit(&cluster, 1), Index(3));
}

/// 5.4.3: leader completeness. A node without the committed entry cannot win, whatever it tries.
#[test]
fn section_5_4_3_only_a_node_with_all_committed_entries_wins() {
    let mut cluster = led_by_n1(3);
    cluster.partition(&[3]);
    cluster.propose(1, "a");
    cluster.settle();
    cluster.crash(NodeId(1), 9, 0);
    cluster.cut.clear();
    cluster.run(Duration::from_secs(3));
    assert_eq!(cluster.leader(), Some(2));
}

/// 5.5: requests can be repeated without harm.
#[test]
fn section_5_5_repeated_requests_cause_no_harm() {
    let mut cluster = led_by_n1(3);
    cluster.propose(1, "a");
    let copies: Vec<Envelope> = cluster.network.iter().cloned().collect();
    cluster.propose(1, "b");
    cluster.settle();
    let before = cluster.log_text(2);
    copies.into_iter().for_each(|envelope| cluster.deliver(envelope));
    cluster.settle();
    assert_eq!(cluster.log_text(2), before);
    assert_eq!(cluster.node(2).machine, ["a", "b"]);
}

/// 5.6: elections succeed while messages are faster than time-outs, here a sixth of one.
#[test]
fn section_5_6_election_with_slow_messages() {
    let mut cluster = Cluster::new(3);
    for _ in 0..100 {
        cluster.now = cluster.now.after(Duration::from_millis(50));
        let arriving: Vec<Envelope> = cluster.network.drain(..).collect();
        arriving.into_iter().for_each(|envelope| cluster.deliver(envelope));
        cluster.ids().into_iter().for_each(|id| while cluster.persist(id) {});
        cluster.wake();
    }
    assert!(cluster.leader().is_some());
}

/// 6, fourth paragraph: the configuration in force is the newest in the log, committed or not (hazard 3), also after a
/// restart.
#[test]
fn section_6_latest_configuration_in_the_log_is_in_force() {
    let wider = Membership::of_voters((1..=4).map(NodeId));
    let entry = Entry {
        index: Index(1),
        term: Term(1),
        stamp: Default::default(),
        payload: Payload::Membership(Box::new(wider.clone())),
    };
    let mut cluster = Cluster::with(2, 1, |_| {});
    let append =
        Body::Append { base: at(0, 0), entries: vec![entry], commit: Index(0), stamp: Default::default() };
    hear(&mut cluster, 3, 1, message(1, append));
    assert_eq!(cluster.status(3).membership, wider);
    cluster.persist(NodeId(3));
    cluster.crash(NodeId(3), 0, 0);
    cluster.start(NodeId(3));
    assert_eq!(cluster.status(3).membership, wider);
}

/// 6: a learner may have been promoted without knowing it, so it votes when it is asked (hazard 4); it never stands.
#[test]
fn section_6_learner_votes_when_asked() {
    let mut cluster = Cluster::with(3, 1, |_| {});
    hear(&mut cluster, 4, 1, message(1, Body::Vote { last: at(0, 0), transfer: false }));
    cluster.persist(NodeId(4));
    assert_eq!(taken(&mut cluster, 1), [Body::VoteAnswer { granted: true }]);
    cluster.run(Duration::from_secs(2));
    assert_ne!(kind(&cluster, 4), RoleKind::Leader);
}

/// 6, last paragraph: a node that heard its leader within an election time-out neither votes nor changes its term.
#[test]
fn section_6_votes_are_disregarded_while_the_leader_is_heard() {
    let mut cluster = led_by_n1(3);
    for id in [1, 2] {
        hear(&mut cluster, id, 3, message(5, Body::Vote { last: at(9, 4), transfer: false }));
        assert_eq!(term(&cluster, id), Term(1));
    }
    assert!(cluster.network.is_empty());
}

/// 7, fifth paragraph: who needs entries that the leader has discarded gets a snapshot (hazard 16).
#[test]
fn section_7_lagging_follower_gets_a_snapshot() {
    let mut cluster = Cluster::with(3, 0, |config| config.snapshot_chunk_bytes = 7);
    cluster.elect(1);
    cluster.partition(&[3]);
    for number in 0..10 {
        cluster.propose(1, &format!("c{number}"));
    }
    cluster.settle();
    cluster.make_snapshot(NodeId(1), 0);
    cluster.cut.clear();
    cluster.run(Duration::from_secs(1));
    assert_eq!(cluster.node(3).machine, cluster.node(1).machine);
    assert_eq!(cluster.status(3).first_index, Index(12));
}

/// 7, sixth paragraph: a snapshot of what the follower has already leaves the entries after it alone. Here it leaves
/// all of them, and is acknowledged.
#[test]
fn section_7_snapshot_of_a_prefix_keeps_the_entries_after_it() {
    let mut cluster = led_by_n1(3);
    cluster.propose(1, "a");
    cluster.propose(1, "b");
    cluster.settle();
    cluster.make_snapshot(NodeId(1), 0);
    cluster.propose(1, "c");
    cluster.settle();
    let (meta, data) = cluster.node(1).snapshot.clone().expect("just made");
    let before = cluster.log_text(3);
    let chunk = Body::SnapshotChunk { meta, offset: 0, data: Bytes::from(data) };
    hear(&mut cluster, 3, 1, message(1, chunk));
    assert_eq!(cluster.log_text(3), before);
    assert_eq!(taken(&mut cluster, 1), [Body::AppendAccepted { matched: Index(3) }]);
}

/// 8, third paragraph: to learn what is committed, a leader begins its term with a blank entry. The very first one
/// says who the members are instead.
#[test]
fn section_8_leader_begins_its_term_with_a_blank_entry() {
    let mut cluster = led_by_n1(3);
    cluster.input(NodeId(1), Input::Transfer { to: NodeId(2) });
    cluster.settle();
    let [birth, first] = [1, 2].map(|index| &cluster.history[&Index(index)]);
    assert_eq!(birth.payload, Payload::Membership(Box::new(Membership::of_voters([1, 2, 3].map(NodeId)))));
    assert_eq!((first.term, &first.payload), (Term(2), &Payload::Blank));
}

/// 8, third paragraph: before a leader serves a read, a majority confirms that it still leads (hazard 11).
#[test]
fn section_8_reads_need_a_majority() {
    let mut cluster = led_by_n1(3);
    let served = cluster.read(1);
    cluster.settle();
    assert!(matches!(cluster.read_outcomes[&served], ReadOutcome::Ready { index: Index(1), .. }));
    cluster.partition(&[1]);
    let waiting = cluster.read(1);
    cluster.settle();
    assert!(!cluster.read_outcomes.contains_key(&waiting));
    cluster.run(Duration::from_millis(400));
    assert_eq!(cluster.read_outcomes[&waiting], ReadOutcome::Dropped);
}

/// 8, first paragraph: clients turn to the leader; others refuse, and know who it is.
#[test]
fn section_8_followers_refuse_proposals() {
    let mut cluster = led_by_n1(3);
    let proposal = cluster.propose(2, "a");
    assert_eq!(cluster.proposal_outcomes[&proposal], ProposalOutcome::NotLeader);
    assert_eq!(cluster.status(2).role.leader, Some(NodeId(1)));
}

/// Figure 2: term, vote and log survive a restart; everything else is learned anew.
#[test]
fn figure_2_restart_keeps_term_vote_and_log() {
    let mut cluster = led_by_n1(3);
    cluster.propose(1, "a");
    cluster.settle();
    let before = cluster.log_text(1);
    cluster.crash(NodeId(1), 9, 0);
    cluster.start(NodeId(1));
    assert_eq!((kind(&cluster, 1), term(&cluster, 1)), (RoleKind::Follower, Term(1)));
    assert_eq!(cluster.log_text(1), before);
    hear(&mut cluster, 1, 2, message(1, Body::Vote { last: at(9, 1), transfer: false }));
    assert_eq!(taken(&mut cluster, 2), [Body::VoteAnswer { granted: false }]);
}
