//! Clusters whose members come and go.

mod support;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering},
    },
    thread,
};

use quorate::status::{Member, MemberKind};
use rustix::process::Signal;
use support::{
    Cluster, Process, ask, connect, eventually, free_ports, greet, http, run, serve, status, with_each_engine,
};

/// Nodes that were started one by one, each in a folder of its own.
struct Nodes {
    folder: tempfile::TempDir,
    port: u16,
    started: Vec<Process>,
}

impl Nodes {
    fn new(count: u16) -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), port: free_ports(count), started: Vec::new() }
    }

    fn port(&self, place: u16) -> u16 {
        self.port + place
    }

    /// Starts the next node; where it listens.
    fn start(&mut self, more: &[&str]) -> u16 {
        let place = u16::try_from(self.started.len()).expect("few");
        let node = self.run(place, more);
        self.started.push(node);
        self.port(place)
    }

    fn run(&self, place: u16, more: &[&str]) -> Process {
        let data = format!("data-{place}");
        let arguments = [&["--data-dir", &data], more].concat();
        serve(self.port(place), self.folder.path(), &arguments)
    }

    /// Starts the next node, which joins by the node at `port`.
    fn join(&mut self, port: u16, more: &[&str]) -> u16 {
        let others = format!("127.0.0.1:{port}");
        self.start(&[&["--join", &others], more].concat())
    }

    fn folder(&self) -> &Path {
        self.folder.path()
    }
}

fn members(port: u16) -> Option<Vec<Member>> {
    status(port).map(|status| status.members)
}

/// Waits until the node at `port` knows these voters, and no change is under way.
fn await_voters(port: u16, ids: &[u64]) {
    eventually(&format!("{ids:?} vote, by the node at {port}; it knows {:?}", members(port)), || {
        let members = members(port)?;
        let voters: Vec<u64> = members.iter().map(|member| member.node_id).collect();
        (voters == ids && members.iter().all(|member| member.kind == MemberKind::Voter)).then_some(())
    });
}

fn member(folder: &Path, port: u16, words: &[&str]) -> (i32, String, String) {
    let address = format!("127.0.0.1:{port}");
    run(&[&["member", "--addr", &address], words].concat(), folder)
}

/// Counts up at the node whose port is told, as fast as it answers, until it is stopped; how often it was answered, and
/// with how many errors.
struct Load {
    port: Arc<AtomicU16>,
    stop: Arc<AtomicBool>,
    counted: Arc<AtomicU64>,
    thread: thread::JoinHandle<Vec<String>>,
}

impl Load {
    fn start(port: u16) -> Self {
        let (told, stop) = (Arc::new(AtomicU16::new(port)), Arc::new(AtomicBool::new(false)));
        let counted = Arc::new(AtomicU64::new(0));
        let thread = {
            let (told, stop, counted) = (Arc::clone(&told), Arc::clone(&stop), Arc::clone(&counted));
            thread::spawn(move || {
                let mut errors = Vec::new();
                while !stop.load(Ordering::Acquire) {
                    let port = told.load(Ordering::Acquire);
                    let mut connection = connect(port);
                    while told.load(Ordering::Acquire) == port && !stop.load(Ordering::Acquire) {
                        match redis::cmd("INCR").arg("count").query::<u64>(&mut connection) {
                            Ok(_) => {
                                counted.fetch_add(1, Ordering::AcqRel);
                            }
                            Err(error) => {
                                errors.push(error.to_string());
                                break;
                            }
                        }
                    }
                }
                errors
            })
        };
        Self { port: told, stop, counted, thread }
    }

    /// From now on it counts at this node; returns once it does.
    fn move_to(&self, port: u16) {
        self.port.store(port, Ordering::Release);
        let before = self.counted.load(Ordering::Acquire);
        eventually("it counts on", || (self.counted.load(Ordering::Acquire) > before + 20).then_some(()));
    }

    /// How often it was answered, without a single error.
    fn end(self) -> u64 {
        self.stop.store(true, Ordering::Release);
        assert_eq!(self.thread.join().expect("it counts"), Vec::<String>::new());
        self.counted.load(Ordering::Acquire)
    }
}

/// The machines of a cluster are bought, and thrown away, one by one: its clients see nothing of it, and nothing is
/// lost.
#[test]
fn a_node_becomes_a_cluster_and_all_its_machines_are_replaced_under_load() {
    with_each_engine(|engine| {
        let mut nodes = Nodes::new(6);
        let first = nodes.start(&["--engine", engine.name()]);
        let load = Load::start(first);
        let second = nodes.join(first, &[]);
        await_voters(second, &[1, 2]);
        let third = nodes.join(second, &[]);
        await_voters(third, &[1, 2, 3]);

        let mut keeps = third;
        for replaced in [1_u64, 2, 3] {
            // Clients of the node that goes have moved on before.
            let survivor = if replaced == 3 { nodes.port(3) } else { keeps };
            load.move_to(survivor);
            let new = nodes.join(survivor, &["--join-as", &format!("replace:{replaced}")]);
            let ids: Vec<u64> = (replaced + 1..=replaced + 3).collect();
            await_voters(new, &ids);
            await_voters(survivor, &ids);
            let gone = &mut nodes.started[usize::try_from(replaced).unwrap() - 1];
            gone.await_line("was removed from the cluster");
            assert_eq!(gone.end().code(), Some(4));
            keeps = if replaced == 2 { new } else { keeps };
        }
        let counted = load.end();
        for place in 3..6 {
            assert_eq!(ask(nodes.port(place), &["GET", "count"]), Some(counted.to_string()));
        }
        eventually("somebody leads", || {
            let (code, text, _) = member(nodes.folder(), nodes.port(5), &["list"]);
            (code == 0 && text.contains("voter, leads")).then_some(())
        });
    });
}

#[test]
fn a_node_that_was_removed_while_it_was_away_learns_it_ends_and_disturbs_nobody() {
    with_each_engine(|engine| {
        let mut cluster = Cluster::with_engine(engine);
        let leader = cluster.leader(1, None);
        let away = if leader == 3 { 2 } else { 3 };
        cluster.node(away).signal(Signal::KILL);
        cluster.node(away).end();
        let (code, text, error) =
            member(cluster.folder.path(), cluster.port(leader), &["remove", &away.to_string()]);
        assert!(code == 0 && text.trim() == "done", "{text}{error}");
        // What a node tells of itself may be from just before it was elected.
        let term = eventually("it tells that it leads", || {
            let status = status(cluster.port(leader))?;
            status.leader.filter(|told| told.node_id == leader).map(|_| status.term)
        });

        cluster.start_node(away, &[]);
        cluster.node(away).await_line("was removed from the cluster");
        assert_eq!(cluster.node(away).end().code(), Some(4));
        cluster.node(away).await_line("its data folder can be deleted");
        let after = status(cluster.port(leader)).unwrap();
        assert_eq!((after.term, after.leader.map(|leader| leader.node_id)), (term, Some(leader)));
    });
}

#[test]
fn a_change_after_which_too_few_could_be_reached_is_refused_with_the_arithmetic() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let others: Vec<u64> = (1..=3).filter(|&node| node != leader).collect();
    cluster.node(others[0]).signal(Signal::KILL);
    cluster.node(others[0]).end();
    let remove = others[1].to_string();
    eventually("the leader misses it", || {
        let peers = status(cluster.port(leader))?.peers;
        peers.iter().find(|peer| peer.node_id == others[0] && peer.heard_ms_ago > Some(1000)).map(drop)
    });
    let (code, _, error) = member(cluster.folder.path(), cluster.port(leader), &["remove", &remove]);
    assert!(code == 1 && error.contains(&format!("reachable: n{leader}; needed: 2")), "{error}");
    assert_eq!(ask(cluster.port(leader), &["SET", "a", "1"]).as_deref(), Some("OK"));
    let refused = |words: &[&str], reason: &str| {
        let (code, text, error) = member(cluster.folder.path(), cluster.port(others[1]), words);
        assert!(code == 1 && error.contains(reason), "{words:?}: {text}{error}");
    };
    refused(&["remove", "9"], "n9 is no member");
    refused(&["promote", "1"], "n1 votes already");
    refused(&["add", "127.0.0.1:1", "--id", "2"], "n2 is a member already");
    refused(&["change", "promote"], "what is to change? Allowed is LIST");
}

#[test]
fn a_node_that_was_announced_joins_under_its_id_and_votes_when_it_is_promoted() {
    let mut nodes = Nodes::new(3);
    let first = nodes.start(&[]);
    assert_eq!(ask(first, &["SET", "a", "1"]).as_deref(), Some("OK"));
    let place = format!("127.0.0.1:{}", nodes.port(1) + 10_000);
    let (code, text, error) = member(nodes.folder(), first, &["add", &place, "--id", "7"]);
    assert!(code == 0 && text.contains("quorate serve --node-id 7 --join"), "{text}{error}");
    let (code, _, error) = member(nodes.folder(), first, &["promote", "7"]);
    assert!(code == 1 && error.contains("n7 has acknowledged nothing"), "{error}");
    let (code, _, error) = member(nodes.folder(), first, &["add", &place]);
    assert!(code == 1 && error.contains("is where n7 is reached"), "{error}");

    let second = nodes.join(first, &[]);
    nodes.started[1].await_line("is node 7 of cluster");
    assert_eq!(ask(second, &["GET", "a"]).as_deref(), Some("1"));
    let learns = |member: &Member| member.node_id == 7 && member.kind == MemberKind::Learner;
    eventually("it knows that it learns", || members(second)?.iter().find(|member| learns(member)).map(drop));
    let (_, text, _) = member(nodes.folder(), second, &["list"]);
    assert!(text.contains("learner"), "{text}");
    eventually("it has caught up", || {
        (member(nodes.folder(), second, &["promote", "7"]).0 == 0).then_some(())
    });
    await_voters(first, &[1, 7]);

    nodes.join(second, &["--join-as", "learner", "--node-id", "9"]);
    eventually("the third is a learner", || {
        members(second)?
            .iter()
            .find(|member| member.node_id == 9 && member.kind == MemberKind::Learner)
            .map(drop)
    });
}

#[test]
fn who_may_not_join_is_told_why() {
    let mut nodes = Nodes::new(4);
    let first = nodes.start(&[]);
    let second = nodes.join(first, &[]);
    await_voters(second, &[1, 2]);
    nodes.started[1].signal(Signal::KILL);
    nodes.started[1].end();
    std::fs::remove_dir_all(nodes.folder().join("data-1")).unwrap();

    let others = format!("127.0.0.1:{first}");
    let mut wiped = nodes.run(1, &["--join", &others]);
    let line = wiped.await_line("is the address of node 2, which votes");
    assert!(line.contains("--join-as replace:2"), "{line}");
    assert_eq!(wiped.end().code(), Some(2));

    let mut other = nodes.run(2, &["--join", &others, "--node-id", "1"]);
    other.await_line("node 1 is said to be at");
    assert_eq!(other.end().code(), Some(2));

    let nobody = format!("127.0.0.1:{}", nodes.port(3));
    let mut early = nodes.run(2, &["--join", &nobody]);
    early.await_line("tries again");
    early.signal(Signal::TERM);
    assert_eq!(early.end().code(), Some(0));
}

/// What it has to wait for may take long: clients must not have to wait for an answer, too.
#[test]
fn a_node_that_waits_to_be_let_in_says_so_at_its_doors_and_serves_the_same_connections_afterwards() {
    let mut cluster = Cluster::start_some(&[1, 2], &[]);
    assert_eq!(ask(cluster.port(1), &["SET", "a", "1"]).as_deref(), Some("OK"));
    cluster.node(2).signal(Signal::KILL);
    cluster.node(2).end();

    let port = free_ports(1);
    let by = format!("127.0.0.1:{}", cluster.port(1));
    let _joining = serve(port, cluster.folder.path(), &["--join", &by, "--data-dir", "joining"]);
    let mut client = greet(port);
    let refused = redis::cmd("SET").arg("a").arg("2").query::<()>(&mut client).unwrap_err();
    assert_eq!(refused.code(), Some("LOADING"), "{refused}");
    assert!(refused.to_string().contains("is joining a cluster"), "{refused}");
    let info: String = redis::cmd("INFO").arg("persistence").query(&mut client).unwrap();
    assert!(info.contains("\r\nloading:1\r\n"), "{info}");
    assert!(status(port).unwrap().joining.unwrap().contains(&by));
    assert!(http(port + 11_000, "/healthz").unwrap().contains(" 200 "));
    let ready = http(port + 11_000, "/readyz").unwrap();
    assert!(ready.contains(" 503 ") && ready.contains("has not joined its cluster yet"), "{ready}");

    cluster.start_node(2, &[]);
    let value = || redis::cmd("GET").arg("a").query::<Option<String>>(&mut client).ok().flatten();
    assert_eq!(eventually("it serves", value), "1");
    let status = status(port).unwrap();
    assert_eq!((status.joining, status.loading), (None, false));
    assert!(status.node_id > 3, "the others have their ids by their settings: {}", status.node_id);
    let told: Vec<String> = redis::cmd("CONFIG").arg("GET").arg("node-id").query(&mut client).unwrap();
    assert_eq!(told, ["node-id".to_owned(), status.node_id.to_string()]);
}

/// A machine gets another address, and no setting of the others knows it.
#[test]
fn a_node_that_has_moved_is_found_again() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let moved = if leader == 3 { 2 } else { 3 };
    cluster.node(moved).signal(Signal::KILL);
    cluster.node(moved).end();
    let place = format!("127.0.0.1:{}", free_ports(1) + 10_000);
    cluster.start_node(moved, &["--peer-listen", &place, "--peer-advertise", &place]);
    assert_eq!(ask(cluster.port(leader), &["SET", "a", "1"]).as_deref(), Some("OK"));
    assert_eq!(ask(cluster.port(moved), &["GET", "a"]).as_deref(), Some("1"));
    for node in 1..=3 {
        eventually("all members know its place", || {
            members(cluster.port(node))?.iter().find(|member| member.address == place).map(drop)
        });
    }
}

#[test]
fn a_node_of_priority_0_never_leads_and_a_preferred_one_does() {
    let mut nodes = Nodes::new(3);
    let first = nodes.start(&[]);
    let second = nodes.join(first, &["--priority", "0"]);
    await_voters(second, &[1, 2]);
    let third = nodes.join(first, &["--priority", "5"]);
    await_voters(third, &[1, 2, 3]);
    let (code, _, error) =
        run(&["leader", "transfer", "--to", "2", "--addr", &format!("127.0.0.1:{first}")], nodes.folder());
    assert!(code == 1 && error.contains("node 2 has not taken over"), "{error}");
    nodes.started[0].signal(Signal::TERM);
    eventually("the preferred node leads", || {
        status(second)?.leader.filter(|leader| leader.node_id == 3).map(drop)
    });
    assert_eq!(ask(second, &["SET", "a", "1"]).as_deref(), Some("OK"));
}

/// What the node at `port` says of a witness and of one that is set aside.
fn witness_and_aside(port: u16) -> Option<(Vec<u64>, Vec<u64>)> {
    let members = members(port)?;
    let those = |fits: &dyn Fn(&Member) -> bool| {
        members.iter().filter(|member| fits(member)).map(|member| member.node_id).collect()
    };
    let votes = |member: &Member| member.kind == MemberKind::Witness && !member.promotes;
    Some((those(&votes), those(&|member| member.set_aside)))
}

/// Two disks hold the data. Whichever is lost, clients of the other see no error, nothing is lost, and the operator is told
/// that one disk alone holds it until another has caught up.
#[test]
fn two_nodes_and_a_witness_survive_the_loss_of_either_disk() {
    let mut nodes = Nodes::new(4);
    let first = nodes.start(&[]);
    let second = nodes.join(first, &[]);
    await_voters(second, &[1, 2]);
    let witness = nodes.join(second, &["--join-as", "witness"]);
    let whole = Some((vec![3], vec![]));
    eventually("the witness votes", || (witness_and_aside(second) == whole).then_some(()));

    let mut counted = 0;
    for (place, lost) in [(0_u16, 1_u64), (1, 2)] {
        let (here, heir) = (nodes.port(place), nodes.port(1 - place));
        let (code, _, error) = run(
            &["leader", "transfer", "--to", &lost.to_string(), "--addr", &format!("127.0.0.1:{here}")],
            nodes.folder(),
        );
        assert_eq!(code, 0, "{error}");
        let load = Load::start(heir);
        let after = |enough: u64| {
            eventually("it counts", || (load.counted.load(Ordering::Acquire) > enough).then_some(()));
        };
        after(20);
        nodes.started[usize::from(place)].signal(Signal::KILL);
        nodes.started[usize::from(place)].end();
        let before = load.counted.load(Ordering::Acquire);
        after(before + 20);
        // A status is told a moment after what it is about.
        let alone = Some((vec![3], vec![lost]));
        eventually("it says who is set aside", || (witness_and_aside(heir) == alone).then_some(()));
        let faults = status(heir).unwrap().faults;
        assert_eq!(
            faults,
            [format!(
                "node {lost} is set aside until it has caught up: node {} alone holds the data",
                3 - lost
            )]
        );
        counted += load.end();

        nodes.started[usize::from(place)] = nodes.run(place, &[]);
        eventually("both disks hold the data again", || (witness_and_aside(heir) == whole).then_some(()));
        assert_eq!(ask(here, &["GET", "count"]), Some(counted.to_string()));
    }

    // One does not come back: another machine takes its place.
    nodes.started[0].signal(Signal::KILL);
    nodes.started[0].end();
    let fourth = nodes.join(second, &["--join-as", "replace:1"]);
    eventually("the new node has the place", || {
        let ids: Vec<u64> = members(fourth)?.iter().map(|member| member.node_id).collect();
        (ids == [2, 3, 4] && witness_and_aside(fourth) == whole).then_some(())
    });
    assert_eq!(ask(fourth, &["GET", "count"]), Some(counted.to_string()));

    let error = redis::cmd("GET").arg("count").query::<u64>(&mut connect(witness)).unwrap_err();
    assert!(error.to_string().contains("this node is a witness and keeps no data: ask another"), "{error}");
    let log = status(witness).unwrap().log;
    assert_eq!(log.first, log.last + 1, "its log holds entries");
}
