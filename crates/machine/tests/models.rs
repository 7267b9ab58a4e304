//! Lists and sorted sets answer what a vector and a map would, whatever comes in which order.

mod support;

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use quorate_machine::{Machine, Operation, Reply};
use support::{Driver, SESSION, args, show};

/// Elements of few kinds, so that many are equal.
fn element() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["a", "b", "c", "d", "e"][..])
}

#[derive(Clone, Debug)]
enum OnList {
    Push { front: bool, elements: Vec<&'static str> },
    Pop { front: bool, count: usize },
    Range(i64, i64),
    Trim(i64, i64),
    Set(i64, &'static str),
    Insert { after: bool, pivot: &'static str, element: &'static str },
    Remove(i64, &'static str),
    Find { rank: i64, element: &'static str },
    Rotate { from_front: bool, to_front: bool },
}

fn on_list() -> impl Strategy<Value = OnList> {
    let place = || -12..12i64;
    prop_oneof![
        4 => (any::<bool>(), vec(element(), 1..40)).prop_map(|(front, elements)| OnList::Push { front, elements }),
        1 => (any::<bool>(), 0..5usize).prop_map(|(front, count)| OnList::Pop { front, count }),
        1 => (place(), place()).prop_map(|(from, to)| OnList::Range(from, to)),
        1 => (place(), place()).prop_map(|(from, to)| OnList::Trim(from, to)),
        1 => (place(), element()).prop_map(|(place, element)| OnList::Set(place, element)),
        1 => (any::<bool>(), element(), element())
            .prop_map(|(after, pivot, element)| OnList::Insert { after, pivot, element }),
        1 => (-3..4i64, element()).prop_map(|(count, element)| OnList::Remove(count, element)),
        1 => (prop_oneof![-3..0i64, 1..4i64], element())
            .prop_map(|(rank, element)| OnList::Find { rank, element }),
        1 => any::<(bool, bool)>()
            .prop_map(|(from_front, to_front)| OnList::Rotate { from_front, to_front }),
    ]
}

impl OnList {
    fn words(&self) -> Vec<String> {
        let side = |front: bool| if front { "LEFT" } else { "RIGHT" };
        let words = match self {
            Self::Push { front, elements } => {
                format!("{} k {}", if *front { "LPUSH" } else { "RPUSH" }, elements.join(" "))
            }
            Self::Pop { front, count } => format!("{} k {count}", if *front { "LPOP" } else { "RPOP" }),
            Self::Range(from, to) => format!("LRANGE k {from} {to}"),
            Self::Trim(from, to) => format!("LTRIM k {from} {to}"),
            Self::Set(place, element) => format!("LSET k {place} {element}"),
            Self::Insert { after, pivot, element } => {
                format!("LINSERT k {} {pivot} {element}", if *after { "AFTER" } else { "BEFORE" })
            }
            Self::Remove(count, element) => format!("LREM k {count} {element}"),
            Self::Find { rank, element } => format!("LPOS k {element} RANK {rank}"),
            Self::Rotate { from_front, to_front } => {
                format!("LMOVE k k {} {}", side(*from_front), side(*to_front))
            }
        };
        words.split(' ').map(str::to_owned).collect()
    }

    /// Does the same to a vector and answers the same.
    fn model(&self, list: &mut Vec<&'static str>) -> Reply {
        match self {
            Self::Push { front, elements } => {
                for element in elements {
                    list.insert(if *front { 0 } else { list.len() }, element);
                }
                Reply::count(list.len())
            }
            Self::Pop { .. } if list.is_empty() => Reply::NullArray,
            Self::Pop { front, count } => {
                let taken = (0..*count).map_while(|_| take(list, *front));
                Reply::Array(taken.map(Reply::bulk).collect())
            }
            Self::Range(from, to) => Reply::Array(
                list[within(list.len(), *from, *to)].iter().map(|element| Reply::bulk(element)).collect(),
            ),
            Self::Trim(from, to) => {
                *list = list[within(list.len(), *from, *to)].to_vec();
                Reply::ok()
            }
            Self::Set(..) if list.is_empty() => Reply::error("ERR no such key"),
            Self::Set(place, element) => {
                let place = if *place < 0 { place + list.len() as i64 } else { *place };
                match usize::try_from(place).ok().and_then(|place| list.get_mut(place)) {
                    None => Reply::error("ERR index out of range"),
                    Some(present) => {
                        *present = element;
                        Reply::ok()
                    }
                }
            }
            Self::Insert { .. } if list.is_empty() => Reply::Integer(0),
            Self::Insert { after, pivot, element } => {
                let Some(place) = list.iter().position(|present| present == pivot) else {
                    return Reply::Integer(-1);
                };
                list.insert(place + usize::from(*after), element);
                Reply::count(list.len())
            }
            Self::Remove(count, element) => {
                let equal = (0..list.len()).filter(|place| list[*place] == *element);
                let mut places: Vec<usize> = equal.collect();
                if *count < 0 {
                    places.reverse();
                }
                places.truncate(if *count == 0 { usize::MAX } else { count.unsigned_abs() as usize });
                places.sort_unstable();
                for place in places.iter().rev() {
                    list.remove(*place);
                }
                Reply::count(places.len())
            }
            Self::Find { rank, element } => {
                let equal = (0..list.len()).filter(|place| list[*place] == *element);
                let mut places: Vec<usize> = equal.collect();
                if *rank < 0 {
                    places.reverse();
                }
                places.get(rank.unsigned_abs() as usize - 1).map_or(Reply::Null, |place| Reply::count(*place))
            }
            Self::Rotate { from_front, to_front } => match take(list, *from_front) {
                None => Reply::Null,
                Some(element) => {
                    list.insert(if *to_front { 0 } else { list.len() }, element);
                    Reply::bulk(element)
                }
            },
        }
    }
}

fn take(list: &mut Vec<&'static str>, front: bool) -> Option<&'static str> {
    if list.is_empty() { None } else { Some(list.remove(if front { 0 } else { list.len() - 1 })) }
}

/// The places of a range with either end counted from either end, cut to a length.
fn within(len: usize, from: i64, to: i64) -> std::ops::Range<usize> {
    let counted = |place: i64| if place < 0 { place + len as i64 } else { place };
    let places: Vec<usize> =
        (0..len).filter(|place| (counted(from)..=counted(to)).contains(&(*place as i64))).collect();
    places.first().map_or(0..0, |first| *first..first + places.len())
}

/// Members of few names.
fn member() -> impl Strategy<Value = String> {
    (0..40u8).prop_map(|number| format!("m{number:02}"))
}

#[derive(Clone, Debug)]
enum OnSortedSet {
    Add { option: &'static str, pairs: Vec<(i64, String)> },
    Increment(i64, String),
    Remove(Vec<String>),
    Pop { lowest: bool, count: usize },
    Rank(String),
    Count(i64, i64),
    ByRank { backwards: bool, from: i64, to: i64 },
    ByScore { from: i64, to: i64, offset: usize, count: usize },
    RemoveByRank(i64, i64),
    RemoveByScore(i64, i64),
}

fn on_sorted_set() -> impl Strategy<Value = OnSortedSet> {
    let score = || -6..6i64;
    let place = || -12..12i64;
    let option = prop::sample::select(&["", "NX", "XX", "GT", "LT"][..]);
    prop_oneof![
        5 => (option, vec((score(), member()), 1..30))
            .prop_map(|(option, pairs)| OnSortedSet::Add { option, pairs }),
        1 => (score(), member()).prop_map(|(by, name)| OnSortedSet::Increment(by, name)),
        1 => vec(member(), 1..4).prop_map(OnSortedSet::Remove),
        1 => (any::<bool>(), 0..5usize).prop_map(|(lowest, count)| OnSortedSet::Pop { lowest, count }),
        1 => member().prop_map(OnSortedSet::Rank),
        1 => (score(), score()).prop_map(|(from, to)| OnSortedSet::Count(from, to)),
        1 => (any::<bool>(), place(), place())
            .prop_map(|(backwards, from, to)| OnSortedSet::ByRank { backwards, from, to }),
        1 => (score(), score(), 0..5usize, 0..5usize)
            .prop_map(|(from, to, offset, count)| OnSortedSet::ByScore { from, to, offset, count }),
        1 => (place(), place()).prop_map(|(from, to)| OnSortedSet::RemoveByRank(from, to)),
        1 => (score(), score()).prop_map(|(from, to)| OnSortedSet::RemoveByScore(from, to)),
    ]
}

type Scores = BTreeMap<String, i64>;

/// The members in their order.
fn ordered(scores: &Scores) -> Vec<(i64, String)> {
    let mut ordered: Vec<_> = scores.iter().map(|(name, score)| (*score, name.clone())).collect();
    ordered.sort();
    ordered
}

fn name_reply((_, name): &(i64, String)) -> Reply {
    Reply::Bulk(name.clone().into())
}

fn pair_reply(member: &(i64, String)) -> (Reply, Reply) {
    (name_reply(member), Reply::Double(member.0 as f64))
}

fn remove_all(scores: &mut Scores, members: &[(i64, String)]) -> Reply {
    for (_, name) in members {
        scores.remove(name);
    }
    Reply::count(members.len())
}

impl OnSortedSet {
    fn words(&self) -> Vec<String> {
        let words = match self {
            Self::Add { option, pairs } => {
                let pairs: Vec<String> =
                    pairs.iter().map(|(score, name)| format!("{score} {name}")).collect();
                format!("ZADD k CH {option} {}", pairs.join(" "))
            }
            Self::Increment(by, name) => format!("ZINCRBY k {by} {name}"),
            Self::Remove(names) => format!("ZREM k {}", names.join(" ")),
            Self::Pop { lowest, count } => {
                format!("{} k {count}", if *lowest { "ZPOPMIN" } else { "ZPOPMAX" })
            }
            Self::Rank(name) => format!("ZRANK k {name}"),
            Self::Count(from, to) => format!("ZCOUNT k ({from} {to}"),
            Self::ByRank { backwards, from, to } => {
                format!("ZRANGE k {from} {to} {} WITHSCORES", if *backwards { "REV" } else { "" })
            }
            Self::ByScore { from, to, offset, count } => {
                format!("ZRANGE k {from} ({to} BYSCORE LIMIT {offset} {count}")
            }
            Self::RemoveByRank(from, to) => format!("ZREMRANGEBYRANK k {from} {to}"),
            Self::RemoveByScore(from, to) => format!("ZREMRANGEBYSCORE k {from} {to}"),
        };
        words.split_whitespace().map(str::to_owned).collect()
    }

    /// Does the same to a map and answers the same.
    fn model(&self, scores: &mut Scores) -> Reply {
        let members = ordered(scores);
        match self {
            Self::Add { option, pairs } => {
                let changed = pairs.iter().filter(|(score, name)| add(scores, option, *score, name)).count();
                Reply::count(changed)
            }
            Self::Increment(by, name) => {
                let score = scores.entry(name.clone()).or_default();
                *score += by;
                Reply::Double(*score as f64)
            }
            Self::Remove(names) => {
                Reply::count(names.iter().filter(|name| scores.remove(*name).is_some()).count())
            }
            Self::Pop { lowest, count } => {
                let mut members = members;
                if !lowest {
                    members.reverse();
                }
                members.truncate(*count);
                remove_all(scores, &members);
                Reply::Pairs(members.iter().map(pair_reply).collect())
            }
            Self::Rank(name) => {
                members.iter().position(|member| member.1 == *name).map_or(Reply::Null, Reply::count)
            }
            Self::Count(from, to) => {
                Reply::count(members.iter().filter(|(score, _)| score > from && score <= to).count())
            }
            Self::ByRank { backwards, from, to } => {
                let mut members = members;
                if *backwards {
                    members.reverse();
                }
                let range = members[within(members.len(), *from, *to)].iter().map(pair_reply);
                let pairs: Vec<_> = range.collect();
                if scores.is_empty() { Reply::Array(vec![]) } else { Reply::Pairs(pairs) }
            }
            Self::ByScore { from, to, offset, count } => {
                let range = members.iter().filter(|(score, _)| score >= from && score < to);
                Reply::Array(range.skip(*offset).take(*count).map(name_reply).collect())
            }
            Self::RemoveByRank(from, to) => remove_all(scores, &members[within(members.len(), *from, *to)]),
            Self::RemoveByScore(from, to) => {
                let range = members.into_iter().filter(|(score, _)| score >= from && score <= to);
                remove_all(scores, &range.collect::<Vec<_>>())
            }
        }
    }
}

/// Returns whether the member is new or has another score than before.
fn add(scores: &mut Scores, option: &str, score: i64, name: &str) -> bool {
    let present = scores.get(name).copied();
    let allowed = match (option, present) {
        ("NX", present) => present.is_none(),
        ("XX", present) => present.is_some(),
        ("GT", Some(present)) => score > present,
        ("LT", Some(present)) => score < present,
        _ => true,
    };
    allowed && scores.insert(name.to_owned(), score) != Some(score)
}

/// Holds that a key exists if and only if it holds something, and that a snapshot gives all of it back.
fn check(driver: &Driver, exists: bool) {
    assert_eq!(
        driver.machine.stats().databases.first().map_or(0, |database| database.keys),
        usize::from(exists)
    );
    let chunks: Vec<_> = driver.machine.snapshot().collect();
    let restored = Machine::restore(chunks).expect("an undamaged snapshot");
    assert_eq!(restored.hash(), driver.machine.hash());
}

proptest! {
    #[test]
    fn lists_answer_what_a_vector_would(commands in vec(on_list(), 1..40)) {
        let (mut driver, mut list) = (Driver::new(), Vec::new());
        for command in commands {
            let reply = driver.command(0, &args(&command.words()));
            prop_assert_eq!(show(&reply), show(&command.model(&mut list)), "{:?}", command);
        }
        let all = driver.command(0, &args(&["LRANGE", "k", "0", "-1"]));
        prop_assert_eq!(all, Reply::Array(list.iter().map(|element| Reply::bulk(element)).collect()));
        check(&driver, !list.is_empty());
    }

    #[test]
    fn sorted_sets_answer_what_a_map_would(commands in vec(on_sorted_set(), 1..40)) {
        let (mut driver, mut scores) = (Driver::new(), Scores::new());
        for command in commands {
            let reply = driver.command(0, &args(&command.words()));
            prop_assert_eq!(show(&reply), show(&command.model(&mut scores)), "{:?}", command);
        }
        let all = driver.command(0, &args(&["ZRANGE", "k", "0", "-1"]));
        prop_assert_eq!(all, Reply::Array(ordered(&scores).iter().map(name_reply).collect()));
        check(&driver, !scores.is_empty());
    }
}

/// Different members are chosen without repetition, any with it, and none that is not there.
#[test]
fn members_are_chosen_by_chance() {
    let mut driver = Driver::new();
    for member in 0..50 {
        driver.command(0, &args(&["ZADD", "k", &member.to_string(), &format!("m{member}")]));
    }
    let mut choose = |count: &str| {
        let Reply::Array(chosen) = driver.command(0, &args(&["ZRANDMEMBER", "k", count])) else {
            panic!("an array of members")
        };
        let mut names: Vec<String> = chosen.iter().map(show).collect();
        names.sort();
        let all = names.len();
        names.dedup();
        (all, names.len())
    };
    for count in [1, 10, 49, 50, 51] {
        assert_eq!(choose(&count.to_string()), (count.min(50), count.min(50)));
    }
    let (all, different) = choose("-1000");
    assert!(all == 1000 && different > 45, "{different} of 50 in 1000");
    assert!(driver.command(0, &args(&["ZRANDMEMBER", "k", "-100001"])).is_error());
}

/// However members come and go, a scan meets each one that stays once.
#[test]
fn a_scan_meets_every_member_that_stays_once() {
    let mut driver = Driver::new();
    for member in 0..500 {
        driver.command(0, &args(&["ZADD", "k", "1", &format!("stays{member}")]));
    }
    let (mut cursor, mut met, mut turn) = ("0".to_owned(), Vec::new(), 0);
    loop {
        driver.command(0, &args(&["ZADD", "k", "1", &format!("comes{turn}")]));
        driver.command(0, &args(&["ZREM", "k", &format!("comes{}", turn / 2)]));
        turn += 1;
        let Reply::Array(scan) = driver.command(0, &args(&["ZSCAN", "k", &cursor, "MATCH", "stays*"])) else {
            panic!("a cursor and members")
        };
        let [Reply::Bulk(next), Reply::Array(found)] = &scan[..] else { panic!("a cursor and members") };
        met.extend(found.iter().step_by(2).map(show));
        cursor = String::from_utf8(next.to_vec()).expect("a number");
        if cursor == "0" {
            break;
        }
    }
    let all = met.len();
    met.sort();
    met.dedup();
    assert_eq!((all, met.len()), (500, 500));
    assert!(turn > 10, "in steps");
}

/// A key may be named many times over, so that arguments of some KiB could ask for hours of work.
#[test]
fn a_combination_is_bounded_however_often_a_set_is_named() {
    let mut driver = Driver::new();
    let members: Vec<String> = (0..4000).map(|member| format!("{member}")).collect();
    driver.command(0, &args(&[&["ZADD".to_owned(), "k".to_owned()][..], &members].concat()));
    for (command, times, is_refused) in
        [("ZUNION", 300, false), ("ZUNION", 700, true), ("ZDIFF", 700, true), ("ZINTERCARD", 700, true)]
    {
        let count = times.to_string();
        let words: Vec<&str> = [command, &count].into_iter().chain(std::iter::repeat_n("k", times)).collect();
        assert_eq!(driver.command(0, &args(&words)).is_error(), is_refused, "{command} {times}");
    }
}

/// A script pays for what a command will go through before it is run.
#[test]
fn what_goes_through_a_large_collection_is_paid_for() {
    let mut driver = Driver::new();
    let fill = "for i = 1, 20000 do redis.call('rpush', 'l', i) redis.call('zadd', 'z', i, i) end";
    assert_eq!(show(&driver.command(0, &args(&["EVAL", fill, "0"]))), "(nil)");
    driver.command(0, &args(&["CONFIG", "SET", "quorate-script-steps", "10000"]));
    for call in [
        "'lrange', 'l', 0, -1",
        "'lrem', 'l', 0, 'none'",
        "'lpos', 'l', 'none'",
        "'linsert', 'l', 'AFTER', 'none', 'x'",
        "'ltrim', 'l', 1000, -1000",
        "'lpop', 'l', 15000",
        "'zrange', 'z', 0, -1",
        "'zrangestore', 'd', 'z', 0, 5000",
        "'zremrangebyscore', 'z', 1, 5000",
        "'zpopmin', 'z', 5000",
        "'zrandmember', 'z', -15000",
    ] {
        let script = format!("return redis.call({call})");
        let reply = show(&driver.command(0, &args(&["EVAL", &script, "0"])));
        assert!(reply.contains("exceeded its budget"), "{call}: {reply}");
    }
    assert_eq!(driver.command(0, &args(&["LLEN", "l"])), Reply::Integer(20_000));
    assert_eq!(driver.command(0, &args(&["ZCARD", "z"])), Reply::Integer(20_000));
    assert_eq!(driver.command(0, &args(&["EXISTS", "d"])), Reply::Integer(0));
}

proptest! {
    #[test]
    fn combinations_are_those_of_maps(
        sets in vec(proptest::collection::btree_map(member(), -6..6i64, 0..30), 1..4),
    ) {
        let mut driver = Driver::new();
        let keys: Vec<String> = (0..sets.len()).map(|number| format!("k{number}")).collect();
        for (key, set) in keys.iter().zip(&sets) {
            for (name, score) in set {
                driver.command(0, &args(&["ZADD", key, &score.to_string(), name]));
            }
        }
        let mut ask = |name: &str| {
            let count = keys.len().to_string();
            let words: Vec<&str> = [name, &count].into_iter().chain(keys.iter().map(String::as_str)).collect();
            show(&driver.command(0, &args(&[&words[..], &["WITHSCORES"]].concat())))
        };
        let (mut union, mut counts) = (Scores::new(), BTreeMap::new());
        for (name, score) in sets.iter().flatten() {
            *union.entry(name.clone()).or_default() += score;
            *counts.entry(name.clone()).or_insert(0) += 1;
        }
        let expected = |scores: &Scores| show(&Reply::Pairs(ordered(scores).iter().map(pair_reply).collect()));
        prop_assert_eq!(ask("ZUNION"), expected(&union));
        let mut common = union.clone();
        common.retain(|name, _| counts[name] == sets.len());
        prop_assert_eq!(ask("ZINTER"), expected(&common));
        let mut only: Scores = sets[0].clone();
        only.retain(|name, _| counts[name] == 1);
        prop_assert_eq!(ask("ZDIFF"), expected(&only));
    }
}

/// What happens to queues: of few keys, so that waits meet elements.
#[derive(Clone, Debug)]
enum OnQueue {
    Push { key: usize, elements: usize },
    Wait { keys: Vec<usize>, front: bool, patience_ms: u64 },
    Pop { key: usize },
    Pass { ms: u64 },
    Leave { back: u64 },
    Unblock { back: u64 },
}

fn on_queue() -> impl Strategy<Value = OnQueue> {
    let key = || 0..3usize;
    prop_oneof![
        3 => (key(), 1..4usize).prop_map(|(key, elements)| OnQueue::Push { key, elements }),
        4 => (vec(key(), 1..4), any::<bool>(), 0..30u64)
            .prop_map(|(keys, front, patience_ms)| OnQueue::Wait { keys, front, patience_ms }),
        1 => key().prop_map(|key| OnQueue::Pop { key }),
        1 => (0..20u64).prop_map(|ms| OnQueue::Pass { ms }),
        1 => (0..6u64).prop_map(|back| OnQueue::Leave { back }),
        1 => (0..6u64).prop_map(|back| OnQueue::Unblock { back }),
    ]
}

struct Waiter {
    sequence: u64,
    keys: Vec<usize>,
    front: bool,
    /// 0: waits for ever.
    until_ms: u64,
}

/// Queues as they should be, by a scan of all who wait.
#[derive(Default)]
struct Queues {
    lists: [Vec<usize>; 3],
    waiters: Vec<Waiter>,
    pushed: usize,
}

impl Queues {
    fn take(&mut self, key: usize, front: bool) -> Option<String> {
        let list = &mut self.lists[key];
        let element = if list.is_empty() { None } else { Some(if front { 0 } else { list.len() - 1 }) };
        element.map(|at| format!("[\"k{key}\", \"{}\"]", list.remove(at)))
    }

    fn push(&mut self, key: usize, elements: usize) -> Vec<(u64, String)> {
        self.lists[key].extend(self.pushed..self.pushed + elements);
        self.pushed += elements;
        let mut served = Vec::new();
        while let Some(first) = self.waiters.iter().position(|waiter| waiter.keys.contains(&key)) {
            let front = self.waiters[first].front;
            let Some(taken) = self.take(key, front) else { break };
            served.push((self.waiters.remove(first).sequence, taken));
        }
        served
    }

    fn expire(&mut self, now_ms: u64) -> Vec<(u64, String)> {
        let is_over = |waiter: &Waiter| waiter.until_ms > 0 && waiter.until_ms < now_ms;
        let over =
            self.waiters.iter().filter(|waiter| is_over(waiter)).map(|waiter| waiter.sequence).collect();
        self.waiters.retain(|waiter| !is_over(waiter));
        let mut over: Vec<u64> = over;
        over.sort_unstable();
        over.into_iter().map(|sequence| (sequence, "(nil array)".to_owned())).collect()
    }
}

proptest! {
    /// Nobody is served twice, out of turn, too late or not at all; and a replica that begins with a snapshot goes on
    /// as the others do.
    #[test]
    fn queues_serve_those_who_wait_in_the_order_of_arrival(steps in vec(on_queue(), 1..80)) {
        let mut driver = Driver::new();
        let mut queues = Queues::default();
        for step in steps {
            let next = driver.machine.session(SESSION).expect("the session is open") + 1;
            let mut expected = Vec::new();
            match step {
                OnQueue::Push { key, elements } => {
                    let words: Vec<String> = (queues.pushed..queues.pushed + elements).map(|n| n.to_string()).collect();
                    driver.command(0, &args(&[vec!["RPUSH".to_owned(), format!("k{key}")], words].concat()));
                    expected = queues.push(key, elements);
                }
                OnQueue::Wait { keys, front, patience_ms } => {
                    let names: Vec<String> = keys.iter().map(|key| format!("k{key}")).collect();
                    let name = if front { "BLPOP" } else { "BRPOP" };
                    let timeout = format!("{}", patience_ms as f64 / 1000.0);
                    let words = [vec![name.to_owned()], names, vec![timeout]].concat();
                    let reply = show(&driver.command(0, &args(&words)));
                    match keys.iter().find_map(|key| queues.take(*key, front)) {
                        Some(taken) => prop_assert_eq!(reply, taken),
                        None => {
                            prop_assert_eq!(reply, format!("waits as #{next}"));
                            let until_ms = if patience_ms > 0 { driver.stamp_ms + patience_ms } else { 0 };
                            queues.waiters.push(Waiter { sequence: next, keys, front, until_ms });
                        }
                    }
                }
                OnQueue::Pop { key } => {
                    let reply = show(&driver.command(0, &args(&["LPOP", &format!("k{key}"), "1"])));
                    let element = queues.take(key, true);
                    let element = element.map_or("(nil array)".to_owned(), |taken| {
                        format!("[{}", taken.split_once(' ').expect("key and element").1)
                    });
                    prop_assert_eq!(reply, element);
                }
                OnQueue::Pass { ms } => {
                    driver.advance(ms);
                    expected = queues.expire(driver.stamp_ms);
                    driver.served.sort_by_key(|(sequence, _)| *sequence);
                }
                OnQueue::Leave { back } => {
                    let sequence = next.saturating_sub(back + 1);
                    driver.run(vec![Operation::Leave { sequence }]);
                    queues.waiters.retain(|waiter| waiter.sequence != sequence);
                }
                OnQueue::Unblock { back } => {
                    let sequence = next.saturating_sub(back + 1);
                    let replies = driver.run(vec![Operation::Unblock { sequence, with_error: false }]);
                    let waits = queues.waiters.iter().any(|waiter| waiter.sequence == sequence);
                    prop_assert_eq!(show(&replies[0]), format!("(integer) {}", i32::from(waits)));
                    queues.waiters.retain(|waiter| waiter.sequence != sequence);
                    expected.extend(waits.then(|| (sequence, "(nil array)".to_owned())));
                }
            }
            let served: Vec<(u64, String)> =
                driver.served.drain(..).map(|(sequence, reply)| (sequence, show(&reply))).collect();
            prop_assert_eq!(served, expected);
            for waiter in &queues.waiters {
                prop_assert!(driver.machine.waits(SESSION, waiter.sequence));
            }
            prop_assert_eq!(driver.machine.stats().waiting, queues.waiters.len());
            let restored = Machine::restore(driver.machine.snapshot()).expect("a snapshot can be restored");
            prop_assert_eq!(restored.hash(), driver.machine.hash());
            prop_assert_eq!(restored.stats(), driver.machine.stats());
            driver.machine = restored;
        }
    }
}
