//! What a server keeps for as long as it is asked to, and whoever asks it again and again in the background.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Mutex, watch},
    task::JoinHandle,
};

use crate::{
    clock::{BootTime, sleep_until},
    error::{Error, Loss},
    lease::Lease,
};

/// Something that lasts for a time, and can be asked to last for another one.
pub trait Renew: Send + Sync + 'static {
    /// One attempt to have it last for `ttl` from when this is carried out; it takes `limit` at most. `Lost` if the server says
    /// that it is gone.
    fn renew(&self, ttl: Duration, limit: Duration) -> impl Future<Output = Result<(), Error>> + Send;
}

/// It is renewed until this is dropped, or it is lost.
pub struct Kept<R> {
    state: Arc<State<R>>,
    keeper: JoinHandle<()>,
}

/// What its owner and its keeper share.
struct State<R> {
    what: R,
    lease: watch::Sender<Lease>,
    /// Extensions are asked for one after the other: the arithmetic of the lease rests on that.
    turn: Mutex<()>,
    /// Whether its owner is handing it over to somebody.
    is_handed_over: AtomicBool,
}

impl<R> Drop for Kept<R> {
    fn drop(&mut self) {
        self.keeper.abort();
        self.end(Loss::Released);
    }
}

impl<R> Kept<R> {
    /// Whatever happens to it from now on, nobody asks for more time.
    pub(crate) fn stop(&self) {
        self.keeper.abort();
    }

    /// Its owner is handing it over, or not any longer. If it is gone meanwhile, that is what he wished.
    pub(crate) fn hand_over(&self, is_under_way: bool) {
        self.state.is_handed_over.store(is_under_way, Ordering::Relaxed);
    }

    /// Why it is lost; `None` while it certainly is not.
    pub(crate) fn loss(&self) -> Option<Loss> {
        self.state.lease.borrow().loss(BootTime::now())
    }

    /// For how long it lasts certainly.
    pub(crate) fn remaining(&self) -> Duration {
        let until = self.state.lease.borrow().until();
        until.map_or(Duration::ZERO, |until| until.since(BootTime::now()))
    }

    /// It is over.
    pub(crate) fn end(&self, loss: Loss) {
        self.state.lease.send_modify(|lease| lease.end(loss));
    }

    /// Its lease, and whatever becomes of that.
    pub(crate) fn lease(&self) -> watch::Receiver<Lease> {
        self.state.lease.subscribe()
    }

    /// Returns when it is lost, and why.
    pub(crate) fn lost(&self) -> impl Future<Output = Loss> + Send + use<R> {
        let mut lease = self.lease();
        async move {
            loop {
                let current = *lease.borrow_and_update();
                let Some(until) = current.until().filter(|_| current.loss(BootTime::now()).is_none()) else {
                    return current.loss(BootTime::now()).unwrap_or(Loss::Released);
                };
                tokio::select! {
                    changed = lease.changed() => if changed.is_err() { return Loss::Released },
                    () = sleep_until(until) => {}
                }
            }
        }
    }
}

impl<R: Renew> Kept<R> {
    pub(crate) fn new(what: R, lease: Lease) -> Self {
        let (lease, turn) = (watch::Sender::new(lease), Mutex::new(()));
        let state = Arc::new(State { what, lease, turn, is_handed_over: AtomicBool::new(false) });
        let keeper = tokio::spawn(keep(Arc::clone(&state)));
        Self { state, keeper }
    }

    /// Has it last for `ttl` from now on, and be renewed for as long from then on. Attempts are made until one is answered, or
    /// it is lost.
    pub(crate) async fn extend(&self, ttl: Duration) -> Result<(), Error> {
        for failures in 1.. {
            match self.state.extend(Some(ttl)).await {
                Err(Error::NotApplied { .. } | Error::OutcomeUnknown { .. }) => {
                    let pause = self.state.lease.borrow().pause(failures);
                    tokio::time::sleep(pause).await;
                }
                answer => return answer,
            }
        }
        Err(Error::Lost(Loss::Expired))
    }
}

impl<R: Renew> State<R> {
    /// One attempt to have it last for `ttl`, or for as long as last time.
    async fn extend(&self, ttl: Option<Duration>) -> Result<(), Error> {
        let _turn = self.turn.lock().await;
        let asked = BootTime::now();
        let ttl = ttl.or(self.lease.borrow().ttl()).unwrap_or_default();
        let mut begun = Ok(());
        self.lease.send_modify(|lease| begun = lease.ask(asked, ttl));
        begun?;
        // To ask for less time leaves less of it for attempts.
        let limit = self.lease.borrow().attempt_limit(asked);
        let answer = self.what.renew(ttl, limit).await;
        self.lease.send_modify(|lease| match &answer {
            Ok(()) => lease.extended(asked, ttl, BootTime::now()),
            Err(Error::Lost(_)) if self.is_handed_over.load(Ordering::Relaxed) => lease.end(Loss::Released),
            Err(Error::Lost(loss)) => lease.end(*loss),
            Err(Error::OutcomeUnknown { .. }) => {}
            Err(_) => lease.not_extended(),
        });
        answer
    }
}

/// Renews it until it is lost.
async fn keep<R: Renew>(state: Arc<State<R>>) {
    let mut lease = state.lease.subscribe();
    let (mut failures, mut earliest) = (0_u32, BootTime::now());
    loop {
        let Some(renewal) = lease.borrow_and_update().renewal() else { return };
        tokio::select! {
            // The holder may have extended it: then there is another time to renew it.
            Ok(()) = lease.changed() => continue,
            () = sleep_until(renewal.max(earliest)) => {}
        }
        match state.extend(None).await {
            Ok(()) => failures = 0,
            Err(Error::Lost(_)) => return,
            Err(_) => {
                failures = failures.saturating_add(1);
                earliest = BootTime::now() + state.lease.borrow().pause(failures);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is gone whenever it is asked for.
    struct Gone;

    impl Renew for Gone {
        async fn renew(&self, _: Duration, _: Duration) -> Result<(), Error> {
            Err(Error::Lost(Loss::Taken))
        }
    }

    /// A renewal that came just after its lock was handed over called that a loss.
    #[tokio::test]
    async fn what_is_gone_while_its_owner_hands_it_over_is_not_taken_from_him() {
        let ttl = Duration::from_secs(3_600);
        for (is_handed_over, told) in [(false, Loss::Taken), (true, Loss::Released)] {
            let kept = Kept::new(Gone, Lease::new(BootTime::now(), ttl));
            kept.hand_over(true);
            kept.hand_over(is_handed_over);
            assert_eq!(kept.extend(ttl).await, Err(Error::Lost(Loss::Taken)));
            assert_eq!(kept.loss(), Some(told));
        }
    }
}
