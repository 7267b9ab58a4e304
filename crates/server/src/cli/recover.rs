//! `quorate recover --force-new-cluster`: the way out when a majority is lost for ever.
//!
//! What the node has is taken for what was: its snapshot, and every entry of its log, since any of them may have been
//! acknowledged. Of damaged files it is what is intact, and what is lost is said: there is no other way out than this
//! one. The result is the first state of a new cluster with this node alone, made as from a backup.
//!
//! The new folder is made whole beside the old files, within the same folder, and then takes their place, while the old
//! ones are set aside. Before that everything is as it was, to the byte; in between the folder is marked as unfinished,
//! and no node starts on it. Nothing is ever removed.

use std::{
    fs::{self, File},
    io::{self, IsTerminal as _, Write as _},
    path::{Path, PathBuf},
};

use quorate_consensus::{Entry, Membership, NodeId, Payload, Restored};
use quorate_log::{Founding, Identity, OsDisk, Salvage, UNFINISHED};
use quorate_machine::{FENCE_ABOVE_MAX, Limits, Machine};
use quorate_node::{self as node, record};

use super::{
    Exit,
    problem::{Problem, failed, refused, told},
};
use crate::{
    clock, engine::EngineKind, new_cluster::FirstState, peer::acquaintances::way_back,
    repair::newest_membership,
};

const EXAMPLES: &str = "\
Examples:
  quorate recover --force-new-cluster --data-dir /var/lib/quorate

Only when a majority of the nodes is lost for ever: acknowledged writes that only those had are
lost with them. If several nodes are left, take the one whose log ends last; each run says where
it ends, and changes nothing before it is told to. The node must be stopped. It becomes the only
member of a new cluster, which the others can join anew; the old files are set aside.
Exit status: 0 success, 1 failure, or not confirmed, 2 wrong flag, 3 the folder was refused.";

/// The flags of `recover`.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Confirm that the other nodes are lost, and their data with them
    #[arg(long)]
    force_new_cluster: bool,
    /// The data folder of the node that is left
    #[arg(long, value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Let all new fencing tokens be greater than this
    #[arg(long, value_name = "TOKEN", default_value_t = 0, value_parser = clap::value_parser!(u64).range(..=FENCE_ABOVE_MAX))]
    fence_above: u64,
}

pub(crate) fn run(args: &Args) -> Exit {
    if !args.force_new_cluster {
        eprintln!(
            "quorate recover: the only way to recover is --force-new-cluster, which may lose acknowledged writes: see \
             --help"
        );
        return Exit::Usage;
    }
    told("recover", recover(args))
}

fn recover(args: &Args) -> Result<(), Problem> {
    let survivor = Survivor::open(&args.data_dir)?;
    print!("{}", survivor.describe());
    confirm(args.yes)?;
    let node_id = survivor.identity.node_id;
    let members = alone(node_id, &survivor.membership);
    let Survivor { machine, engine, entries, term, _folder, .. } = survivor;
    let machine = apply_all(machine, entries).map_err(refused(&args.data_dir))?;
    let first = FirstState::new(machine, engine, term, args.fence_above).map_err(failed(&args.data_dir))?;
    let aside = replace(&args.data_dir, |founding| first.write(founding, node_id, &members))?;
    println!(
        "node {node_id} is the only member of the new cluster {:032x}; fencing tokens are greater than {}\n\
         Start it with: quorate serve --node-id {node_id} --data-dir {}\n\
         What was there is in {}: keep it until you miss nothing.",
        first.cluster_id(),
        first.fence(),
        args.data_dir.display(),
        aside.display()
    );
    if let Some(doubt) = first.doubt() {
        eprintln!("quorate recover: WARNING: {doubt}");
    }
    Ok(())
}

/// The node that is left, with its folder locked.
struct Survivor {
    folder: PathBuf,
    identity: Identity,
    cluster_id: u128,
    /// The engine of the old cluster, which the new one keeps.
    engine: EngineKind,
    /// The state of its snapshot.
    machine: Machine,
    /// What its log holds behind that.
    entries: Vec<Entry>,
    membership: Membership,
    /// The greatest term that it knows.
    term: u64,
    /// That of its last entry.
    last_term: u64,
    /// What it knew to be committed.
    committed: u64,
    /// What of it was damaged, and is lost.
    damage: Option<String>,
    _folder: Salvage<OsDisk>,
}

impl Survivor {
    fn open(folder: &Path) -> Result<Self, Problem> {
        let is_there = folder.join("identity").try_exists().map_err(failed(folder))?;
        // A folder that a recovery has left unfinished has none, and its own word on that.
        if !is_there && !folder.join(UNFINISHED).exists() {
            return Err(Problem::Refused(format!("{} is no node's data folder", folder.display())));
        }
        let (salvage, recovered) = Salvage::read(OsDisk::new(folder).map_err(failed(folder))?)?;
        for told in recovered.cut.iter().chain(&recovered.repaired) {
            eprintln!("quorate recover: {told}");
        }
        let damage = recovered.under_repair.clone();
        if let (Some(damage), None, []) = (&damage, &recovered.snapshot, &recovered.entries[..]) {
            return Err(Problem::Refused(format!(
                "nothing in {} is left to go on with: {damage}",
                folder.display()
            )));
        }
        let machine = match &recovered.snapshot {
            Some(header) => {
                node::restore(salvage.snapshots().reader(header.index)?).map_err(refused(folder))?
            }
            None => Machine::new(Limits::default()),
        };
        let identity = recovered.identity.clone();
        if machine.is_without_data() {
            return Err(Problem::Refused(format!(
                "{}: node {} is a witness and keeps no data: recover a node that has them",
                folder.display(),
                identity.node_id
            )));
        }
        let Some(cluster_id) = machine.cluster_id().or(identity.cluster_id) else {
            return Err(Problem::Refused(format!(
                "{}: node {} never heard of its cluster: there is nothing to recover",
                folder.display(),
                identity.node_id
            )));
        };
        let engine = EngineKind::named(&identity.engine).ok_or_else(|| {
            Problem::Refused(format!(
                "{}: its engine is {}, which this program has not: run a newer one",
                folder.display(),
                identity.engine
            ))
        })?;
        let restored = record::restored(recovered).map_err(refused(folder))?;
        let membership = newest_membership(&restored).clone();
        let Restored { hard_state, snapshot, birth: _, entries, under_repair: _ } = restored;
        let last_term = entries.last().map(|entry| entry.term).or(snapshot.as_ref().map(|meta| meta.term));
        Ok(Self {
            folder: folder.to_owned(),
            identity,
            cluster_id,
            engine,
            machine,
            entries,
            membership,
            term: hard_state.term.0,
            last_term: last_term.unwrap_or_default().0,
            committed: hard_state.commit.0,
            damage,
            _folder: salvage,
        })
    }

    /// The last entry that it has.
    fn last(&self) -> u64 {
        self.entries.last().map_or(self.machine.applied(), |entry| entry.index.0)
    }

    /// What there is, and what may be lost, for whoever has to decide.
    fn describe(&self) -> String {
        let (last, committed, node) = (self.last(), self.committed.min(self.last()), self.identity.node_id);
        let members: Vec<_> = self.membership.members().map(|member| member.0.to_string()).collect();
        let uncertain = match last - committed {
            0 => "All of them are known to be committed.".to_owned(),
            1 => format!(
                "Entry {last} is not known to be committed. It may have been acknowledged, so it is kept: if it was \
                 not, what its client was told nothing about takes effect now."
            ),
            _ => format!(
                "Entries {} to {last} are not known to be committed. They may have been acknowledged, so they are \
                 kept: of those that were not, what clients were told nothing about takes effect now.",
                committed + 1
            ),
        };
        let damage = self.damage.as_ref().map_or_else(String::new, |damage| {
            format!(
                "It has lost a part of what it held, since {damage}. Entries behind entry {last} are LOST; those that \
                 are left may be some that were replaced later. If a majority of the other nodes runs, recover \
                 nothing: they give back what is lost. Start this one; if it is refused, {}.\n",
                way_back(node)
            )
        });
        format!(
            "{} holds node {node} of cluster {:032x}, with the engine {} and the members {}.\n\
             {damage}\
             Its log ends with entry {last}, of term {}. {uncertain}\n\
             Writes behind entry {last} that other nodes have acknowledged are LOST, with the locks that they took; \
             this node cannot know of them.\n\
             If another node is left, see there first: the log to keep is the one of the greatest term, and among \
             these the longest.\n\
             All connections of the old cluster are over, and its other nodes will be refused.\n",
            self.folder.display(),
            self.cluster_id,
            self.engine,
            members.join(", "),
            self.last_term
        )
    }
}

/// A node without others. Ids of the old cluster's nodes stay used up.
fn alone(node_id: u64, old: &Membership) -> Membership {
    let alone = Membership::of_voters([NodeId(node_id)]);
    Membership { ids_used: alone.ids_used.max(old.ids_used), ..alone }
}

/// Asks whoever is at the terminal. Without one, only the flag will do.
fn confirm(yes: bool) -> Result<(), Problem> {
    if yes {
        return Ok(());
    }
    let not_confirmed = |why: &str| Problem::Failed(format!("{why}; nothing was changed"));
    if !io::stdin().is_terminal() {
        return Err(not_confirmed("nobody is there to confirm it, and --yes was not given"));
    }
    print!("Type yes to go on: ");
    let mut answer = String::new();
    io::stdout()
        .flush()
        .and_then(|()| io::stdin().read_line(&mut answer))
        .map_err(|error| not_confirmed(&format!("the answer cannot be read: {error}")))?;
    if answer.trim() == "yes" { Ok(()) } else { Err(not_confirmed("not confirmed")) }
}

/// The machine behind all entries.
fn apply_all(mut machine: Machine, entries: Vec<Entry>) -> Result<Machine, quorate_machine::Error> {
    for entry in entries {
        let payload = match &entry.payload {
            Payload::Command(batch) => Some(batch),
            Payload::Membership(_) | Payload::Blank => None,
        };
        machine.apply(entry.index.0, entry.stamp.millis, payload)?;
    }
    Ok(machine)
}

/// Puts what `make` makes in the place of the files in `folder`, whose lock the caller holds, and says where those are.
fn replace(
    folder: &Path,
    make: impl FnOnce(Founding<OsDisk>) -> Result<(), quorate_log::Error>,
) -> Result<PathBuf, Problem> {
    let failed = failed(folder);
    let (aside, new) = (clock::wall_ms() / 1000..)
        .map(|now_s| (folder.join(format!("{ASIDE}{now_s}")), folder.join(format!("{NEW}{now_s}"))))
        .find(|(aside, new)| !aside.exists() && !new.exists())
        .expect("there are as many names as seconds");
    let made = OsDisk::new(&new)
        .map_err(&failed)
        .and_then(|disk| Ok(make(Founding::begin(disk)?)?))
        .and_then(|()| fs::remove_file(new.join(LOCK)).map_err(&failed));
    if let Err(problem) = made {
        // It is ours, and worth nothing.
        let _ = fs::remove_dir_all(&new);
        return Err(problem);
    }
    exchange(folder, &aside, &new).map_err(|error| {
        Problem::Failed(format!(
            "{}: {error}; the old files are there and in {}: see docs/backup.md for how to put them back",
            folder.display(),
            aside.display()
        ))
    })?;
    Ok(aside)
}

/// What the folders of old files are called, before the time.
const ASIDE: &str = "before-recover-";
/// What the folder is called in which the new files are made, before the time.
const NEW: &str = "recovering-";
/// The file by which the folder is locked, which must stay.
const LOCK: &str = "lock";

/// Moves the files of `folder` to `aside`, and those in `new` to their place.
fn exchange(folder: &Path, aside: &Path, new: &Path) -> io::Result<()> {
    let sync = |folder: &Path| File::open(folder)?.sync_all();
    fs::create_dir(aside)?;
    File::create(folder.join(UNFINISHED))?;
    sync(folder)?;
    for name in names(folder)? {
        let text = name.to_string_lossy();
        if ![LOCK, UNFINISHED, "lost+found"].contains(&&*text)
            && !text.starts_with(ASIDE)
            && !text.starts_with(NEW)
        {
            fs::rename(folder.join(&name), aside.join(&name))?;
        }
    }
    sync(aside)?;
    for name in names(new)? {
        fs::rename(new.join(&name), folder.join(&name))?;
    }
    fs::remove_dir(new)?;
    sync(folder)?;
    fs::remove_file(folder.join(UNFINISHED))?;
    sync(folder)
}

fn names(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_lost_nodes_are_not_given_again() {
        let old = Membership { ids_used: 9, ..Membership::of_voters([1, 2, 3].map(NodeId)) };
        let new = alone(2, &old);
        assert_eq!((new.is_sole_voter(NodeId(2)), new.len(), new.ids_used), (true, 1, 9));
        assert!(new.excludes(NodeId(3)) && new.check().is_ok());
        // A learner that was added last has the greatest id of all.
        assert_eq!(alone(12, &old).ids_used, 12);
    }

    #[test]
    fn files_change_places_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().unwrap();
        let (folder, aside) = (folder.path(), folder.path().join("before-recover-2"));
        let new = folder.join("recovering-2");
        for dir in ["snapshots", "before-recover-1", "recovering-2/snapshots"] {
            fs::create_dir_all(folder.join(dir)).unwrap();
        }
        for (file, text) in
            [("identity", "old"), ("lock", ""), ("snapshots/1", "old"), ("before-recover-1/a", "")]
        {
            fs::write(folder.join(file), text).unwrap();
        }
        fs::write(new.join("identity"), "new").unwrap();
        exchange(folder, &aside, &new).unwrap();
        let sorted = |folder: &Path| {
            let mut names = names(folder).unwrap();
            names.sort();
            names
        };
        assert_eq!(sorted(folder), ["before-recover-1", "before-recover-2", "identity", "lock", "snapshots"]);
        assert_eq!(sorted(&aside), ["identity", "snapshots"]);
        assert_eq!(fs::read_to_string(folder.join("identity")).unwrap(), "new");
        assert!(aside.join("snapshots/1").exists() && !folder.join("snapshots/1").exists());
    }
}
