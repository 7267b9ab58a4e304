//! A worker of which several run, and one works: the others take over when it is gone. Start it two or three times:
//!
//! ```console
//! $ quorate up
//! $ cargo run -p quorate-client --example elected_worker -- 10.0.0.7:8080
//! $ redis-cli -p 7379 ELECTION LEADER worker
//! ```

use std::{env, time::Duration};

use quorate_client::{Client, Error, Leadership};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let url = env::var("QUORATE_URL")
        .unwrap_or("quorate://127.0.0.1:7379,127.0.0.1:7380,127.0.0.1:7381".to_owned());
    let address = env::args().nth(1).unwrap_or_else(|| format!("process {}", std::process::id()));
    let client = Client::connect(&url).await?;
    loop {
        // Whoever dies is followed after three seconds.
        let election = client.election("worker").ttl(Duration::from_secs(3)).value(address.as_str());
        println!("{address} is a candidate");
        let leadership = election.campaign().await?;
        tokio::select! {
            result = work(&client, &leadership) => match result {
                // Somebody else leads by now: whatever this one was about to do is his.
                Err(Error::Lost(loss)) => println!("{address} has led too long: {loss}"),
                result => return result,
            },
            loss = leadership.lost() => println!("{address} leads no longer: {loss}"),
            _ = tokio::signal::ctrl_c() => {
                println!("{address} resigns");
                return leadership.resign().await;
            }
        }
    }
}

async fn work(client: &Client, leadership: &Leadership) -> Result<(), Error> {
    let token = leadership.token();
    println!("leading under token {token}");
    let done = client.get("worker:done").await?.unwrap_or_default();
    let mut done: u64 = String::from_utf8_lossy(&done).parse().unwrap_or_default();
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        done += 1;
        // Refused if the token is not the current one, so that two leaders never count over each other.
        leadership.set("worker:done", done.to_string()).await?;
        println!("{done} done under token {token}");
    }
}
