//! `quorate locks`: who holds what.

use std::time::Duration;

use comfy_table::{Table, presets};
use quorate_client::{Holder, LockInfo};
use serde_json::{Value, json};

use super::{Exit, address::Servers, keys};

const EXAMPLES: &str = "\
Examples:
  quorate locks               all locks that somebody holds
  quorate locks 'shard:*'     those whose names match
  quorate locks --json        an array, for programs

To take one away from its holder: LOCK FORCE-RELEASE name BY who, by any Redis client.

Exit status: 0 also if there is none, 1 if no node answers or the pattern is refused.";

/// The flags of `locks`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Servers,
    /// Which names, as KEYS has it: * stands for anything, ? for one byte, [a-z] for one of them
    pattern: Option<String>,
    /// Print an array of objects
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Exit {
    keys::answered("locks", &args.servers, async |client| {
        let locks = client.locks(args.pattern.as_deref()).await?;
        let shown = match (args.json, &locks[..]) {
            (true, _) => Some(locks.iter().map(object).collect::<Value>().to_string()),
            // A table without rows says less than nothing does.
            (false, []) => None,
            (false, _) => Some(table(&locks).to_string()),
        };
        Ok(shown.map_or(Exit::Success, |shown| keys::print("locks", shown.as_bytes(), Exit::Success)))
    })
}

fn table(locks: &[LockInfo]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(["lock", "held by", "lasts", "waiting", "token"]);
    for lock in locks {
        table.add_row([
            lock.name.clone(),
            holder(lock),
            lock.remaining.map_or_else(|| without_end(&lock.holder).to_owned(), lasts),
            lock.waiting.to_string(),
            lock.token.to_string(),
        ]);
    }
    table
}

/// Who, and how often if that is not once.
fn holder(lock: &LockInfo) -> String {
    match &lock.holder {
        Holder::Owner(_) if lock.depth > 1 => format!("{}, {} times", lock.holder, lock.depth),
        holder => holder.to_string(),
    }
}

/// How long a lock lasts that has no time of its own.
fn without_end(holder: &Holder) -> &'static str {
    match holder {
        Holder::Readers(readers) if readers.iter().any(|reader| matches!(reader, Holder::Session(_))) => {
            "as its sessions"
        }
        _ => "for ever",
    }
}

/// As precise as anybody reads it.
fn lasts(remaining: Duration) -> String {
    let tenths = Duration::from_millis(u64::try_from(remaining.as_millis() / 100 * 100).unwrap_or(u64::MAX));
    let whole = Duration::from_secs(remaining.as_secs());
    humantime::format_duration(if whole < Duration::from_secs(60) { tenths } else { whole }).to_string()
}

fn object(lock: &LockInfo) -> Value {
    let (mut owner, mut session) = (Value::Null, Value::Null);
    let (mut readers, mut reader_sessions) = (Vec::new(), Vec::new());
    match &lock.holder {
        Holder::Owner(name) => owner = json!(name),
        Holder::Session(number) => session = json!(number),
        Holder::Readers(holders) => {
            for holder in holders {
                match holder {
                    Holder::Session(number) => reader_sessions.push(*number),
                    owner => readers.push(owner.to_string()),
                }
            }
        }
        // A kind of holder that this program does not know yet.
        other => owner = json!(other.to_string()),
    }
    json!({
        "name": lock.name,
        "owner": owner,
        "session": session,
        "readers": readers,
        "reader_sessions": reader_sessions,
        "ttl_ms": lock.remaining.map(|remaining| u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX)),
        "depth": lock.depth,
        "waiting": lock.waiting,
        "token": lock.token.get(),
    })
}
