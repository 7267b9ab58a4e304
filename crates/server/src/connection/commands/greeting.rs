//! The commands with which a connection begins, is set up and ends: HELLO, AUTH, SELECT, READONLY, RESET, QUIT.

use bytes::Bytes;

use crate::{
    connection::{
        REDIS_VERSION,
        arguments::{integer, is, quoted, text},
        clients::readable_name,
        exchange::{Exchange, ReplyMode},
    },
    handle::Reply,
    resp::Protocol,
    status::Role,
};

pub(super) fn run(exchange: &mut Exchange, name: &str, arguments: &[Bytes]) -> Reply {
    match name {
        "hello" => hello(exchange, &arguments[1..]),
        "auth" => authenticate(&arguments[1..]),
        "select" => exchange.select(&arguments[1]),
        "reset" => reset(exchange),
        "unwatch" => {
            exchange.unwatch();
            Reply::ok()
        }
        "quit" => {
            exchange.close();
            Reply::ok()
        }
        // READONLY and READWRITE: every node serves both; what differs is what reads promise.
        _ => {
            exchange.reads_stale = name == "readonly";
            Reply::ok()
        }
    }
}

/// AUTH, while there are no passwords: the default user takes any.
fn authenticate(arguments: &[Bytes]) -> Reply {
    match arguments {
        [_] => Reply::error(
            "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
             configuration is correct?",
        ),
        [user, _] => login(user),
        _ => Reply::syntax_error(),
    }
}

fn login(user: &[u8]) -> Reply {
    match user {
        b"default" => Reply::ok(),
        _ => Reply::error("WRONGPASS invalid username-password pair or user is disabled."),
    }
}

/// `HELLO [2|3 [AUTH user password] [SETNAME name]]`. Nothing changes unless all of it is right.
fn hello(exchange: &mut Exchange, arguments: &[Bytes]) -> Reply {
    let (protocol, options) = match arguments {
        [] => (exchange.protocol, arguments),
        [version, options @ ..] => match protocol_version(version) {
            Ok(protocol) => (protocol, options),
            Err(refusal) => return refusal,
        },
    };
    let name = match hello_options(options) {
        Ok(name) => name,
        Err(refusal) => return refusal,
    };
    if let Some(name) = name {
        exchange.name = name;
    }
    if !arguments.is_empty() {
        exchange.speak(protocol);
    }
    describe(exchange)
}

fn protocol_version(argument: &[u8]) -> Result<Protocol, Reply> {
    match integer(argument) {
        Some(2) => Ok(Protocol::Resp2),
        Some(3) => Ok(Protocol::Resp3),
        Some(_) => Err(Reply::error("NOPROTO unsupported protocol version")),
        None => Err(Reply::error("ERR Protocol version is not an integer or out of range")),
    }
}

/// The name that SETNAME gives, if it is there.
fn hello_options(mut options: &[Bytes]) -> Result<Option<String>, Reply> {
    let mut name = None;
    loop {
        options = match options {
            [] => return Ok(name),
            [option, user, _, rest @ ..] if is(option, "AUTH") => match login(user) {
                refusal @ Reply::Error(_) => return Err(refusal),
                _ => rest,
            },
            [option, given, rest @ ..] if is(option, "SETNAME") => {
                name = Some(readable_name(given)?.to_owned());
                rest
            }
            [option, ..] => {
                let text = format!("ERR Syntax error in HELLO option '{}'", quoted(option));
                return Err(Reply::error_text(text));
            }
        };
    }
}

fn describe(exchange: &Exchange) -> Reply {
    let role = match exchange.front.shard.status().role {
        Role::Leader => "master",
        Role::Follower | Role::Candidate | Role::Learner | Role::Witness => "replica",
    };
    let id = i64::try_from(exchange.client.id.0).unwrap_or(i64::MAX);
    let mut described = vec![
        (text("server"), text("redis")),
        (text("version"), text(REDIS_VERSION)),
        (text("proto"), Reply::Integer(exchange.protocol.number().into())),
        (text("id"), Reply::Integer(id)),
        (text("mode"), text(exchange.front.mode())),
    ];
    // A Sentinel has none.
    if exchange.front.sentinel.is_none() {
        described.push((text("role"), text(role)));
    }
    described.push((text("modules"), Reply::Array(Vec::new())));
    Reply::Map(described)
}

/// RESET: the connection is as if it had just been made, but for its place in what is in flight.
fn reset(exchange: &mut Exchange) -> Reply {
    exchange.forget_transaction();
    exchange.listen_to_nothing();
    exchange.db = 0;
    exchange.reads_stale = false;
    exchange.name.clear();
    exchange.set_reply_mode(ReplyMode::On);
    exchange.speak(Protocol::Resp2);
    {
        let mut details = exchange.client.details();
        (details.no_evict, details.no_touch) = (false, false);
    }
    Reply::status("RESET")
}
