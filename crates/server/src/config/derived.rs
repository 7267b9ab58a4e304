//! Settings that follow from others while their text is [`AUTO`].

use std::time::Duration;

use super::{
    given::Given,
    table::AUTO,
    value::{Address, HostPort, Members, Peers, Value},
};

/// What is added to the RESP port for the peer listener.
pub const PEER_PORT_OFFSET: u16 = 10_000;
/// What is added to the RESP port for the HTTP listener.
pub const HTTP_PORT_OFFSET: u16 = 11_000;
/// What `up` adds to the RESP port for the Sentinel door: 7379 becomes 26379, where Sentinel clients look first.
pub const SENTINEL_PORT_OFFSET: u16 = 19_000;

impl Given {
    /// The same with a text in the place of each [`AUTO`] that can be derived. One that cannot is left, and
    /// refused later with the others.
    #[must_use]
    pub fn derived(mut self) -> Self {
        let listen = Address::read(self.text("listen").0, &HostPort);
        let peers = Peers::read(self.text("peers").0, &Members).unwrap_or_default();

        // 0 is nobody's number: it is known once the data folder is, or the cluster has given one.
        let node_id = if peers.0.is_empty() { "0" } else { "1" };
        if self.text("node-id").0 == AUTO {
            self.replace("node-id", node_id.to_owned());
        }
        let beside = |offset| listen.as_ref().and_then(|listen| beside(listen, offset));
        let own_peer = self.text("node-id").0.parse().ok().and_then(|id: u64| peers.0.get(&id).cloned());
        let advertise = listen.as_ref().and_then(|listen| reachable(listen, own_peer.as_ref()));
        let data_dir = if peers.0.is_empty() {
            "quorate-data/single".to_owned()
        } else {
            format!("quorate-data/node-{}", self.text("node-id").0)
        };
        let derivations = [
            ("peer-listen", beside(PEER_PORT_OFFSET).map(|address| address.show())),
            ("http-listen", beside(HTTP_PORT_OFFSET).map(|address| address.show())),
            ("advertise", advertise.map(|address| address.show())),
            ("data-dir", Some(data_dir)),
            ("heartbeat-interval", Some(heartbeat(self.text("election-timeout").0))),
            ("leaderless-timeout", Some(leaderless(self.text("election-timeout").0))),
        ];
        for (name, text) in derivations {
            if let (AUTO, Some(text)) = (self.text(name).0, text) {
                self.replace(name, text);
            }
        }
        let read = |name| Address::read(self.text(name).0, &HostPort);
        let peer_advertise = own_peer.or_else(|| dialled(read("peer-listen")?, &read("advertise")?));
        if let (AUTO, Some(address)) = (self.text("peer-advertise").0, peer_advertise) {
            self.replace("peer-advertise", address.show());
        }
        self
    }
}

/// The port `offset` above that of `listen`; a port that the system chooses stays one.
fn beside(listen: &Address, offset: u16) -> Option<Address> {
    let port = if listen.port == 0 { 0 } else { listen.port.checked_add(offset)? };
    Some(Address { host: listen.host.clone(), port })
}

/// A third of the election time-out, but no longer than suits the default of it.
fn heartbeat(election_timeout: &str) -> String {
    const MAX: Duration = Duration::from_millis(100);
    let third_ms = |timeout: Duration| u64::try_from((timeout / 3).as_millis()).unwrap_or(u64::MAX);
    // One that cannot be read is refused by its own name.
    let timeout = humantime::parse_duration(election_timeout);
    timeout.map_or(MAX, |timeout| Duration::from_millis(third_ms(timeout)).min(MAX)).show()
}

/// Where others reach `listen`: there, or, if it stands for all addresses, at the host at which clients do.
fn dialled(listen: Address, advertise: &Address) -> Option<Address> {
    let host = if listen.is_unspecified() { &advertise.host } else { &listen.host };
    Some(Address::new(host, listen.port))
}

/// Time for ten elections, and enough for a person not to notice that a switch was restarted.
fn leaderless(election_timeout: &str) -> String {
    const MIN: Duration = Duration::from_secs(5);
    let timeout = humantime::parse_duration(election_timeout);
    timeout.map_or(MIN, |timeout| (timeout * 10).max(MIN)).show()
}

/// Where others reach `listen`: there, or at the host of this node's own peer address if that says more.
fn reachable(listen: &Address, own_peer: Option<&Address>) -> Option<Address> {
    if !listen.is_unspecified() {
        return Some(listen.clone());
    }
    let host = own_peer.map_or("127.0.0.1", |peer| peer.host.as_str());
    Some(Address::new(host, listen.port))
}
