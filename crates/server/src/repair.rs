//! Taking up a folder in which something was damaged that was durable once.
//!
//! A node that has others comes back by itself: what is intact goes on under repair, and the others give back the rest
//! ([`quorate_log::Log::set_damage_aside`], `raft/repair.rs` of the engine). Until then it neither votes nor serves. A
//! node that is refused here has lost what nobody else can give back: its only copy, or the proof of its promises.

use quorate_consensus::{Membership, Payload, Restored};
use quorate_log::{Error as LogError, Log, Options, OsDisk, Recovered, SetAside};

use crate::{
    config::Config,
    data_folder::{data, open_error},
    peer::acquaintances::Acquaintances,
    service::Error,
};

/// Opens the log in the folder of `config`; a damaged one under repair, if there is somebody to repair it.
///
/// # Errors
/// [`Error::Data`], with file and offset if the folder is damaged for good.
pub(crate) fn open(
    config: &Config,
    disk: &OsDisk,
    options: &Options,
) -> Result<(Log<OsDisk>, Recovered), Error> {
    let damage = match Log::open(disk.clone(), options.clone()) {
        Err(damage @ LogError::Corrupt { .. }) => damage,
        result => return result.map_err(|error| open_error(config, &error)),
    };
    if is_alone(config)? {
        return Err(data(config, format!("{}; {}", damage.finding(), WAYS_OUT_ALONE)));
    }
    let SetAside { last_index, files, .. } =
        Log::set_damage_aside(disk, options, &damage).map_err(|error| match error {
            LogError::Corrupt { .. } => data(
                config,
                format!(
                    "{error}: quorate serve --join ADDRESS --join-as replace:{} on an empty folder",
                    config.node_id
                ),
            ),
            other => open_error(config, &other),
        })?;
    tracing::error!("{}", damage.finding());
    tracing::warn!(
        files = files.join(" "),
        "goes on under repair: what is intact ends with entry {last_index}, and the other nodes are asked for the rest; \
         until then this node neither votes nor serves; what was there is set aside"
    );
    Log::open(disk.clone(), options.clone()).map_err(|error| open_error(config, &error))
}

const WAYS_OUT_ALONE: &str = "it held what this node alone has, so that no other can give it back; nothing was changed: \
     quorate recover --force-new-cluster goes on with what is intact, and quorate snapshot restore with a backup";

/// Whether this node knows of no other.
fn is_alone(config: &Config) -> Result<bool, Error> {
    let met = Acquaintances::load(&config.data_dir).map_err(|error| data(config, error))?;
    let has_peers = config.peers.0.keys().any(|&peer| peer != config.node_id);
    Ok(!has_peers && config.join.0.is_empty() && !met.knows_others(config.node_id))
}

/// The newest configuration in a log or the snapshot before it.
pub(crate) fn newest_membership(restored: &Restored) -> &Membership {
    let in_log = restored.entries.iter().rev().find_map(|entry| match &entry.payload {
        Payload::Membership(membership) => Some(membership),
        Payload::Command(_) | Payload::Blank => None,
    });
    let before = restored.snapshot.as_ref().map_or(&restored.birth, |meta| &meta.membership);
    in_log.unwrap_or(before)
}
