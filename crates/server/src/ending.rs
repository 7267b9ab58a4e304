//! What can order a node to end: SIGTERM, SIGINT, and the end of the lifeline; or the program that it is a part of, and then
//! signals are none of its business.

use std::{
    io::{self, Read as _},
    thread,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// What the node's life hangs on.
#[derive(Debug)]
#[non_exhaustive]
pub enum Lifeline {
    /// Nothing beside signals.
    None,
    /// Signals, and standard input: whoever started the node holds its other end, and is gone when it ends.
    Stdin,
    /// The other end of this, which the program has that the node is a part of; not signals, which are for that program.
    Owner(oneshot::Receiver<()>),
}

/// Where orders to end are heard.
pub(crate) struct Orders {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    lifeline: oneshot::Receiver<()>,
    /// Keeps `lifeline` open when there is none.
    _unused: Option<oneshot::Sender<()>>,
}

impl Orders {
    /// Begins to listen. Must be called within a runtime.
    ///
    /// # Errors
    /// What the operating system says.
    pub(crate) fn listen(lifeline: Lifeline) -> io::Result<Self> {
        let (cut, receiver) = oneshot::channel();
        let unused = match lifeline {
            Lifeline::Owner(lifeline) => {
                return Ok(Self { interrupt: None, terminate: None, lifeline, _unused: None });
            }
            Lifeline::None => Some(cut),
            Lifeline::Stdin => {
                let wait = move || {
                    wait_for_end_of_stdin();
                    // Nobody listens when the node is ending already.
                    let _ = cut.send(());
                };
                thread::Builder::new().name("lifeline".to_owned()).spawn(wait)?;
                None
            }
        };
        let interrupt = Some(signal(SignalKind::interrupt())?);
        let terminate = Some(signal(SignalKind::terminate())?);
        Ok(Self { interrupt, terminate, lifeline: receiver, _unused: unused })
    }

    /// The first order; what gave it. Not to be called again once it has answered.
    pub(crate) async fn first(&mut self) -> &'static str {
        tokio::select! {
            () = arrival(&mut self.interrupt) => "SIGINT",
            () = arrival(&mut self.terminate) => "SIGTERM",
            _ = &mut self.lifeline => "whoever has started it, or the end of that",
        }
    }

    /// A signal, which after a first order means: at once.
    pub(crate) async fn signal(&mut self) -> &'static str {
        tokio::select! {
            () = arrival(&mut self.interrupt) => "SIGINT",
            () = arrival(&mut self.terminate) => "SIGTERM",
        }
    }
}

/// Returns when a signal has arrived that is listened to.
async fn arrival(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Returns when standard input ends or fails. What arrives there means nothing.
fn wait_for_end_of_stdin() {
    let mut ignored = [0; 64];
    let mut stdin = io::stdin().lock();
    loop {
        match stdin.read(&mut ignored) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}
