//! Locks of etcd, against a real one: `etcd` must be on the path. `cargo xtask verify` fetches it.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use quorate_client::{Client, Error, Etcd, Fenced, FencingToken, LockGuard, Loss, Settings};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    net::TcpStream,
    task::{JoinHandle, JoinSet},
};

/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);
const HOUR: Duration = Duration::from_secs(3_600);

/// A member of its own, which ends with the test.
struct Server {
    process: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = (self.process.kill(), self.process.wait());
    }
}

impl Server {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Both at once, or they might be the same.
        let ports = [0, 0].map(|port| TcpListener::bind(("127.0.0.1", port)).expect("a port"));
        let [client, peer] = ports.map(|port| port.local_addr().expect("it is bound"));
        let (clients, peers) = (format!("http://{client}"), format!("http://{peer}"));
        let process = Command::new("etcd")
            .args(["--name", "it", "--initial-cluster", &format!("it={peers}"), "--data-dir"])
            .arg(folder.path().join("data"))
            .args(["--listen-client-urls", &clients, "--advertise-client-urls", &clients])
            .args(["--listen-peer-urls", &peers, "--initial-advertise-peer-urls", &peers])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("etcd is installed: Debian's package etcd-server");
        Self { process, url: format!("etcd://{client}"), _folder: folder }
    }

    async fn client(&self) -> Client<Etcd> {
        Client::connect_etcd_with(&self.url, Settings::new().patience(LONG)).await.expect("it serves")
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("it is there");
    }

    /// etcd itself, as others use it.
    async fn direct(&self) -> etcd_client::Client {
        let address = self.url.replace("etcd://", "http://");
        etcd_client::Client::connect([address], None).await.expect("an address")
    }

    /// The keys of a lock: that of its holder, and those of who waits.
    async fn keys(&self, name: &str) -> Vec<Vec<u8>> {
        let options = etcd_client::GetOptions::new().with_prefix();
        let answer = self.direct().await.get(format!("{name}/"), Some(options)).await.expect("it serves");
        answer.kvs().iter().map(|found| found.key().to_vec()).collect()
    }

    async fn until_keys(&self, name: &str, count: usize) {
        let begun = Instant::now();
        while self.keys(name).await.len() != count {
            assert!(begun.elapsed() < LONG, "in vain waited for {count} keys");
            tokio::task::yield_now().await;
        }
    }
}

/// Connections to a server that can be cut.
struct Wire {
    url: String,
    connections: Arc<Mutex<JoinSet<()>>>,
    listening: JoinHandle<()>,
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

impl Wire {
    async fn to(server: &Server) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("etcd://{}", listener.local_addr().expect("it is bound"));
        let (address, connections) =
            (server.url.replace("etcd://", ""), Arc::new(Mutex::new(JoinSet::new())));
        let shared = Arc::clone(&connections);
        let listening = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let address = address.clone();
                shared.lock().expect("nobody panics").spawn(async move {
                    let mut far = TcpStream::connect(address).await.expect("it serves");
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                });
            }
        });
        Self { url, connections, listening }
    }

    /// Ends all that are there; new ones are taken.
    fn cut(&self) {
        self.connections.lock().expect("nobody panics").abort_all();
    }
}

/// Programs that need a token are written for both services that have one.
fn token<B: Fenced>(guard: &LockGuard<B>) -> FencingToken {
    guard.token()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_has_one_holder_and_each_holder_a_greater_token() {
    let server = Server::start();
    let client = server.client().await;
    let first = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    let refused = client.lock("a").acquire().await.err();
    assert!(matches!(refused, Some(Error::NotAcquired { name, .. }) if name == "a"));
    assert_eq!(server.keys("a").await.len(), 1, "who was refused has left no key");
    let second = tokio::spawn(client.lock("a").ttl(HOUR).wait(HOUR).acquire());
    server.until_keys("a", 2).await;
    let third = tokio::spawn(client.lock("a").ttl(HOUR).wait(HOUR).acquire());
    server.until_keys("a", 3).await;
    let older = token(&first);
    first.release().await.unwrap();
    let second = second.await.unwrap().unwrap();
    assert!(token(&second) > older && !third.is_finished());
    drop(second);
    assert!(token(&third.await.unwrap().unwrap()) > older);
    client.settled().await;
    assert_eq!(server.keys("a").await.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_is_kept_beyond_its_time_to_live_and_so_is_a_place_in_the_line() {
    let server = Server::start();
    let client = server.client().await;
    let ttl = Duration::from_secs(2);
    let first = client.lock("a").ttl(ttl).acquire().await.unwrap();
    let second = tokio::spawn(client.lock("a").ttl(ttl).wait(HOUR).acquire());
    let third = client.lock("a").ttl(ttl).wait(ttl * 3).acquire().await;
    assert!(matches!(third, Err(Error::NotAcquired { waited, .. }) if waited >= ttl * 3));
    assert!(first.is_held() && !second.is_finished());
    first.release().await.unwrap();
    let second = second.await.unwrap().unwrap();
    assert!(second.remaining() > ttl / 2);
    let longer = second.extend(HOUR).await;
    assert!(matches!(longer, Err(Error::Refused { code, .. }) if code == "LEASE"));
    second.extend(ttl).await.unwrap();
    second.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_key_was_removed_is_lost_though_its_lease_goes_on() {
    let server = Server::start();
    let client = server.client().await;
    let guard = client.lock("a").ttl(Duration::from_secs(3)).acquire().await.unwrap();
    let key = server.keys("a").await.remove(0);
    server.direct().await.delete(key, None).await.unwrap();
    assert_eq!(guard.lost().await, Loss::Taken);
    assert!(!guard.is_held());
    assert_eq!(guard.release().await, Err(Error::Lost(Loss::Taken)));
    assert!(server.direct().await.leases().await.unwrap().leases().is_empty(), "its lease is over, too");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_holder_whose_server_stands_still_learns_of_its_loss_by_its_own_clock() {
    let server = Server::start();
    let client = server.client().await;
    let guard = client.lock("a").ttl(Duration::from_secs(2)).acquire().await.unwrap();
    server.signal(Signal::STOP);
    assert_eq!(guard.lost().await, Loss::Expired);
    server.signal(Signal::CONT);
    assert_eq!(guard.release().await, Err(Error::Lost(Loss::Expired)));
    client.lock("a").wait(LONG).acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acquisition_that_is_given_up_leaves_nothing_behind() {
    let server = Server::start();
    let client = server.client().await;
    for micros in (0..20_000).step_by(1_000) {
        let acquired = client.lock("a").ttl(HOUR).acquire();
        drop(tokio::time::timeout(Duration::from_micros(micros), acquired).await);
        client.settled().await;
        // A lease that was asked for may come later; nobody binds a key to it.
        assert_eq!(server.keys("a").await.len(), 0, "given up after {micros} us");
    }
    let first = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    let second = tokio::spawn(client.lock("a").ttl(HOUR).wait(HOUR).acquire());
    server.until_keys("a", 2).await;
    second.abort();
    server.until_keys("a", 1).await;
    assert!(first.is_held());
}

/// The server removes the key of a waiter whose call has broken, when it notices. A second call under the same lease, and so with
/// the same key, could have been served before that.
#[tokio::test(flavor = "multi_thread")]
async fn a_waiter_whose_connection_breaks_stands_in_line_anew_under_another_key() {
    let server = Server::start();
    let (client, wire) = (server.client().await, Wire::to(&server).await);
    let cut_off = Client::connect_etcd_with(&wire.url, Settings::new().patience(LONG)).await.unwrap();
    let first = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    let ours = server.keys("a").await.remove(0);
    let second = tokio::spawn(cut_off.lock("a").ttl(HOUR).wait(HOUR).acquire());
    server.until_keys("a", 2).await;
    let other = |keys: Vec<Vec<u8>>| keys.into_iter().filter(|key| *key != ours).collect::<Vec<_>>();
    let before = other(server.keys("a").await);
    wire.cut();
    let begun = Instant::now();
    loop {
        let now = other(server.keys("a").await);
        if now.len() == 1 && now != before {
            break;
        }
        assert!(begun.elapsed() < LONG && !second.is_finished(), "it does not stand in line: {now:?}");
        tokio::task::yield_now().await;
    }
    first.release().await.unwrap();
    let second = second.await.unwrap().unwrap();
    // Its lease is kept, and its key is there still.
    second.extend(HOUR).await.unwrap();
    assert_eq!(server.direct().await.leases().await.unwrap().leases().len(), 1, "the first lease is over");
    second.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_there_is_told_and_nothing_was_applied() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let settings =
        Settings::new().patience(Duration::from_millis(200)).answer_timeout(Duration::from_millis(500));
    let error = Client::connect_etcd_with(&format!("etcd://{closed}"), settings).await.err().unwrap();
    assert!(matches!(error, Error::NotApplied { .. }), "{error}");
    assert!(error.to_string().contains(&closed.to_string()), "{error}");
}
