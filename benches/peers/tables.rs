//! The figures as tables, in the form in which documents keep them.

use crate::{
    cell::Measured,
    leases,
    members::Trial,
    report::{Cell, Report},
    resources::Figure,
    system::System,
};
use quorate_benches::statistics::Summary;

/// Prints what was measured under load.
pub(crate) fn print_load(report: &Report) {
    let physical = |figure: fn(&crate::physical::Physical) -> f64| {
        Summary::of(report.physical.iter().map(figure)).map_or(0.0, |summary| summary.median)
    };
    println!(
        "\n{} rounds of {} s; keys of {} B, values of {} B, {} keys; clients at {}.\nPhysical limit: fdatasync of 4 KiB {:.0} us, echo over loopback {:.0} us.\n",
        report.rounds,
        report.seconds,
        report.key_bytes,
        report.value_bytes,
        report.keys,
        report.to,
        physical(|one| one.fdatasync_us),
        physical(|one| one.echo_us),
    );
    let head = [
        "workload",
        "clients",
        "system",
        "op/s",
        "+-%",
        "p50 ms",
        "p99 ms",
        "CPU us/op",
        "disk B/op",
        "RSS MiB",
        "of Redis",
        "of etcd",
        "client %",
        "others %",
    ];
    print(&head, report.cells.iter().map(|cell| row(report, cell)).collect());
    for cell in &report.cells {
        if let Some(text) = cell.rounds.iter().find_map(|round| round.first_error.as_ref()) {
            let errors: u64 = cell.rounds.iter().map(|round| round.errors).sum();
            let (workload, system) = (cell.workload.name(), cell.system.name());
            println!(
                "{workload}, {} clients, {system}: {errors} clients gave up, the first one at: {text}",
                cell.clients
            );
        }
    }
}

fn row(report: &Report, cell: &Cell) -> Vec<String> {
    let ratio = |system| {
        report
            .beside(cell, system)
            .map_or(String::new(), |other| format!("{:.2}", cell.per_second.median / other.per_second.median))
    };
    let percent = |figure: fn(&Measured) -> f64| format!("{:.0}", cell.median(figure) * 100.0);
    #[expect(clippy::cast_precision_loss, reason = "figures are shown with a few digits")]
    let resident = cell.median(|round| round.resident_bytes as f64) / f64::from(1 << 20);
    let disk = Summary::of(cell.rounds.iter().filter_map(|round| round.disk_bytes_per_operation));
    vec![
        cell.workload.name().to_owned(),
        cell.clients.to_string(),
        cell.system.name().to_owned(),
        format!("{:.0}", cell.per_second.median),
        format!("{:.0}", cell.per_second.spread_percent()),
        format!("{:.2}", cell.p50_us.median / 1e3),
        format!("{:.2}", cell.p99_us.median / 1e3),
        format!("{:.0}", cell.cpu_us_per_operation.median),
        disk.map_or(String::new(), |summary| format!("{:.0}", summary.median)),
        format!("{resident:.0}"),
        ratio(System::Redis),
        ratio(System::Etcd),
        percent(|round| round.generator_share),
        percent(|round| round.others_share),
    ]
}

/// Prints how long writes paused.
pub(crate) fn print_failovers(report: &Report) {
    println!("\nThe longest pause between acknowledged writes after the leader is gone, in seconds.\n");
    let rows = report.failovers.iter().map(|failover| {
        let window = &failover.window_s;
        let figures = [window.median, window.least, window.most].map(|figure| format!("{figure:.3}"));
        let names = [failover.fault.name(), failover.system.name()].map(str::to_owned);
        [&names[..], &[failover.windows_s.len().to_string()], &figures].concat()
    });
    print(&["fault", "system", "trials", "median", "least", "most"], rows.collect());
}

/// Prints start, idling, footprint and restart.
pub(crate) fn print_resources(report: &Report) {
    println!("\nA node's resources.\n");
    print_figures(&report.resources);
}

/// Prints what held locks cost.
pub(crate) fn print_leases(report: &Report) {
    println!("\n{} locks in {} sessions or leases, held and left alone.\n", leases::LOCKS, leases::SESSIONS);
    print_figures(&report.leases);
}

fn print_figures(figures: &[Figure]) {
    let rows = figures.iter().map(|figure| {
        let value = format!("{:.*} {}", if figure.value < 10.0 { 2 } else { 0 }, figure.value, figure.unit);
        vec![figure.what.to_owned(), figure.system.name().to_owned(), figure.nodes.to_string(), value]
    });
    print(&["what", "system", "nodes", "value"], rows.collect());
}

/// Prints what clients noticed of changes of members.
pub(crate) fn print_members(report: &Report) {
    let Some(changes) = &report.members else { return };
    println!(
        "\nA fourth node joins three with a million keys, then the leader is removed; under 16 writers.\n"
    );
    let row = |what: &str, figure: &dyn Fn(&Trial) -> f64| {
        let Summary { median, least, most } = changes.summary(figure);
        let figures = [median, least, most].map(|figure| format!("{figure:.3}"));
        [&[what.to_owned(), changes.trials.len().to_string()], &figures[..]].concat()
    };
    let rows = vec![
        row("p99 before, ms", &|trial| trial.before_p99_ms),
        row("p99 while it joins, ms", &|trial| trial.joining_p99_ms),
        row("the longest meanwhile, ms", &|trial| trial.joining_most_ms),
        row("times as long", &Trial::ratio),
        row("the join, s", &|trial| trial.join_s),
        row("longest gap while the leader is removed, s", &|trial| trial.removal_window_s),
    ];
    print(&["what", "trials", "median", "least", "most"], rows);
}

/// A Markdown table whose columns are as wide as they need.
fn print(head: &[&str], rows: Vec<Vec<String>>) {
    print!("{}", table(head, &rows));
}

fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        rows.iter().map(|row| row[column].len()).chain([head[column].len()]).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: Vec<&str>| {
        let padded = cells.iter().zip(&widths).map(|(cell, &width)| {
            let is_number = cell.starts_with(|first: char| first.is_ascii_digit());
            if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        format!("| {} |\n", padded.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
    let mut text = line(head.to_vec()) + &line(rule.iter().map(String::as_str).collect());
    text.extend(rows.iter().map(|row| line(row.iter().map(String::as_str).collect())));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["a".to_owned(), "12345".to_owned()], vec!["long".to_owned(), "7".to_owned()]];
        let expected = "| a    | n     |\n| ---- | ----- |\n| a    | 12345 |\n| long |     7 |\n";
        assert_eq!(table(&["a", "n"], &rows), expected);
    }
}
