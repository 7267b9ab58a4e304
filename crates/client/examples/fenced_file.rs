//! A resource that refuses whoever has lost its lock: a file of lines, each with the token that it was written under.
//!
//! The check belongs to the resource, in the same step as the write; here a lock of the operating system makes one step of
//! them. A database has it in its statement: see `fenced_table.rs`.
//!
//! ```console
//! $ quorate up
//! $ cargo run -p quorate-client --example fenced_file -- /tmp/report
//! ```

use std::{
    env,
    error::Error,
    fs::{File, OpenOptions},
    io::{self, BufRead as _, BufReader, Write as _},
    path::Path,
};

use quorate_client::{Client, FencingToken};

/// A file to which only the newest holder may add.
struct Ledger(File);

impl Ledger {
    fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().read(true).append(true).create(true).open(path).map(Self)
    }

    /// Adds a line, unless somebody with a greater token has added one before.
    fn add(&mut self, token: FencingToken, text: &str) -> io::Result<()> {
        self.0.lock()?;
        let added = self.add_locked(token, text);
        self.0.unlock()?;
        added
    }

    fn add_locked(&mut self, token: FencingToken, text: &str) -> io::Result<()> {
        let greatest = self.greatest()?;
        if greatest > token.get() {
            let refused = format!("token {token} is refused: {greatest} was here");
            return Err(io::Error::other(refused));
        }
        writeln!(self.0, "{token} {text}")?;
        self.0.sync_data()
    }

    fn greatest(&self) -> io::Result<u64> {
        let mut all = self.0.try_clone()?;
        io::Seek::rewind(&mut all)?;
        let mut greatest = 0;
        for line in BufReader::new(all).lines() {
            let token = line?.split(' ').next().and_then(|token| token.parse().ok());
            greatest = greatest.max(token.unwrap_or(0));
        }
        Ok(greatest)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("which file?")?;
    let url = env::var("QUORATE_URL").unwrap_or("quorate://127.0.0.1:7379".to_owned());
    let client = Client::connect(&url).await?;
    let mut ledger = Ledger::open(path.as_ref())?;

    let first = client.lock("ledger").acquire().await?;
    let stale = first.token();
    ledger.add(stale, "by the first holder")?;
    first.release().await?;

    let second = client.lock("ledger").acquire().await?;
    ledger.add(second.token(), "by the second holder")?;
    // As if the first had been paused in the middle of its work, and went on now.
    let late = ledger.add(stale, "too late").err().ok_or("a late write was not refused")?;
    println!("{late}");
    second.release().await?;
    Ok(())
}
