//! The same job twice: as it is written with the crate `redis` in many a program, and with this crate.
//!
//! The first one runs against Quorate, too, and is safer there than on Redis: the lock survives a failover, and never ends
//! early. What it still lacks is what its author would have had to write: nobody renews the lock while the job takes longer
//! than planned, nobody stops the job when the lock is lost, whoever waits polls, and a late write is not refused.
//!
//! ```console
//! $ quorate up
//! $ cargo run -p quorate-client --example from_redis_crate
//! ```

use std::{error::Error, time::Duration};

use quorate_client::Client;

const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

async fn before() -> Result<(), Box<dyn Error>> {
    let client = redis::Client::open("redis://127.0.0.1:7379")?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let me = format!("{:016x}", getrandom::u64()?);
    // Polls, and hopes that ten seconds will do.
    loop {
        let mut set = redis::cmd("SET");
        let set = set.arg("job").arg(&me).arg("NX").arg("PX").arg(10_000);
        if set.query_async::<Option<String>>(&mut connection).await?.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    work().await;
    redis::Script::new(RELEASE).key("job").arg(&me).invoke_async::<i64>(&mut connection).await?;
    Ok(())
}

async fn after() -> Result<(), Box<dyn Error>> {
    let client = Client::connect("quorate://127.0.0.1:7379,127.0.0.1:7380,127.0.0.1:7381").await?;
    // Waits in a queue. While both ways are in use they need different names: one kind of lock is not the other.
    let guard = client.lock("native:job").wait(Duration::from_secs(60)).acquire().await?;
    tokio::select! {
        () = work() => guard.release().await?,
        loss = guard.lost() => return Err(loss.into()),
    }
    Ok(())
}

async fn work() {
    tokio::time::sleep(Duration::from_millis(10)).await;
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    before().await?;
    after().await
}
