//! The compat suite's contender with the crate `redis`: a plain lock on one multiplexed connection. A connection
//! that failed is made anew by the program, as the crate leaves it to its users. By itself the crate gives up on
//! an answer after half a second, less than a cluster may need for an election.

mod contend;

use clap::Parser;
use contend::{Lock, Options};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError, Script, Value};
use std::error::Error;
use std::time::Duration;

const NAME: &str = "compat:redis-rs";
const TIMEOUT: Duration = Duration::from_secs(10);

struct RedisLock {
    client: Client,
    connection: Option<MultiplexedConnection>,
    ttl_ms: u64,
}

impl RedisLock {
    async fn connection(&mut self) -> Result<MultiplexedConnection, RedisError> {
        if self.connection.is_none() {
            let patient = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(TIMEOUT))
                .set_response_timeout(Some(TIMEOUT));
            let connection = self.client.get_multiplexed_async_connection_with_config(&patient).await?;
            self.connection = Some(connection);
        }
        Ok(self.connection.clone().expect("it was just made"))
    }

    /// Forgets a connection over which a request failed.
    fn keep<T>(&mut self, outcome: Result<T, RedisError>) -> Result<T, RedisError> {
        if outcome.is_err() {
            self.connection = None;
        }
        outcome
    }

    async fn script(&mut self, text: &str, me: &str) -> Result<bool, RedisError> {
        let mut connection = self.connection().await?;
        let done: Result<i64, _> =
            Script::new(text).key(NAME).arg(me).arg(self.ttl_ms).invoke_async(&mut connection).await;
        self.keep(done).map(|done| done == 1)
    }
}

impl Lock for RedisLock {
    type Error = RedisError;

    async fn acquire(&mut self, me: &str) -> Result<bool, RedisError> {
        let mut connection = self.connection().await?;
        let mut set = redis::cmd("SET");
        set.arg(NAME).arg(me).arg("NX").arg("PX").arg(self.ttl_ms);
        let taken: Result<Value, _> = set.query_async(&mut connection).await;
        self.keep(taken).map(|taken| taken != Value::Nil)
    }

    async fn extend(&mut self, me: &str) -> Result<bool, RedisError> {
        self.script(contend::EXTEND, me).await
    }

    async fn release(&mut self, me: &str) -> Result<bool, RedisError> {
        self.script(contend::RELEASE, me).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let client = Client::open(options.url.as_str())?;
    contend::contend(&options, RedisLock { client, connection: None, ttl_ms: options.ttl_ms() }).await
}
