//! The types that a setting can have: how each is read, shown, and limited.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// A type of settings.
///
/// Text that [`Value::show`] gives is read back by [`Value::read`] as an equal value.
pub trait Value: Sized {
    /// What limits values of this type; its text completes the sentence "allowed is ..".
    type Allowed: fmt::Display;

    /// The value that `text` stands for, or `None` if that is nothing `allowed`.
    fn read(text: &str, allowed: &Self::Allowed) -> Option<Self>;

    /// The value as text.
    fn show(&self) -> String;
}

/// Allowed whole numbers, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Whole {
    /// The least.
    pub min: u64,
    /// The greatest.
    pub max: u64,
}

impl fmt::Display for Whole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", self.min, self.max)
    }
}

impl Value for u64 {
    type Allowed = Whole;

    fn read(text: &str, allowed: &Whole) -> Option<Self> {
        text.parse().ok().filter(|number| (allowed.min..=allowed.max).contains(number))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Allowed whole numbers, negative ones as well, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Signed {
    /// The least.
    pub min: i64,
    /// The greatest.
    pub max: i64,
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {} to {}", self.min, self.max)
    }
}

impl Value for i64 {
    type Allowed = Signed;

    fn read(text: &str, allowed: &Signed) -> Option<Self> {
        text.parse().ok().filter(|number| (allowed.min..=allowed.max).contains(number))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl Value for usize {
    type Allowed = Whole;

    fn read(text: &str, allowed: &Whole) -> Option<Self> {
        u64::read(text, allowed).and_then(|number| Self::try_from(number).ok())
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub usize);

const UNITS: [(&str, usize); 4] = [("gb", 1 << 30), ("mb", 1 << 20), ("kb", 1 << 10), ("b", 1)];

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = UNITS
            .iter()
            .find(|(_, factor)| self.0 > 0 && self.0.is_multiple_of(*factor))
            .unwrap_or(&UNITS[3]);
        write!(f, "{}{unit}", self.0 / factor)
    }
}

/// Allowed sizes, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// The least.
    pub min: Bytes,
    /// The greatest.
    pub max: Bytes,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a size from {} to {}, in b, kb, mb or gb (powers of 1024)", self.min, self.max)
    }
}

impl Value for Bytes {
    type Allowed = Size;

    fn read(text: &str, allowed: &Size) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (digits, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
            .unwrap_or((&text, 1));
        let bytes = digits.trim_end().parse::<usize>().ok()?.checked_mul(factor)?;
        Some(Self(bytes)).filter(|bytes| (allowed.min..=allowed.max).contains(bytes))
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Allowed durations, both ends included.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    /// The least.
    pub min: Duration,
    /// The greatest.
    pub max: Duration,
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (min, max) = (humantime::format_duration(self.min), humantime::format_duration(self.max));
        write!(f, "a duration from {min} to {max}, in ms, s, m or h")
    }
}

impl Value for Duration {
    type Allowed = Span;

    fn read(text: &str, allowed: &Span) -> Option<Self> {
        humantime::parse_duration(text).ok().filter(|span| (allowed.min..=allowed.max).contains(span))
    }

    fn show(&self) -> String {
        humantime::format_duration(*self).to_string()
    }
}

/// Where something listens or is reached: a host name or IP address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub host: String,
    /// The port; 0, where a listener takes it, lets the system choose.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Address {
    /// The address at `host` and `port`.
    #[must_use]
    pub fn new(host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port }
    }

    /// Whether it stands for all of a machine's addresses, so that nobody can dial it.
    #[must_use]
    pub fn is_unspecified(&self) -> bool {
        matches!(self.host.as_str(), "0.0.0.0" | "::" | "*")
    }

    /// What the operating system's resolver is asked.
    #[must_use]
    pub fn to_pair(&self) -> (&str, u16) {
        (&self.host, self.port)
    }
}

/// Allowed addresses: any.
#[derive(Clone, Copy, Debug)]
pub struct HostPort;

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("host:port, such as 127.0.0.1:7379, with a port up to 65535")
    }
}

impl Value for Address {
    type Allowed = HostPort;

    fn read(text: &str, _: &HostPort) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.strip_suffix(']')?,
            None if host.contains(':') => return None,
            None => host,
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._:%".contains(c);
        let named = !host.is_empty() && host.chars().all(plain);
        Some(Self { host: host.to_owned(), port: port.parse().ok()? }).filter(|_| named)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// The text of an address at which nothing listens.
pub const OFF: &str = "off";

/// Allowed addresses: any, or none.
#[derive(Clone, Copy, Debug)]
pub struct HostPortOrOff;

impl fmt::Display for HostPortOrOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HostPort}, or {OFF}")
    }
}

impl Value for Option<Address> {
    type Allowed = HostPortOrOff;

    fn read(text: &str, _: &HostPortOrOff) -> Option<Self> {
        if text == OFF { Some(None) } else { Address::read(text, &HostPort).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map_or_else(|| OFF.to_owned(), Address::to_string)
    }
}

/// The longest [`Name`]: it is part of replies and messages.
const NAME_BYTES_MAX: usize = 64;

/// Allowed names: what needs no quotes anywhere.
#[derive(Clone, Copy, Debug)]
pub struct Name;

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a name of up to {NAME_BYTES_MAX} letters, digits, dots, dashes and underscores")
    }
}

impl Value for String {
    type Allowed = Name;

    fn read(text: &str, _: &Name) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_allowed = (1..=NAME_BYTES_MAX).contains(&text.len()) && text.chars().all(plain);
        is_allowed.then(|| text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

/// The members that a cluster is formed of, by node id, with the address of each one's peer listener.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers(pub BTreeMap<u64, Address>);

/// The most members of a cluster: more voters make each write slower and no data safer.
pub const MEMBERS_MAX: usize = 9;

/// Allowed lists of members.
#[derive(Clone, Copy, Debug)]
pub struct Members;

impl fmt::Display for Members {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "up to {MEMBERS_MAX} of id=host:port with different ids from 1 on, such as \
             1=10.0.0.1:17379,2=10.0.0.2:17379,3=10.0.0.3:17379"
        )
    }
}

impl Value for Peers {
    type Allowed = Members;

    fn read(text: &str, _: &Members) -> Option<Self> {
        let mut peers = BTreeMap::new();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (id, address) = pair.split_once('=')?;
            let id = id.trim().parse().ok().filter(|&id: &u64| id > 0)?;
            let address = Address::read(address.trim(), &HostPort).filter(|address| address.port > 0)?;
            if peers.insert(id, address).is_some() {
                return None;
            }
        }
        Some(Self(peers)).filter(|peers| peers.0.len() <= MEMBERS_MAX)
    }

    fn show(&self) -> String {
        self.0.iter().map(|(id, address)| format!("{id}={address}")).collect::<Vec<_>>().join(",")
    }
}

/// Where nodes of a cluster serve clients; any of them will do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints(pub Vec<Address>);

/// Allowed lists of endpoints.
#[derive(Clone, Copy, Debug)]
pub struct HostPorts;

impl fmt::Display for HostPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "up to {MEMBERS_MAX} of host:port, such as 10.0.0.1:7379,10.0.0.2:7379")
    }
}

impl Value for Endpoints {
    type Allowed = HostPorts;

    fn read(text: &str, _: &HostPorts) -> Option<Self> {
        let texts = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        let read = |text| Address::read(text, &HostPort).filter(|address| address.port > 0);
        texts.map(read).collect::<Option<_>>().map(Self).filter(|list| list.0.len() <= MEMBERS_MAX)
    }

    fn show(&self) -> String {
        self.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
    }
}

/// What a node that joins a cluster is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JoinAs {
    /// It votes, as soon as it has caught up.
    Voter,
    /// It has the data, and counts in no quorum until it is promoted.
    Learner,
    /// It votes, as soon as it has caught up, in the place of this node, which is removed then.
    Replacement(u64),
    /// It votes beside two others, and keeps no data.
    Witness,
}

/// Allowed parts of a node that joins.
#[derive(Clone, Copy, Debug)]
pub struct Parts;

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("voter, learner, witness, or replace:ID with the id of a voter")
    }
}

impl Value for JoinAs {
    type Allowed = Parts;

    fn read(text: &str, _: &Parts) -> Option<Self> {
        match text {
            "voter" => Some(Self::Voter),
            "learner" => Some(Self::Learner),
            "witness" => Some(Self::Witness),
            _ => {
                let id = text.strip_prefix("replace:")?.parse().ok()?;
                (id > 0).then_some(Self::Replacement(id))
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Voter => "voter".to_owned(),
            Self::Learner => "learner".to_owned(),
            Self::Witness => "witness".to_owned(),
            Self::Replacement(id) => format!("replace:{id}"),
        }
    }
}

/// How reads are made linearizable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadMode {
    /// By a round to a majority.
    Linearizable,
    /// By the leader's lease.
    Lease,
}

/// The words for [`ReadMode`].
pub const READ_MODES: OneOf = OneOf(&["linearizable", "lease"]);

impl Value for ReadMode {
    type Allowed = OneOf;

    fn read(text: &str, _: &OneOf) -> Option<Self> {
        match text {
            "linearizable" => Some(Self::Linearizable),
            "lease" => Some(Self::Lease),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Linearizable => "linearizable",
            Self::Lease => "lease",
        }
        .to_owned()
    }
}

/// Allowed paths.
#[derive(Clone, Copy, Debug)]
pub struct Folder;

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a path of a folder, not empty; it is created if it is missing")
    }
}

impl Value for PathBuf {
    type Allowed = Folder;

    fn read(text: &str, _: &Folder) -> Option<Self> {
        (!text.is_empty()).then(|| Path::new(text).to_owned())
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

/// One of some words.
#[derive(Clone, Copy, Debug)]
pub struct OneOf(pub &'static [&'static str]);

impl fmt::Display for OneOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("nothing"),
            [only] => f.write_str(only),
            [first @ .., last] => write!(f, "{} or {last}", first.join(", ")),
        }
    }
}

/// Yes or no.
pub const TRUE_OR_FALSE: OneOf = OneOf(&["true", "false"]);

impl Value for bool {
    type Allowed = OneOf;

    fn read(text: &str, _: &OneOf) -> Option<Self> {
        text.parse().ok()
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The names of [`LogFormat`].
pub const LOG_FORMATS: OneOf = OneOf(&["text", "json"]);

impl Value for LogFormat {
    type Allowed = OneOf;

    fn read(text: &str, _: &OneOf) -> Option<Self> {
        match text {
            "text" => Some(Self::Text),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    fn show(&self) -> String {
        match self {
            Self::Text => "text".to_owned(),
            Self::Json => "json".to_owned(),
        }
    }
}

/// The least important log lines that are written.
pub const LOG_LEVELS: OneOf = OneOf(&["error", "warn", "info", "debug", "trace"]);

impl Value for tracing::Level {
    type Allowed = OneOf;

    fn read(text: &str, allowed: &OneOf) -> Option<Self> {
        text.parse().ok().filter(|_| allowed.0.contains(&text))
    }

    fn show(&self) -> String {
        self.to_string().to_ascii_lowercase()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANY_SIZE: Size = Size { min: Bytes(0), max: Bytes(usize::MAX) };

    #[test]
    fn sizes_know_their_units() {
        assert_eq!(Bytes::read("64kb", &ANY_SIZE), Some(Bytes(64 << 10)));
        assert_eq!(Bytes::read("1GB", &ANY_SIZE), Some(Bytes(1 << 30)));
        assert_eq!(Bytes::read("17", &ANY_SIZE), Some(Bytes(17)));
        assert_eq!(Bytes::read("5 mb", &ANY_SIZE), Some(Bytes(5 << 20)));
        assert_eq!(Bytes::read("99999999999gb", &ANY_SIZE), None);
        assert_eq!(Bytes::read("-1", &ANY_SIZE), None);
        assert_eq!(Bytes::read("kb", &ANY_SIZE), None);
    }

    #[test]
    fn addresses_with_names_and_with_both_kinds_of_ip() {
        assert_eq!(Address::read("db-1.example:7379", &HostPort), Some(Address::new("db-1.example", 7379)));
        let six = Address::read("[::1]:7379", &HostPort).unwrap();
        assert_eq!((six.host.as_str(), six.to_string().as_str()), ("::1", "[::1]:7379"));
        for wrong in ["::1:7379", "host", "host:", ":7379", "host:65536", "a b:1", "[::1:7379", "http://h:1"]
        {
            assert_eq!(Address::read(wrong, &HostPort), None, "{wrong}");
        }
    }

    #[test]
    fn a_listener_may_be_off_and_a_name_is_plain() {
        let read = |text| <Option<Address>>::read(text, &HostPortOrOff);
        assert_eq!(read("off"), Some(None));
        assert_eq!(read("h:26379").unwrap().show(), "h:26379");
        assert_eq!(read("none"), None);
        assert_eq!(String::read("my-master_1.x", &Name).as_deref(), Some("my-master_1.x"));
        for wrong in ["", "a b", "a,b", &"x".repeat(65)] {
            assert_eq!(String::read(wrong, &Name), None, "{wrong}");
        }
    }

    #[test]
    fn members_have_different_ids_and_real_ports() {
        let two = Peers::read("1=a:1, 2=b:2", &Members).unwrap();
        assert_eq!(two.show(), "1=a:1,2=b:2");
        for wrong in ["1=a:1,1=b:2", "0=a:1", "a:1", "1=a:0", "x=a:1"] {
            assert_eq!(Peers::read(wrong, &Members), None, "{wrong}");
        }
        let ten: Vec<_> = (1..=10).map(|id| format!("{id}=a:1")).collect();
        assert_eq!(Peers::read(&ten.join(","), &Members), None);
        assert_eq!(Peers::read("", &Members), Some(Peers::default()));
    }

    proptest! {
        #[test]
        fn shown_sizes_read_back(bytes: usize) {
            prop_assert_eq!(Bytes::read(&Bytes(bytes).show(), &ANY_SIZE), Some(Bytes(bytes)));
        }

        #[test]
        fn shown_durations_read_back(micros in 0u64..1 << 40) {
            let allowed = Span { min: Duration::ZERO, max: Duration::MAX };
            let span = Duration::from_micros(micros);
            prop_assert_eq!(Duration::read(&span.show(), &allowed), Some(span));
        }
    }
}
