//! Which servers a client command talks to.

use std::time::Duration;

use crate::config::{Address, HostPort, Value as _};

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

/// A client of the server at `address`, not connected yet.
pub(super) fn client(address: &Address) -> redis::RedisResult<redis::Client> {
    redis::Client::open(redis::ConnectionAddr::Tcp(address.host.clone(), address.port))
}
