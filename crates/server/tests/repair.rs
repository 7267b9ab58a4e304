//! Disks that rot: a node comes back by itself from what the others have, and never with a wrong answer. HAZARDS 20, 23.

#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]

mod support;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use rustix::process::Signal;
use support::{
    Cluster, Process, ask, contents, eventually, free_ports, greet, run, serve, status, with_each_engine,
};

/// So small that some megabytes fill several segments, and snapshots that the log begins behind.
const SMALL: [&str; 10] = [
    "--segment-bytes",
    "4mb",
    "--snapshot-log-bytes",
    "4mb",
    "--max-request-bytes",
    "64kb",
    "--max-message-bytes",
    "64kb",
    "--max-arguments",
    "256",
];

/// The key whose value says how much was written, and is never to be seen older.
const COUNT: &str = "count";

/// Writes some values, and then how often that was done; the new count.
fn write(port: u16, count: u64) -> u64 {
    let value = "v".repeat(30_000);
    let mut pipeline = redis::pipe();
    for number in 0..40 {
        pipeline.cmd("SET").arg(format!("key:{number}")).arg(format!("{value}{count}")).ignore();
    }
    pipeline.cmd("SET").arg(COUNT).arg(count + 1).ignore();
    eventually("a write is acknowledged", || pipeline.exec(&mut support::connect(port)).ok());
    count + 1
}

fn applied(port: u16) -> Option<u64> {
    status(port).map(|status| status.log.applied)
}

/// The names of the files in a node's folder that hold what it has promised and acknowledged.
fn files(data: &Path) -> Vec<PathBuf> {
    let within = |folder: &Path| -> Vec<PathBuf> {
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect()
    };
    let mut files = within(data);
    files.extend(within(&data.join("snapshots")));
    let is_meant = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with("segment-") || name.starts_with("hardstate-") || name.ends_with(".snapshot")
    };
    files.retain(is_meant);
    files.sort();
    files
}

/// Flips a bit at `part` of eight of what was written into a file; false if nothing was.
fn damage(file: &Path, part: usize) -> bool {
    let mut bytes = fs::read(file).unwrap();
    let Some(end) = bytes.iter().rposition(|&byte| byte != 0) else { return false };
    bytes[end * part / 8] ^= 0x10;
    fs::write(file, bytes).unwrap();
    true
}

fn stop(cluster: &mut Cluster, node: u64, signal: Signal) {
    cluster.node(node).signal(signal);
    cluster.node(node).end();
}

/// What one command at a node is answered, error or not.
fn says(port: u16, readonly: bool, command: &[&str]) -> Result<Option<String>, String> {
    let mut connection = greet(port);
    if readonly {
        redis::cmd("READONLY").exec(&mut connection).unwrap();
    }
    let mut line = redis::cmd(command[0]);
    line.arg(&command[1..]);
    line.query(&mut connection).map_err(|error: redis::RedisError| error.to_string())
}

/// Until it serves again, a node says nothing but that it is not ready. Then it knows `count`; and if it was under
/// repair, a read of its own data shows no less than before that was written.
fn await_service(cluster: &mut Cluster, node: u64, count: u64) {
    let port = cluster.port(node);
    eventually("the node serves again", || {
        let served = [true, false].map(|readonly| match says(port, readonly, &["GET", COUNT]) {
            Ok(value) => {
                let value: u64 = value.unwrap_or_default().parse().unwrap_or_default();
                let was_repaired = cluster.node(node).line("goes on under repair").is_some();
                let least = if !readonly {
                    count
                } else if was_repaired {
                    count - 1
                } else {
                    0
                };
                assert!((least..=count).contains(&value), "{value} of {count}, readonly: {readonly}");
                true
            }
            Err(error) => {
                assert!(error.contains("was not applied"), "{error}");
                false
            }
        });
        (served == [true, true]).then_some(())
    });
}

#[test]
fn each_file_of_a_node_is_damaged_in_turn_and_it_is_whole_again_by_itself() {
    with_each_engine(|engine| {
        let mut cluster = Cluster::start_some_with(engine, &[1, 2, 3], &SMALL);
        let leader = cluster.leader(1, None);
        let victim = (1..=3).find(|node| *node != leader).unwrap();
        let mut count = 0;
        // The log keeps 16 MiB of entries beside its snapshots.
        for _ in 0..18 {
            count = write(cluster.port(leader), count);
        }
        let data = cluster.data(victim);
        eventually("the victim has a snapshot", || {
            status(cluster.port(victim)).filter(|status| status.log.snapshot > 0 && status.log.first > 1)
        });
        let (mut repaired, mut times) = (BTreeSet::new(), Vec::new());
        for place in 0.. {
            for part in [0, 1, 4] {
                eventually("the victim has all", || {
                    (applied(cluster.port(victim))? == applied(cluster.port(leader))?).then_some(())
                });
                stop(&mut cluster, victim, Signal::TERM);
                let files = files(&data);
                if place >= files.len() {
                    // How many there are depends on how full the files were when their turn came.
                    let is_repaired = |kind| repaired.iter().any(|name: &String| name.contains(kind));
                    assert!(is_repaired("segment") && is_repaired("snapshot"), "{repaired:?} in {times:?}");
                    println!("{repaired:?} repaired, whole again after {times:?}");
                    return;
                }
                let file = &files[place];
                let name = file.file_name().unwrap().to_string_lossy().into_owned();
                let is_damaged = damage(file, part);
                // What was acknowledged meanwhile is part of what it must have.
                count = write(cluster.port(leader), count);
                let begin = Instant::now();
                cluster.start_node(victim, &SMALL);
                await_service(&mut cluster, victim, count);
                times.push((name.clone(), begin.elapsed()));
                if name.starts_with("hardstate-") {
                    cluster.node(victim).await_line("was unreadable: written anew");
                } else if let Some(told) = cluster.node(victim).line("is damaged at byte") {
                    assert!(is_damaged && told.contains(&name), "{name}: {told}");
                    cluster.node(victim).await_line("goes on under repair");
                    cluster.node(victim).await_line("is whole again");
                    let aside = fs::read_dir(&data).unwrap().filter_map(|entry| {
                        let name = entry.unwrap().file_name().into_string().unwrap();
                        name.starts_with("damaged-").then_some(name)
                    });
                    assert!(
                        aside.into_iter().any(|aside| aside.ends_with(&name)),
                        "{name} was not set aside"
                    );
                    repaired.insert(name);
                }
            }
        }
    });
}

/// Nobody else runs: it can neither vote nor serve, and does not pretend to.
#[test]
fn a_node_that_nobody_repairs_waits_and_answers_nothing_from_what_is_left() {
    let mut cluster = Cluster::start_some(&[1, 2, 3], &SMALL);
    let mut count = write(cluster.port(1), 0);
    count = write(cluster.port(2), count);
    let victim = 3;
    eventually("the victim has all", || {
        (applied(cluster.port(victim))? == applied(cluster.port(1))?).then_some(())
    });
    for node in 1..=3 {
        stop(&mut cluster, node, Signal::TERM);
    }
    let newest =
        files(&cluster.data(victim)).into_iter().rfind(|file| file.to_string_lossy().contains("segment-"));
    let segment = files(&cluster.data(victim))
        .into_iter()
        .find(|file| file.to_string_lossy().contains("segment-") && Some(file) != newest.as_ref());
    assert!(damage(&segment.or(newest).unwrap(), 4));
    cluster.start_node(victim, &SMALL);
    cluster.node(victim).await_line("goes on under repair");
    for readonly in [true, false] {
        let answer = says(cluster.port(victim), readonly, &["GET", COUNT]);
        assert!(answer.as_ref().is_err_and(|error| error.contains("is recovering its data")), "{answer:?}");
    }
    // With one more there are two of three, and one vote.
    cluster.start_node(1, &SMALL);
    eventually("the other one has its data", || status(cluster.port(1)).filter(|status| !status.loading));
    let under_repair = status(cluster.port(victim)).unwrap();
    assert!(
        under_repair.faults.iter().any(|fault| fault.starts_with("under repair")),
        "{:?}",
        under_repair.faults
    );
    assert!(under_repair.leader.is_none() && under_repair.loading);
    cluster.start_node(2, &SMALL);
    await_service(&mut cluster, victim, count);
    cluster.node(victim).await_line("is whole again");
    assert!(status(cluster.port(victim)).unwrap().faults.is_empty());
    // It votes again: without one of the others there is a leader.
    stop(&mut cluster, 1, Signal::KILL);
    count = write(cluster.port(victim), count);
    await_service(&mut cluster, 2, count);
}

#[test]
fn a_node_that_cannot_prove_its_vote_is_refused_with_file_and_offset() {
    let mut cluster = Cluster::start();
    ask(cluster.port(1), &["SET", "a", "1"]);
    stop(&mut cluster, 3, Signal::TERM);
    for slot in ["hardstate-a", "hardstate-b"] {
        fs::write(cluster.data(3).join(slot), b"rot").unwrap();
    }
    cluster.start_node(3, &[]);
    assert_eq!(cluster.node(3).end().code(), Some(3));
    let told = cluster.node(3).await_line("hardstate-a is damaged at byte 0");
    assert!(told.contains("--join-as replace:3"), "{told}");
}

/// A leader once went on finding its newest snapshot, which had rotted while it ran, and told a node that needed one that
/// there was none.
#[test]
fn a_leader_whose_snapshot_has_rotted_makes_another_for_who_needs_one() {
    with_each_engine(|engine| {
        let mut cluster = Cluster::start_some_with(engine, &[1, 2, 3], &SMALL);
        let leader = cluster.leader(1, None);
        let [late, other]: [u64; 2] =
            (1..=3).filter(|node| *node != leader).collect::<Vec<_>>().try_into().unwrap();
        let mut count = write(cluster.port(leader), 0);
        let last = eventually("the late one has that", || applied(cluster.port(late)));
        stop(&mut cluster, late, Signal::KILL);
        for _ in 0..18 {
            count = write(cluster.port(leader), count);
        }
        for node in [leader, other] {
            eventually("the log goes on behind what the late one has", || {
                status(cluster.port(node)).filter(|status| status.log.first > last + 1)
            });
            // Whoever leads then.
            for snapshot in files(&cluster.data(node)).iter().filter(|file| file.extension().is_some()) {
                assert!(damage(snapshot, 4));
            }
        }
        cluster.start_node(late, &SMALL);
        await_service(&mut cluster, late, count);
        let leader = cluster.leader(late, None);
        let told = cluster.node(leader).await_line("so that a new one is made");
        assert!(told.contains(".snapshot is damaged at byte") && told.contains("set aside as"), "{told}");
        cluster.node(late).await_line("installed a snapshot");
    });
}

/// Node 1, and another beside it that joined as told.
fn pair(join_as: &str) -> (tempfile::TempDir, u16, [Process; 2]) {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(2));
    let first = serve(port, folder.path(), &["--data-dir", "data-1"]);
    let address = format!("127.0.0.1:{port}");
    let joins = ["--data-dir", "data-2", "--join", &address, "--join-as", join_as];
    let second = serve(port + 1, folder.path(), &joins);
    eventually("the second is a member", || {
        let members = status(port)?.members;
        (members.len() == 2 && members.iter().all(|member| !member.promotes)).then_some(())
    });
    for number in 0..20 {
        ask(port, &["SET", &format!("key:{number}"), "v"]);
    }
    eventually("both have all", || (applied(port + 1)? == applied(port)?).then_some(()));
    (folder, port, [first, second])
}

fn rot_log(data: &Path) {
    let segment = files(data).into_iter().find(|file| file.to_string_lossy().contains("segment-")).unwrap();
    assert!(damage(&segment, 6));
}

/// It once waited for a leader that nobody could become.
#[test]
fn a_sole_voter_is_refused_beside_a_learner_which_need_not_have_all() {
    let (folder, port, [mut first, _learner]) = pair("learner");
    first.signal(Signal::TERM);
    first.end();
    let data = folder.path().join("data-1");
    rot_log(&data);
    let before = contents(&data);
    let mut first = serve(port, folder.path(), &["--data-dir", "data-1"]);
    assert_eq!(first.end().code(), Some(3));
    let told = first.await_line("is damaged at byte");
    assert!(told.contains("it is the only voter, and a learner (2)"), "{told}");
    assert!(told.contains("quorate recover --force-new-cluster"), "{told}");
    assert!(told.contains("unless they vote by now") && told.contains("`quorate member remove 1`"), "{told}");
    let damaged: Vec<_> =
        contents(&data).into_iter().filter(|(path, _)| path.to_string_lossy().contains("segment")).collect();
    assert!(damaged.iter().all(|(path, bytes)| before.get(path) == Some(bytes)));
}

#[test]
fn one_of_two_voters_waits_for_the_other_by_name_and_that_one_has_all() {
    let (folder, port, [mut first, mut second]) = pair("voter");
    second.signal(Signal::TERM);
    second.end();
    rot_log(&folder.path().join("data-2"));
    eventually("the first does not lead alone", || status(port).filter(|status| status.leader.is_none()));
    let mut second = serve(port + 1, folder.path(), &["--data-dir", "data-2"]);
    let told = second.await_line("hears no leader");
    assert!(told.contains("it waits for node 1, the only other voter"), "{told}");
    for node in [&mut first, &mut second] {
        node.signal(Signal::TERM);
        node.end();
    }
    let recover = ["recover", "--force-new-cluster", "--yes", "--data-dir", "data-1"];
    let (code, _, error) = run(&recover, folder.path());
    assert_eq!(code, 0, "{error}");
    let _first = serve(port, folder.path(), &["--data-dir", "data-1"]);
    assert_eq!(ask(port, &["DBSIZE"]).as_deref(), Some("20"));
}

/// It has no others, and says so instead of waiting for them.
#[test]
fn a_damaged_node_without_others_names_the_ways_out_and_recover_keeps_what_is_intact() {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_ports(1));
    let mut node = serve(port, folder.path(), &["--data-dir", "data"]);
    for number in 0..20 {
        ask(port, &["SET", &format!("key:{number}"), "v"]);
    }
    node.signal(Signal::TERM);
    node.end();
    let data = folder.path().join("data");
    let segment = files(&data).into_iter().find(|file| file.to_string_lossy().contains("segment-")).unwrap();
    assert!(damage(&segment, 6));
    let before = fs::read(&segment).unwrap();
    let mut node = serve(port, folder.path(), &["--data-dir", "data"]);
    assert_eq!(node.end().code(), Some(3));
    let told = node.await_line("is damaged at byte");
    assert!(told.contains("quorate recover") && told.contains("nothing was changed"), "{told}");
    assert_eq!(fs::read(&segment).unwrap(), before);

    let recover = ["recover", "--force-new-cluster", "--data-dir", "data"];
    let before = contents(&data);
    let (code, text, error) = run(&recover, folder.path());
    assert!(
        code == 1 && text.contains("is damaged at byte") && error.contains("nothing was changed"),
        "{error}"
    );
    assert!(contents(&data) == before, "a byte has changed");
    let (code, text, error) = run(&[&recover[..], &["--yes"]].concat(), folder.path());
    assert!(code == 0 && text.contains("It has lost a part of what it held"), "{text}{error}");
    let _node = serve(port, folder.path(), &["--data-dir", "data"]);
    let keys: u64 = ask(port, &["DBSIZE"]).unwrap().parse().unwrap();
    assert!((1..20).contains(&keys), "{keys}");
    ask(port, &["SET", "fresh", "1"]);
}
