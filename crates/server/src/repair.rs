//! Taking up a folder in which something was damaged that was durable once.
//!
//! A node that has others comes back by itself: what is intact goes on under repair, and the others give back the rest
//! ([`quorate_log::Log::set_damage_aside`], `raft/repair.rs` of the engine). Until then it neither votes nor serves. A
//! node that is refused here has lost what nobody else can give back: its only copy, or the proof of its promises.

use std::collections::BTreeSet;

use quorate_consensus::{Membership, NodeId, Payload, Restored};
use quorate_log::{Error as LogError, Log, Options, OsDisk, Recovered, Salvage, SetAside};
use quorate_node::record;

use crate::{
    config::Config,
    data_folder::{acquaintances, data, open_error},
    peer::acquaintances::way_back,
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
    if let Some(learners) = alone_but_for(config, disk)? {
        return Err(data(config, ways_out(&damage, config.node_id, &learners)));
    }
    let SetAside { last_index, files, .. } =
        Log::set_damage_aside(disk, options, &damage).map_err(|error| match error {
            LogError::Corrupt { .. } => {
                data(config, format!("{}; {}", error.finding(), way_back(config.node_id)))
            }
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

/// Why a node that is all the voters there are is not repaired, and what can be done.
fn ways_out(damage: &LogError, node: u64, learners: &[u64]) -> String {
    let learners: Vec<String> = learners.iter().map(u64::to_string).collect();
    let copies = match &learners[..] {
        [] => String::new(),
        ids => format!(
            "; by what is left of its log it is the only voter, and a learner ({}) need not have what was acknowledged, but \
             may have more than is left here: the same command on each says where its log ends; unless they vote by now: then \
             recover nothing, and {}",
            ids.join(", "),
            way_back(node)
        ),
    };
    format!("{}; {WAYS_OUT_ALONE}{copies}", damage.finding())
}

/// The other nodes that this one knows of, if all that votes is this one: then nobody can give back what it has lost.
///
/// A learner cannot. It may lack what was acknowledged a moment ago, nothing could tell whether it does, and it is not
/// elected. But the configuration that is left may be an old one. So a node waits rather than being refused, if it has ever
/// met another that is not a learner by what it knows.
fn alone_but_for(config: &Config, disk: &OsDisk) -> Result<Option<Vec<u64>>, Error> {
    let met = acquaintances(config)?;
    let left = match Salvage::read(disk.clone()) {
        Ok((_, recovered)) => {
            let restored = record::restored(recovered).map_err(|error| data(config, error))?;
            newest_membership(&restored).clone()
        }
        // Nobody knows whose folder it is.
        Err(LogError::Corrupt { .. }) => Membership::default(),
        Err(error) => return Err(open_error(config, &error)),
    };
    let this = NodeId(config.node_id);
    let mut others: BTreeSet<u64> = met.others(config.node_id).into_iter().collect();
    others.extend(config.peers.0.keys().filter(|&&peer| peer != config.node_id));
    let is_alone = match left.is_empty() {
        true => others.is_empty() && config.join.0.is_empty(),
        false => {
            left.is_sole_voter(this) && others.iter().all(|&other| left.learners.contains(&NodeId(other)))
        }
    };
    Ok(is_alone.then(|| others.into_iter().collect()))
}

/// The newest configuration in a log or the snapshot before it.
pub(crate) fn newest_membership(restored: &Restored) -> &Membership {
    let in_log = restored.entries.iter().rev().find_map(|entry| match &entry.payload {
        Payload::Membership(membership) => Some(&**membership),
        Payload::Command(_) | Payload::Blank => None,
    });
    let before = restored.snapshot.as_ref().map_or(&restored.birth, |meta| &meta.membership);
    in_log.unwrap_or(before)
}
