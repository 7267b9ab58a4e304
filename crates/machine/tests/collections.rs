//! Hashes and sets against ordered maps, whatever runs their commands: a client, a script, or a script that needs more
//! than the warm budget, is undone in the middle and begun anew.

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use quorate_machine::{Machine, Operation, Reply};
use support::{Driver, args, show};

#[derive(Clone, Debug, PartialEq, Eq)]
enum Value {
    Hash(BTreeMap<String, String>),
    Set(BTreeSet<String>),
}

/// What a key holds, if it exists.
type Model = BTreeMap<&'static str, Value>;

#[derive(Clone, Copy, Debug)]
enum Runner {
    Client,
    Script,
    /// Its loop takes more steps than a warm VM has.
    ScriptBegunAnew,
}

/// A warm VM has less than a hundredth of these.
const SCRIPT_STEPS: &str = "100000";
const LOOP: &str = "for i = 1, 2000 do end";

const KEYS: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
struct Step {
    which: u8,
    key: &'static str,
    other: &'static str,
    names: Vec<String>,
    runner: Runner,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let key = prop::sample::select(&KEYS[..]);
    let runner = prop_oneof![
        8 => Just(Runner::Client), 8 => Just(Runner::Script), 1 => Just(Runner::ScriptBegunAnew)
    ];
    let names = vec((0..12u8).prop_map(|name| name.to_string()), 1..5);
    let step = (0..13u8, key.clone(), key, names, runner);
    vec(step.prop_map(|(which, key, other, names, runner)| Step { which, key, other, names, runner }), 0..60)
}

impl Step {
    fn words(&self) -> Vec<&str> {
        let (key, other, first) = (self.key, self.other, &self.names[0][..]);
        let names = || self.names.iter().map(|name| &name[..]);
        match self.which {
            0 | 1 => {
                [&["HSET", key][..], &names().flat_map(|name| [name, first]).collect::<Vec<_>>()].concat()
            }
            2 => [&["HDEL", key][..], &names().collect::<Vec<_>>()].concat(),
            3 => vec!["HSETNX", key, first, "7"],
            4 => vec!["HINCRBY", key, first, "2"],
            5 | 6 => [&["SADD", key][..], &names().collect::<Vec<_>>()].concat(),
            7 => [&["SREM", key][..], &names().collect::<Vec<_>>()].concat(),
            8 => vec!["SMOVE", key, other, first],
            9 => vec!["SINTERSTORE", key, key, other],
            10 => vec!["SUNIONSTORE", key, other, key],
            11 => vec!["SDIFFSTORE", key, key, other],
            _ => vec!["DEL", key],
        }
    }

    /// What the command answers and does, by the book; `None` is an error.
    fn expected(&self, model: &mut Model) -> Option<usize> {
        let names: BTreeSet<String> = self.names.iter().cloned().collect();
        let first = self.names[0].clone();
        let changed = match self.which {
            0..=4 => {
                let mut hash = match model.get(self.key) {
                    None => BTreeMap::new(),
                    Some(Value::Hash(hash)) => hash.clone(),
                    Some(Value::Set(_)) => return None,
                };
                let answer = self.change_hash(&mut hash, names, first);
                keep(model, self.key, Value::Hash(hash));
                answer
            }
            5..=7 => {
                let mut set = set_of(model, self.key)?;
                let before = set.len();
                if self.which == 7 {
                    set.retain(|member| !names.contains(member));
                } else {
                    set.extend(names);
                }
                let answer = set.len().abs_diff(before);
                keep(model, self.key, Value::Set(set));
                answer
            }
            8 => return self.move_member(model, first),
            9..=11 => {
                let (set, other) = (set_of(model, self.key), set_of(model, self.other));
                let (set, other) = (set?, other?);
                let result: BTreeSet<String> = match self.which {
                    9 => &set & &other,
                    10 => &set | &other,
                    _ => &set - &other,
                };
                let answer = result.len();
                keep(model, self.key, Value::Set(result));
                answer
            }
            _ => usize::from(model.remove(self.key).is_some()),
        };
        Some(changed)
    }

    fn change_hash(
        &self,
        hash: &mut BTreeMap<String, String>,
        names: BTreeSet<String>,
        first: String,
    ) -> usize {
        let before = hash.len();
        match self.which {
            0 | 1 => hash.extend(names.into_iter().map(|name| (name, first.clone()))),
            2 => hash.retain(|name, _| !names.contains(name)),
            3 => drop(hash.entry(first).or_insert_with(|| "7".to_owned())),
            _ => {
                let sum = hash.get(&first).map_or(0, |value| value.parse::<usize>().expect("a number")) + 2;
                hash.insert(first, sum.to_string());
                return sum;
            }
        }
        hash.len().abs_diff(before)
    }

    fn move_member(&self, model: &mut Model, member: String) -> Option<usize> {
        if !model.contains_key(self.key) {
            return Some(0);
        }
        let (mut from, to) = (set_of(model, self.key)?, set_of(model, self.other)?);
        if self.key == self.other || !from.contains(&member) {
            return Some(usize::from(from.contains(&member)));
        }
        from.remove(&member);
        keep(model, self.key, Value::Set(from));
        keep(model, self.other, Value::Set(&to | &BTreeSet::from([member])));
        Some(1)
    }
}

fn set_of(model: &Model, key: &str) -> Option<BTreeSet<String>> {
    match model.get(key) {
        None => Some(BTreeSet::new()),
        Some(Value::Set(set)) => Some(set.clone()),
        Some(Value::Hash(_)) => None,
    }
}

/// What is left empty is gone.
fn keep(model: &mut Model, key: &'static str, value: Value) {
    let is_empty = match &value {
        Value::Hash(hash) => hash.is_empty(),
        Value::Set(set) => set.is_empty(),
    };
    if is_empty {
        model.remove(key);
    } else {
        model.insert(key, value);
    }
}

fn driver() -> Driver {
    let mut driver = Driver::new();
    driver.command(0, &args(&["CONFIG", "SET", "quorate-script-steps", SCRIPT_STEPS]));
    driver
}

fn run(driver: &mut Driver, step: &Step) -> Reply {
    let call = "redis.call(unpack(ARGV))";
    let script = match step.runner {
        Runner::Client => return driver.command(0, &args(&step.words())),
        Runner::Script => format!("return {call}"),
        Runner::ScriptBegunAnew => format!("local r = {call} {LOOP} return r"),
    };
    let words = step.words();
    driver.command(0, &args(&[&["EVAL", &script, "0"][..], &words].concat()))
}

/// What a key holds, read by the family's own commands.
fn read(driver: &mut Driver, key: &str) -> Option<Value> {
    let kind = driver.command(0, &args(&["TYPE", key]));
    let text = |reply: &Reply| show(reply).trim_matches('"').to_owned();
    match &show(&kind)[..] {
        "none" => None,
        "hash" => match driver.command(0, &args(&["HGETALL", key])) {
            Reply::Map(pairs) => {
                Some(Value::Hash(pairs.iter().map(|(field, value)| (text(field), text(value))).collect()))
            }
            other => panic!("{other:?}"),
        },
        "set" => match driver.command(0, &args(&["SMEMBERS", key])) {
            Reply::Set(members) => Some(Value::Set(members.iter().map(text).collect())),
            other => panic!("{other:?}"),
        },
        other => panic!("a {other} at {key}"),
    }
}

proptest! {
    #[test]
    fn hashes_and_sets_are_what_maps_would_be(steps in steps()) {
        let (mut driver, mut model) = (driver(), Model::new());
        for step in &steps {
            let reply = run(&mut driver, step);
            match step.expected(&mut model) {
                Some(answer) => prop_assert_eq!(&reply, &Reply::count(answer), "{:?}", step),
                None => prop_assert!(reply.is_error(), "{:?} answered {:?}", step, reply),
            }
        }
        for key in KEYS {
            let found = read(&mut driver, key);
            prop_assert_eq!(found.as_ref(), model.get(key), "{}", key);
        }
        let chunks: Vec<Bytes> = driver.machine.snapshot().collect();
        let restored = Machine::restore(chunks).expect("an undamaged snapshot");
        prop_assert_eq!(restored.hash(), driver.machine.hash());
    }

    /// Whatever is popped was there, is there no more, and comes once.
    #[test]
    fn members_are_popped_once(members in 1..40usize, counts in vec(0..9usize, 0..20), begun_anew in any::<bool>()) {
        let mut driver = driver();
        let mut left: BTreeSet<String> = (0..members).map(|member| member.to_string()).collect();
        let add: Vec<&str> = ["SADD", "s"].into_iter().chain(left.iter().map(|member| &member[..])).collect();
        driver.command(0, &args(&add));
        let script = format!("local r = redis.call('spop', 's', ARGV[1]) {LOOP} return r");
        for count in counts {
            let (before, number) = (left.len(), count.to_string());
            let words = if begun_anew { vec!["EVAL", &script, "0", &number] } else { vec!["SPOP", "s", &number] };
            let (Reply::Set(popped) | Reply::Array(popped)) = driver.command(0, &args(&words)) else {
                panic!("SPOP answers members")
            };
            for member in &popped {
                prop_assert!(left.remove(show(member).trim_matches('"')), "{:?}", member);
            }
            prop_assert_eq!(before - left.len(), count.min(before));
        }
        prop_assert_eq!(driver.command(0, &args(&["SCARD", "s"])), Reply::count(left.len()));
    }
}

/// What works in proportion to a collection pays before, so that a transaction ends instead of doing it.
#[test]
fn a_walk_over_a_collection_is_paid_for_before() {
    let mut driver = Driver::new();
    driver.command(0, &args(&["CONFIG", "SET", "quorate-script-steps", "1000"]));
    for element in 0..5000 {
        let element = element.to_string();
        driver.command(0, &args(&["SADD", "s", &element]));
        driver.command(0, &args(&["SADD", "t", &element]));
        driver.command(0, &args(&["HSET", "h", &element, "v"]));
    }
    for part in (0..5000).map(|element| element.to_string()).collect::<Vec<_>>().chunks(500) {
        let words: Vec<&str> = part.iter().map(|element| &element[..]).collect();
        driver.command(0, &args(&[&["RPUSH", "l"][..], &words].concat()));
        let pairs = words.iter().flat_map(|element| ["1", *element]).collect();
        driver.command(0, &args(&[vec!["ZADD", "z"], pairs].concat()));
    }
    driver.command(0, &args(&["SADD", "small", "1", "2", "none"]));
    let (many, pairs) = ("5 ".repeat(300), "5 m ".repeat(150));
    let mut is_paid = |line: &str| {
        let words: Vec<&str> = line.split_terminator(' ').collect();
        let transaction = Operation::Transaction { watched: vec![], commands: vec![(0, args(&words))] };
        match &driver.run(vec![transaction])[0] {
            Reply::Array(replies) => !show(&replies[0]).contains("exceeded its budget"),
            other => panic!("{other:?}"),
        }
    };
    for dear in [
        "SMEMBERS s",
        "SUNION s",
        "SUNION s small",
        "SINTER s",
        "SINTER s t",
        "SDIFF s",
        "SDIFF s t",
        "SINTERCARD 2 s t",
        "SUNIONSTORE d s t",
        "SINTERSTORE d s t",
        "SDIFFSTORE d s t",
        "SPOP s 5000",
        "SRANDMEMBER s 5000",
        "SRANDMEMBER small -5000",
        "SSCAN s 0 COUNT 5000",
        "HGETALL h",
        "HKEYS h",
        "HVALS h",
        "HRANDFIELD h 5000",
        "HRANDFIELD h -5000 WITHVALUES",
        "HSCAN h 0 COUNT 5000",
        "LPOP l 100",
        "LREM l 200 7",
        "LTRIM l 1000 4000",
        "ZPOPMIN z 100",
        &format!("RPUSH l {many}"),
        &format!("ZADD z {pairs}"),
        &format!("ZREM z {many}"),
        &format!("HSET h {pairs}"),
        &format!("HDEL h {many}"),
        &format!("SADD s {many}"),
        &format!("SREM s {many}"),
    ] {
        assert!(!is_paid(dear), "{dear}");
    }
    for cheap in [
        "SCARD s",
        "SPOP s",
        "SRANDMEMBER s",
        "SRANDMEMBER none -5000",
        "SSCAN s 0",
        "SINTER s small t",
        "SINTERCARD 2 s t LIMIT 5",
        "SUNIONSTORE d s small",
        "SDIFFSTORE d s small",
        "SDIFF small s",
        "HLEN h",
        "HRANDFIELD h 5 WITHVALUES",
        "HSCAN h 0 COUNT 5",
        "LPOP l 20",
        "ZPOPMIN z 20",
        "RPUSH l 1 2 3",
        "ZADD z 1 a 2 b",
        "HSET h 1 2 3 4",
    ] {
        assert!(is_paid(cheap), "{cheap}");
    }
    assert_eq!(driver.command(0, &args(&["SCARD", "s"])), Reply::count(4999), "nothing else was popped");
}

/// As many bytes as a request has for naming one key again and again must not multiply the work.
#[test]
fn a_key_named_again_is_not_worked_for_again() {
    let mut driver = Driver::new();
    for member in 0..1000 {
        driver.command(0, &args(&["SADD", "s", &member.to_string()]));
    }
    for name in ["SINTER", "SUNION", "SDIFF"] {
        let before = driver.machine.work();
        let words: Vec<&str> = [name].into_iter().chain(std::iter::repeat_n("s", 10_000)).collect();
        driver.command(0, &args(&words));
        let work = driver.machine.work() - before;
        assert!(work < 10_000, "{work} for {name}");
    }
}

/// Once the limit had been lowered, a sorted set or list beyond it could not even lose a score or a long element.
#[test]
fn a_collection_beyond_a_lowered_limit_may_change_without_growing() {
    let mut driver = Driver::new();
    for n in 0..30 {
        let element = format!("element{n}");
        for words in [
            ["RPUSH", "l", &element, ""],
            ["SADD", "s", &element, ""],
            ["HSET", "h", &element, "v"],
            ["ZADD", "z", "1", &element],
        ] {
            driver.command(0, &args(&words.iter().filter(|word| !word.is_empty()).collect::<Vec<_>>()));
        }
    }
    driver.command(0, &args(&["CONFIG", "SET", "quorate-collection-bytes", "1kb"]));
    // To share a whole set takes nothing, so that what was allowed once may be there twice; a part is built.
    driver.command(0, &args(&["CONFIG", "SET", "quorate-collection-bytes", "10kb"]));
    let before = driver.machine.work();
    assert_eq!(driver.command(0, &args(&["ZRANGESTORE", "d", "z", "0", "-1"])), Reply::count(30));
    assert!(driver.machine.work() - before < 10);
    driver.command(0, &args(&["CONFIG", "SET", "quorate-collection-bytes", "1kb"]));
    let mut is_refused = |line: &str| {
        let reply = show(&driver.command(0, &args(&line.split(' ').collect::<Vec<_>>())));
        assert!(!reply.contains("(error)") || reply.contains("quorate-collection-bytes"), "{line}: {reply}");
        reply.contains("(error)")
    };
    for allowed in [
        "ZADD z 5 element3",
        "ZADD z XX 6 element4 7 new",
        "ZINCRBY z 2 element5",
        "ZRANGESTORE part z 0 2",
        "LSET l 3 short",
        "LMOVE l l LEFT RIGHT",
        "HSET h element3 w",
        "SADD s element3",
    ] {
        assert!(!is_refused(allowed), "{allowed}");
    }
    for refused in [
        "ZADD z 5 element3 5 new",
        "ZINCRBY z 2 new",
        "LSET l 3 longer-than-the-one-before",
        "LINSERT l BEFORE short new",
        "ZRANGESTORE d z 0 20",
        "ZRANGESTORE d z 0 -1",
        "LPUSH l new",
        "HSET h element3 longer",
        "SADD s new",
    ] {
        assert!(is_refused(refused), "{refused}");
    }
}
