//! A job that every machine's crontab starts at the same time, and one of them does:
//!
//! ```console
//! $ quorate up
//! $ cargo run -p quorate-client --example cron_job
//! ```

use std::{env, time::Duration};

use quorate_client::{Client, Error, FencingToken};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = env::var("QUORATE_URL")
        .unwrap_or("quorate://127.0.0.1:7379,127.0.0.1:7380,127.0.0.1:7381".to_owned());
    let client = Client::connect(&url).await?;
    // Nobody waits: whoever comes second has nothing to do. The lock outlives a machine that dies by half a minute.
    let guard = match client.lock("nightly-report").ttl(Duration::from_secs(30)).acquire().await {
        Ok(guard) => guard,
        Err(Error::NotAcquired { .. }) => {
            println!("another machine is at it");
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    tokio::select! {
        // What is dropped here ends at its next `.await`: work that blocks the thread asks `guard.is_held()` now and then.
        rows = report(guard.token()) => {
            // Refused if somebody else has the lock by now, so that an old report never overwrites a newer one.
            guard.set("nightly-report:rows", rows.to_string()).await?;
            println!("{rows} rows");
            guard.release().await
        }
        loss = guard.lost() => Err(Error::Lost(loss)),
    }
}

async fn report(token: FencingToken) -> u64 {
    println!("reporting under token {token}");
    tokio::time::sleep(Duration::from_millis(100)).await;
    42
}
