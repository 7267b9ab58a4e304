//! Whether servers are alive at which somebody waits for long. All who wait at one look at it together, by one connection.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use tokio::{sync::watch, task::JoinHandle};

use crate::{connection::Connection, endpoints::Endpoint, settings::Settings};

/// So many times in a row it has to say nothing at all: all who wait there lose their connections by it.
const SILENCES: u32 = 2;

/// The servers that are looked at.
#[derive(Default)]
pub(crate) struct Vigils(Mutex<BTreeMap<Endpoint, Weak<Vigil>>>);

/// One server is looked at, until it does not answer or nobody wants to know any longer.
pub(crate) struct Vigil {
    /// Why the server counts as dead.
    found: watch::Receiver<Option<String>>,
    looking: JoinHandle<()>,
}

impl Drop for Vigil {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

impl Vigils {
    /// The one at the server of a connection.
    pub(crate) fn at(&self, connection: &Connection, settings: &Settings) -> Arc<Vigil> {
        let mut vigils = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let endpoint = connection.endpoint();
        let present = vigils.get(endpoint).and_then(Weak::upgrade);
        // One that has found it dead is over: who waits there now has been greeted since. So is one whose runtime has ended.
        let is_over = |vigil: &Vigil| vigil.found.borrow().is_some() || vigil.looking.is_finished();
        if let Some(present) = present.filter(|vigil| !is_over(vigil)) {
            return present;
        }
        let new = Arc::new(Vigil::begin(endpoint.clone(), settings.clone()));
        vigils.insert(endpoint.clone(), Arc::downgrade(&new));
        new
    }
}

impl Vigil {
    fn begin(endpoint: Endpoint, settings: Settings) -> Self {
        let (tell, found) = watch::channel(None);
        let looking = tokio::spawn(async move {
            let mut silences = 0;
            loop {
                let pause = if silences == 0 { settings.answer_timeout } else { settings.connect_timeout };
                tokio::time::sleep(pause).await;
                match Connection::probe(&endpoint, settings.connect_timeout).await {
                    Ok(()) => silences = 0,
                    Err(_) if silences + 1 < SILENCES => silences += 1,
                    Err(error) => {
                        tell.send_replace(Some(error.to_string()));
                        return;
                    }
                }
            }
        });
        Self { found, looking }
    }

    /// Returns when the server does not answer others any longer, and why.
    pub(crate) async fn death(&self) -> String {
        let mut found = self.found.clone();
        let why = found.wait_for(Option::is_some).await;
        // Only a runtime that ends stops looking before.
        why.ok().and_then(|why| why.clone()).unwrap_or_else(|| "nobody looks any longer".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;
    use crate::connection::Reads;

    /// A server that greets whoever connects, and counts them.
    async fn server(counted: Arc<AtomicUsize>) -> (Endpoint, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let serving = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut bytes = [0; 1_024];
                    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
                        let asked = bytes[..length].iter().filter(|byte| **byte == b'*').count();
                        let _ = stream.write_all(&b"+OK\r\n".repeat(asked)).await;
                    }
                });
            }
        });
        (Endpoint { host: "127.0.0.1".to_owned(), port }, serving)
    }

    /// Each waiter had a connection of his own for it, each 5 s: a thousand waiters made 200 connections a second.
    #[tokio::test]
    async fn all_who_wait_at_one_server_look_at_it_together() {
        let counted = Arc::new(AtomicUsize::new(0));
        let (endpoint, serving) = server(Arc::clone(&counted)).await;
        let (vigils, reads, settings) = (Vigils::default(), Reads::Linearizable, quick());
        let connection = Connection::open(&endpoint, reads, Duration::from_secs(5)).await.expect("greeted");
        let waiting: Vec<_> = (0..100).map(|_| vigils.at(&connection, &settings)).collect();
        assert!(waiting.iter().all(|vigil| Arc::ptr_eq(vigil, &waiting[0])));
        while counted.load(Ordering::Relaxed) < 4 {
            tokio::task::yield_now().await;
        }
        // The listener goes with its task, and what has connected to it next is refused.
        serving.abort();
        let why = waiting[0].death().await;
        assert!(why.contains(&endpoint.to_string()), "{why}");
        assert!(counted.load(Ordering::Relaxed) < 100);
        // Who waits there later has been greeted since, and looks anew.
        let later = vigils.at(&connection, &settings);
        assert!(!Arc::ptr_eq(&later, &waiting[0]) && later.found.borrow().is_none());
        drop(waiting);
        assert!(Arc::ptr_eq(&later, &vigils.at(&connection, &settings)));
    }

    /// A server at its limit of clients counted as dead, and all who waited there lost their connections at once.
    #[tokio::test]
    async fn a_server_that_is_full_is_alive_and_so_is_one_that_is_silent_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let vigil = Vigil::begin(Endpoint { host: "127.0.0.1".to_owned(), port }, quick());
        for round in 0..6 {
            let (mut stream, _) = listener.accept().await.expect("it is looked at");
            if round % 2 == 0 {
                let _ = stream.write_all(b"-ERR max number of clients reached\r\n").await;
            }
        }
        assert!(vigil.found.borrow().is_none());
        drop(listener);
        vigil.death().await;
    }

    fn quick() -> Settings {
        Settings::new().answer_timeout(Duration::from_millis(50)).connect_timeout(Duration::from_millis(50))
    }
}
