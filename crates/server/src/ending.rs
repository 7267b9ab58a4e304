//! What can order the process to end: SIGTERM, SIGINT, and the end of the lifeline.

use std::{
    io::{self, Read as _},
    thread,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

/// What the process's life hangs on, beside signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifeline {
    /// Nothing.
    None,
    /// Standard input: whoever started the node holds its other end, and is gone when it ends.
    Stdin,
}

/// Where orders to end are heard.
pub(crate) struct Orders {
    interrupt: Signal,
    terminate: Signal,
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
        let interrupt = signal(SignalKind::interrupt())?;
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { interrupt, terminate, lifeline: receiver, _unused: unused })
    }

    /// The first order; what gave it. Not to be called again once it has answered.
    pub(crate) async fn first(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = &mut self.lifeline => "the end of the process that started this one",
        }
    }

    /// A signal, which after a first order means: at once.
    pub(crate) async fn signal(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
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
