//! Which node gets which ports and which folder, and whether they are to be had.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use super::record::Record;
use crate::{
    config::{HTTP_PORT_OFFSET, PEER_PORT_OFFSET, SENTINEL_PORT_OFFSET},
    engine::EngineKind,
};

/// Why `up` did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Problem {
    /// Somebody else listens on a port that a node needs.
    #[error(
        "port {port} ({purpose} of node {node}) is in use by another process; end that one, or choose other \
         ports with --port"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// What it is for.
        purpose: &'static str,
        /// Whose it is.
        node: u64,
    },
    /// A port cannot be had for another reason.
    #[error("port {port} ({purpose} of node {node}): {error}")]
    Port {
        /// The port.
        port: u16,
        /// What it is for.
        purpose: &'static str,
        /// Whose it is.
        node: u64,
        /// What the system says.
        error: io::Error,
    },
    /// There is no port so far above a node's.
    #[error(
        "no port for Sentinel lies {SENTINEL_PORT_OFFSET} above {port}; choose --port from 1024 to 46000"
    )]
    NoSentinelPort {
        /// The RESP port of that node.
        port: u16,
    },
    /// The folder holds a cluster of another size.
    #[error(
        "{} holds a cluster of {held} node(s), not {wanted}; start it with --nodes {held}, or choose another \
         --data-dir", folder.display()
    )]
    OtherSize {
        /// The data folder.
        folder: PathBuf,
        /// How many nodes it holds.
        held: u64,
        /// How many were asked for.
        wanted: u64,
    },
    /// The folder holds a cluster of another engine.
    #[error(
        "{} holds a cluster with the engine {held}, not {wanted}, and keeps it for ever; leave --engine away, or choose another \
         --data-dir", folder.display()
    )]
    OtherEngine {
        /// The data folder.
        folder: PathBuf,
        /// The engine that it was born with.
        held: EngineKind,
        /// The one that was asked for.
        wanted: EngineKind,
    },
    /// The data folder cannot be used.
    #[error("data folder {}: {error}", folder.display())]
    Folder {
        /// The data folder.
        folder: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The system did not give what `up` itself needs.
    #[error("cannot start: {0}")]
    Start(io::Error),
}

/// The number of nodes when neither flag nor folder says another.
const NODES_DEFAULT: u64 = 3;

/// The whole cluster.
#[derive(Clone, Debug)]
pub(super) struct Layout {
    /// The folder of all nodes' folders.
    pub(super) folder: PathBuf,
    /// The nodes, in the order of their ids.
    pub(super) nodes: Vec<Node>,
    /// What the folder said, or now says.
    pub(super) record: Record,
    /// How many nodes commit, if they are a new cluster and it is not a majority.
    phase2_quorum: Option<u8>,
}

/// One node.
#[derive(Clone, Debug)]
pub(super) struct Node {
    /// Its id, from 1 on.
    pub(super) id: u64,
    /// Where clients connect.
    pub(super) resp_port: u16,
    /// Where peers connect.
    pub(super) peer_port: u16,
    /// Where `/metrics` is.
    pub(super) http_port: u16,
    /// Where Sentinel clients ask for the leader, if they are to.
    pub(super) sentinel_port: Option<u16>,
    /// Its data.
    pub(super) folder: PathBuf,
}

impl Layout {
    /// The cluster in `folder`, at `port`, with `nodes` nodes and `engine`, or as the folder holds it.
    pub(super) fn new(
        nodes: Option<u64>,
        engine: Option<EngineKind>,
        port: u16,
        folder: &Path,
    ) -> Result<Self, Problem> {
        let failed = |error| Problem::Folder { folder: folder.to_owned(), error };
        std::fs::create_dir_all(folder).map_err(failed)?;
        let record = match (Record::load(folder).map_err(failed)?, nodes) {
            (Some(held), Some(wanted)) if held.nodes != wanted => {
                return Err(Problem::OtherSize { folder: folder.to_owned(), held: held.nodes, wanted });
            }
            (Some(held), _) => held,
            (None, wanted) => Record {
                nodes: wanted.unwrap_or(NODES_DEFAULT),
                engine: engine.unwrap_or_default(),
                formed: false,
            },
        };
        if let Some(wanted) = engine.filter(|&wanted| wanted != record.engine) {
            return Err(Problem::OtherEngine { folder: folder.to_owned(), held: record.engine, wanted });
        }
        record.store(folder).map_err(failed)?;
        let nodes =
            (1..=record.nodes).zip(port..).map(|(id, resp_port)| Node::new(id, resp_port, folder)).collect();
        Ok(Self { folder: folder.to_owned(), nodes, record, phase2_quorum: None })
    }

    /// Refuses to start beside another process that has one of the ports.
    pub(super) fn require_free_ports(&self) -> Result<(), Problem> {
        for node in &self.nodes {
            for (purpose, port) in node.ports() {
                if let Err(error) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
                    let node = node.id;
                    return Err(match error.kind() {
                        io::ErrorKind::AddrInUse => Problem::PortInUse { port, purpose, node },
                        _ => Problem::Port { port, purpose, node, error },
                    });
                }
            }
        }
        Ok(())
    }

    /// The command line that runs `node`, without the executable.
    pub(super) fn command_line(&self, node: &Node) -> Vec<String> {
        let peers = self.nodes.iter().map(|node| format!("{}=127.0.0.1:{}", node.id, node.peer_port));
        let mut line: Vec<String> = [
            "serve",
            "--node-id",
            &node.id.to_string(),
            "--listen",
            &format!("127.0.0.1:{}", node.resp_port),
            "--peers",
            &peers.collect::<Vec<_>>().join(","),
            "--data-dir",
            &node.folder.display().to_string(),
            "--engine",
            self.record.engine.name(),
        ]
        .map(str::to_owned)
        .into();
        if let Some(port) = node.sentinel_port {
            line.extend(["--sentinel-listen".to_owned(), format!("127.0.0.1:{port}")]);
        }
        if let Some(phase2_quorum) = self.phase2_quorum {
            line.extend(["--phase2-quorum".to_owned(), phase2_quorum.to_string()]);
        }
        if !self.record.formed {
            line.push("--bootstrap".to_owned());
        }
        line
    }

    /// The same nodes, of which so many commit if they are a new cluster.
    pub(super) fn with_phase2_quorum(self, phase2_quorum: Option<u8>) -> Self {
        Self { phase2_quorum, ..self }
    }

    /// The same nodes, each with a Sentinel door.
    pub(super) fn with_sentinels(mut self) -> Result<Self, Problem> {
        for node in &mut self.nodes {
            let port = node.resp_port.checked_add(SENTINEL_PORT_OFFSET);
            node.sentinel_port = Some(port.ok_or(Problem::NoSentinelPort { port: node.resp_port })?);
        }
        Ok(self)
    }

    /// Remembers that the cluster has had a leader.
    pub(super) fn remember_formed(&mut self) -> io::Result<()> {
        self.record.formed = true;
        self.record.store(&self.folder)
    }
}

impl Node {
    fn new(id: u64, resp_port: u16, folder: &Path) -> Self {
        Self {
            id,
            resp_port,
            peer_port: resp_port + PEER_PORT_OFFSET,
            http_port: resp_port + HTTP_PORT_OFFSET,
            sentinel_port: None,
            folder: node_folder(folder, id),
        }
    }

    fn ports(&self) -> impl Iterator<Item = (&'static str, u16)> {
        let ports = [("RESP", self.resp_port), ("peers", self.peer_port), ("HTTP", self.http_port)];
        ports.into_iter().chain(self.sentinel_port.map(|port| ("Sentinel", port)))
    }
}

/// Where node `id` of the cluster in `folder` has its data.
pub(in crate::cli) fn node_folder(folder: &Path, id: u64) -> PathBuf {
    folder.join(format!("node-{id}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_follow_the_first_and_folders_the_ids() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(None, None, 7379, folder.path()).unwrap();
        let ports: Vec<_> = layout.nodes.iter().map(|n| (n.resp_port, n.peer_port, n.http_port)).collect();
        assert_eq!(ports, [(7379, 17_379, 18_379), (7380, 17_380, 18_380), (7381, 17_381, 18_381)]);
        assert!(layout.nodes[2].folder.ends_with("node-3"));
    }

    #[test]
    fn nodes_have_sentinel_doors_where_clients_look_first_if_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(None, None, 7379, folder.path()).unwrap();
        let has_door = |layout: &Layout| layout.command_line(&layout.nodes[1]).join(" ").contains("sentinel");
        assert!(!has_door(&layout));
        let layout = layout.with_sentinels().unwrap();
        assert!(has_door(&layout));
        let ports: Vec<_> = layout.nodes.iter().filter_map(|node| node.sentinel_port).collect();
        assert_eq!(ports, [26_379, 26_380, 26_381]);
        let folder = tempfile::tempdir().unwrap();
        let high =
            Layout::new(None, None, 46_535, folder.path()).unwrap().with_sentinels().unwrap_err().to_string();
        assert!(high.contains("19000 above 46536"), "{high}");
    }

    #[test]
    fn a_folder_remembers_the_size_of_its_cluster() {
        let folder = tempfile::tempdir().unwrap();
        Layout::new(Some(5), None, 7379, folder.path()).unwrap();
        assert_eq!(Layout::new(None, None, 9000, folder.path()).unwrap().nodes.len(), 5);
        let refused = Layout::new(Some(3), None, 7379, folder.path()).unwrap_err().to_string();
        assert!(refused.contains("holds a cluster of 5 node(s), not 3"), "{refused}");
    }

    #[test]
    fn a_folder_remembers_the_engine_of_its_cluster() {
        let folder = tempfile::tempdir().unwrap();
        Layout::new(None, Some(EngineKind::Paxos), 7379, folder.path()).unwrap();
        let layout = Layout::new(None, None, 7379, folder.path()).unwrap();
        assert!(layout.command_line(&layout.nodes[0]).join(" ").contains("--engine paxos"));
        let refused = Layout::new(None, Some(EngineKind::Raft), 7379, folder.path()).unwrap_err().to_string();
        assert!(refused.contains("with the engine paxos, not raft"), "{refused}");
        std::fs::write(folder.path().join("up.toml"), "nodes = 3\nformed = true\n").unwrap();
        let layout = Layout::new(None, None, 7379, folder.path()).unwrap();
        assert!(layout.command_line(&layout.nodes[0]).join(" ").contains("--engine raft"));
    }

    #[test]
    fn only_a_cluster_that_never_had_a_leader_is_formed() {
        let folder = tempfile::tempdir().unwrap();
        let mut layout = Layout::new(Some(1), None, 7379, folder.path()).unwrap();
        assert!(layout.command_line(&layout.nodes[0]).contains(&"--bootstrap".to_owned()));
        layout.remember_formed().unwrap();
        let layout = Layout::new(None, None, 7379, folder.path()).unwrap();
        assert!(!layout.command_line(&layout.nodes[0]).contains(&"--bootstrap".to_owned()));
    }

    #[test]
    fn a_port_in_use_is_named_with_its_purpose() {
        let folder = tempfile::tempdir().unwrap();
        let taken = (20_000..30_000)
            .find_map(|port| Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?)))
            .unwrap();
        let layout = Layout::new(Some(1), None, taken.0, folder.path()).unwrap();
        let text = layout.require_free_ports().unwrap_err().to_string();
        assert!(text.starts_with(&format!("port {} (RESP of node 1) is in use", taken.0)), "{text}");
    }
}
