//! CLIENT: what a connection is called, who else is there, and ending them.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;

use crate::{
    connection::{
        arguments::{integer, is, malformed_subcommand, quoted, text},
        clients::{Client, readable_name},
        exchange::{Exchange, ReplyMode},
    },
    handle::{ConnId, Reply},
};

pub(super) fn run(exchange: &mut Exchange, subcommand: &str, arguments: &[Bytes]) -> Reply {
    let rest = arguments.get(2..).unwrap_or_default();
    match subcommand {
        "id" => Reply::Integer(i64::try_from(exchange.client.id.0).unwrap_or(i64::MAX)),
        "setname" => set_name(exchange, rest),
        "getname" if exchange.name.is_empty() => Reply::Null,
        "getname" => text(exchange.name.clone()),
        "setinfo" => set_info(exchange, rest),
        "info" => {
            exchange.publish(0, 0);
            Reply::Verbatim(format!("{}\n", exchange.client.describe(Instant::now())).into())
        }
        "list" => list(exchange, rest),
        "kill" => kill(exchange, rest),
        "no-evict" => switch(rest, |on| exchange.client.details().no_evict = on),
        "no-touch" => switch(rest, |on| exchange.client.details().no_touch = on),
        "reply" => reply_mode(exchange, rest),
        _ => Reply::syntax_error(),
    }
}

fn set_name(exchange: &mut Exchange, arguments: &[Bytes]) -> Reply {
    let [name] = arguments else { return Reply::syntax_error() };
    match readable_name(name) {
        Ok(name) => {
            name.clone_into(&mut exchange.name);
            Reply::ok()
        }
        Err(refusal) => refusal,
    }
}

/// `CLIENT SETINFO LIB-NAME|LIB-VER value`.
fn set_info(exchange: &mut Exchange, arguments: &[Bytes]) -> Reply {
    let [attribute, value] = arguments else { return Reply::syntax_error() };
    let own = if is(attribute, "LIB-NAME") {
        "lib-name"
    } else if is(attribute, "LIB-VER") {
        "lib-ver"
    } else {
        return Reply::error_text(format!("ERR Unrecognized option '{}'", quoted(attribute)));
    };
    let Ok(value) = readable_name(value) else {
        let text = format!("ERR {own} cannot contain spaces, newlines or special characters.");
        return Reply::error_text(text);
    };
    let mut details = exchange.client.details();
    let field = if own == "lib-name" { &mut details.library_name } else { &mut details.library_version };
    value.clone_into(field);
    Reply::ok()
}

fn list(exchange: &mut Exchange, arguments: &[Bytes]) -> Reply {
    exchange.publish(0, 0);
    let mut clients = exchange.front.clients.all();
    match arguments {
        [] => {}
        [option, kind] if is(option, "TYPE") => match Kind::parse(kind) {
            Ok(kind) => clients.retain(|client| kind.has(client)),
            Err(refusal) => return refusal,
        },
        [option, ids @ ..] if is(option, "ID") && !ids.is_empty() => {
            let Some(ids) = ids.iter().map(|id| positive(id)).collect::<Option<Vec<u64>>>() else {
                return Reply::error("ERR Invalid client ID");
            };
            clients.retain(|client| ids.contains(&client.id.0));
        }
        _ => return Reply::syntax_error(),
    }
    let now = Instant::now();
    let lines: String = clients.iter().map(|client| client.describe(now) + "\n").collect();
    Reply::Verbatim(lines.into())
}

fn positive(argument: &[u8]) -> Option<u64> {
    integer(argument).and_then(|id| u64::try_from(id).ok()).filter(|id| *id > 0)
}

/// A type of connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Listens to nothing.
    Normal,
    /// Listens to channels.
    Pubsub,
    /// One of those that Redis has and nobody here is of.
    Replication,
}

impl Kind {
    fn parse(kind: &[u8]) -> Result<Self, Reply> {
        if is(kind, "normal") {
            Ok(Self::Normal)
        } else if is(kind, "pubsub") {
            Ok(Self::Pubsub)
        } else if ["master", "replica", "slave"].iter().any(|other| is(kind, other)) {
            Ok(Self::Replication)
        } else {
            Err(Reply::error_text(format!("ERR Unknown client type '{}'", quoted(kind))))
        }
    }

    fn has(self, client: &Client) -> bool {
        match self {
            Self::Normal => !client.details().listening.is_any(),
            Self::Pubsub => client.details().listening.is_any(),
            Self::Replication => false,
        }
    }
}

/// Which connections CLIENT KILL means; one that fulfils every condition given.
#[derive(Debug, Default)]
struct Selection {
    id: Option<u64>,
    remote: Option<Bytes>,
    local: Option<Bytes>,
    age_s_min: Option<u64>,
    kind: Option<Kind>,
    with_me: bool,
}

impl Selection {
    fn read(mut arguments: &[Bytes]) -> Result<Self, Reply> {
        let mut selection = Self::default();
        while let [option, value, rest @ ..] = arguments {
            selection.add(option, value)?;
            arguments = rest;
        }
        if arguments.is_empty() { Ok(selection) } else { Err(Reply::syntax_error()) }
    }

    fn add(&mut self, option: &[u8], value: &Bytes) -> Result<(), Reply> {
        if is(option, "ID") {
            let refusal = || Reply::error("ERR client-id should be greater than 0");
            self.id = Some(positive(value).ok_or_else(refusal)?);
        } else if is(option, "ADDR") {
            self.remote = Some(value.clone());
        } else if is(option, "LADDR") {
            self.local = Some(value.clone());
        } else if is(option, "MAXAGE") {
            self.age_s_min = Some(positive(value).ok_or_else(Reply::not_an_integer)?);
        } else if is(option, "TYPE") {
            self.kind = Some(Kind::parse(value)?);
        } else if is(option, "USER") {
            if &value[..] != b"default" {
                return Err(Reply::error_text(format!("ERR No such user '{}'", quoted(value))));
            }
        } else if is(option, "SKIPME") && is(value, "YES") {
            self.with_me = false;
        } else if is(option, "SKIPME") && is(value, "NO") {
            self.with_me = true;
        } else {
            return Err(Reply::syntax_error());
        }
        Ok(())
    }

    fn has(&self, client: &Client) -> bool {
        let address_is = |wanted: &Option<Bytes>, address: std::net::SocketAddr| {
            wanted.as_ref().is_none_or(|wanted| address.to_string().as_bytes() == wanted)
        };
        self.kind.is_none_or(|kind| kind.has(client))
            && self.id.is_none_or(|id| id == client.id.0)
            && self.age_s_min.is_none_or(|age_s| client.age_s(Instant::now()) >= age_s)
            && address_is(&self.remote, client.endpoints.remote)
            && address_is(&self.local, client.endpoints.local)
    }
}

/// `CLIENT KILL address`, which also kills oneself and says so, or `CLIENT KILL option value ..`, which counts.
fn kill(exchange: &mut Exchange, arguments: &[Bytes]) -> Reply {
    let by_address = arguments.len() == 1;
    let selection = match arguments {
        [address] => Ok(Selection { remote: Some(address.clone()), with_me: true, ..Selection::default() }),
        options => Selection::read(options),
    };
    let selection = match selection {
        Ok(selection) => selection,
        Err(refusal) => return refusal,
    };
    let mut chosen = exchange.front.clients.all();
    let me = exchange.client.id;
    chosen.retain(|client| selection.has(client) && (selection.with_me || client.id != me));
    for client in &chosen {
        end(exchange, client);
    }
    match (by_address, chosen.is_empty()) {
        (true, true) => Reply::error("ERR No such client"),
        (true, false) => Reply::ok(),
        (false, _) => Reply::count(chosen.len()),
    }
}

/// Ends a connection; one's own after this reply.
fn end(exchange: &mut Exchange, client: &Arc<Client>) {
    if client.id == exchange.client.id {
        exchange.close();
    } else {
        client.kill();
    }
}

/// Whom CLIENT UNBLOCK means, and whether they are to be told so by an error.
pub(in crate::connection) fn unblocked(arguments: &[Bytes]) -> Result<(ConnId, bool), Reply> {
    let (id, with_error) = match &arguments[2..] {
        [id] => (id, false),
        [id, reason] if is(reason, "TIMEOUT") => (id, false),
        [id, reason] if is(reason, "ERROR") => (id, true),
        [_, _] => return Err(Reply::error("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return Err(malformed_subcommand("CLIENT", &arguments[1])),
    };
    // Numbers that no client has are allowed, and nobody's.
    let id = integer(id).ok_or_else(Reply::not_an_integer)?;
    Ok((ConnId(u64::try_from(id).unwrap_or(0)), with_error))
}

fn switch(arguments: &[Bytes], set: impl FnOnce(bool)) -> Reply {
    match arguments {
        [value] if is(value, "ON") => set(true),
        [value] if is(value, "OFF") => set(false),
        _ => return Reply::syntax_error(),
    }
    Reply::ok()
}

fn reply_mode(exchange: &mut Exchange, arguments: &[Bytes]) -> Reply {
    match arguments {
        [mode] if is(mode, "ON") => exchange.set_reply_mode(ReplyMode::On),
        [mode] if is(mode, "OFF") => exchange.set_reply_mode(ReplyMode::Off),
        [mode] if is(mode, "SKIP") => exchange.set_reply_mode(ReplyMode::SkipNext),
        _ => return Reply::syntax_error(),
    }
    Reply::ok()
}
