//! Where servers are: `quorate://host:port,host:port`.

use std::{fmt, str::FromStr};

use crate::error::Error;

/// The servers of one cluster, in the order in which they are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoints(Vec<Endpoint>);

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Endpoint {
    /// A name, an IPv4 address, or an IPv6 address without brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Endpoints {
    /// Reads `scheme://host[:port],..`.
    pub(crate) fn read(url: &str, scheme: &str, default_port: u16) -> Result<Self, Error> {
        let invalid = |why: &str| {
            Error::invalid("url", format_args!("{url}: {why}; expected is {scheme}://host:port,host:port"))
        };
        let rest = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
        let rest = rest.ok_or_else(|| invalid("another scheme"))?;
        let hosts = rest.strip_suffix('/').unwrap_or(rest);
        let endpoints = hosts.split(',').map(|text| Endpoint::read(text, default_port));
        let endpoints = endpoints.collect::<Option<Vec<_>>>().ok_or_else(|| invalid("not an address"))?;
        Ok(Self(endpoints))
    }

    /// All of them.
    #[cfg(feature = "etcd")]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Endpoint> {
        self.0.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The endpoint whose turn is the `turn`-th.
    pub(crate) fn at(&self, turn: usize) -> &Endpoint {
        // There is one at least, since splitting a text gives one part at least.
        &self.0[turn % self.0.len()]
    }
}

impl Endpoint {
    fn read(text: &str, default_port: u16) -> Option<Self> {
        let (host, port) = match text.strip_prefix('[') {
            Some(bracketed) => {
                let (host, rest) = bracketed.split_once(']')?;
                (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
            }
            None => match text.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (text, None),
            },
        };
        let port =
            port.map_or(Some(default_port), |port| u16::from_str(port).ok().filter(|port| *port > 0))?;
        let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
        is_host.then(|| Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Vec<String>, Error> {
        let endpoints = Endpoints::read(url, "quorate", 7379)?;
        Ok(endpoints.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_url_names_servers_in_order() {
        for (url, expected) in [
            ("quorate://a", &["a:7379"][..]),
            ("quorate://a:1,b,127.0.0.1:3/", &["a:1", "b:7379", "127.0.0.1:3"]),
            ("quorate://[::1]:5,[fe80::1]", &["[::1]:5", "[fe80::1]:7379"]),
        ] {
            assert_eq!(read(url).unwrap(), expected, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_with_what_was_expected() {
        for url in [
            "",
            "a:1",
            "redis://a",
            "quorate:a",
            "quorate://",
            "quorate://a,,b",
            "quorate://a:0",
            "quorate://a:x",
            "quorate://::1",
            "quorate://[::1",
            "quorate://[::1]5",
            "quorate://u:p@a:1",
            "quorate://a/0",
        ] {
            let error = read(url).unwrap_err().to_string();
            assert!(error.contains("expected is quorate://host:port"), "{url}: {error}");
        }
    }
}
