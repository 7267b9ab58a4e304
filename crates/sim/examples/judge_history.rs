//! Judges a history of real clients, which it reads from its standard input: an operation a line, as JSON.
//!
//! ```json
//! {"client": "c1", "invoked_ns": 10, "completed_ns": 25, "command": ["SET", "k", "1"], "reply": "OK"}
//! {"client": "c2", "invoked_ns": 12, "completed_ns": null, "command": ["INCR", "n"]}
//! {"client": "c2", "invoked_ns": 30, "completed_ns": 40, "command": ["MULTI", ["GET", "k"], ["INCR", "n"]],
//!  "watched": {"k": "1"}, "reply": ["1", 1]}
//! ```
//!
//! All times are of one clock. `completed_ns` is null if nobody knows whether it took effect; what was refused is left
//! out. `CAS` and `TRANSFER` stand for the scripts that `quorate_sim::linearizability::keyspace` describes.
//!
//! Exit status 0: it is linearizable, as far as it could be judged. 1: it is not, with the operations that do not fit. 2: it
//! is no history.

use std::{io, process::ExitCode, time::Duration};

use bytes::Bytes;
use quorate_sim::linearizability::{
    CONFIGURATIONS_MAX, Operation, judge,
    keyspace::{Call, Command, Keyspace, Seen},
};
use serde_json::{Map, Value};

fn main() -> ExitCode {
    let operations: Result<Vec<_>, _> = io::stdin().lines().enumerate().map(numbered).collect();
    match operations.map(|operations| judge(&Keyspace, &operations, CONFIGURATIONS_MAX)) {
        Ok(Ok(judged)) => {
            let (operations, histories) = (judged.operations, judged.histories);
            println!("{operations} operations in {histories} histories, {} undecided", judged.undecided);
            ExitCode::SUCCESS
        }
        Ok(Err(counterexample)) => {
            println!("{counterexample}");
            ExitCode::FAILURE
        }
        Err(complaint) => {
            eprintln!("judge_history: {complaint}");
            ExitCode::from(2)
        }
    }
}

fn numbered((at, line): (usize, io::Result<String>)) -> Result<Operation<Call>, String> {
    let line = line.map_err(|error| error.to_string())?;
    operation(&line).map_err(|complaint| format!("line {}: {complaint}", at + 1))
}

fn operation(line: &str) -> Result<Operation<Call>, String> {
    let record: Map<String, Value> = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let field = |name: &str| record.get(name).filter(|value| !value.is_null());
    let time = |name: &str| field(name).and_then(Value::as_u64).map(Duration::from_nanos);
    let completed = time("completed_ns");
    Ok(Operation {
        client: field("client").and_then(Value::as_str).unwrap_or_default().to_owned(),
        invoked: time("invoked_ns").ok_or("invoked_ns is missing")?,
        completed,
        action: Call {
            command: command(field("command").ok_or("command is missing")?, field("watched"))?,
            seen: completed.map(|_| seen(record.get("reply").unwrap_or(&Value::Null))).transpose()?,
        },
    })
}

fn command(value: &Value, watched: Option<&Value>) -> Result<Command, String> {
    let words = value.as_array().ok_or("a command is an array")?;
    if words.first().and_then(Value::as_str) != Some("MULTI") {
        let words: Vec<&str> =
            words.iter().map(Value::as_str).collect::<Option<_>>().ok_or("a command is of strings")?;
        return Command::parse(&words);
    }
    let held = |(key, value): (&String, &Value)| (Bytes::from(key.clone()), value.as_str().map(of_text));
    let watched = watched.and_then(Value::as_object).map(|keys| keys.iter().map(held).collect());
    let commands = words[1..].iter().map(|words| command(words, None)).collect::<Result<_, _>>()?;
    Ok(Command::Transaction(watched.unwrap_or_default(), commands))
}

fn seen(reply: &Value) -> Result<Seen, String> {
    Ok(match reply {
        Value::Null => Seen::Nothing,
        Value::Number(number) => Seen::Number(number.as_i64().ok_or("a reply is an integer of 64 bits")?),
        Value::String(text) => Seen::Text(of_text(text)),
        Value::Array(all) => Seen::List(all.iter().map(seen).collect::<Result<_, _>>()?),
        Value::Bool(_) | Value::Object(_) => return Err(format!("no command answers {reply}")),
    })
}

fn of_text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}
