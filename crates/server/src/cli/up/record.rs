//! What `up` remembers in the data folder between two runs: a small file beside the nodes' folders.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use crate::engine::EngineKind;

const FILE: &str = "up.toml";

/// The cluster that a data folder holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// The number of its nodes.
    pub(super) nodes: u64,
    /// Their engine. Folders of before there were two have the first.
    #[serde(default)]
    pub(super) engine: EngineKind,
    /// Whether a leader was seen once: from then on an empty node folder is a loss of data, and no reason to
    /// form a new cluster.
    pub(super) formed: bool,
}

impl Record {
    /// What `folder` holds; `None` if `up` was never there.
    pub(super) fn load(folder: &Path) -> io::Result<Option<Self>> {
        match std::fs::read_to_string(folder.join(FILE)) {
            Ok(text) => toml::from_str(&text).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it, by rename, so that a crash leaves the old or the new.
    pub(super) fn store(&self, folder: &Path) -> io::Result<()> {
        let text = toml::to_string(self).map_err(io::Error::other)?;
        let aside = folder.join("up.toml.new");
        std::fs::write(&aside, format!("# Written by `quorate up`.\n{text}"))?;
        std::fs::rename(aside, folder.join(FILE))
    }

    /// Forgets what `folder` holds.
    pub(super) fn remove(folder: &Path) -> io::Result<()> {
        std::fs::remove_file(folder.join(FILE))
    }
}
