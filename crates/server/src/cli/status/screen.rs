//! The live view as a picture: from two looks at the nodes to the cells of a terminal, and nothing else.
//!
//! Columns stand in the order of their importance; those that do not fit are left out, from the last one on.

use std::time::Duration;

use ratatui::{
    buffer::Buffer,
    layout::{Constraint, Layout, Rect},
    style::{Color, Modifier, Style, Stylize as _},
    text::{Line, Span},
    widgets::{Cell, Paragraph, Row, Table, Widget},
};

use super::{
    Answer, Heard, lag,
    look::{Look, Pace, bytes, duration},
    role_name,
};
use crate::status::NodeStatus;

/// What is shown.
#[derive(Debug)]
pub(super) struct Screen<'a> {
    /// The last look; none before there was one.
    pub(super) look: Option<&'a Look>,
    /// The one before.
    pub(super) before: Option<&'a Look>,
    /// How often it is looked.
    pub(super) interval: Duration,
}

/// A column of the table.
struct Column {
    title: &'static str,
    width: u16,
    text: fn(&Shown<'_>) -> String,
}

/// What a row is made of.
struct Shown<'a> {
    address: &'a str,
    status: &'a NodeStatus,
    pace: Option<Pace>,
    /// How the leader sees it; none for the leader itself, or without one.
    link: Option<String>,
    /// The greatest commit index that any node knows.
    committed: u64,
}

const COLUMNS: [Column; 12] = [
    Column { title: "node", width: 5, text: |shown| shown.status.node_id.to_string() },
    Column { title: "address", width: 21, text: |shown| shown.address.to_owned() },
    Column { title: "role", width: 9, text: |shown| role_name(shown.status.role).to_owned() },
    Column { title: "link", width: 9, text: |shown| shown.link.clone().unwrap_or_else(|| "-".to_owned()) },
    Column { title: "lag", width: 7, text: |shown| lag(shown.status, shown.committed) },
    Column { title: "cmds/s", width: 8, text: |shown| rate(shown, |pace| pace.commands) },
    Column { title: "entries/s", width: 9, text: |shown| rate(shown, |pace| pace.entries) },
    Column { title: "commit p99", width: 10, text: |shown| quantile(shown, |pace| &pace.commits) },
    Column { title: "fsync p99", width: 9, text: |shown| quantile(shown, |pace| &pace.log_syncs) },
    Column { title: "disk free", width: 10, text: |shown| bytes(shown.status.activity.disk_available_bytes) },
    Column { title: "clients", width: 7, text: |shown| shown.status.activity.connections.to_string() },
    Column {
        title: "up",
        width: 12,
        text: |shown| humantime::format_duration(Duration::from_secs(shown.status.uptime_s)).to_string(),
    },
];

/// Between two columns.
const GAP: u16 = 1;
/// The most lines of warnings: the table must stay in sight.
const WARNINGS_MAX: usize = 6;

fn rate(shown: &Shown<'_>, of: fn(&Pace) -> f64) -> String {
    shown.pace.as_ref().map_or_else(|| "-".to_owned(), |pace| format!("{:.0}", of(pace)))
}

fn quantile(shown: &Shown<'_>, of: fn(&Pace) -> &crate::status::Durations) -> String {
    duration(shown.pace.as_ref().and_then(|pace| of(pace).per_mille_us(990)))
}

impl Widget for &Screen<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let Some(look) = self.look else {
            return Line::from("asking the nodes ..").render(area, buffer);
        };
        let mut warnings = look.warnings(self.before);
        if warnings.len() > WARNINGS_MAX {
            let more = warnings.len() - (WARNINGS_MAX - 1);
            warnings.truncate(WARNINGS_MAX - 1);
            warnings.push(format!(".. and {more} more"));
        }
        let rows = |count: usize| Constraint::Length(u16::try_from(count).unwrap_or(u16::MAX));
        let parts = Layout::vertical([
            Constraint::Length(2),
            rows(look.report.nodes.len() + 2),
            Constraint::Length(2),
            rows(warnings.len()),
            Constraint::Fill(1),
            Constraint::Length(1),
        ]);
        let [head, nodes, data, warned, _, foot] = parts.areas(area);
        headline(look).render(head, buffer);
        self.table(look, nodes.width).render(nodes, buffer);
        figures(look).render(data, buffer);
        let warnings: Vec<Line<'_>> =
            warnings.into_iter().map(|text| format!("! {text}").fg(Color::Red).into()).collect();
        Paragraph::new(warnings).render(warned, buffer);
        let keys = format!("every {}   q, Esc or Ctrl-C ends", humantime::format_duration(self.interval));
        Line::from(keys.fg(Color::DarkGray)).render(foot, buffer);
    }
}

impl Screen<'_> {
    fn table(&self, look: &Look, width: u16) -> Table<'static> {
        let columns = fitting(width);
        let rows: Vec<Row<'static>> =
            look.report.nodes.iter().map(|answer| self.row(look, answer, columns)).collect();
        let titles = Row::new(columns.iter().map(|column| Cell::from(column.title)));
        let widths = columns.iter().map(|column| Constraint::Length(column.width));
        Table::new(rows, widths)
            .header(titles.style(Style::new().add_modifier(Modifier::BOLD)))
            .column_spacing(GAP)
    }

    fn row(&self, look: &Look, answer: &Answer, columns: &[Column]) -> Row<'static> {
        let status = match &answer.heard {
            Heard::Status(status) => status,
            Heard::Error(_) => {
                let cells = ["?", &answer.address, "no answer"].map(|text| Cell::from(text.to_owned()));
                return Row::new(cells).style(Style::new().fg(Color::Red));
            }
        };
        let shown = Shown {
            address: &answer.address,
            status,
            pace: look.pace(status, self.before),
            link: look.leader().and_then(|leader| link(leader, status.node_id)),
            committed: look.committed(),
        };
        let style = match (Some(status.node_id) == look.report.leader, status.faults.is_empty()) {
            (_, false) => Style::new().fg(Color::Red),
            (true, true) => Style::new().fg(Color::Green),
            (false, true) => Style::new(),
        };
        Row::new(columns.iter().map(|column| Cell::from((column.text)(&shown)))).style(style)
    }
}

/// The columns that fit, one at least.
fn fitting(width: u16) -> &'static [Column] {
    let mut used = 0;
    let fits = |column: &&Column| {
        used += column.width + GAP;
        used <= width + GAP
    };
    let count = COLUMNS.iter().take_while(fits).count();
    &COLUMNS[..count.max(1)]
}

/// How the leader sees another node.
fn link(leader: &NodeStatus, node_id: u64) -> Option<String> {
    let peer = leader.peers.iter().find(|peer| peer.node_id == node_id)?;
    Some(match (peer.connected, peer.progress.as_str()) {
        (false, _) => "lost".to_owned(),
        (true, "snapshot") => "snapshot".to_owned(),
        (true, _) => "ok".to_owned(),
    })
}

/// Cluster, leader, term, and how many nodes answer.
fn headline(look: &Look) -> Paragraph<'static> {
    let cluster = look.statuses().find_map(|status| status.cluster_id.clone());
    let cluster = cluster.map_or_else(|| "unborn".to_owned(), |id| id.chars().take(8).collect());
    let leader = match look.report.leader {
        Some(leader) => format!("node {leader}").fg(Color::Green),
        None => "none".fg(Color::Red),
    };
    let answering = look.statuses().count();
    let rest =
        format!("   term {}   {answering} of {} nodes answer", look.report.term, look.report.nodes.len());
    Paragraph::new(Line::from(vec![
        Span::from("Quorate").bold(),
        Span::from(format!("   cluster {cluster}   leader ")),
        leader,
        Span::from(rest),
    ]))
}

/// What the data are, as the node knows them that has applied most.
fn figures(look: &Look) -> Paragraph<'static> {
    let Some(status) = look.statuses().max_by_key(|status| status.log.applied) else {
        return Paragraph::default();
    };
    let sum = |of: fn(&crate::status::Database) -> u64| status.databases.iter().map(of).sum::<u64>();
    let limit = match status.memory_bytes_max {
        0 => String::new(),
        max => format!(" of {}", bytes(max)),
    };
    Paragraph::new(format!(
        "keys {}   locks and others with a TTL {}   waiting {}   data {}{limit}   log {}..{}",
        sum(|database| database.keys),
        sum(|database| database.expires),
        status.cluster_commands_waiting,
        bytes(status.memory_bytes),
        status.log.first,
        status.log.last,
    ))
}

#[cfg(test)]
#[path = "screen_tests.rs"]
mod tests;
