//! Golden scripts: what each command answers, one scenario a file in `tests/commands`.
//!
//! A line is a command as a client sends it; the prefix `db3:` selects a database, and `[log]` sends a read through
//! the log. Lines that no client sends: `anew` begins with a new machine, `advance ms` lets time pass in the log, `pass ms` only at the leader,
//! `published` shows what the last entry sends to subscribers, `leave n` has
//! a command that waits leave, `give-back n token,.. command ..` gives back what one has got, `abandon` all of them, `unblock n 0|1` ends the waiting of one, perhaps with an error, `calendar offset-ms` sets the calendar, `multi`, `queued..`, `exec` are one operation with what `watch` saw.
//! Regenerate with `UPDATE_GOLDENFILES=1`.

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::error::Error;

use bytes::Bytes;
use goldenscript::{Argument, Command, Context};
use quorate_machine::{Operation, Publication, Watched};
use support::{Driver, SESSION, show};

struct Script {
    driver: Driver,
    watched: Vec<Watched>,
    queue: Option<Vec<(u32, Vec<Bytes>)>>,
}

/// Characters up to U+00FF stand for bytes.
fn word(text: &str) -> Bytes {
    text.chars().map(|character| u8::try_from(character).expect("a byte")).collect::<Vec<_>>().into()
}

impl Script {
    fn new() -> Self {
        Self { driver: Driver::new(), watched: Vec::new(), queue: None }
    }

    fn exec(&mut self) -> String {
        let commands = self.queue.take().unwrap_or_default();
        let watched = std::mem::take(&mut self.watched);
        show(&self.driver.run(vec![Operation::Transaction { watched, commands }])[0])
    }

    fn published(&mut self) -> String {
        let line = |sent: Publication| {
            format!("{:?} {}: {}", sent.kind, sent.channel.escape_ascii(), sent.message.escape_ascii())
        };
        std::mem::take(&mut self.driver.published).into_iter().map(line).collect::<Vec<_>>().join("\n")
    }

    fn step(&mut self, args: &[Bytes], db: u32, context: &Context) -> Result<String, Box<dyn Error>> {
        let number = |place: usize| -> Result<i64, Box<dyn Error>> {
            Ok(std::str::from_utf8(args.get(place).ok_or("a number is missing")?)?.parse()?)
        };
        match (&args[0][..], &mut self.queue) {
            (b"exec", Some(_)) => return Ok(self.exec()),
            (_, Some(queue)) => {
                queue.push((db, args.to_vec()));
                return Ok("QUEUED".to_owned());
            }
            (b"anew", None) => *self = Self::new(),
            (b"advance", None) => self.driver.advance(number(1)?.unsigned_abs()),
            (b"pass", None) => self.driver.stamp_ms += number(1)?.unsigned_abs(),
            (b"calendar", None) => {
                let offset_ms = number(1)?;
                self.driver.run(vec![Operation::Calendar { offset_ms }]);
            }
            (b"leave", None) => {
                let sequence = number(1)?.unsigned_abs();
                self.driver.run(vec![Operation::Leave { sequence }]);
            }
            (b"unblock", None) => {
                let (sequence, with_error) = (number(1)?.unsigned_abs(), number(2)? != 0);
                return Ok(show(&self.driver.run(vec![Operation::Unblock { sequence, with_error }])[0]));
            }
            (b"give-back", None) => {
                let words = std::str::from_utf8(&args[2])?.split(',');
                let tokens = words.map(str::parse).collect::<Result<_, _>>()?;
                let (sequence, args) = (number(1)?.unsigned_abs(), args[3..].to_vec());
                self.driver.run(vec![Operation::GiveBack { sequence, db, args, tokens }]);
            }
            (b"abandon", None) => {
                self.driver.run(vec![Operation::Abandon { session: SESSION }]);
            }
            (b"published", None) => return Ok(self.published()),
            (b"multi", None) => self.queue = Some(Vec::new()),
            (b"watch", None) => self.watched.extend(self.driver.machine.versions(db, &args[1..])),
            (_, None) if context.tags.contains("log") => {
                let operation = Operation::Command { db, user: 0, args: args.to_vec() };
                return Ok(show(&self.driver.run(vec![operation])[0]));
            }
            (_, None) => return Ok(show(&self.driver.command(db, args))),
        }
        Ok(String::new())
    }
}

impl goldenscript::Runner for Script {
    type Command = Command;

    fn run(&mut self, command: &Command, context: &Context) -> Result<String, Box<dyn Error>> {
        let mut args = vec![word(&command.name)];
        for argument in &command.args {
            match argument {
                Argument::Positional(value) => args.push(word(value)),
                other => return Err(format!("quote {other}").into()),
            }
        }
        let db = match &context.prefix {
            Some(prefix) => prefix.strip_prefix("db").ok_or("the prefix is a database")?.parse()?,
            None => 0,
        };
        let answered = self.step(&args, db, context)?;
        let served = std::mem::take(&mut self.driver.served);
        let served = served.iter().map(|(sequence, reply)| format!("#{sequence} {}", show(reply)));
        let lines = Some(answered).into_iter().filter(|line| !line.is_empty()).chain(served);
        Ok(lines.collect::<Vec<_>>().join("\n"))
    }
}

#[test]
fn commands_answer_what_their_scripts_say() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/commands");
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .expect("the scripts are there")
        .map(|entry| entry.expect("the folder can be read").path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    for path in scripts {
        let mut script = Script::new();
        goldenscript::run(&mut script, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}
