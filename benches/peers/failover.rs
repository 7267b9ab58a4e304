//! How long writes pause when the leader dies, or stands still with its connections open.
//!
//! Clients are connected to the other nodes and write without pause. An attempt that is not answered soon is given up
//! and tried at the next survivor, so that what is measured is the cluster's pause and not a client's patience. The
//! window of a trial is the longest time between two acknowledged writes, of whatever clients.

use crate::{
    client::{Client, with_client},
    cluster::Cluster,
    options::Options,
    system::System,
};
use anyhow::{Context as _, Result, ensure};
use quorate_benches::statistics::Summary;
use serde::Serialize;
use std::{cell::RefCell, net::SocketAddr, rc::Rc, time::Duration};
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

const CLIENTS: u64 = 16;
/// The longest wait for one answer, before the next survivor is tried.
const ATTEMPT: Duration = Duration::from_millis(200);
/// After an error that came at once.
const PAUSE: Duration = Duration::from_millis(5);
/// Writes before the fault.
const BEFORE: Duration = Duration::from_secs(1);
/// Writes have to be acknowledged for so long again before a failover counts as over.
const AFTER: Duration = Duration::from_secs(2);
/// The longest failover.
const LONGEST: Duration = Duration::from_secs(30);

/// What happens to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Fault {
    /// SIGKILL: its connections are reset.
    Kill,
    /// SIGSTOP: its connections stay open.
    Stop,
}

/// All trials of one fault with one system.
#[derive(Debug, Serialize)]
pub(crate) struct Failover {
    pub(crate) system: System,
    pub(crate) fault: Fault,
    pub(crate) window_s: Summary,
    pub(crate) windows_s: Vec<f64>,
}

/// Tries all systems in turn, again and again.
pub(crate) async fn measure(options: &Options, clusters: &mut [Cluster]) -> Result<Vec<Failover>> {
    let mut failovers = Vec::new();
    for fault in [Fault::Kill, Fault::Stop] {
        let mut windows: Vec<Vec<f64>> = vec![Vec::new(); clusters.len()];
        for trial in 1..=options.trials {
            for (cluster, windows) in clusters.iter_mut().zip(&mut windows) {
                if cluster.system().fails_over() {
                    let window = once(cluster, fault).await?.as_secs_f64();
                    eprintln!(
                        "{} of the leader, trial {trial}: {} {window:.3} s",
                        fault.name(),
                        cluster.system().name()
                    );
                    windows.push(window);
                }
            }
        }
        for (cluster, windows_s) in clusters.iter().zip(windows) {
            let summary = Summary::of(windows_s.iter().copied());
            let of = |window_s| Failover { system: cluster.system(), fault, window_s, windows_s };
            failovers.extend(summary.map(of));
        }
    }
    Ok(failovers)
}

impl Fault {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Fault::Kill => "kill -9",
            Fault::Stop => "SIGSTOP",
        }
    }
}

/// One trial: the window. All nodes work again at its end.
async fn once(cluster: &mut Cluster, fault: Fault) -> Result<Duration> {
    cluster.ready().await?;
    let leader = cluster.leader().await?;
    let mut survivors = cluster.addresses();
    survivors.remove(leader);
    let system = cluster.system();
    let strike = async {
        match fault {
            Fault::Kill => cluster.kill_node(leader),
            Fault::Stop => cluster.pause_node(leader)?,
        }
        Ok(())
    };
    let window = with_client!(system, window(&survivors, strike));
    match fault {
        Fault::Kill => cluster.start_node(leader)?,
        Fault::Stop => cluster.resume_node(leader)?,
    }
    window.with_context(|| format!("after the {} of the leader of {}", fault.name(), system.name()))
}

/// Waits until writes go on after their longest gap; whether they do.
async fn is_over(acknowledged: &RefCell<Acknowledged>) -> bool {
    let fault_at = Instant::now();
    loop {
        sleep(Duration::from_millis(50)).await;
        let seen = acknowledged.borrow();
        let steady = seen.longest_gap_end.is_some_and(|end| seen.last > end + AFTER);
        if steady || fault_at.elapsed() > LONGEST {
            break steady;
        }
    }
}

/// The longest gap between writes at `survivors` from when `fault` begins.
pub(crate) async fn window<C: Client>(
    survivors: &[SocketAddr],
    fault: impl Future<Output = Result<()>>,
) -> Result<Duration> {
    let acknowledged = Rc::new(RefCell::new(Acknowledged::new()));
    // The writers end when they are dropped.
    let _writers = writers::<C>(survivors, &acknowledged).await;
    sleep(BEFORE).await;
    ensure!(acknowledged.borrow().writes > 0, "nothing was acknowledged");
    acknowledged.borrow_mut().forget_gaps();
    fault.await?;
    ensure!(is_over(&acknowledged).await, "nothing was acknowledged for long");
    let window = acknowledged.borrow().longest_gap;
    Ok(window)
}

/// What all writers together have seen.
#[derive(Debug)]
struct Acknowledged {
    writes: u64,
    last: Instant,
    longest_gap: Duration,
    longest_gap_end: Option<Instant>,
}

impl Acknowledged {
    fn new() -> Self {
        Self { writes: 0, last: Instant::now(), longest_gap: Duration::ZERO, longest_gap_end: None }
    }

    fn forget_gaps(&mut self) {
        (self.longest_gap, self.longest_gap_end) = (Duration::ZERO, None);
    }

    fn write(&mut self, now: Instant) {
        let gap = now - self.last;
        if gap > self.longest_gap {
            (self.longest_gap, self.longest_gap_end) = (gap, Some(now));
        }
        (self.writes, self.last) = (self.writes + 1, now);
    }
}

async fn writers<C: Client>(
    survivors: &[SocketAddr],
    acknowledged: &Rc<RefCell<Acknowledged>>,
) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for number in 0..CLIENTS {
        tasks.spawn_local(write::<C>(number, survivors.to_owned(), Rc::clone(acknowledged)));
    }
    tasks
}

/// Writes for ever, at one survivor until it fails, then at the next.
async fn write<C: Client>(number: u64, survivors: Vec<SocketAddr>, acknowledged: Rc<RefCell<Acknowledged>>) {
    let start = usize::try_from(number).unwrap_or(0) % survivors.len();
    for &address in survivors.iter().cycle().skip(start) {
        let Ok(Ok(mut client)) = timeout(ATTEMPT, C::connect(address, number)).await else {
            sleep(PAUSE).await;
            continue;
        };
        while let Ok(Ok(())) = timeout(ATTEMPT, client.create(number)).await {
            acknowledged.borrow_mut().write(Instant::now());
        }
        sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_is_the_longest_gap_after_the_fault() {
        let mut seen = Acknowledged::new();
        let start = seen.last;
        let at = |ms| start + Duration::from_millis(ms);
        seen.write(at(900));
        seen.forget_gaps();
        for ms in [910, 1_210, 1_220] {
            seen.write(at(ms));
        }
        assert_eq!((seen.longest_gap, seen.longest_gap_end), (Duration::from_millis(300), Some(at(1_210))));
        assert_eq!(seen.writes, 4);
    }
}
