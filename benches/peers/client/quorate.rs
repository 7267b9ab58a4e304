//! Quorate's own locks; all else by the Redis protocol, as Redis is asked.

use super::{Client, LOCK_TTL_SECONDS, Resp, key_name};
use std::{io, net::SocketAddr, ops::Range};

/// How long a client waits in a lock's queue at most.
const WAIT_MS: &str = "60000";

/// One connection.
pub(crate) struct Quorate {
    resp: Resp,
    owner: String,
    ttl_ms: String,
    /// The token of the lock that it holds.
    token: String,
}

impl Client for Quorate {
    async fn connect(address: SocketAddr, number: u64) -> io::Result<Self> {
        Ok(Self {
            resp: Resp::connect(address, number).await?,
            owner: format!("owner-{number:08}"),
            ttl_ms: (LOCK_TTL_SECONDS * 1_000).to_string(),
            token: String::new(),
        })
    }

    async fn set(&mut self, key: u64) -> io::Result<()> {
        self.resp.set(key).await
    }

    async fn get(&mut self, key: u64) -> io::Result<()> {
        self.resp.get(key).await
    }

    async fn lock(&mut self, lock: u64) -> io::Result<bool> {
        self.resp.lock(lock).await
    }

    async fn unlock(&mut self, lock: u64) -> io::Result<()> {
        self.resp.unlock(lock).await
    }

    async fn acquire(&mut self, lock: u64) -> io::Result<()> {
        let name = key_name("n", lock);
        let words = ["LOCK", "ACQUIRE", &name, "OWNER", &self.owner, "TTL", &self.ttl_ms, "WAIT", WAIT_MS];
        self.token = self.resp.ask(&words).await?;
        Ok(())
    }

    async fn release(&mut self, lock: u64) -> io::Result<()> {
        self.resp.ask(&["LOCK", "RELEASE", &key_name("n", lock), &self.token]).await.map(drop)
    }

    async fn hold(&mut self, locks: Range<u64>) -> io::Result<()> {
        let session = self.resp.ask(&["SESSION", "OPEN", &self.ttl_ms]).await?;
        for lock in locks {
            self.resp.ask(&["LOCK", "ACQUIRE", &key_name("n", lock), "SESSION", &session]).await?;
        }
        Ok(())
    }

    async fn set_all(&mut self, keys: &[u64]) -> io::Result<()> {
        self.resp.set_all(keys).await
    }

    async fn leads(address: SocketAddr) -> io::Result<bool> {
        Resp::leads(address).await
    }
}
