//! The compat suite's follower with the crate `redis`: it writes all the time, and finds another node when its own is
//! killed, by Sentinel doors or by a list of endpoints. `compat/programs/following/__init__.py` says what is written where.

use clap::Parser;
use redis::aio::MultiplexedConnection;
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{AsyncConnectionConfig, Client, RedisError};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use std::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Between two writes, and between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(10);
const RETRY: Duration = Duration::from_millis(50);
/// Longer than an election. The crate's own is half a second.
const TIMEOUT: Duration = Duration::from_secs(5);

#[derive(clap::Parser)]
struct Options {
    /// The Sentinel doors, each host:port.
    #[arg(long, value_delimiter = ',')]
    sentinels: Vec<String>,
    /// What the cluster is called there.
    #[arg(long, default_value = "quorate")]
    master: String,
    /// The nodes, each host:port, where there are no doors.
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// The key that is written, and this client's name.
    #[arg(long)]
    name: String,
    #[arg(long)]
    log: PathBuf,
}

/// How the program finds a node.
enum Way {
    Sentinel(Box<SentinelClient>),
    Endpoints { urls: Vec<String>, next: usize },
}

impl Way {
    fn of(options: &Options) -> Result<Self, RedisError> {
        let urls =
            |addresses: &[String]| addresses.iter().map(|address| format!("redis://{address}/")).collect();
        if options.sentinels.is_empty() {
            return Ok(Self::Endpoints { urls: urls(&options.endpoints), next: 0 });
        }
        let doors: Vec<String> = urls(&options.sentinels);
        let master = options.master.clone();
        let client = SentinelClient::build(doors, master, None, SentinelServerType::Master)?;
        Ok(Self::Sentinel(Box::new(client)))
    }

    async fn connect(&mut self, name: &str) -> Result<MultiplexedConnection, RedisError> {
        let patient = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(TIMEOUT))
            .set_response_timeout(Some(TIMEOUT));
        let mut connection = match self {
            Self::Sentinel(client) => client.get_async_connection_with_config(&patient).await?,
            Self::Endpoints { urls, next } => {
                let client = Client::open(urls[*next % urls.len()].as_str())?;
                *next += 1;
                client.get_multiplexed_async_connection_with_config(&patient).await?
            }
        };
        redis::cmd("CLIENT").arg("SETNAME").arg(name).exec_async(&mut connection).await?;
        Ok(connection)
    }
}

fn now_s() -> f64 {
    let now = clock_gettime(ClockId::Boottime);
    #[expect(clippy::cast_precision_loss, reason = "microseconds are exact enough")]
    let seconds = now.tv_sec as f64 + now.tv_nsec as f64 / 1e9;
    seconds
}

async fn write(connection: &mut MultiplexedConnection, name: &str, number: u64) -> Result<(), RedisError> {
    redis::cmd("SET").arg(name).arg(number).exec_async(connection).await
}

/// Connects, writes until something fails, and notes each write.
async fn follow(
    way: &mut Way,
    options: &Options,
    journal: &mut File,
    number: &mut u64,
) -> Result<(), Box<dyn Error>> {
    let Ok(mut connection) = way.connect(&options.name).await else {
        tokio::time::sleep(RETRY).await;
        return Ok(());
    };
    loop {
        *number += 1;
        let sent = now_s();
        let outcome = write(&mut connection, &options.name, *number).await;
        let error = outcome.as_ref().err().map(ToString::to_string);
        let line = json!({"number": *number, "sent": sent, "answered": now_s(), "error": error});
        journal.write_all(format!("{line}\n").as_bytes())?;
        if outcome.is_err() {
            return Ok(());
        }
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    let mut way = Way::of(&options)?;
    let mut journal = OpenOptions::new().append(true).create(true).open(&options.log)?;
    let mut number = 0;
    let mut terminate = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            done = follow(&mut way, &options, &mut journal, &mut number) => done?,
            _ = terminate.recv() => return Ok(()),
        }
    }
}
