//! Notices: what those are told who watch a lock, or an election.
//!
//! A *watch* is what one is told of a name from when it asks to listen: on one connection, and on others on which it goes on where it
//! was, until it has been away for too long, or is given up. What happens before and after it is none of its business. In between:
//!
//! * **Nothing is missed** (hazard 32). The end of one who holds it comes before the next one's beginning, and the end of none whose
//!   beginning was not told, but of who was there first. Every acquisition that anybody knows of is among them, if it lies between
//!   what the watch began with and what it was told last; or after it, if the watch lasted to the end, when nothing is under way.
//! * **Nothing of the past is told**: no acquisition that somebody knew of before the watch began; and nothing twice, but when it goes
//!   on, until that is said to be over.
//! * **There is one order**, the log's, of what is told to all who watch and of what anybody sees who asks: whoever asks after
//!   he was told something sees nothing older.
//! * **In the end**, when all times are over and nobody holds anything, each watch that lasts was told so.

use std::collections::{BTreeMap, BTreeSet};

use super::{Failure, Span, check, sequence::Sequence};
use crate::time::SimTime;

const MISSED: &str = "whoever watches misses nothing";
const PAST: &str = "whoever watches hears nothing of the past";
const IN_ORDER: &str = "whoever watches and whoever asks see one order";
const ALIKE: &str = "all who watch are told the same";
const KNOWN: &str = "whoever watches knows how it is in the end";

/// What has happened to a lock, or to an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Acquired,
    /// Who has it lets others know something else.
    Value,
    Released,
    Expired,
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    pub(crate) event: Event,
    pub(crate) token: u64,
    /// Where in the log it has happened.
    pub(crate) position: u64,
}

impl Notice {
    fn is_end(self) -> bool {
        matches!(self.event, Event::Released | Event::Expired)
    }
}

/// The number of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WatchId(usize);

/// Everything that all who watch were told in one run.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    watches: Vec<Watch>,
    /// What somebody was told of a token of a name, once of its acquisition and once of its end.
    told: BTreeMap<(String, u64, bool), Notice>,
}

#[derive(Debug)]
struct Watch {
    name: String,
    /// When it asked to listen.
    since: SimTime,
    /// It is connected.
    lasts: bool,
    /// Where in the log it began, as far as it was told.
    begun: Option<u64>,
    /// It goes on on another connection, and may be told again what it knows.
    catches_up: bool,
    told: Vec<(Notice, SimTime)>,
    /// What it was told of first, or found by asking when nothing was told: of all that is newer it must be told.
    first: Option<u64>,
    /// Who holds it, as far as is known: of his end it must be told.
    held: Option<u64>,
}

impl Notices {
    /// Somebody asks to listen.
    pub(crate) fn begin(&mut self, name: &str, since: SimTime) -> WatchId {
        let (name, told) = (name.to_owned(), Vec::new());
        let (lasts, catches_up) = (true, false);
        self.watches.push(Watch {
            name,
            since,
            lasts,
            begun: None,
            catches_up,
            told,
            first: None,
            held: None,
        });
        WatchId(self.watches.len() - 1)
    }

    /// Nothing more is told to it, unless it goes on.
    pub(crate) fn end(&mut self, watch: WatchId) {
        self.watches[watch.0].lasts = false;
    }

    /// It listens; on another connection than before if it had ended.
    pub(crate) fn goes_on(&mut self, watch: WatchId) {
        let watch = &mut self.watches[watch.0];
        watch.catches_up = !watch.lasts;
        watch.lasts = true;
    }

    /// Nothing of the past is told to it any more.
    pub(crate) fn begins(&mut self, watch: WatchId, position: u64) {
        let watch = &mut self.watches[watch.0];
        watch.catches_up = false;
        watch.begun.get_or_insert(position);
    }

    /// It has asked who holds it, and this one does.
    pub(crate) fn found(&mut self, watch: WatchId, token: u64) {
        let watch = &mut self.watches[watch.0];
        // Of whom it knows already it may have been told the end meanwhile.
        if watch.told.last().is_none_or(|(last, _)| last.token < token) {
            watch.first.get_or_insert(token);
            watch.held.get_or_insert(token);
        }
    }

    /// It is told something.
    pub(crate) fn told(&mut self, watch: WatchId, notice: Notice, at: SimTime) -> Result<(), Failure> {
        let watch = &mut self.watches[watch.0];
        if watch.catches_up && watch.told.iter().any(|(told, _)| *told == notice) {
            return Ok(());
        }
        watch.hear(notice, at)?;
        if notice.event == Event::Value {
            return Ok(());
        }
        let key = (watch.name.clone(), notice.token, notice.is_end());
        let other = *self.told.entry(key).or_insert(notice);
        check(other == notice, ALIKE, || format!("{}: one is told {notice:?}, another {other:?}", watch.name))
    }

    pub(crate) fn len(&self) -> usize {
        self.watches.iter().map(|watch| watch.told.len()).sum()
    }

    /// All acquisitions of a name that anybody was told.
    fn acquired<'a>(&'a self, name: &str) -> impl Iterator<Item = Notice> + use<'a> {
        let of_name = self.told.range((name.to_owned(), 0, false)..=(name.to_owned(), u64::MAX, true));
        of_name.map(|(_, notice)| *notice).filter(|notice| notice.event == Event::Acquired)
    }

    /// Judges all that was told by what else is known of the tokens, when nobody holds anything any more.
    pub(crate) fn verify(&self, tokens: &BTreeMap<String, Sequence>) -> Result<(), Failure> {
        let mut orders = BTreeMap::new();
        for watch in &self.watches {
            let known = || tokens.get(&watch.name).into_iter().flat_map(Sequence::known);
            watch.verify(known)?;
            watch.verify_whole(self.acquired(&watch.name))?;
            let order = orders.entry(&watch.name).or_insert_with(|| {
                let mut order = Sequence::new(format!("twice the tokens of {}", watch.name));
                known().for_each(|(token, span)| order.saw(2 * token, span));
                order
            });
            for (notice, at) in &watch.told {
                let span = Span { invoked: watch.since, completed: *at };
                order.saw(2 * notice.token + u64::from(notice.is_end()), span);
            }
        }
        let is_one = |order: &Sequence| order.verify_order();
        orders.values().try_for_each(is_one).map_err(|failure| Failure { property: IN_ORDER, ..failure })
    }
}

impl Watch {
    fn hear(&mut self, notice: Notice, at: SimTime) -> Result<(), Failure> {
        let Notice { event, token, position } = notice;
        let last = self.told.last().map(|(last, _)| *last);
        let goes_on = |last: Notice| {
            let is_newer = if event == Event::Acquired { last.token < token } else { last.token <= token };
            is_newer && last.position <= position
        };
        check(last.is_none_or(goes_on), IN_ORDER, || {
            format!("{}: {notice:?} is told behind {last:?}", self.name)
        })?;
        check(self.held.is_none_or(|held| held >= token), MISSED, || {
            format!("{}: {notice:?} is told, but not the end of {:?}", self.name, self.held)
        })?;
        let has_begun = |last: Notice| last.token == token && !last.is_end();
        check(event == Event::Acquired || last.is_none_or(has_begun), MISSED, || {
            format!("{}: {notice:?} is told behind {last:?}, and no beginning of it", self.name)
        })?;
        self.first.get_or_insert(token);
        self.held = match notice.is_end() {
            true => self.held.filter(|held| *held > token),
            false => self.held.max(Some(token)),
        };
        self.told.push((notice, at));
        Ok(())
    }

    /// Judges by what others were told whether it was told everything from where in the log it began up to where it ended.
    fn verify_whole(&self, mut acquired: impl Iterator<Item = Notice>) -> Result<(), Failure> {
        let Some(begun) = self.begun else { return Ok(()) };
        let last = self.told.last().map_or(0, |(last, _)| last.position);
        let end = if self.lasts { u64::MAX } else { last };
        let missed = acquired.find(|notice| {
            let is_covered = begun < notice.position && notice.position < end;
            is_covered && !self.told.iter().any(|(told, _)| told == notice)
        });
        check(missed.is_none(), MISSED, || {
            format!("{}: who watches from {begun} to {last} is not told {missed:?}", self.name)
        })
    }

    /// Judges what it was told, by acquisitions and those who saw them.
    fn verify<I: Iterator<Item = (u64, Span)>>(&self, known: impl Fn() -> I) -> Result<(), Failure> {
        let Self { name, since, lasts, begun, catches_up: _, told, first, held } = self;
        check(!lasts || held.is_none(), KNOWN, || {
            format!("{name}: who watches since {since} knows that {held:?} holds it, and nobody does")
        })?;
        let tokens: BTreeSet<u64> = told.iter().map(|(notice, _)| notice.token).collect();
        // Of the entry at which it began, something may have been told before.
        let is_new = |notice: &Notice| notice.event == Event::Acquired && Some(notice.position) > *begun;
        let fresh: BTreeSet<u64> =
            told.iter().filter(|(notice, _)| is_new(notice)).map(|(notice, _)| notice.token).collect();
        let last = if *lasts { u64::MAX } else { tokens.last().copied().unwrap_or_default() };
        for (token, span) in known() {
            let is_covered = first.is_some_and(|first| first < token) && token < last;
            check(!is_covered || tokens.contains(&token), MISSED, || {
                format!("{name}: who watches since {since}, and knows {first:?}, is not told of {token}")
            })?;
            check(*since <= span.completed || !fresh.contains(&token), PAST, || {
                format!("{name}: who watches since {since} is told of {token}, known by {}", span.completed)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{Event::*, *};

    const NAME: &str = "l";

    fn at(micros: u64) -> SimTime {
        SimTime { micros }
    }

    /// A watch since 10 that is told these events, tokens and positions, one each microsecond.
    fn told(events: &[(Event, u64, u64)]) -> (Notices, Result<(), Failure>) {
        let mut notices = Notices::default();
        let watch = notices.begin(NAME, at(10));
        let result = tell(&mut notices, watch, events);
        (notices, result)
    }

    fn tell(notices: &mut Notices, watch: WatchId, events: &[(Event, u64, u64)]) -> Result<(), Failure> {
        (11..).zip(events).try_for_each(|(micros, &(event, token, position))| {
            notices.told(watch, Notice { event, token, position }, at(micros))
        })
    }

    /// What is known besides: tokens, each with when it was acquired.
    fn known(acquired: &[(u64, u64)]) -> BTreeMap<String, Sequence> {
        let mut tokens = Sequence::new(NAME);
        for &(token, micros) in acquired {
            tokens.wrote(token, Span { invoked: at(micros), completed: at(micros) }).expect("a new place");
        }
        [(NAME.to_owned(), tokens)].into()
    }

    fn property(result: Result<(), Failure>) -> &'static str {
        result.expect_err("a failure").property
    }

    #[test]
    fn whoever_is_told_everything_has_no_complaint() {
        let (notices, result) = told(&[
            (Expired, 4, 3),
            (Acquired, 5, 7),
            (Value, 5, 8),
            (Released, 5, 9),
            (Acquired, 6, 9),
            (Expired, 6, 10),
        ]);
        assert_eq!(result, Ok(()));
        assert_eq!(notices.verify(&known(&[(3, 1), (4, 2), (5, 12), (6, 15)])), Ok(()));
        assert_eq!(notices.len(), 6);
    }

    #[test]
    fn a_missing_end_or_beginning_is_noticed() {
        let missed: [&[(Event, u64, u64)]; 4] = [
            &[(Acquired, 5, 7), (Acquired, 6, 9)],
            &[(Value, 5, 7), (Released, 6, 9)],
            &[(Acquired, 5, 7), (Released, 5, 8), (Value, 6, 9)],
            &[(Acquired, 5, 7), (Released, 5, 8), (Expired, 5, 9)],
        ];
        for events in missed {
            assert_eq!(property(told(events).1), MISSED, "{events:?}");
        }
    }

    #[test]
    fn an_acquisition_between_two_that_were_told_is_missed() {
        let events = [(Acquired, 5, 7), (Released, 5, 8), (Acquired, 8, 12), (Released, 8, 13)];
        let (mut notices, _) = told(&events);
        let tokens = known(&[(4, 11), (7, 12), (9, 20)]);
        assert_eq!(property(notices.verify(&tokens)), MISSED);
        assert_eq!(property(notices.verify(&known(&[(9, 20)]))), MISSED, "it lasts, and so it was told of 9");
        notices.end(WatchId(0));
        assert_eq!(notices.verify(&known(&[(4, 11), (9, 20)])), Ok(()));
    }

    #[test]
    fn what_was_found_by_asking_must_be_told_to_end() {
        let mut notices = Notices::default();
        let watch = notices.begin(NAME, at(10));
        notices.found(watch, 5);
        assert_eq!(property(tell(&mut notices, watch, &[(Acquired, 6, 9)])), MISSED);
        assert_eq!(property(notices.verify(&BTreeMap::new())), KNOWN);
        assert_eq!(tell(&mut notices, watch, &[(Expired, 5, 8)]), Ok(()));
        // It was asked before the end was told.
        notices.found(watch, 5);
        assert_eq!(notices.verify(&known(&[(4, 1), (5, 2)])), Ok(()));
    }

    /// A watch that goes on behind these events.
    fn resumed(events: &[(Event, u64, u64)]) -> (Notices, WatchId) {
        let (mut notices, result) = told(events);
        assert_eq!(result, Ok(()));
        notices.end(WatchId(0));
        notices.goes_on(WatchId(0));
        (notices, WatchId(0))
    }

    #[test]
    fn whoever_goes_on_is_told_what_he_missed_and_may_be_told_again_what_he_knows() {
        let (mut notices, watch) = resumed(&[(Acquired, 5, 7), (Released, 5, 8), (Acquired, 6, 8)]);
        let again = [(Released, 5, 8), (Acquired, 6, 8)];
        let missed = [(Expired, 6, 9), (Acquired, 7, 9), (Released, 7, 11)];
        assert_eq!(tell(&mut notices, watch, &again), Ok(()));
        assert_eq!(tell(&mut notices, watch, &missed), Ok(()));
        notices.begins(watch, 12);
        assert_eq!(notices.verify(&known(&[(5, 10), (6, 11), (7, 12)])), Ok(()));
        assert_eq!(property(tell(&mut notices, watch, &missed[1..2])), IN_ORDER, "that was over");
    }

    #[test]
    fn whoever_goes_on_and_is_not_told_something_is_noticed() {
        let (mut notices, watch) = resumed(&[(Acquired, 5, 7)]);
        assert_eq!(property(tell(&mut notices, watch, &[(Acquired, 7, 12)])), MISSED, "the end of 5");
        let (mut notices, watch) = resumed(&[(Acquired, 5, 7), (Released, 5, 8)]);
        assert_eq!(tell(&mut notices, watch, &[(Acquired, 7, 12), (Released, 7, 13)]), Ok(()));
        assert_eq!(property(notices.verify(&known(&[(6, 14)]))), MISSED);
        let (mut notices, watch) = resumed(&[(Acquired, 5, 7)]);
        notices.begins(watch, 12);
        assert_eq!(
            property(notices.verify(&BTreeMap::new())),
            KNOWN,
            "nobody holds it, and it is not told so"
        );
    }

    /// It knew of nobody, and so of nobody's end.
    #[test]
    fn whoever_goes_on_before_he_was_told_anything_misses_nothing_either() {
        let mut notices = Notices::default();
        let (watch, other) = (notices.begin(NAME, at(10)), notices.begin(NAME, at(10)));
        let events = [(Acquired, 5, 8), (Released, 5, 9), (Acquired, 6, 10), (Released, 6, 11)];
        assert_eq!(tell(&mut notices, other, &events), Ok(()));
        notices.begins(watch, 7);
        notices.end(watch);
        assert_eq!(notices.verify(&BTreeMap::new()), Ok(()), "it is not connected");
        notices.goes_on(watch);
        assert_eq!(property(notices.verify(&BTreeMap::new())), MISSED);
        assert_eq!(tell(&mut notices, watch, &events[2..]), Ok(()));
        notices.end(watch);
        assert_eq!(property(notices.verify(&BTreeMap::new())), MISSED, "it was told of 6, and not of 5");
    }

    /// Who was answered already, and stands in the same entry, may be told of.
    #[test]
    fn of_the_entry_at_which_a_watch_begins_the_past_may_be_told() {
        let mut notices = Notices::default();
        let watch = notices.begin(NAME, at(10));
        notices.begins(watch, 7);
        notices.end(watch);
        notices.goes_on(watch);
        let events = [(Acquired, 5, 7), (Released, 5, 7), (Acquired, 6, 8), (Released, 6, 8)];
        assert_eq!(tell(&mut notices, watch, &events), Ok(()));
        assert_eq!(notices.verify(&known(&[(5, 9)])), Ok(()));
        assert_eq!(property(notices.verify(&known(&[(6, 9)]))), PAST);
    }

    #[test]
    fn whoever_does_not_learn_the_end_is_noticed() {
        let (mut notices, result) = told(&[(Acquired, 5, 7)]);
        assert_eq!(result, Ok(()));
        assert_eq!(property(notices.verify(&BTreeMap::new())), KNOWN);
        notices.end(WatchId(0));
        assert_eq!(notices.verify(&BTreeMap::new()), Ok(()), "it is not connected");
    }

    #[test]
    fn what_was_known_before_is_of_the_past() {
        let (notices, _) = told(&[(Acquired, 5, 7), (Released, 5, 8)]);
        assert_eq!(notices.verify(&known(&[(5, 10)])), Ok(()));
        assert_eq!(property(notices.verify(&known(&[(5, 9)]))), PAST);
    }

    #[test]
    fn another_order_is_noticed() {
        let backwards: [&[(Event, u64, u64)]; 3] = [
            &[(Released, 5, 8), (Acquired, 6, 7)],
            &[(Released, 6, 8), (Acquired, 5, 9)],
            &[(Acquired, 5, 8), (Acquired, 5, 8)],
        ];
        for events in backwards {
            assert_eq!(property(told(events).1), IN_ORDER, "{events:?}");
        }
        let (notices, _) = told(&[(Acquired, 5, 7), (Released, 5, 8)]);
        // Somebody asks when the end was told, and sees that it is held.
        let mut tokens = known(&[]);
        let read = |micros| Span { invoked: at(micros), completed: at(20) };
        tokens.get_mut(NAME).expect("the only one").saw(5, read(12));
        assert_eq!(notices.verify(&tokens), Ok(()));
        tokens.get_mut(NAME).expect("the only one").saw(5, read(13));
        assert_eq!(property(notices.verify(&tokens)), IN_ORDER);
    }

    #[test]
    fn watches_that_are_told_different_things_are_noticed() {
        let (mut notices, _) = told(&[(Acquired, 5, 7), (Released, 5, 8)]);
        let other = notices.begin(NAME, at(10));
        assert_eq!(tell(&mut notices, other, &[(Acquired, 5, 7)]), Ok(()));
        assert_eq!(property(tell(&mut notices, other, &[(Expired, 5, 8)])), ALIKE);
        let third = notices.begin(NAME, at(10));
        assert_eq!(property(tell(&mut notices, third, &[(Acquired, 5, 6)])), ALIKE);
    }
}
