//! Taking up a folder in which something was damaged that was durable once.
//!
//! A node that has others comes back by itself: what is intact goes on under repair, and the others give back the rest
//! ([`quorate_log::Log::set_damage_aside`], `raft/repair.rs` of the engine). Until then it neither votes nor serves. A
//! node that is refused here has lost what nobody else can give back: its only copy, or the proof of its promises.

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
        return Err(data(config, format!("{}; {}", found(&damage), WAYS_OUT_ALONE)));
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
    tracing::error!("{}", found(&damage));
    tracing::warn!(
        files = files.join(" "),
        "goes on under repair: what is intact ends with entry {last_index}, and the other nodes are asked for the rest; \
         until then this node neither votes nor serves; what was there is set aside"
    );
    Log::open(disk.clone(), options.clone()).map_err(|error| open_error(config, &error))
}

/// What is wrong, without the advice of a node that cannot be repaired.
pub(crate) fn found(damage: &LogError) -> String {
    match damage {
        LogError::Corrupt { file, offset, detail } => format!("{file} is damaged at byte {offset}: {detail}"),
        other => other.to_string(),
    }
}

const WAYS_OUT_ALONE: &str = "it held what this node alone has, so that no other can give it back; nothing was changed: \
     quorate recover --force-new-cluster goes on with what is intact, and quorate snapshot restore with a backup";

/// Whether this node knows of no other.
fn is_alone(config: &Config) -> Result<bool, Error> {
    let met = Acquaintances::load(&config.data_dir).map_err(|error| data(config, error))?;
    let has_peers = config.peers.0.keys().any(|&peer| peer != config.node_id);
    Ok(!has_peers && config.join.0.is_empty() && !met.knows_others(config.node_id))
}
