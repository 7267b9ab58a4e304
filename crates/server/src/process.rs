//! What the system knows of this process. Where it does not tell (outside of Linux), nothing is told.

use std::{fs, time::Duration};

use rustix::process::{Resource, getrlimit};

/// Processor time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime {
    /// In this program.
    pub(crate) user: Duration,
    /// In the system, on its behalf.
    pub(crate) system: Duration,
}

/// The unit of `/proc/self/stat`: whatever the kernel's own clock, it tells hundredths of a second.
const TICK_MS: u64 = 10;

/// The processor time that this process has taken so far.
pub(crate) fn cpu_time() -> Option<CpuTime> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may hold anything; the fields behind it are numbers.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
    let user = ticks.next()?.ok()?;
    let system = ticks.next()?.ok()?;
    let time = |ticks: u64| Duration::from_millis(ticks.saturating_mul(TICK_MS));
    Some(CpuTime { user: time(user), system: time(system) })
}

/// The memory of this process that is resident, in bytes.
pub(crate) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// How many files this process has open.
pub(crate) fn open_files() -> Option<usize> {
    Some(fs::read_dir("/proc/self/fd").ok()?.count())
}

/// How many it may have open; none for any number.
pub(crate) fn open_files_max() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_memory_and_files_and_takes_time() {
        assert!(resident_bytes().unwrap() > 100_000);
        assert!(open_files().unwrap() > 2);
        let before = cpu_time().unwrap();
        // Work until the clock of the processor has moved: it counts, whatever else the machine does.
        let mut rounds = 0_u64;
        while cpu_time().unwrap() == before {
            rounds += 1;
            assert!(rounds < 1_000_000, "after {rounds} rounds it still stands at {before:?}");
        }
    }
}
