//! Pictures of the live view, as the text that a terminal shows. Regenerate them with `UPDATE_GOLDENFILES=1`.

use std::{fs, path::PathBuf, time::Instant};

use ratatui::{Terminal, backend::TestBackend};

use super::*;
use crate::{
    cli::status::Report,
    status::{Activity, Database, Durations, Leader, Member, Peer, Positions, Role},
};

/// The picture of a terminal of this size.
fn picture(screen: &Screen<'_>, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| frame.render_widget(screen, frame.area())).unwrap();
    let buffer = terminal.backend().buffer();
    let line = |y| (0..width).map(|x| buffer[(x, y)].symbol()).collect::<String>().trim_end().to_owned();
    (0..height).map(|y| line(y) + "\n").collect()
}

#[track_caller]
fn check(name: &str, picture: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/cli/status/golden").join(name);
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        fs::write(&path, picture).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(picture, golden, "{name} has changed");
}

fn peer(node_id: u64, connected: bool) -> Peer {
    Peer {
        node_id,
        connected,
        host: "h".to_owned(),
        port: 1,
        progress: "replicate".to_owned(),
        ..Peer::default()
    }
}

/// A node of three after `steps` seconds of work.
fn node(node_id: u64, steps: u64, lost: Option<u64>) -> Answer {
    let mut commits = vec![0; Durations::ENDS_US.len() + 1];
    commits[5] = 990 * steps;
    commits[7] = 10 * steps;
    let applied = 5_000 + 400 * steps - 7 * (node_id - 1);
    let leads = node_id == 2;
    let status = NodeStatus {
        node_id,
        run_id: format!("run {node_id}"),
        cluster_id: Some("0123456789abcdef0123456789abcdef".to_owned()),
        role: if leads { Role::Leader } else { Role::Follower },
        term: 7,
        leader: Some(Leader { node_id: 2, ..Leader::default() }),
        log: Positions { first: 12, last: applied, committed: applied, applied, ..Positions::default() },
        peers: (1..=3).filter(|id| *id != node_id).map(|id| peer(id, lost != Some(id))).collect(),
        members: (1..=3).map(|node_id| Member { node_id, ..Member::default() }).collect(),
        databases: vec![Database { number: 0, keys: 1_200, expires: 37 }],
        memory_bytes: 300 << 20,
        memory_bytes_max: 1 << 30,
        cluster_commands_waiting: 4,
        activity: Activity {
            commands: 1_000 * steps * node_id,
            connections: 10 * node_id,
            commits: if leads { Durations(commits.clone()) } else { Durations::default() },
            log_syncs: Durations(commits),
            disk_available_bytes: 50 << 30,
            ..Activity::default()
        },
        uptime_s: 3_661 + steps,
        ..NodeStatus::default()
    };
    Answer { address: format!("127.0.0.1:{}", 7378 + node_id), heard: Heard::Status(Box::new(status)) }
}

/// A look at each of three nodes that lives, so many seconds after the first.
fn look(begin: Instant, seconds: u64, lost: Option<u64>) -> Look {
    let silent = |id| Answer {
        address: format!("127.0.0.1:{}", 7378 + id),
        heard: Heard::Error("refused".to_owned()),
    };
    let answer = |id| if lost == Some(id) { silent(id) } else { node(id, seconds, lost) };
    Look { at: begin + Duration::from_secs(seconds), report: Report::new((1..=3).map(answer).collect()) }
}

fn screen<'a>(look: Option<&'a Look>, before: Option<&'a Look>) -> Screen<'a> {
    Screen { look, before, interval: Duration::from_secs(2) }
}

#[test]
fn three_nodes_at_work() {
    let begin = Instant::now();
    let (before, now) = (look(begin, 2, None), look(begin, 4, None));
    check("three_nodes", &picture(&screen(Some(&now), Some(&before)), 132, 12));
}

#[test]
fn a_narrow_terminal_shows_what_matters_most() {
    let begin = Instant::now();
    let (before, now) = (look(begin, 2, None), look(begin, 4, None));
    check("narrow", &picture(&screen(Some(&now), Some(&before)), 64, 10));
}

#[test]
fn a_lost_node_is_a_row_and_a_warning() {
    let begin = Instant::now();
    let (before, now) = (look(begin, 2, None), look(begin, 4, Some(3)));
    check("lost_node", &picture(&screen(Some(&now), Some(&before)), 132, 12));
}

#[test]
fn without_a_leader_or_an_answer_it_says_so() {
    let silent = |port| Answer { address: format!("h:{port}"), heard: Heard::Error("refused".to_owned()) };
    let now = Look { at: Instant::now(), report: Report::new((1..=9).map(silent).collect()) };
    check("no_answer", &picture(&screen(Some(&now), None), 100, 24));
}

#[test]
fn a_first_look_has_no_rates_yet() {
    let now = look(Instant::now(), 4, None);
    check("first_look", &picture(&screen(Some(&now), None), 132, 10));
    assert!(picture(&screen(None, None), 40, 3).starts_with("asking the nodes"));
}

/// Of five, two commit and four elect: with one lost, a leader goes on, and nobody could follow it.
#[test]
fn warning_of_the_next_loss_counts_by_the_quorums_that_are_set() {
    let warning = |phase2_quorum, lost: &[u64]| {
        let Heard::Status(mut status) = node(2, 4, None).heard else { panic!("it answers") };
        status.phase2_quorum = phase2_quorum;
        status.members = (1..=5).map(|node_id| Member { node_id, ..Member::default() }).collect();
        status.peers = [1, 3, 4, 5].map(|id| peer(id, !lost.contains(&id))).into();
        let answer = Answer { address: "h:1".to_owned(), heard: Heard::Status(status) };
        Look { at: Instant::now(), report: Report::new(vec![answer]) }.warnings(None).join("; ")
    };
    assert_eq!(warning(None, &[1]), "the leader reaches 4 of 5 voters");
    assert_eq!(warning(None, &[1, 3]), "the leader reaches 3 of 5 voters: the next loss stops the cluster");
    let leaderless = ": the loss of the leader stops the cluster";
    assert_eq!(warning(Some(2), &[1]), format!("the leader reaches 4 of 5 voters{leaderless}"));
    assert_eq!(warning(Some(2), &[1, 3]), format!("the leader reaches 3 of 5 voters{leaderless}"));
    let stops = ": the next loss stops the cluster";
    assert_eq!(warning(Some(2), &[1, 3, 4]), format!("the leader reaches 2 of 5 voters{stops}"));
}

#[test]
fn no_size_is_too_small() {
    let begin = Instant::now();
    let (before, now) = (look(begin, 2, None), look(begin, 4, Some(1)));
    for width in 1..40 {
        for height in 1..12 {
            picture(&screen(Some(&now), Some(&before)), width, height);
        }
    }
}

#[test]
fn a_node_that_was_started_anew_has_no_rates() {
    let begin = Instant::now();
    let (before, mut now) = (look(begin, 2, None), look(begin, 4, None));
    let Heard::Status(status) = &mut now.report.nodes[0].heard else { panic!("it answers") };
    status.run_id = "another".to_owned();
    let status = status.clone();
    assert_eq!(now.pace(&status, Some(&before)), None);
    let second = now.statuses().nth(1).unwrap();
    let pace = now.pace(second, Some(&before)).unwrap();
    assert_eq!((pace.commands, pace.entries, pace.commits.count()), (2_000.0, 400.0, 2_000));
}

#[test]
fn a_look_as_a_line_says_the_same() {
    let begin = Instant::now();
    let (before, now) = (look(begin, 2, None), look(begin, 4, None));
    let line = now.line(Some(&before));
    assert_eq!(line, "leader=2 term=7 nodes=3/3 commands/s=6000 entries/s=400 commit_p99=2.5ms");
}
