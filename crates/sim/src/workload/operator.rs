//! The operator: wishes for other members, one at a time, mostly such as make sense by what is agreed on.
//!
//! An id is never asked for twice, unless the wish was refused. A machine whose addition got lost is lost with it.

use std::collections::BTreeSet;

use quorate_consensus::{Change, Membership, NodeId, Purpose, Step as MemberStep};
use quorate_machine::Reply;
use quorate_node::{Action, Answer, Request};

use super::{Exchange, Outcome, Step, Workload, unexpected};
use crate::{
    checks::{
        Failure,
        history::History,
        wishes::{Fate, View},
    },
    profile::draw_lease,
    random::Random,
    time::SimTime,
};

/// Who changes the members.
#[derive(Debug, Default)]
pub(crate) struct Operator {
    has_rested: bool,
    /// No id up to here is free, as far as it knows, and the same before the last wish.
    ids: u64,
    ids_before: u64,
}

/// What a driver says first when it refuses a change, and when it does not know.
const REFUSED: &[u8] = b"ERR the members stay as they are: ";
const TRY_AGAIN: &[u8] = b"TRYAGAIN the members stay as they are: ";
const UNKNOWN: &[u8] = b"ERR it is not known whether the members have changed";

impl Workload for Operator {
    fn plan(&mut self, _now: SimTime, random: &mut Random, history: &mut History) -> Step {
        self.has_rested = !self.has_rested;
        let chosen = if self.has_rested { None } else { self.choose(&history.wishes.view, random) };
        let Some(change) = chosen else { return Step::Rest(random.millis(50, 1500)) };
        history.wishes.wish(change.clone());
        Step::Ask(vec![Request { db: 0, action: Action::Reconfigure(change) }])
    }

    fn learn(&mut self, exchange: &Exchange, history: &mut History) -> Result<(), Failure> {
        let fate = match exchange.outcome(0) {
            Outcome::Refused => Fate::Refused,
            Outcome::Unknown => Fate::Unknown,
            Outcome::Done(answer, _) => fate_of(answer)?,
        };
        if let Fate::Refused = fate {
            self.ids = self.ids_before;
        }
        history.wishes.learn(fate);
        Ok(())
    }
}

/// What an answer says.
fn fate_of(answer: &Answer) -> Result<Fate, Failure> {
    let strange = || unexpected("a change of members", answer);
    let id = |reply: &Reply| match reply {
        Reply::Integer(id) => u64::try_from(*id).map(NodeId).map_err(|_| strange()),
        _ => Err(strange()),
    };
    let Answer::Reply(reply) = answer else { return Err(strange()) };
    match reply {
        Reply::Error(text) if text.starts_with(REFUSED) || text.starts_with(TRY_AGAIN) => Ok(Fate::Refused),
        Reply::Error(text) if text.starts_with(UNKNOWN) => Ok(Fate::Unknown),
        Reply::Status(_) => Ok(Fate::Granted(Vec::new())),
        Reply::Array(ids) => Ok(Fate::Granted(ids.iter().map(id).collect::<Result<_, _>>()?)),
        single => Ok(Fate::Granted(vec![id(single)?])),
    }
}

impl Operator {
    /// What to wish for; `None` if nothing that was thought of makes sense.
    fn choose(&mut self, view: &View, random: &mut Random) -> Option<Change> {
        self.ids = self.ids.max(view.present.ids_used);
        self.ids_before = self.ids;
        if let Some(wiped) = view.wiped {
            // First things first: what else is wished for might want the quorum that only the others are together with it.
            let is_coming = view.present.promotions.values().any(|place| *place == Some(wiped));
            let steps = if is_coming { Vec::new() } else { self.add(view, random, &[wiped]) };
            return (!steps.is_empty()).then_some(Change(steps));
        }
        let steps = match random.below(12) {
            0 | 1 => self.add(view, random, &[]),
            2 | 3 => self.replace(view, random),
            4 | 5 => promote_some(&view.present, random),
            6 => demote_some(&view.present, random),
            7 => remove_some(&view.present, random),
            8 => self.several(view, random),
            9 | 10 if view.has_phase2_quorums => vec![quorum(&view.present, random)],
            9 | 10 => vec![lease(random)],
            _ => return Some(Change(nonsense(&view.present, random))),
        };
        (!steps.is_empty()).then_some(Change(steps))
    }

    /// A machine that is no member yet becomes one, unless all were.
    fn add(&mut self, view: &View, random: &mut Random, places: &[NodeId]) -> Vec<MemberStep> {
        let skipped = u64::from(random.chance(100));
        let id = self.ids + 1 + skipped;
        if id > view.machines {
            return Vec::new();
        }
        self.ids = id;
        let is_named = skipped > 0 || random.chance(700);
        let purpose = match places.first() {
            Some(&place) => Purpose::Replace(place),
            None => *random.pick(&[Purpose::Learn, Purpose::Vote, Purpose::Witness]),
        };
        vec![MemberStep::Add { node: is_named.then_some(NodeId(id)), address: None, purpose }]
    }

    fn replace(&mut self, view: &View, random: &mut Random) -> Vec<MemberStep> {
        let place = some_of(&view.present.voters, random);
        self.add(view, random, place.as_slice())
    }

    /// A few steps at once, of which two may name the same node.
    fn several(&mut self, view: &View, random: &mut Random) -> Vec<MemberStep> {
        let mut steps = self.add(view, random, &[]);
        steps.extend(promote_some(&view.present, random));
        if random.chance(500) {
            steps.extend(demote_some(&view.present, random));
        }
        if random.chance(500) {
            steps.extend(remove_some(&view.present, random));
        }
        steps
    }
}

fn promote_some(present: &Membership, random: &mut Random) -> Vec<MemberStep> {
    some_of(&present.learners, random).map(|node| MemberStep::Promote { node }).into_iter().collect()
}

fn demote_some(present: &Membership, random: &mut Random) -> Vec<MemberStep> {
    let node = if present.voters.len() > 1 { some_of(&present.voters, random) } else { None };
    node.map(|node| MemberStep::Demote { node }).into_iter().collect()
}

/// Reads by lease, or not.
fn lease(random: &mut Random) -> MemberStep {
    MemberStep::Lease(random.chance(800).then(|| draw_lease(random)))
}

/// Another number of voters than a majority commits, or not; some numbers are refused.
fn quorum(present: &Membership, random: &mut Random) -> MemberStep {
    let phase2 = random.chance(700).then(|| random.between(1, present.voters.len() as u64));
    let phase2 = phase2.map(|phase2| u8::try_from(phase2).expect("a few voters"));
    MemberStep::Quorum { phase2, forced: false }
}

/// Machines that have left do not come back: seldom one of the last.
fn remove_some(present: &Membership, random: &mut Random) -> Vec<MemberStep> {
    let are_few = present.len() <= FEW_MEMBERS && !random.chance(100);
    let node = if are_few { None } else { some_of(&present.members().collect(), random) };
    node.map(|node| MemberStep::Remove { node }).into_iter().collect()
}

/// So many members are worth keeping.
const FEW_MEMBERS: usize = 3;

/// What must be refused, unless another change has come in between.
fn nonsense(present: &Membership, random: &mut Random) -> Vec<MemberStep> {
    let voter = some_of(&present.voters, random).unwrap_or(NodeId(1));
    let add = |purpose| MemberStep::Add { node: Some(voter), address: None, purpose };
    match random.below(6) {
        0 => Vec::new(),
        1 => vec![MemberStep::Remove { node: NodeId(99) }],
        2 => vec![MemberStep::Promote { node: voter }],
        3 => vec![add(Purpose::Vote)],
        4 => vec![MemberStep::Remove { node: voter }, MemberStep::Demote { node: voter }],
        _ => present.voters.iter().map(|&node| MemberStep::Remove { node }).collect(),
    }
}

fn some_of(nodes: &BTreeSet<NodeId>, random: &mut Random) -> Option<NodeId> {
    let at = if nodes.is_empty() { return None } else { random.index(nodes.len()) };
    nodes.iter().nth(at).copied()
}
