//! A table that refuses whoever has lost the lock: each row has the token that it was written under.
//!
//! The check is part of the statement that writes, so nothing can come in between, and no clock has a say. Any database that
//! changes a row in one step will do. In PostgreSQL the token is a BIGINT, since an INTEGER there is too small for it, and
//! parameters are `$1`; the statement is the same otherwise.
//!
//! ```console
//! $ quorate up
//! $ cargo run -p quorate-client --example fenced_table -- /tmp/report.sqlite
//! ```

use std::{env, error::Error};

use quorate_client::{Client, FencingToken};
use rusqlite::{Connection, params};

/// Results of nightly jobs, one row for each.
struct Reports(Connection);

impl Reports {
    fn open(path: &str) -> rusqlite::Result<Self> {
        let database = Connection::open(path)?;
        database.execute(
            "CREATE TABLE IF NOT EXISTS report (name TEXT PRIMARY KEY, rows INTEGER NOT NULL, token INTEGER NOT NULL)",
            params![],
        )?;
        Ok(Self(database))
    }

    /// Writes a row, unless somebody with a greater token has written it before; whether it was written.
    fn write(&self, name: &str, rows: u32, token: FencingToken) -> rusqlite::Result<bool> {
        // A token is less than 2^53, and fits.
        let token = i64::try_from(token.get()).unwrap_or(i64::MAX);
        let written = self.0.execute(
            "INSERT INTO report (name, rows, token) VALUES (?1, ?2, ?3)
             ON CONFLICT (name) DO UPDATE SET rows = excluded.rows, token = excluded.token
             WHERE report.token <= excluded.token",
            params![name, rows, token],
        )?;
        Ok(written == 1)
    }

    fn rows(&self, name: &str) -> rusqlite::Result<u32> {
        self.0.query_row("SELECT rows FROM report WHERE name = ?1", params![name], |row| row.get(0))
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let path = env::args().nth(1).ok_or("which file?")?;
    let url = env::var("QUORATE_URL").unwrap_or("quorate://127.0.0.1:7379".to_owned());
    let client = Client::connect(&url).await?;
    let reports = Reports::open(&path)?;

    let first = client.lock("nightly").acquire().await?;
    let stale = first.token();
    assert!(reports.write("nightly", 41, stale)?);
    first.release().await?;

    let second = client.lock("nightly").acquire().await?;
    assert!(reports.write("nightly", 42, second.token())?);
    // As if the first had been paused in the middle of its work, and went on now.
    let is_written = reports.write("nightly", 0, stale)?;
    println!("the late write with token {stale} was {}", if is_written { "written" } else { "refused" });
    println!("rows: {}", reports.rows("nightly")?);
    second.release().await?;
    Ok(())
}
