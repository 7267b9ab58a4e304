//! `quorate status`: what the nodes say about themselves, side by side.
//!
//! It asks the given addresses, and then each address that a node has named: so one living node is enough to
//! find the others. A node that does not answer is a row of the table, not a failure of the command. With `--watch` it goes
//! on asking ([`watch`]).

mod look;
mod screen;
mod watch;

use std::{collections::BTreeSet, time::Duration};

use comfy_table::{Table, presets};
use quorate_consensus::{Term, paxos::Ballot};
use serde::Serialize;

use super::{
    Exit,
    address::{ANSWER_TIMEOUT, Servers, client},
};
use crate::{
    config::{Address, MEMBERS_MAX},
    engine::EngineKind,
    status::{NodeStatus, Role},
};

const EXAMPLES: &str = "\
Examples:
  quorate status
  quorate status --addr 10.0.0.1:7379,10.0.0.2:7379 --json
  quorate status --watch                        a live view; q, Esc or Ctrl-C ends it
  quorate status --watch --interval 10s | tee status.log

The other nodes are found by what the first ones tell.
Exit status: 0 if there is a leader and every node is well, 1 otherwise; with --watch 0.";

/// The flags of `status`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Servers,
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Show a live view until it is ended; where there is no terminal, a line for each look
    #[arg(long, conflicts_with = "json")]
    watch: bool,
    /// How often to look with --watch, from 100ms to 1h
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = read_interval, requires = "watch")]
    interval: Duration,
}

/// More often than that shows nothing new, and keeps the nodes busy.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(3600);

fn read_interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if INTERVALS.contains(&interval) { Ok(interval) } else { Err("allowed is from 100ms to 1h".to_owned()) }
}

/// One address and what was heard from there.
#[derive(Debug, Serialize)]
struct Answer {
    address: String,
    #[serde(flatten)]
    heard: Heard,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Heard {
    Status(Box<NodeStatus>),
    Error(String),
}

/// What the answers together amount to.
#[derive(Debug, Serialize)]
struct Report {
    healthy: bool,
    leader: Option<u64>,
    term: u64,
    problems: Vec<String>,
    nodes: Vec<Answer>,
}

pub(crate) fn run(args: &Args) -> Exit {
    if args.watch {
        return watch::run(&args.servers.addresses, args.interval);
    }
    let answers = ask_all(&args.servers.addresses);
    if answers.iter().all(|answer| matches!(answer.heard, Heard::Error(_))) && !args.json {
        for Answer { address, heard } in &answers {
            if let Heard::Error(error) = heard {
                eprintln!("quorate status: {address}: {error}");
            }
        }
        eprintln!(
            "No node answers. Is one running? `quorate up` starts a cluster here; --addr or QUORATE_ADDR say \
             where to look."
        );
        return Exit::Failure;
    }
    let report = Report::new(answers);
    if args.json {
        let json = serde_json::to_string_pretty(&report).expect("a report has only plain fields");
        println!("{json}");
    } else {
        println!("{}", report.table());
        for problem in &report.problems {
            println!("! {problem}");
        }
    }
    if report.healthy { Exit::Success } else { Exit::Failure }
}

/// Asks `first`, and whoever is named in an answer; each address once.
fn ask_all(first: &[Address]) -> Vec<Answer> {
    let mut known: BTreeSet<String> = first.iter().map(ToString::to_string).collect();
    let mut waiting: Vec<Address> = first.to_vec();
    let mut answers = Vec::new();
    let mut ids = BTreeSet::new();
    while let Some(address) = waiting.pop() {
        let heard = match ask(&address) {
            Ok(status) => {
                for peer in status.peers.iter().filter(|peer| peer.port > 0 && !ids.contains(&peer.node_id)) {
                    let address = Address::new(&peer.host, peer.port);
                    if known.len() < first.len() + MEMBERS_MAX && known.insert(address.to_string()) {
                        waiting.push(address);
                    }
                }
                // Whoever joins has no id yet.
                if status.joining.is_none() && !ids.insert(status.node_id) {
                    continue; // The same node under another name.
                }
                Heard::Status(Box::new(status))
            }
            Err(error) => Heard::Error(error),
        };
        answers.push(Answer { address: address.to_string(), heard });
    }
    answers.sort_by_key(|answer| match &answer.heard {
        Heard::Status(status) => (status.node_id, String::new()),
        Heard::Error(_) => (u64::MAX, answer.address.clone()),
    });
    answers
}

/// What the node at `address` says about itself.
pub(super) fn ask(address: &Address) -> Result<NodeStatus, String> {
    let query = || {
        let mut connection = client(address)?.get_connection_with_timeout(ANSWER_TIMEOUT)?;
        connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        redis::cmd("QUORATE").arg("STATUS").query::<String>(&mut connection)
    };
    let text = query().map_err(|error| error.to_string())?;
    serde_json::from_str(&text).map_err(|error| format!("this is no Quorate node: {error}"))
}

/// How many nodes a leader needs, as far as those that answer know.
fn enough<'a>(statuses: impl Iterator<Item = &'a NodeStatus>) -> String {
    let newest = statuses.filter(|status| !status.members.is_empty()).max_by_key(|status| status.log.applied);
    newest.map_or("enough of the nodes".to_owned(), |status| {
        format!("{} of the {} nodes that vote", status.quorums().to_lead(), status.voters().count())
    })
}

impl Report {
    fn new(nodes: Vec<Answer>) -> Self {
        let statuses = || nodes.iter().filter_map(Answer::status);
        let term = statuses().map(|status| status.term).max().unwrap_or_default();
        let leader = statuses().find(|status| status.role == Role::Leader && status.term == term);
        let mut problems = Vec::new();
        if leader.is_none() {
            problems.push(format!("no leader: writes and reads wait until {} run", enough(statuses())));
        }
        let clusters: BTreeSet<_> = statuses().filter_map(|status| status.cluster_id.as_deref()).collect();
        if clusters.len() > 1 {
            problems.push("these nodes belong to different clusters".to_owned());
        }
        for answer in &nodes {
            match &answer.heard {
                Heard::Status(status) => {
                    let named = |fault| format!("node {}: {fault}", status.node_id);
                    problems.extend(status.faults.iter().map(named));
                    if let Some(obstacle) = &status.joining {
                        problems
                            .push(format!("{}: has not joined its cluster yet: {obstacle}", answer.address));
                    } else if status.loading {
                        problems.push(format!("node {}: still loading its data", status.node_id));
                    }
                }
                Heard::Error(error) => problems.push(format!("{}: {error}", answer.address)),
            }
        }
        let leader = leader.map(|status| status.node_id);
        Self { healthy: problems.is_empty(), leader, term, problems, nodes }
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        table.set_header([
            "node",
            "RESP",
            "role",
            "term",
            "log",
            "durable",
            "committed",
            "applied",
            "lag",
            "health",
            "engine",
            "version",
            "cluster",
            "up",
        ]);
        let committed = self.nodes.iter().filter_map(Answer::status).map(|status| status.log.committed).max();
        for answer in &self.nodes {
            match answer.status() {
                Some(status) => table.add_row(row(answer, status, committed.unwrap_or_default())),
                None => table.add_row([
                    "?",
                    &answer.address,
                    "-",
                    "-",
                    "-",
                    "-",
                    "-",
                    "-",
                    "-",
                    "no answer",
                    "-",
                    "-",
                    "-",
                    "-",
                ]),
            };
        }
        table
    }
}

/// A node's row; `committed` is the greatest commit index that any node knows.
fn row(answer: &Answer, status: &NodeStatus, committed: u64) -> Vec<String> {
    let health = match (status.loading, status.faults.is_empty(), &status.leader) {
        (true, ..) if status.joining.is_some() => "joining",
        (true, _, _) => "loading",
        (false, false, _) => "see below",
        (false, true, None) => "no leader",
        (false, true, Some(_)) => "ok",
    };
    vec![
        status.node_id.to_string(),
        answer.address.clone(),
        role_name(status.role).to_owned(),
        term(status),
        format!("{}..{}", status.log.first, status.log.last),
        status.log.durable.to_string(),
        status.log.committed.to_string(),
        status.log.applied.to_string(),
        lag(status, committed),
        health.to_owned(),
        status.engine.clone(),
        status.version.clone(),
        format!("{} ({})", status.cluster_version, status.cluster_version_max),
        humantime::format_duration(Duration::from_secs(status.uptime_s)).to_string(),
    ]
}

/// A term, or what one is under Paxos: the ballot.
fn term(status: &NodeStatus) -> String {
    match EngineKind::named(&status.engine) {
        Some(EngineKind::Paxos) => Ballot::of(Term(status.term)).to_string(),
        Some(EngineKind::Raft) | None => status.term.to_string(),
    }
}

/// How far a node is behind what is committed. A witness applies nothing.
fn lag(status: &NodeStatus, committed: u64) -> String {
    match status.role {
        Role::Witness => "-".to_owned(),
        Role::Leader | Role::Follower | Role::Candidate | Role::Learner => {
            committed.saturating_sub(status.log.applied).to_string()
        }
    }
}

fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Learner => "learner",
        Role::Witness => "witness",
    }
}

impl Answer {
    fn status(&self) -> Option<&NodeStatus> {
        match &self.heard {
            Heard::Status(status) => Some(status),
            Heard::Error(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Leader, Positions};

    fn answer(node_id: u64, role: Role, term: u64, applied: u64) -> Answer {
        let log = Positions { last: applied, committed: applied, applied, ..Positions::default() };
        let leader = Some(Leader::default());
        let status = NodeStatus { node_id, role, term, log, leader, ..NodeStatus::default() };
        Answer { address: format!("h:{node_id}"), heard: Heard::Status(Box::new(status)) }
    }

    #[test]
    fn a_deposed_leader_that_does_not_know_it_yet_is_not_reported_as_the_leader() {
        let nodes = vec![answer(1, Role::Leader, 3, 9), answer(2, Role::Leader, 4, 9)];
        assert_eq!(Report::new(nodes).leader, Some(2));
    }

    #[test]
    fn terms_of_paxos_are_told_as_ballots() {
        let of = |engine: &str, term| NodeStatus { engine: engine.to_owned(), term, ..NodeStatus::default() };
        assert_eq!(term(&of("paxos", (7 << 16) + 2)), "7.n2");
        assert_eq!(term(&of("raft", (7 << 16) + 2)), "458754");
    }

    #[test]
    fn a_node_that_does_not_answer_is_a_row_and_a_problem() {
        let silent =
            Answer { address: "h:9".to_owned(), heard: Heard::Error("connection refused".to_owned()) };
        let report =
            Report::new(vec![answer(1, Role::Leader, 1, 5), answer(2, Role::Follower, 1, 3), silent]);
        let table = report.table().to_string();
        assert!(!report.healthy && table.contains("no answer"), "{table}");
        assert_eq!(report.problems, ["h:9: connection refused"]);
        let second = table.lines().nth(2).unwrap().split_whitespace().nth(8).unwrap().to_owned();
        assert_eq!(second, "2", "lag of the follower: {table}");
    }

    #[test]
    fn nothing_listening_is_told_for_each_address() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let answers = ask_all(&[Address::new("127.0.0.1", free.port())]);
        assert!(matches!(answers[0].heard, Heard::Error(_)));
    }
}
