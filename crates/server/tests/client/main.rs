//! The Rust client against real nodes: locks, what becomes of them when things fail, and keys.

#[path = "../support/mod.rs"]
mod support;

mod barriers;
mod cutting;
mod elections;
mod failures;
mod fleet;
mod keys;
mod locks;
mod redis_locks;
mod semaphores;
mod sessions;
mod sharing;
mod watching;

use std::time::Duration;

use quorate_client::{Client, Settings};

/// Longer than any test: what ends a lock that lasts so long is not its time.
const HOUR: Duration = Duration::from_secs(3_600);

/// A node of its own that serves, and a client of it.
async fn node() -> (support::Process, u16, tempfile::TempDir, Client) {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), support::free_ports(1));
    let process = support::serve(port, folder.path(), &[]);
    let client = connect(&[port]).await;
    // Tried again until the node has its data.
    client.get("anything").await.expect("it serves");
    (process, port, folder, client)
}

/// A client that knows the nodes at these ports, in this order.
async fn connect(ports: &[u16]) -> Client {
    let addresses: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    let settings = Settings::new().patience(support::LONG);
    Client::connect_with(&format!("quorate://{}", addresses.join(",")), settings).await.expect("a client")
}

/// Takes a lock away from whoever holds it.
fn take_away(port: u16, name: &str) {
    support::ask(port, &["LOCK", "FORCE-RELEASE", name]);
}
