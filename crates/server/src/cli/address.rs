//! Which servers a client command talks to.

use std::time::Duration;

use crate::{
    config::{Address, HostPort, Value as _},
    status::NodeStatus,
};

/// How long a client command waits for a connection, and for each answer. A node that takes longer to say how it
/// is counts as not answering.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The flag that each client command has.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Servers {
    /// RESP addresses of nodes, one or more
    #[arg(
        long = "addr",
        global = true,
        env = "QUORATE_ADDR",
        default_value = "127.0.0.1:7379",
        value_name = "HOST:PORT,..",
        value_delimiter = ',',
        value_parser = read_address
    )]
    pub(super) addresses: Vec<Address>,
}

fn read_address(text: &str) -> Result<Address, String> {
    Address::read(text, &HostPort).ok_or_else(|| format!("allowed is {HostPort}"))
}

impl Servers {
    /// What the client library is told.
    pub(super) fn url(&self) -> String {
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        format!("quorate://{}", addresses.join(","))
    }

    /// A connection to the first of them that takes one; who does not is told on behalf of `command`, and that nobody
    /// does.
    pub(super) fn connect(&self, command: &str) -> Option<redis::Connection> {
        for address in &self.addresses {
            let connected = client(address)
                .and_then(|client| client.get_connection_with_timeout(ANSWER_TIMEOUT))
                .and_then(|connection| {
                    connection.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                    Ok(connection)
                });
            match connected {
                Ok(connection) => return Some(connection),
                Err(error) => eprintln!("{command}: {address}: {error}"),
            }
        }
        eprintln!("No node answers: --addr or QUORATE_ADDR say where to look.");
        None
    }
}

/// What a node says of itself and its cluster.
pub(super) fn status(connection: &mut redis::Connection) -> redis::RedisResult<NodeStatus> {
    let text: String = redis::cmd("QUORATE").arg("STATUS").query(connection)?;
    serde_json::from_str(&text).map_err(|error| {
        redis::RedisError::from((redis::ErrorKind::Parse, "the node's status", error.to_string()))
    })
}

/// Tells why a change of the cluster was not made, in the words of whoever refused; or that its outcome is unknown, and
/// which command tells.
pub(super) fn tell_failure(command: &str, error: &redis::RedisError, tells: &str) {
    if error.is_io_error() {
        eprintln!("{command}: {error}. What came of it is unknown: see `{tells}`");
    } else {
        eprintln!("{command}: {}", error.detail().map_or_else(|| error.to_string(), str::to_owned));
    }
}

/// A client of the server at `address`, not connected yet.
pub(super) fn client(address: &Address) -> redis::RedisResult<redis::Client> {
    redis::Client::open(redis::ConnectionAddr::Tcp(address.host.clone(), address.port))
}
