//! What processes and the machine have used up, as `/proc` tells it.

use crate::process::Process;
use anyhow::{Context, Result};
use std::{
    fs,
    ops::{Add, Sub},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::Duration,
};

/// Used up by one or more processes since their start, except for `resident_bytes`, which is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) resident_bytes: u64,
}

impl Usage {
    pub(crate) fn of(process: &Process) -> Result<Self> {
        Self::read(&process.facts())
    }

    /// Of this program itself.
    pub(crate) fn own() -> Result<Self> {
        Self::read(Path::new("/proc/self"))
    }

    fn read(facts: &Path) -> Result<Self> {
        let text = |name: &str| {
            let file = facts.join(name);
            fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))
        };
        let ticks = cpu_ticks(&text("stat")?).context("a stat file of an unknown form")?;
        let resident_kib = field(&text("status")?, "VmRSS:").context("no VmRSS")?;
        Ok(Self { cpu: in_time(ticks), resident_bytes: resident_kib << 10 })
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { cpu: self.cpu + other.cpu, resident_bytes: self.resident_bytes + other.resident_bytes }
    }
}

impl Sub for Usage {
    type Output = Self;

    /// What was used up since `earlier`; what is resident is not a difference.
    fn sub(self, earlier: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(earlier.cpu), resident_bytes: self.resident_bytes }
    }
}

/// CPU time of the whole machine since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MachineTime {
    pub(crate) busy: Duration,
    pub(crate) all: Duration,
}

impl MachineTime {
    pub(crate) fn now() -> Result<Self> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        Self::parse(&text).context("a /proc/stat of an unknown form")
    }

    fn parse(text: &str) -> Option<Self> {
        let ticks: Vec<u64> = text
            .lines()
            .next()?
            .split_whitespace()
            .skip(1)
            .take(8)
            .map_while(|word| word.parse().ok())
            .collect();
        // user nice system idle iowait irq softirq steal; what is stolen is not ours to use.
        let [.., idle, waiting, _, _, _] = ticks[..] else { return None };
        let all: u64 = ticks.iter().sum();
        Some(Self { busy: in_time(all - idle - waiting), all: in_time(all) })
    }

    /// The share of the machine that was busy since `earlier`, `ours` apart.
    pub(crate) fn share_of_others(self, earlier: Self, ours: Duration) -> f64 {
        let busy = self.busy.saturating_sub(earlier.busy).saturating_sub(ours);
        let all = self.all.saturating_sub(earlier.all);
        if all.is_zero() { 0.0 } else { busy.as_secs_f64() / all.as_secs_f64() }
    }
}

/// The disk that holds a folder. What a process writes to it cannot be told from the process's own counters: where the
/// page cache keeps large folios, they count a whole folio for a few bytes written into it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    major: u32,
    minor: u32,
}

impl Disk {
    pub(crate) fn of(folder: &Path) -> Result<Self> {
        let device = fs::metadata(folder)?.dev();
        Ok(Self { major: rustix::fs::major(device), minor: rustix::fs::minor(device) })
    }

    /// Bytes written to it by anybody. Nothing if the kernel knows no such disk, as for a folder in memory.
    pub(crate) fn written_bytes(self) -> Option<u64> {
        const SECTOR_BYTES: u64 = 512;
        let text = fs::read_to_string("/proc/diskstats").ok()?;
        Some(sectors_written(&text, self.major, self.minor)? * SECTOR_BYTES)
    }
}

/// The tenth field behind a disk's two numbers in `/proc/diskstats`.
fn sectors_written(text: &str, major: u32, minor: u32) -> Option<u64> {
    let numbers = [major.to_string(), minor.to_string()];
    let fields = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut disk = fields.filter(|fields| fields.len() > 9 && fields[..2] == numbers);
    disk.next()?[9].parse().ok()
}

/// User and system time out of `/proc/PID/stat`. The name in parentheses before them may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    let mut fields = after_name.split_whitespace().skip(11);
    Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
}

/// The number behind `name` in a file of one name a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

fn in_time(ticks: u64) -> Duration {
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_found_behind_any_name() {
        let stat = "7 (a ) 9 (b) S 1 7 7 0 -1 4194304 100 0 0 0 250 50 0 0 20 0 4 0 100 1 1";
        assert_eq!(cpu_ticks(stat), Some(300));
    }

    #[test]
    fn others_share_is_what_neither_idled_nor_was_ours() {
        let at = |text: &str| MachineTime::parse(text).unwrap();
        let (before, after) =
            (at("cpu  100 0 100 500 100 0 0 0 0 0\n"), at("cpu  200 0 150 600 150 0 0 0 0 0\n"));
        let share = after.share_of_others(before, in_time(75));
        assert!((share - 75.0 / 300.0).abs() < 1e-9, "{share}");
    }

    #[test]
    fn a_disk_is_found_by_its_numbers() {
        let text = " 7 0 loop0 1 2 3 4 5 6 70 8 0 0 0\n 254 0 vda 100 0 800 40 200 0 1600 90 0 50 130\n";
        assert_eq!(sectors_written(text, 254, 0), Some(1_600));
        assert_eq!(sectors_written(text, 8, 1), None);
    }

    #[test]
    fn own_usage_is_readable_and_grows() {
        let first = Usage::own().unwrap();
        assert!(first.resident_bytes > 0);
        assert!(Usage::own().unwrap().cpu >= first.cpu);
    }
}
