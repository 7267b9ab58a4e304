//! The compat suite's contender with the crate `fred`: a plain lock on a client that connects again by itself.

mod contend;

use clap::Parser;
use contend::{Lock, Options};
use fred::prelude::*;
use fred::types::scripts::Script;
use std::error::Error as StdError;

const NAME: &str = "compat:fred";
/// Between two attempts to connect again.
const RECONNECT_MS: u32 = 100;

struct FredLock {
    client: Client,
    extend: Script,
    release: Script,
    ttl_ms: u64,
}

impl Lock for FredLock {
    type Error = Error;

    async fn acquire(&mut self, me: &str) -> Result<bool, Error> {
        let ttl = Expiration::PX(i64::try_from(self.ttl_ms).expect("a TTL of some seconds"));
        let taken: Option<String> = self.client.set(NAME, me, Some(ttl), Some(SetOptions::NX), false).await?;
        Ok(taken.is_some())
    }

    async fn extend(&mut self, me: &str) -> Result<bool, Error> {
        let arguments = vec![me.to_owned(), self.ttl_ms.to_string()];
        self.extend.evalsha_with_reload(&self.client, NAME, arguments).await
    }

    async fn release(&mut self, me: &str) -> Result<bool, Error> {
        self.release.evalsha_with_reload(&self.client, NAME, me).await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn StdError>> {
    let options = Options::parse();
    let mut builder = Builder::from_config(Config::from_url(&options.url)?);
    builder.set_policy(ReconnectPolicy::new_constant(0, RECONNECT_MS));
    let client = builder.build()?;
    client.init().await?;
    let (extend, release) = (Script::from_lua(contend::EXTEND), Script::from_lua(contend::RELEASE));
    contend::contend(&options, FredLock { client, extend, release, ttl_ms: options.ttl_ms() }).await
}
