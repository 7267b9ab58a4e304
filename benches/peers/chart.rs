//! The figures as a drawing: one panel a workload, in it a group of bars for each number of clients, in the group a bar
//! for each system. Each panel has a scale of its own, from zero, and each bar its value written over it.

use crate::{client::Workload, failover::Fault, report::Report, system::System};
use std::fmt::Write as _;

const WIDTH: f64 = 920.0;
const COLUMNS: usize = 2;
const PANEL_WIDTH: f64 = WIDTH / COLUMNS as f64;
const PANEL_HEIGHT: f64 = 230.0;
/// Above the panels: what the colours mean.
const LEGEND_HEIGHT: f64 = 40.0;
/// Around a panel's bars: room for its title and the names of its groups.
const SIDE: f64 = 16.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 26.0;
/// The share of a group's width that its bars take.
const FILLED: f64 = 0.86;

/// A panel: bars in groups, one unit for all.
struct Panel {
    title: String,
    groups: Vec<Group>,
}

struct Group {
    name: String,
    bars: Vec<(System, f64)>,
}

/// The chart of a run, as SVG.
pub(crate) fn draw(report: &Report) -> String {
    let panels = panels(report);
    let height = LEGEND_HEIGHT + panels.len().div_ceil(COLUMNS) as f64 * PANEL_HEIGHT;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\" fill=\"#222\">\n<rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    draw_legend(&mut svg, &panels);
    for (place, panel) in panels.iter().enumerate() {
        let x = (place % COLUMNS) as f64 * PANEL_WIDTH;
        let y = LEGEND_HEIGHT + (place / COLUMNS) as f64 * PANEL_HEIGHT;
        draw_panel(&mut svg, panel, x, y);
    }
    svg.push_str("</svg>\n");
    svg
}

fn panels(report: &Report) -> Vec<Panel> {
    const TITLES: [(Workload, &str); 5] = [
        (Workload::Set, "SET of 256 B, operations a second, by clients"),
        (Workload::Get, "GET, linearizable, operations a second, by clients"),
        (Workload::Lock, "lock cycles a second, distinct locks, by clients"),
        (Workload::Contended, "lock cycles a second, one lock, by clients"),
        (Workload::Pipeline, "SET in pipelines of 16, operations a second, by clients"),
    ];
    let of_workload = |(workload, title): (Workload, &str)| {
        let mut groups: Vec<Group> = Vec::new();
        for cell in report.cells.iter().filter(|cell| cell.workload == workload) {
            let (name, bar) = (cell.clients.to_string(), (cell.system, cell.per_second.median));
            match groups.iter_mut().find(|group| group.name == name) {
                Some(group) => group.bars.push(bar),
                None => groups.push(Group { name, bars: vec![bar] }),
            }
        }
        Panel { title: title.to_owned(), groups }
    };
    let of_fault = |fault: Fault| {
        let trials = report.failovers.iter().filter(|one| one.fault == fault);
        Group {
            name: fault.name().to_owned(),
            bars: trials.map(|one| (one.system, one.window_s.median)).collect(),
        }
    };
    let failovers = Panel {
        title: "pause of writes when the leader is gone, seconds (less is better)".to_owned(),
        groups: [Fault::Kill, Fault::Stop].map(of_fault).into(),
    };
    let all = TITLES.into_iter().map(of_workload).chain([failovers]);
    all.filter(|panel| panel.groups.iter().any(|group| !group.bars.is_empty())).collect()
}

/// Colours that people who see few of them can tell apart.
fn colour(system: System) -> &'static str {
    match system {
        System::Quorate => "#0072b2",
        System::Redis => "#999999",
        System::Etcd => "#e69f00",
        System::ZooKeeper => "#009e73",
    }
}

fn draw_legend(svg: &mut String, panels: &[Panel]) {
    let mut systems: Vec<System> = panels
        .iter()
        .flat_map(|panel| &panel.groups)
        .flat_map(|group| &group.bars)
        .map(|bar| bar.0)
        .collect();
    systems.sort_unstable();
    systems.dedup();
    for (place, system) in systems.into_iter().enumerate() {
        let x = SIDE + place as f64 * 170.0;
        let (colour, name, nodes) = (colour(system), system.name(), system.nodes());
        let nodes = if nodes == 1 { "1 node".to_owned() } else { format!("{nodes} nodes") };
        put(svg, format_args!("<rect x=\"{x}\" y=\"14\" width=\"12\" height=\"12\" fill=\"{colour}\"/>"));
        put(svg, format_args!("<text x=\"{}\" y=\"24\" font-size=\"13\">{name}, {nodes}</text>", x + 18.0));
    }
}

fn draw_panel(svg: &mut String, panel: &Panel, x: f64, y: f64) {
    let (left, base) = (x + SIDE, y + PANEL_HEIGHT - BOTTOM);
    let (width, height) = (PANEL_WIDTH - 2.0 * SIDE, PANEL_HEIGHT - TOP - BOTTOM);
    let bars = || panel.groups.iter().flat_map(|group| &group.bars);
    let largest = bars().map(|bar| bar.1).fold(f64::MIN_POSITIVE, f64::max);
    put(
        svg,
        format_args!("<text x=\"{left}\" y=\"{}\" font-weight=\"bold\">{}</text>", y + 22.0, panel.title),
    );
    let right = left + width;
    put(
        svg,
        format_args!("<line x1=\"{left}\" y1=\"{base}\" x2=\"{right}\" y2=\"{base}\" stroke=\"#888\"/>"),
    );
    let group_width = width / panel.groups.len() as f64;
    for (place, group) in panel.groups.iter().enumerate() {
        let start = left + place as f64 * group_width;
        let bar_width = group_width * FILLED / group.bars.len().max(1) as f64;
        for (place, &(system, value)) in group.bars.iter().enumerate() {
            let bar_x = start + group_width * (1.0 - FILLED) / 2.0 + place as f64 * bar_width;
            draw_bar(svg, system, value, (bar_x, base), (bar_width, value / largest * height));
        }
        let middle = start + group_width / 2.0;
        put(
            svg,
            format_args!(
                "<text x=\"{middle:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                base + 16.0,
                group.name
            ),
        );
    }
}

/// One bar that stands on `foot`, its value over it.
fn draw_bar(svg: &mut String, system: System, value: f64, foot: (f64, f64), size: (f64, f64)) {
    let ((x, base), (width, height)) = (foot, size);
    let top = base - height;
    let colour = colour(system);
    put(
        svg,
        format_args!(
            "<rect x=\"{x:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
            width - 1.0
        ),
    );
    let (middle, over) = (x + width / 2.0, top - 3.0);
    put(
        svg,
        format_args!(
            "<text x=\"{middle:.1}\" y=\"{over:.1}\" text-anchor=\"middle\" font-size=\"9\">{}</text>",
            short(value)
        ),
    );
}

fn put(svg: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(svg, "{line}").expect("a string takes whatever is written");
}

/// A value with two or three digits.
fn short(value: f64) -> String {
    match value {
        _ if value >= 99_500.0 => format!("{:.0}k", value / 1e3),
        _ if value >= 1_000.0 => format!("{:.1}k", value / 1e3),
        _ if value >= 10.0 => format!("{value:.0}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_short() {
        let shown = [0.0417, 1.1, 968.4, 9_230.0, 71_400.0, 123_456.0].map(short);
        assert_eq!(shown, ["0.04", "1.10", "968", "9.2k", "71.4k", "123k"]);
    }
}
