//! `quorate get`, `set` and `del`: keys, for shell scripts.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use quorate_client::{Client, Error, Settings};
use serde_json::{Value, json};

use super::{Exit, address::Servers};

const GET_EXAMPLES: &str = "\
Examples:
  quorate get config                 its value, and a line break
  quorate get config --stale --json  what the node has at hand, and how old that may be

Exit status: 0 if there is such a key, 5 if not, 1 if no node answers, it holds something else,
or its value could not be written.";

const SET_EXAMPLES: &str = "\
Examples:
  quorate set config verbose                      whatever it was
  quorate set config verbose --if-absent          if there is none
  quorate set config terse --if-equal verbose     if it is what you think it is
  quorate set seen:7 yes --ttl 1m                 for a minute

Exit status: 0 if it was set, 5 if the condition does not hold, 1 if no node answers or it is refused;
the message says whether it may have been set then.";

const DEL_EXAMPLES: &str = "\
Examples:
  quorate del config       removes it, if it is there
  quorate del a b --json   says how many there were

Exit status: 0 if none of them is there any longer, 1 if no node answers.";

/// How long nodes are tried that do not answer: an election takes less.
const PATIENCE: Duration = Duration::from_secs(5);

/// The flags of `get`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = GET_EXAMPLES)]
pub(crate) struct Get {
    #[command(flatten)]
    servers: Servers,
    key: String,
    /// Read what the node has at hand, without asking the others
    #[arg(long)]
    stale: bool,
    /// Print an object
    #[arg(long)]
    json: bool,
}

/// The flags of `set`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = SET_EXAMPLES)]
pub(crate) struct Set {
    #[command(flatten)]
    servers: Servers,
    key: String,
    value: String,
    /// Remove it after this time
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with_all = ["if_absent", "if_equal"])]
    ttl: Option<Duration>,
    /// Only if there is no such key
    #[arg(long, conflicts_with = "if_equal")]
    if_absent: bool,
    /// Only if this is its value
    #[arg(long, value_name = "VALUE")]
    if_equal: Option<String>,
    /// Print an object
    #[arg(long)]
    json: bool,
}

/// The flags of `del`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = DEL_EXAMPLES)]
pub(crate) struct Del {
    #[command(flatten)]
    servers: Servers,
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<String>,
    /// Print an object
    #[arg(long)]
    json: bool,
}

pub(crate) fn get(args: &Get) -> Exit {
    answered("get", &args.servers, async |client| {
        let (value, age) = if args.stale {
            let read = client.get_stale(&args.key).await?;
            (read.value, read.age)
        } else {
            (client.get(&args.key).await?, None)
        };
        let exit = if value.is_some() { Exit::Success } else { Exit::Unmet };
        let shown = if args.json {
            let mut object = json!({ "key": args.key, "value": shown(value.as_deref()) });
            if args.stale {
                object["age_ms"] = age.map_or(Value::Null, |age| json!(age.as_millis()));
            }
            Some(object.to_string().into_bytes())
        } else {
            value
        };
        Ok(shown.map_or(exit, |shown| print("get", &shown, exit)))
    })
}

pub(crate) fn set(args: &Set) -> Exit {
    answered("set", &args.servers, async |client| {
        let (key, value) = (&args.key, &args.value);
        let is_set = match (&args.if_equal, args.ttl) {
            (Some(expected), _) => client.compare_and_set(key, expected, value).await?,
            (None, Some(ttl)) => client.set_for(key, value, ttl).await.map(|()| true)?,
            (None, None) if args.if_absent => client.set_if_absent(key, value).await?,
            (None, None) => client.set(key, value).await.map(|()| true)?,
        };
        let exit = if is_set { Exit::Success } else { Exit::Unmet };
        let shown = json!({ "key": key, "set": is_set });
        Ok(if args.json { print("set", shown.to_string().as_bytes(), exit) } else { exit })
    })
}

pub(crate) fn del(args: &Del) -> Exit {
    answered("del", &args.servers, async |client| {
        let mut deleted = 0;
        for key in &args.keys {
            deleted += u64::from(client.delete(key).await?);
        }
        let shown = json!({ "deleted": deleted }).to_string();
        Ok(if args.json { print("del", shown.as_bytes(), Exit::Success) } else { Exit::Success })
    })
}

/// Connects, and says on behalf of `command` what has failed.
pub(super) fn answered(
    command: &str,
    servers: &Servers,
    ask: impl AsyncFnOnce(Client) -> Result<Exit, Error>,
) -> Exit {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(command, &error);
            return Exit::Failure;
        }
    };
    let asked = runtime.block_on(async {
        ask(Client::connect_with(&servers.url(), Settings::new().patience(PATIENCE)).await?).await
    });
    asked.unwrap_or_else(|error| {
        complain(command, &error);
        Exit::Failure
    })
}

/// A value as text, or as the numbers of its bytes if it is none.
pub(super) fn shown(value: Option<&[u8]>) -> Value {
    value.map_or(Value::Null, |value| std::str::from_utf8(value).map_or_else(|_| json!(value), Value::from))
}

/// Prints a line, and answers `exit`; a failure if it could not be written. Whoever has closed standard output does not want it.
pub(super) fn print(command: &str, bytes: &[u8], exit: Exit) -> Exit {
    let mut out = io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.write_all(b"\n")).and_then(|()| out.flush());
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            complain(command, &format_args!("cannot write to standard output: {error}"));
            Exit::Failure
        }
        Ok(()) | Err(_) => exit,
    }
}

/// Says on behalf of `command` what has failed. Whether anybody reads it must not decide how it ends.
pub(super) fn complain(command: &str, text: &dyn std::fmt::Display) {
    let _ = writeln!(io::stderr(), "quorate {command}: {text}");
}
