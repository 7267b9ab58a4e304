//! The compat suite's contender with this crate: native locks, and with `--classic` those of Redis, whoever the server is.

#[path = "../../../xtask/examples/contend/mod.rs"]
#[expect(dead_code, reason = "its scripts are for locks that have none of their own")]
mod contend;

use std::{error::Error, time::Duration};

use clap::Parser;
use contend::{Lock, Options};
use quorate_client::{Backend, Client, Error as ClientError, LockGuard};

#[derive(Parser)]
struct Program {
    #[command(flatten)]
    options: Options,
    /// Take the lock as with Redis
    #[arg(long)]
    classic: bool,
}

struct ClientLock<B: Backend> {
    client: Client<B>,
    name: &'static str,
    guard: Option<LockGuard<B>>,
    ttl: Duration,
    token: fn(&LockGuard<B>) -> Option<u64>,
}

/// A lock that is held by somebody else, or lost, is an answer and no error.
fn answer(outcome: Result<(), ClientError>) -> Result<bool, ClientError> {
    match outcome {
        Ok(()) => Ok(true),
        Err(ClientError::NotAcquired { .. } | ClientError::Lost(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

impl<B: Backend> Lock for ClientLock<B> {
    type Error = ClientError;

    async fn acquire(&mut self, me: &str) -> Result<bool, ClientError> {
        // Of an earlier turn that ended by an error.
        self.guard = None;
        let lock = self.client.lock(self.name).ttl(self.ttl).owner(me);
        answer(lock.acquire().await.map(|guard| self.guard = Some(guard)))
    }

    async fn extend(&mut self, _: &str) -> Result<bool, ClientError> {
        match &self.guard {
            Some(guard) => answer(guard.extend(self.ttl).await),
            None => Ok(false),
        }
    }

    async fn release(&mut self, _: &str) -> Result<bool, ClientError> {
        match self.guard.take() {
            Some(guard) => answer(guard.release().await),
            None => Ok(false),
        }
    }

    fn token(&self) -> Option<u64> {
        self.guard.as_ref().and_then(self.token)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let Program { options, classic } = Program::parse();
    let address = options.url.trim_start_matches("redis://").split('/').next().unwrap_or_default();
    let ttl = Duration::from_millis(options.ttl_ms());
    if classic {
        let client = Client::connect_redis(&format!("redis://{address}")).await?;
        contend::contend(
            &options,
            ClientLock { client, name: "compat:classic", guard: None, ttl, token: |_| None },
        )
        .await
    } else {
        let client = Client::connect(&format!("quorate://{address}")).await?;
        let token = |guard: &LockGuard| Some(guard.token().get());
        contend::contend(&options, ClientLock { client, name: "compat:native", guard: None, ttl, token })
            .await
    }
}
