//! The time between opening the doors and having the data.
//!
//! Recovery reads the newest snapshot and all of the log, which takes as long as they are large, on a thread of its
//! own. Meanwhile the doors are open: HTTP says that the node runs and is not ready, and RESP answers LOADING to whatever
//! needs the data, until the machine has applied what was known to be committed (see `NodeStatus::loading`). From then
//! on commands wait for a leader.
//!
//! * A folder that is refused ends the process with the reason, and with it the doors.
//! * An order to end is obeyed at once: nothing has been promised yet, and a recovery that is cut short leaves what a
//!   killed process leaves.

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Duration,
};

use crossbeam_channel::Receiver;
use quorate_consensus::Engine;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{
    config::Config,
    data_folder::{self, DataFolder},
    ending::Orders,
    handle::{Answer, ConnId, ShardInput},
    service::Error,
};

/// How often the lobby is tidied. It grows by a few hundred bytes for each client that comes or goes in between.
const TIDY_INTERVAL: Duration = Duration::from_millis(50);

/// The connections, by what their answers go to.
pub(crate) type Clients = HashMap<ConnId, UnboundedSender<Answer>>;

/// Recovers the data of `config`, while those who connect and leave are kept track of in `lobby`; `None` if an order to
/// end came first.
///
/// # Errors
/// What [`data_folder::open`] answers; [`Error::Failed`] if its thread has failed.
pub(crate) async fn recover<E: Engine + 'static>(
    config: &Config,
    admitted: Option<u128>,
    orders: &mut Orders,
    lobby: &mut Lobby,
) -> Result<Option<DataFolder<E>>, Error> {
    let opened = open(config.clone(), admitted)?;
    tokio::select! {
        opened = opened => match opened {
            Ok(result) => result.map(Some),
            Err(_) => Err(Error::Failed("the recovery thread has ended: panicked".to_owned())),
        },
        order = orders.first() => {
            tracing::info!("ending, by {order}, before the data were recovered");
            Ok(None)
        }
        never = lobby.tidy() => match never {},
    }
}

/// Opens the data folder on a thread; the receiver fails if that panics.
fn open<E: Engine + 'static>(
    config: Config,
    admitted: Option<u128>,
) -> Result<oneshot::Receiver<Result<DataFolder<E>, Error>>, Error> {
    let (done, opened) = oneshot::channel();
    let work = move || {
        if let Ok(result) = catch_unwind(AssertUnwindSafe(|| data_folder::open(&config, admitted))) {
            // Nobody waits for it if the node has been told to end.
            drop(done.send(result));
        }
    };
    thread::Builder::new()
        .name("recovery".to_owned())
        .spawn(work)
        .map_err(Error::failed("cannot start a thread"))?;
    Ok(opened)
}

/// Those who have connected before there is a shard. What waits for it must not grow with each client that comes, is
/// told to come later, and leaves.
pub(crate) struct Lobby {
    inputs: Receiver<ShardInput>,
    present: Clients,
}

impl Lobby {
    pub(crate) fn new(inputs: Receiver<ShardInput>) -> Self {
        Self { inputs, present: Clients::new() }
    }

    /// Keeps track of who comes and goes, for as long as it is polled.
    pub(crate) async fn tidy(&mut self) -> std::convert::Infallible {
        let mut interval = tokio::time::interval(TIDY_INTERVAL);
        loop {
            interval.tick().await;
            self.take_all();
        }
    }

    fn take_all(&mut self) {
        for input in self.inputs.try_iter() {
            match input {
                ShardInput::Connected { conn, answers } => {
                    self.present.insert(conn, answers);
                }
                // Nothing waits yet, and this node knows of no leader.
                ShardInput::GivesUp { .. } | ShardInput::Transfer { .. } => {}
                // The front door lets no request through before the data are there. One that came all the same
                // has no outcome here, and so its connection closes.
                ShardInput::Disconnected { conn } | ShardInput::Requests { conn, .. } => {
                    self.present.remove(&conn);
                }
            }
        }
    }

    /// For the shard: what is still to come, and who is here already.
    pub(crate) fn leave(self) -> (Receiver<ShardInput>, Clients) {
        (self.inputs, self.present)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::watch;

    use super::*;
    use crate::subscriptions::Subscriptions;
    use crate::{handle::ShardHandle, status::NodeStatus};

    #[test]
    fn clients_that_come_and_go_leave_nothing_and_those_that_stay_are_known() {
        let (inputs, received) = crossbeam_channel::unbounded();
        let (_, status) = watch::channel(Arc::new(NodeStatus::default()));
        let handle = ShardHandle::new(inputs, status, Subscriptions::new().0);
        let mut lobby = Lobby::new(received);
        let (stays, mut answers) = handle.connect();
        for _ in 0..100 {
            let (conn, _answers) = handle.connect();
            handle.disconnect(conn);
        }
        lobby.take_all();
        let (rest, present) = lobby.leave();
        assert!(rest.is_empty());
        assert_eq!(present.keys().copied().collect::<Vec<_>>(), [stays]);
        assert!(
            answers.try_recv().is_err_and(|error| error == tokio::sync::mpsc::error::TryRecvError::Empty)
        );
    }
}
