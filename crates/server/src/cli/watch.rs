//! `quorate watch`: who holds a lock or leads, or what a key holds; a line for each change.

use std::io::{self, Write as _};

use quorate_client::{Change, Client, Error};
use serde_json::{Value, json};

use super::{Exit, address::Servers, keys};

const EXAMPLES: &str = "\
Examples:
  quorate watch nightly                  who holds the lock, and each change from then on
  quorate watch scheduler --election     who leads, and what he lets others know
  quorate watch scheduler --election --once --json | jq -r .value     where the leader is now
  quorate watch config --key             a value that SET and its kin have set, and each other one from then on

A line is an event, a fencing token, and behind acquired and value what the holder lets others know:
  acquired 1863 10.0.0.7:8080    somebody has it
  value 1863 10.0.0.7:9090       who has it lets others know something else
  released 1863                  it was given back, handed over, or taken away
  expired 1863                   the time of who had it is over
  free -                         nobody has it, as was found by asking
  missed -                       what happened before is not known; how it is now comes next, if it is different
and for a key, of which quickly passing values may be left out:
  set verbose                    what it holds
  gone                           there is none
The first line is how it is. When a node is gone, another one goes on from there, and tells what has happened
meanwhile; or, if that was too long ago, that something was missed. With --json each line is an object, which
also has the position in the log, or null where it was found by asking. A key can be watched after
CONFIG SET notify-keyspace-events KA, once and for the whole cluster.

Exit status: 0 when standard output is closed, or with --once; 1 if no node answers, or the name is that
of something else. Ctrl-C ends it.";

/// The flags of `watch`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    servers: Servers,
    /// The name of the lock, of the election, or of the key
    name: String,
    /// It is an election
    #[arg(long, conflicts_with = "key")]
    election: bool,
    /// It is a key that holds a value
    #[arg(long)]
    key: bool,
    /// Print how it is, and end
    #[arg(long)]
    once: bool,
    /// Print an object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Exit {
    keys::answered("watch", &args.servers, async |client| {
        if args.key { watch_key(args, &client).await } else { watch_holder(args, &client).await }
    })
}

async fn watch_holder(args: &Args, client: &Client) -> Result<Exit, Error> {
    let mut watch = match args.election {
        true => client.election(&args.name).observe(),
        false => client.lock(&args.name).watch(),
    };
    loop {
        let change = watch.next().await?;
        let show = || object(&args.name, &change);
        if let Some(exit) = tell(args, show, || line(&change)) {
            return Ok(exit);
        }
    }
}

async fn watch_key(args: &Args, client: &Client) -> Result<Exit, Error> {
    let mut watch = client.watch(&args.name);
    loop {
        let value = watch.next().await?;
        let value = value.as_deref();
        let event = if value.is_some() { "set" } else { "gone" };
        let show = || json!({ "name": args.name, "event": event, "value": keys::shown(value) });
        if let Some(exit) = tell(args, show, || with_value(event.to_owned(), value)) {
            return Ok(exit);
        }
    }
}

/// Prints what has changed, in the form that is wanted; an exit if that is to be all.
fn tell(args: &Args, object: impl FnOnce() -> Value, line: impl FnOnce() -> Vec<u8>) -> Option<Exit> {
    let line = if args.json { object().to_string().into_bytes() } else { line() };
    match write_line(&line) {
        Ok(()) => args.once.then_some(Exit::Success),
        // Whoever has closed it has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Some(Exit::Success),
        Err(error) => {
            keys::complain("watch", &format_args!("cannot write to standard output: {error}"));
            Some(Exit::Failure)
        }
    }
}

fn write_line(line: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line)?;
    out.write_all(b"\n")?;
    out.flush()
}

fn line(change: &Change) -> Vec<u8> {
    let token = change.token.map_or_else(|| "-".to_owned(), |token| token.to_string());
    with_value(format!("{} {token}", change.event), change.value.as_deref())
}

/// One line is one change, whatever others have written.
fn with_value(line: String, value: Option<&[u8]>) -> Vec<u8> {
    let mut line = line.into_bytes();
    if let Some(value) = value {
        line.push(b' ');
        line.extend(value.iter().map(|byte| if byte.is_ascii_control() { b' ' } else { *byte }));
    }
    line
}

fn object(name: &str, change: &Change) -> Value {
    json!({
        "name": name,
        "event": change.event.to_string(),
        "token": change.token.map(quorate_client::FencingToken::get),
        "value": keys::shown(change.value.as_deref()),
        "position": change.position,
    })
}
