//! What idle connections cost. A process of its own, since it measures the memory of the whole process.

#![expect(clippy::unwrap_used, reason = "tests end at the first surprise")]
#![expect(dead_code, reason = "the client can do more than this test needs")]

#[path = "front_door/client.rs"]
mod client;
#[path = "front_door/shard.rs"]
mod shard;

use client::Door;
use quorate::connection::Limits;

/// Bytes of memory that this process has now.
fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

#[tokio::test]
async fn thousands_of_idle_connections_cost_little() {
    let open_files = rustix::process::getrlimit(rustix::process::Resource::Nofile).current.unwrap_or(4096);
    // Both ends of each connection are in this process.
    let count = 2000.min(usize::try_from(open_files).unwrap().saturating_sub(200) / 2);
    let door = Door::open(Limits::default()).await;
    let mut first = door.client().await;
    first.ask("PING", "+PONG\r\n").await;
    let before = resident_bytes();
    let mut idle = Vec::new();
    for _ in 1..count {
        let mut client = door.client().await;
        client.ask("PING", "+PONG\r\n").await;
        idle.push(client);
    }
    door.connected(count).await;
    let each = resident_bytes().saturating_sub(before) / count;
    // About 6 KiB, of which the client's end is a part.
    assert!(each < 12 << 10, "{each} bytes for each connection");
    assert_eq!(door.front.buffered_bytes(), 0);
    first.ask("PING", "+PONG\r\n").await;
    drop(idle);
    door.connected(1).await;
}
