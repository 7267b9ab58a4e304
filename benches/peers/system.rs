//! The systems that are compared.

use clap::ValueEnum;
use serde::Serialize;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum System {
    /// Three nodes of Quorate
    Quorate,
    /// One redis-server with `appendfsync always`
    Redis,
    /// Three nodes of etcd
    Etcd,
    /// Three nodes of ZooKeeper
    #[value(name = "zookeeper")]
    ZooKeeper,
}

impl System {
    pub(crate) fn name(self) -> &'static str {
        match self {
            System::Quorate => "Quorate",
            System::Redis => "Redis",
            System::Etcd => "etcd",
            System::ZooKeeper => "ZooKeeper",
        }
    }

    /// How many nodes it is compared with: Redis stands for what one node can do that replicates nothing.
    pub(crate) fn nodes(self) -> usize {
        match self {
            System::Redis => 1,
            System::Quorate | System::Etcd | System::ZooKeeper => 3,
        }
    }

    /// How long it runs before anything is counted: ZooKeeper's just-in-time compiler wants ten seconds.
    pub(crate) fn warm_up(self) -> Duration {
        match self {
            System::Quorate | System::Redis | System::Etcd => Duration::from_secs(2),
            System::ZooKeeper => Duration::from_secs(10),
        }
    }

    /// Whether its failovers are measured. ZooKeeper's take ten seconds after SIGSTOP, and there is no goal for them.
    pub(crate) fn fails_over(self) -> bool {
        match self {
            System::Quorate | System::Etcd => true,
            System::Redis | System::ZooKeeper => false,
        }
    }

    /// Whether one connection may have several requests on their way in its own protocol.
    pub(crate) fn speaks_redis(self) -> bool {
        match self {
            System::Quorate | System::Redis => true,
            System::Etcd | System::ZooKeeper => false,
        }
    }
}
