//! Settings of a node: flags over `QUORATE_*` variables over a TOML file over defaults, all with one name.
//!
//! [`table`] is the one place where a setting is described. On the way from text to a [`Config`] there are
//! three steps: gather the texts with their origins ([`Given`]), derive what follows from others
//! ([`Given::derived`]), read and check each and the relations between them ([`Config::resolve`]). All that is
//! wrong is reported at once, each line with the setting's name, value, origin, and what is allowed.

mod derived;
mod given;
mod sizes;
pub mod table;
pub mod value;

use std::fmt::Write as _;

pub use derived::{HTTP_PORT_OFFSET, PEER_PORT_OFFSET, SENTINEL_PORT_OFFSET};
pub use given::{Given, Origin, Refusal};
use quorate_machine::ClusterVersion;
use sizes::rounded;
pub use table::{AUTO, Config, SETTINGS, Setting};
pub use value::{
    Address, Bytes, Endpoints, HostPort, JoinAs, LogFormat, MEMBERS_MAX, Peers, ReadMode, Value,
};

impl Config {
    /// The settings that `given` amounts to.
    ///
    /// # Errors
    /// Everything that is not allowed.
    pub fn resolve(given: Given) -> Result<(Self, Given), Vec<Refusal>> {
        let given = given.derived();
        let config = Self::read(&given)?;
        let refusals: Vec<_> = config
            .broken_relations()
            .into_iter()
            .map(|(name, reason)| {
                let (value, origin) = given.text(name);
                Refusal::Relation { name, value: value.to_owned(), origin, reason }
            })
            .collect();
        if refusals.is_empty() { Ok((config, given)) } else { Err(refusals) }
    }

    /// Where others find the Sentinel door, if there is one: at the host of `advertise` if it listens on all addresses.
    #[must_use]
    pub fn sentinel_address(&self) -> Option<Address> {
        let listen = self.sentinel_listen.as_ref()?;
        let host = if listen.is_unspecified() { &self.advertise.host } else { &listen.host };
        Some(Address::new(host, listen.port))
    }

    /// The newest cluster version to which this node lets the cluster rise.
    #[must_use]
    pub fn version_max(&self) -> ClusterVersion {
        match u16::try_from(self.hold_version).unwrap_or(u16::MAX) {
            0 => ClusterVersion::NEWEST,
            held => ClusterVersion(held).min(ClusterVersion::NEWEST),
        }
    }

    /// Each setting that does not go with another, and why.
    fn broken_relations(&self) -> Vec<(&'static str, String)> {
        let mut broken = Vec::new();
        let mut require = |holds: bool, name: &'static str, reason: String| {
            if !holds {
                broken.push((name, reason));
            }
        };
        let election = self.election_timeout.show();
        let entry = format!(
            "an entry holds up to max-message-bytes ({}), or a command of max-request-bytes ({}) and max-arguments ({})",
            self.message_bytes_max, self.request_bytes_max, self.arguments_max
        );
        require(
            self.heartbeat_interval * 3 <= self.election_timeout,
            "heartbeat-interval",
            format!("allowed is at most a third of election-timeout, which is {election}"),
        );
        require(
            self.command_timeout > self.election_timeout * 2,
            "command-timeout",
            format!("allowed is more than twice election-timeout, which is {election}"),
        );
        require(
            self.leaderless_timeout > self.election_timeout * 2,
            "leaderless-timeout",
            format!("allowed is more than twice election-timeout, which is {election}"),
        );
        require(
            self.inflight_bytes_max >= self.message_bytes_max,
            "max-inflight-bytes",
            format!("allowed is no less than max-message-bytes, which is {}", self.message_bytes_max),
        );
        require(
            self.uncommitted_bytes_max.0 >= self.entry_bytes_max() * 2,
            "max-uncommitted-bytes",
            format!(
                "allowed is at least {}, room for two entries; {entry}",
                rounded(self.entry_bytes_max() * 2)
            ),
        );
        require(
            self.peer_queue_bytes_max.0 >= self.inflight_bytes_max.0 + self.entry_bytes_max(),
            "max-peer-queue-bytes",
            format!(
                "allowed is at least {}, room for max-inflight-bytes and one entry more; {entry}",
                rounded(self.inflight_bytes_max.0 + self.entry_bytes_max())
            ),
        );
        require(
            self.segments_hold_entries(),
            "segment-bytes",
            format!(
                "allowed is at least {}, since an entry does not span files; {entry}",
                self.segment_bytes_wanted()
            ),
        );
        require(
            self.peers.0.is_empty() || self.peers.0.contains_key(&self.node_id),
            "peers",
            format!("allowed is a list that names this node, whose node-id is {}", self.node_id),
        );
        require(
            self.join.0.is_empty() || self.peers.0.is_empty(),
            "join",
            "allowed is one of join and peers: a node joins a cluster, or forms one".to_owned(),
        );
        require(
            self.join.0.is_empty() || !self.listen.is_unspecified() || self.advertise.host != LOOPBACK,
            "advertise",
            format!(
                "allowed with join, when listen is {}, is an address at which others reach this node",
                self.listen
            ),
        );
        broken.extend(self.lacking());
        broken
    }

    /// The settings as a TOML file in which a comment tells the origin of each value. Read back as a file it
    /// gives the same settings.
    #[must_use]
    pub fn print(&self, given: &Given) -> String {
        let lines: Vec<_> = self
            .shown()
            .into_iter()
            .map(|(setting, value)| {
                let bare = value.parse::<i64>().is_ok() || value.parse::<bool>().is_ok();
                let value = if bare { value } else { toml::Value::String(value).to_string() };
                (format!("{} = {value}", setting.name), given.text(setting.name).1)
            })
            .collect();
        let width =
            lines.iter().map(|(line, _)| line.chars().count()).max().unwrap_or(0).min(COMMENT_COLUMN_MAX);
        let mut printed = String::new();
        for (line, origin) in lines {
            writeln!(printed, "{line:width$}  # {origin}").expect("a string takes all text");
        }
        printed
    }
}

/// Where nobody reaches this node from elsewhere.
pub(crate) const LOOPBACK: &str = "127.0.0.1";

/// Comments stand below each other up to this column; one long value must not push them all away.
const COMMENT_COLUMN_MAX: usize = 48;

#[cfg(test)]
mod tests;
