//! Properties that hold for any history: replicas are equal, snapshots are complete, commands are applied once, and
//! nothing expires early.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use quorate_machine::settings::setting;
use quorate_machine::{
    Batch, ClusterVersion, Group, Limits, Machine, Operation, Outcome, Publication, Refusal, Reply,
    SessionId, Spec, Step, all,
};
use support::{Driver, SESSION, args};

/// An entry of a history: how far time went, and what it carries.
#[derive(Clone, Debug)]
struct Moment {
    ms: u64,
    groups: Vec<Group>,
}

/// Commands on few keys, so that they meet.
fn command() -> impl Strategy<Value = Vec<Bytes>> {
    let key = prop_oneof![Just("a"), Just("b"), Just("c"), Just("lock")];
    let value = prop_oneof![Just("1"), Just("me"), Just("you")];
    (0..42usize, key.clone(), key, value, 1..50u64).prop_map(|(which, key, other, value, ms)| {
        let ms = ms.to_string();
        match which {
            0 => args(&["SET", key, value]),
            1 => args(&["SET", key, value, "NX", "PX", &ms]),
            2 => args(&["SET", key, value, "IFEQ", "me", "GET"]),
            3 => args(&["DEL", key, other]),
            4 => args(&["DELEX", key, "IFEQ", value]),
            5 => args(&["PEXPIRE", key, &ms]),
            6 => args(&["PEXPIRE", key, &ms, "GT"]),
            7 => args(&["PERSIST", key]),
            8 => args(&["INCR", key]),
            9 => args(&["APPEND", key, value]),
            10 => args(&["RENAME", key, other]),
            11 => args(&["COPY", key, other, "REPLACE"]),
            12 => args(&["MSETNX", key, value, other, value]),
            13 => args(&["FENCE", key]),
            14 => args(&["RANDOMKEY"]),
            15 => args(&["SCAN", "0", "COUNT", "2"]),
            16 => args(&["FLUSHDB"]),
            17 => args(&["RPUSH", key, value, other]),
            18 => args(&["LMOVE", key, other, "LEFT", "RIGHT"]),
            19 => args(&["LPOP", key, "2"]),
            20 => args(&["ZADD", key, &ms, value, "1", other]),
            21 => args(&["ZRANGESTORE", other, key, "0", "0"]),
            22 => args(&["ZRANDMEMBER", key, "-2"]),
            23 => args(&["ZPOPMAX", key]),
            24 => args(&["HSET", key, other, value, value, other]),
            25 => args(&["HINCRBY", key, value, &ms]),
            26 => args(&["HDEL", key, other, value]),
            27 => args(&["HRANDFIELD", key, "-3", "WITHVALUES"]),
            28 => args(&["SADD", key, &ms, value, other]),
            29 => args(&["SPOP", key, "2"]),
            30 => args(&["SMOVE", key, other, value]),
            31 => args(&["SUNIONSTORE", key, key, other]),
            32 => args(&["SSCAN", key, "0", "COUNT", "2"]),
            33 => args(&["ZRANGEBYLEX", key, "[m2", "(m7"]),
            34 => args(&["ZREMRANGEBYLEX", key, "[m4", "(m5"]),
            35 => args(&["ZRANGESTORE", other, key, "[m3", "+", "BYLEX", "LIMIT", "1", "30"]),
            // More elements than one node of a tree has.
            36 => many(&["ZADD", key], &ms, |n| [format!("{}", n % 3), format!("m{n}")].to_vec()),
            37 => many(&["ZREM", key], &ms, |n| vec![format!("m{n}")]),
            38 => many(&["RPUSH", key], &ms, |n| vec![format!("m{n}")]),
            39 => many(&["HSET", key], &ms, |n| vec![format!("m{n}"), value.to_owned()]),
            40 => many(&["SADD", key], &ms, |n| vec![format!("m{n}")]),
            _ => args(&["PTTL", key]),
        }
    })
}

/// Commands of those who hold something or wait for it, some by a session that there may be.
fn holding() -> impl Strategy<Value = Vec<Bytes>> {
    let key = prop_oneof![Just("a"), Just("lock")];
    let who = prop_oneof![Just("me"), Just("you")];
    (0..14usize, key, who, 1..3u64, 1..50u64).prop_map(|(which, key, who, session, ms)| {
        let (session, token, ms) = (session.to_string(), (2 + ms % 8).to_string(), ms.to_string());
        match which {
            0 => args(&["SESSION", "OPEN", &ms]),
            1 => args(&["SESSION", "CLOSE", &session]),
            2 => args(&["SEMAPHORE", "ACQUIRE", key, "3", "OWNER", who, "TTL", &ms]),
            3 => args(&["SEMAPHORE", "ACQUIRE", key, "3", "SESSION", &session, "COUNT", "2"]),
            4 => args(&["SEMAPHORE", "ACQUIRE", key, "3", "OWNER", who, "TTL", "9", "WAIT", &ms]),
            5 => args(&["SEMAPHORE", "RELEASE", key, &token]),
            6 => args(&["LOCK", "ACQUIRE", key, "OWNER", who, "TTL", &ms, "DELAY", "7"]),
            7 => args(&["LOCK", "ACQUIRE", key, "OWNER", who, "TTL", &ms, "SHARED"]),
            8 => args(&["LOCK", "ACQUIRE", key, "SESSION", &session, "SHARED", "WAIT", &ms]),
            9 => args(&["LOCK", "ACQUIRE", key, "SESSION", &session]),
            10 => args(&["LOCK", "RELEASE", key, &token, "OWNER", who]),
            11 => args(&["BARRIER", "ARRIVE", key, "2", who, "TTL", &ms, "WAIT", "20"]),
            12 => args(&["BARRIER", "AWAIT", key, &session, "WAIT", &ms]),
            _ => args(&["ELECTION", "CAMPAIGN", key, "OWNER", who, "TTL", "9", "PRIORITY", &ms, "WAIT", &ms]),
        }
    })
}

/// A command with some forty elements, in an order of which `seed` decides.
fn many(words: &[&str], seed: &str, element: impl Fn(u64) -> Vec<String>) -> Vec<Bytes> {
    let seed: u64 = seed.parse().expect("a number");
    let elements = (1..40).flat_map(|turn| element(turn * seed % 101));
    args(&words.iter().map(|word| (*word).to_owned()).chain(elements).collect::<Vec<_>>())
}

fn operation() -> impl Strategy<Value = Operation> {
    let command = || prop_oneof![2 => command(), 1 => holding()];
    prop_oneof![
        8 => (0..3u32, command()).prop_map(|(db, args)| Operation::Command { db, user: 0, args }),
        1 => vec((0..3u32, command()), 0..4)
            .prop_map(|commands| Operation::Transaction { watched: Vec::new(), commands }),
        1 => (-1000..1000i64).prop_map(|offset_ms| Operation::Calendar { offset_ms }),
    ]
}

/// Entries of two nodes' sessions: opened, superseded, with sequences that often fit and sometimes do not.
fn steps() -> impl Strategy<Value = Vec<Moment>> {
    let group = (1..3u64, 1..3u64, 0..12u64, 0..12u64, vec(operation(), 0..4)).prop_map(
        |(node, incarnation, acked, first_sequence, operations)| {
            let operations = if first_sequence == 0 { vec![Operation::OpenSession] } else { operations };
            let session = SessionId { node, incarnation };
            Group { session, stream: 0, acked, first_sequence, operations }
        },
    );
    let steps = vec((0..30u64, vec(group, 0..3)).prop_map(|(ms, groups)| Moment { ms, groups }), 0..30);
    steps.prop_map(|steps| [vec![client_sessions()], steps].concat())
}

/// Opens two sessions of clients, which are called 1 and 2: the first may end in the course of the history.
fn client_sessions() -> Moment {
    let session = SessionId { node: 3, incarnation: 1 };
    let open = |ms| Operation::Command { db: 0, user: 0, args: args(&["SESSION", "OPEN", ms]) };
    let group =
        |first_sequence, operations| Group { session, stream: 0, acked: 0, first_sequence, operations };
    let groups = vec![group(0, vec![Operation::OpenSession]), group(1, vec![open("100"), open("1000")])];
    Moment { ms: 0, groups }
}

/// Applies a history and answers all that came out.
fn apply(machine: &mut Machine, steps: &[Moment]) -> Vec<Outcome> {
    let mut outcomes = Vec::new();
    for step in steps {
        let payload = Batch { version: ClusterVersion::NEWEST, groups: step.groups.clone() }.encode();
        let (index, stamp) = (machine.applied() + 1, machine.stamp() + step.ms);
        let applied = machine.apply(index, stamp, Some(&payload)).expect("the entry is well-formed");
        outcomes.extend(applied.into_iter().map(|applied| applied.outcome));
    }
    outcomes
}

/// Applies a history, and answers all that subscribers are told.
fn told(machine: &mut Machine, steps: &[Moment]) -> Vec<Publication> {
    let mut told = Vec::new();
    for step in steps {
        let payload = Batch { version: ClusterVersion::NEWEST, groups: step.groups.clone() }.encode();
        let (index, stamp) = (machine.applied() + 1, machine.stamp() + step.ms);
        machine.begin(index, stamp, Some(&payload)).expect("the entry is well-formed");
        told.extend(machine.take_publications());
        while machine.apply_next() != Step::Finished {
            told.extend(machine.take_publications());
        }
    }
    told
}

/// Applies a history one operation at a time, with reads before, between and behind them.
fn apply_with_reads(machine: &mut Machine, steps: &[Moment]) -> Vec<Outcome> {
    let look = |machine: &mut Machine| {
        for words in [&["RANDOMKEY"][..], &["KEYS", "*"], &["EVAL_RO", "return redis.call('get', 'a')", "0"]]
        {
            machine.read(machine.stamp() + 5, 0, &args(words));
        }
        assert_eq!(machine.versions(0, &args(&["a", "lock"])).len(), 2);
    };
    let mut outcomes = Vec::new();
    for step in steps {
        let payload = Batch { version: ClusterVersion::NEWEST, groups: step.groups.clone() }.encode();
        let (before, stamp) = (machine.applied(), machine.stamp() + step.ms);
        machine.begin(before + 1, stamp, Some(&payload)).expect("the entry is well-formed");
        look(machine);
        loop {
            match machine.apply_next() {
                Step::Applied(applied) => outcomes.push(applied.outcome),
                Step::Paused => {}
                Step::Finished => break,
            }
            assert!(machine.is_applying() && machine.applied() == before);
            look(machine);
        }
        assert!(!machine.is_applying() && machine.applied() == before + 1);
        assert_eq!(machine.apply_next(), Step::Finished, "without an entry there is nothing to apply");
    }
    outcomes
}

/// Any command of the table with about as many arguments as it takes, among them words that mean something.
fn any_command() -> impl Strategy<Value = (u32, Vec<Bytes>)> {
    const WORDS: &[&str] = &[
        "a",
        "b",
        "1",
        "2",
        "0",
        "-1",
        "10",
        "9223372036854775807",
        "-9223372036854775808",
        "1.5",
        "",
        "*",
        "x y",
        "NX",
        "XX",
        "GT",
        "GET",
        "EX",
        "PX",
        "EXAT",
        "PXAT",
        "KEEPTTL",
        "PERSIST",
        "IFEQ",
        "IFNE",
        "DB",
        "REPLACE",
        "MATCH",
        "COUNT",
        "TYPE",
        "LIMIT",
        "WITHVALUES",
        "FILTERBY",
        "PATTERN",
        "ACLCAT",
        "ASYNC",
        "LEFT",
        "RIGHT",
        "BEFORE",
        "RANK",
        "MAXLEN",
        "MIN",
        "INCR",
        "BYSCORE",
        "BYLEX",
        "REV",
        "LIMIT",
        "WITHSCORES",
        "(1",
        "[a",
        "-",
        "+",
        "inf",
        "maxmemory",
        "proto-max-bulk-len",
        "get",
        "eval",
        "redis.call('set', 'a', 1) return redis.call('get', 'a')",
    ];
    let specs: Vec<&'static Spec> =
        all().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)).collect();
    let words = vec(prop::sample::select(WORDS), 0..6);
    (0..17u32, prop::sample::select(specs), words).prop_map(|(db, spec, words)| {
        let name: Vec<&str> = spec.name.split('|').collect();
        // Often as many as it takes at least.
        let least = usize::try_from(spec.arity.unsigned_abs()).expect("a small number");
        let count = if spec.arity < 0 { words.len().max(least - name.len()) } else { least - name.len() };
        let words = words.into_iter().chain(std::iter::repeat("1")).take(count);
        (db, args(&name.into_iter().chain(words).collect::<Vec<_>>()))
    })
}

fn restored(machine: &Machine, cut: usize) -> Machine {
    // However the bytes are cut on their way, the machine is the same.
    let stream: Vec<u8> = machine.snapshot().flatten().collect();
    let chunks: Vec<Bytes> = stream.chunks(cut).map(Bytes::copy_from_slice).collect();
    Machine::restore(chunks).expect("an undamaged snapshot")
}

proptest! {
    #[test]
    fn machines_that_applied_the_same_entries_are_equal(steps in steps()) {
        let (mut one, mut other) = (Machine::new(Limits::default()), Machine::new(Limits::default()));
        let outcomes = apply(&mut one, &steps);
        // Reads in between leave no trace.
        for step in &steps {
            prop_assert!(!other.read(0, 0, &args(&["RANDOMKEY"])).is_error());
            apply(&mut other, std::slice::from_ref(step));
        }
        prop_assert_eq!(one.hash(), other.hash());
        prop_assert_eq!(outcomes, apply(&mut Machine::new(Limits::default()), &steps));
    }

    #[test]
    fn stopping_between_operations_changes_nothing(steps in steps()) {
        let (mut one, mut other) = (Machine::new(Limits::default()), Machine::new(Limits::default()));
        prop_assert_eq!(apply(&mut one, &steps), apply_with_reads(&mut other, &steps));
        prop_assert_eq!(one.hash(), other.hash());
        prop_assert_eq!(one.stats(), other.stats());
    }

    #[test]
    fn a_restored_machine_goes_on_as_the_one_it_was_taken_of(
        before in steps(), after in steps(), cut in 1..200usize,
    ) {
        let mut original = Machine::new(Limits::default());
        apply(&mut original, &before);
        let snapshot = original.snapshot();
        let hash = original.hash();
        let mut copy = restored(&original, cut);
        prop_assert_eq!(copy.hash(), hash);
        prop_assert_eq!(copy.stats(), original.stats());
        prop_assert_eq!(apply(&mut original, &after), apply(&mut copy, &after));
        prop_assert_eq!(original.hash(), copy.hash());
        // What went on does not show in the view that was taken before.
        let old = Machine::restore(snapshot).expect("an undamaged snapshot");
        prop_assert_eq!(old.hash(), hash);
    }

    /// Subscribers hear the same at whichever node, also at one that has not seen how things came to be.
    #[test]
    fn a_restored_machine_tells_what_the_original_tells(before in steps(), after in steps(), cut in 1..200usize) {
        let everything = setting(b"notify-keyspace-events").expect("a replicated setting").max;
        let limits = Limits { notified_events: everything, reclaim_keys_max: 1, ..Limits::default() };
        let mut original = Machine::new(limits);
        apply(&mut original, &before);
        let mut copy = restored(&original, cut);
        prop_assert_eq!(told(&mut original, &after), told(&mut copy, &after));
        prop_assert_eq!(original.hash(), copy.hash());
    }

    /// By name among members of different scores, what is found is left open, but not that it is the same everywhere. It
    /// depended on the shape of the tree: a machine that was restored had another one and removed other members.
    #[test]
    fn names_among_mixed_scores_are_found_alike_on_a_restored_machine(
        members in vec((0..100u8, 0..5u8), 40..200),
    ) {
        let pairs = members.iter().flat_map(|(name, score)| [score.to_string(), format!("{name:02}")]);
        let add: Vec<String> = ["ZADD", "z"].map(str::to_owned).into_iter().chain(pairs).collect();
        let mut live = Driver::new();
        live.command(0, &args(&add));
        let mut other = Driver { machine: restored(&live.machine, 1000), stamp_ms: live.stamp_ms, served: Vec::new(), published: Vec::new() };
        for (from, to) in (0..100).step_by(7).flat_map(|from| (from..=100).step_by(9).map(move |to| (from, to))) {
            let range = args(&["ZRANGEBYLEX", "z", &format!("[{from:02}"), &format!("({to:02}")]);
            prop_assert_eq!(live.command(0, &range), other.command(0, &range), "from {} to {}", from, to);
        }
        let remove = args(&["ZREMRANGEBYLEX", "z", "[20", "[60"]);
        prop_assert_eq!(live.command(0, &remove), other.command(0, &remove));
        prop_assert_eq!(live.machine.hash(), other.machine.hash());
    }

    #[test]
    fn a_damaged_snapshot_is_refused(steps in steps(), at in any::<prop::sample::Index>(), bit in 0..8u8) {
        let mut machine = Machine::new(Limits::default());
        apply(&mut machine, &steps);
        let mut stream: Vec<u8> = machine.snapshot().flatten().collect();
        let at = at.index(stream.len());
        stream[at] ^= 1 << bit;
        prop_assert!(Machine::restore([Bytes::from(stream.clone())]).is_err());
        stream[at] ^= 1 << bit;
        prop_assert!(Machine::restore([Bytes::from(stream[..at].to_vec())]).is_err());
        stream.push(0);
        prop_assert!(Machine::restore([Bytes::from(stream)]).is_err());
    }

    /// A driver sends its commands again and again, in groups that begin anywhere, and the network reorders them.
    #[test]
    fn each_command_is_applied_once_however_often_it_is_in_the_log(
        sent in vec((0..30u64, 1..8u64), 0..60),
    ) {
        let mut driver = Driver::new();
        let increments = |count: u64| -> Vec<Operation> {
            (0..count).map(|_| Operation::Command { db: 0, user: 0, args: args(&["INCR", "n"]) }).collect()
        };
        let mut replies: BTreeMap<u64, Reply> = BTreeMap::new();
        for (from, count) in sent {
            let operations = increments(count);
            let group = Group { session: SESSION, stream: 0, acked: 0, first_sequence: from + 1, operations };
            for applied in driver.apply(vec![group]) {
                let last = driver.machine.session(SESSION).expect("the session is open");
                match applied.outcome {
                    Outcome::Reply(reply) => {
                        prop_assert_eq!(&reply, &Reply::Integer(applied.sequence as i64));
                        prop_assert_eq!(driver.machine.retained(SESSION, applied.sequence), Some(&reply));
                        replies.insert(applied.sequence, reply);
                    }
                    Outcome::Waits => prop_assert!(false, "INCR waits for nothing"),
                    Outcome::Refused(refusal) => {
                        prop_assert_eq!(refusal, Refusal::Gap { expected: last + 1 });
                    }
                }
            }
        }
        let count = replies.len().to_string();
        let read = driver.machine.read(0, 0, &args(&["GET", "n"]));
        prop_assert_eq!(read, if replies.is_empty() { Reply::Null } else { Reply::Bulk(count.into()) });
    }

    /// Whatever clients send, every command answers, and a read leaves the state as it was.
    #[test]
    fn no_arguments_make_a_command_panic(commands in vec(any_command(), 1..40)) {
        let mut driver = Driver::new();
        for (db, args) in commands {
            if Machine::is_read(&args) {
                let hash = driver.machine.hash();
                let reply = driver.machine.read(driver.stamp_ms, db, &args);
                prop_assert_eq!(driver.machine.hash(), hash);
                let operation = Operation::Command { db, user: 0, args: args.clone() };
                let logged = driver.run(vec![operation]).remove(0);
                let is_random = args[0].eq_ignore_ascii_case(b"RANDOMKEY");
                prop_assert!(is_random || logged == reply, "{:?}: {:?} {:?}", args, logged, reply);
            } else {
                driver.run(vec![Operation::Command { db, user: 0, args }]);
            }
            driver.advance(1);
        }
        prop_assert_eq!(restored(&driver.machine, 1000).hash(), driver.machine.hash());
    }

    /// A key set in the millisecond of one stamp may have been set at its very end: the time between two entries is
    /// only certain to be more than the stamps' difference less one millisecond.
    #[test]
    fn nothing_expires_early(ttl in 1..100u64, waits in vec(0..40u64, 1..10)) {
        let mut driver = Driver::new();
        driver.command(0, &args(&["SET", "k", "v", "PX", &ttl.to_string()]));
        let set_at = driver.stamp_ms;
        for wait in waits {
            driver.advance(wait);
            let surely_passed = (driver.stamp_ms - set_at).saturating_sub(1);
            let exists = driver.command(0, &args(&["GET", "k"])) != Reply::Null;
            prop_assert_eq!(exists, surely_passed < ttl);
            let size = driver.command(0, &args(&["DBSIZE"]));
            prop_assert_eq!(size, Reply::Integer(i64::from(exists)));
        }
    }
}

#[test]
fn replies_are_forgotten_when_acknowledged_or_too_many() {
    let mut driver = Driver::new();
    let set = args(&["CONFIG", "SET", "quorate-session-replies", "2"]);
    let ping = || Operation::Command { db: 0, user: 0, args: args(&["PING"]) };
    driver.run(vec![Operation::Command { db: 0, user: 0, args: set }, ping(), ping()]);
    assert_eq!(driver.machine.retained(SESSION, 1), None, "the oldest of three");
    assert!(driver.machine.retained(SESSION, 2).is_some());
    let group = |acked, first_sequence| Group {
        session: SESSION,
        stream: 0,
        acked,
        first_sequence,
        operations: vec![ping()],
    };
    let applied = driver.apply(vec![group(0, 1)]);
    assert_eq!(applied[0].outcome, Outcome::Refused(Refusal::Forgotten));
    driver.apply(vec![group(3, 4)]);
    assert_eq!(driver.machine.retained(SESSION, 3), None, "acknowledged");
    assert!(driver.machine.retained(SESSION, 4).is_some());
}

/// Whoever sends a command again while it waits learns that it does, and later what it was told.
#[test]
fn a_command_that_waits_is_applied_once_and_answered_once_more_when_asked() {
    let mut driver = Driver::new();
    let group = |first_sequence, words: &[&str]| Group {
        session: SESSION,
        stream: 0,
        acked: 0,
        first_sequence,
        operations: vec![Operation::Command { db: 0, user: 0, args: args(words) }],
    };
    let wait = || group(1, &["BLPOP", "q", "0"]);
    assert_eq!(driver.apply(vec![wait()])[0].outcome, Outcome::Waits);
    assert_eq!(driver.apply(vec![wait()])[0].outcome, Outcome::Waits);
    assert!(driver.machine.waits(SESSION, 1) && driver.machine.retained(SESSION, 1).is_none());
    let applied = driver.apply(vec![group(2, &["RPUSH", "q", "a", "b"]), wait()]);
    let taken = Outcome::Reply(Reply::Array(args(&["q", "a"]).into_iter().map(Reply::Bulk).collect()));
    let outcomes: Vec<(u64, Outcome)> =
        applied.into_iter().map(|applied| (applied.sequence, applied.outcome)).collect();
    assert_eq!(outcomes, [(2, Outcome::Reply(Reply::Integer(2))), (1, taken.clone()), (1, taken)]);
    assert_eq!(driver.machine.stats().retained_replies, 2);
    assert_eq!(driver.command(0, &args(&["LLEN", "q"])), Reply::Integer(1));
}

/// Nobody could be told what was taken for a node that has begun a new life.
#[test]
fn what_an_earlier_life_of_a_node_waits_for_stays() {
    let mut driver = Driver::new();
    driver.command(0, &args(&["BLPOP", "q", "0"]));
    let session = SessionId { node: 1, incarnation: 2 };
    let group = |first_sequence, operation| Group {
        session,
        stream: 0,
        acked: 0,
        first_sequence,
        operations: vec![operation],
    };
    let push = Operation::Command { db: 0, user: 0, args: args(&["RPUSH", "q", "a"]) };
    let applied = driver.apply(vec![group(0, Operation::OpenSession), group(1, push)]);
    let own = applied.iter().filter(|applied| applied.session == session).count();
    assert_eq!(own, 2, "{applied:?}");
    assert_eq!(driver.machine.stats().waiting, 0);
    assert_eq!(driver.machine.read(0, 0, &args(&["LLEN", "q"])), Reply::Integer(1));
}

/// One reply that is larger than the limit on all of them does not push out the others.
#[test]
fn a_reply_too_large_to_be_retained_is_replaced_by_an_error() {
    let mut driver = Driver::new();
    let set = args(&["CONFIG", "SET", "quorate-session-reply-bytes", "1kb"]);
    let echo = |text: &str| Operation::Command { db: 0, user: 0, args: args(&["ECHO", text]) };
    driver.run(vec![Operation::Command { db: 0, user: 0, args: set }, echo("short")]);
    let group = |operations| Group { session: SESSION, stream: 0, acked: 0, first_sequence: 3, operations };
    let long = echo(&"long".repeat(1000));
    let first = driver.apply(vec![group(vec![long.clone()])]);
    assert_eq!(first[0].outcome, Outcome::Reply(Reply::Bulk(Bytes::from("long".repeat(1000)))));
    assert_eq!(driver.machine.retained(SESSION, 2), Some(&Reply::Bulk(Bytes::from_static(b"short"))));
    let again = driver.apply(vec![group(vec![long])]);
    assert!(matches!(&again[0].outcome, Outcome::Reply(reply) if reply.is_error()), "{again:?}");
}

#[test]
fn a_superseded_or_unknown_session_is_refused() {
    let mut driver = Driver::new();
    let command = |incarnation, first_sequence, operation| Group {
        session: SessionId { node: 1, incarnation },
        stream: 0,
        acked: 0,
        first_sequence,
        operations: vec![operation],
    };
    let ping = || Operation::Command { db: 0, user: 0, args: args(&["PING"]) };
    let unknown = Outcome::Refused(Refusal::UnknownSession);
    assert_eq!(driver.apply(vec![command(2, 1, ping())])[0].outcome, unknown);
    driver.apply(vec![command(2, 0, Operation::OpenSession)]);
    assert_eq!(driver.apply(vec![command(1, 1, ping())])[0].outcome, unknown);
    assert_eq!(driver.apply(vec![command(1, 0, Operation::OpenSession)])[0].outcome, unknown);
    let applied = driver.apply(vec![command(2, 1, ping())]);
    assert_eq!(applied[0].outcome, Outcome::Reply(Reply::status("PONG")));
    // To open it again does not forget what it sent.
    driver.apply(vec![command(2, 0, Operation::OpenSession)]);
    assert_eq!(driver.machine.session(SessionId { node: 1, incarnation: 2 }), Some(1));
    let misplaced = driver.apply(vec![command(2, 0, ping())]);
    assert_eq!(misplaced[0].outcome, Outcome::Refused(Refusal::Misplaced));
}

#[test]
fn expired_keys_are_freed_in_bounded_steps_and_never_seen() {
    let mut driver = Driver::new();
    driver.command(0, &args(&["CONFIG", "SET", "quorate-reclaim-keys", "10"]));
    for key in 0..100 {
        driver.command(0, &args(&["SET", &format!("{key:02}"), "v", "PX", "5"]));
    }
    let before = driver.machine.stats().data_bytes;
    driver.advance(6);
    let stats = driver.machine.stats();
    assert_eq!(stats.databases[0].keys, 0);
    assert_eq!(stats.data_bytes, before / 100 * 90);
    assert!(driver.machine.has_deadlines(), "time must pass until all are freed");
    for _ in 0..9 {
        driver.advance(0);
    }
    assert_eq!(driver.machine.stats().data_bytes, 0);
    assert!(!driver.machine.has_deadlines());
}

#[test]
fn an_entry_out_of_order_or_back_in_time_changes_nothing() {
    let mut driver = Driver::new();
    let (hash, index) = (driver.machine.hash(), driver.machine.applied());
    assert!(driver.machine.apply(index + 2, driver.stamp_ms, None).is_err());
    assert!(driver.machine.apply(index, driver.stamp_ms, None).is_err());
    assert!(driver.machine.apply(index + 1, driver.stamp_ms - 1, None).is_err());
    let garbage = Bytes::from_static(b"garbage");
    assert!(driver.machine.apply(index + 1, driver.stamp_ms + 1, Some(&garbage)).is_err());
    assert_eq!(driver.machine.hash(), hash);
}

#[test]
fn a_walk_is_bounded_by_its_count_and_its_pattern() {
    let mut driver = Driver::new();
    for key in 0..12_000 {
        driver.command(0, &args(&["SET", &format!("key{key}"), "v"]));
    }
    let scan = driver.command(0, &args(&["SCAN", "0", "COUNT", "1000000"]));
    let Reply::Array(scan) = scan else { panic!("SCAN answers an array") };
    let Reply::Array(keys) = &scan[1] else { panic!("and keys in it") };
    assert!((10_000..10_100).contains(&keys.len()), "{} keys", keys.len());
    for (length, is_refused) in [(1024, false), (1025, true)] {
        let pattern = "a".repeat(length);
        assert_eq!(driver.command(0, &args(&["KEYS", &pattern])).is_error(), is_refused);
        assert_eq!(driver.command(0, &args(&["SCAN", "0", "MATCH", &pattern])).is_error(), is_refused);
    }
}

/// A birth by a wall clock far in the future must not end the cluster.
#[test]
fn a_birth_leaves_tokens_to_give_out() {
    let mut machine = Machine::new(Limits::default());
    let group = |first_sequence, operation| Group {
        session: SESSION,
        stream: 0,
        acked: 0,
        first_sequence,
        operations: vec![operation],
    };
    let birth = Operation::Birth { cluster_id: 1, fence_base: u64::MAX, calendar_ms: i64::MAX };
    let set = Operation::Command { db: 0, user: 0, args: args(&["SET", "k", "v"]) };
    let groups = vec![group(0, birth), group(0, Operation::OpenSession), group(1, set)];
    let payload = Batch { version: ClusterVersion::NEWEST, groups }.encode();
    let applied = machine.apply(1, 1000, Some(&payload)).expect("the entry is well-formed");
    assert_eq!(applied[2].outcome, Outcome::Reply(Reply::ok()));
}

/// The meter is for scheduling, so that the order of magnitude is what counts.
#[test]
fn work_grows_with_what_was_done() {
    const KEYS: u64 = 10_000;
    let mut driver = Driver::new();
    let mut work_of = |words: &[&str]| {
        let before = driver.machine.work();
        driver.command(0, &args(words));
        driver.machine.work() - before
    };
    for key in 0..KEYS {
        let work = work_of(&["SET", &format!("key{key}"), "v", "PX", "1000"]);
        assert!((1..10).contains(&work), "{work} for SET");
    }
    assert!(work_of(&["GET", "key1"]) < 10);
    assert!(work_of(&["EVAL", "return redis.call('get', KEYS[1])", "1", "key1"]) < 200, "a VM was built");
    assert!(work_of(&["EVAL", "return redis.call('get', KEYS[1])", "1", "key1"]) < 10, "it is there now");
    for walk in [&["KEYS", "*"][..], &["KEYS", "none"], &["SCAN", "0", "COUNT", "10000"]] {
        let work = work_of(walk);
        assert!((KEYS / 20..KEYS).contains(&work), "{work} for {walk:?}");
    }
    assert!(work_of(&["SET", "long", &"v".repeat(8 << 20)]) > 1_000);
    assert!(work_of(&["EVAL", "while true do end", "0"]) > 50_000, "the whole budget");
    assert!(work_of(&["FLUSHALL"]) > 100);
    assert!(work_of(&["PING"]) < 10_000, "a share of what was flushed is freed with it");
}

/// A machine with an entry under way.
fn begun() -> Machine {
    let mut machine = Machine::new(Limits::default());
    machine.begin(1, 1000, None).expect("the first entry");
    machine
}

#[test]
#[should_panic(expected = "between two entries")]
fn no_snapshot_holds_half_an_entry() {
    drop(begun().snapshot());
}

#[test]
#[should_panic(expected = "one after another")]
fn no_entry_begins_within_another() {
    let _refused = begun().begin(2, 1000, None);
}

#[test]
fn the_first_birth_counts() {
    let mut driver = Driver::new();
    let birth = Operation::Birth { cluster_id: 8, fence_base: 1 << 40, calendar_ms: 0 };
    let group = Group {
        session: SessionId::default(),
        stream: 0,
        acked: 0,
        first_sequence: 0,
        operations: vec![birth],
    };
    driver.apply(vec![group]);
    assert_eq!(driver.machine.cluster_id(), Some(7));
    assert_eq!(driver.machine.stats().fence, 100);
    assert_eq!(driver.machine.calendar_offset(), 1_577_836_800_000);
}

/// A walk over a database that changes meanwhile, each step at another replica.
#[test]
fn a_scan_meets_every_key_that_stays_once_whatever_comes_and_goes() {
    let mut driver = Driver::new();
    for key in 0..2000 {
        driver.command(0, &args(&["SET", &format!("stays{key}"), "v"]));
    }
    let (mut cursor, mut found, mut round) = (Bytes::from_static(b"0"), Vec::new(), 0);
    loop {
        driver.command(0, &args(&["SET", &format!("comes{round}"), "v"]));
        driver.machine = restored(&driver.machine, 1 << 16);
        let step = args(&[b"SCAN", &cursor[..], b"MATCH", b"stays*", b"COUNT", b"50"]);
        let Reply::Array(reply) = driver.command(0, &step) else { panic!("SCAN answers an array") };
        let [Reply::Bulk(next), Reply::Array(keys)] = &reply[..] else { panic!("a cursor and keys") };
        found.extend(keys.iter().map(support::show));
        cursor = next.clone();
        round += 1;
        if &cursor[..] == b"0" {
            break;
        }
    }
    assert!(round > 30, "{round} steps");
    assert_eq!(found.len(), 2000);
    found.sort();
    found.dedup();
    assert_eq!(found.len(), 2000);
}

/// What a replica has that a snapshot does not carry, such as the pages of a database without keys, must cost nothing.
#[test]
fn a_script_costs_the_same_on_a_restored_machine() {
    let counted =
        |body: &str| format!("for i = 1, 2000 do redis.call('incr', 'n') {body} redis.call('del', 'n') end");
    let walks = [
        "redis.call('keys', '*')",
        "redis.call('scan', 0)",
        "redis.call('randomkey')",
        "redis.call('flushall')",
    ];
    let in_another = |walk: &str| {
        format!("redis.call('select', 1) {walk} redis.call('select', 0) redis.call('incr', 'm')")
    };
    for body in walks.iter().flat_map(|walk| [counted(walk), counted(&in_another(walk))]) {
        let mut driver = Driver::new();
        driver.command(0, &args(&["CONFIG", "SET", "quorate-script-steps", "30000"]));
        for db in 0..2 {
            driver.command(db, &args(&["SET", "k", "v"]));
            driver.command(db, &args(&["DEL", "k"]));
        }
        let machine = restored(&driver.machine, 1 << 16);
        let mut other =
            Driver { machine, stamp_ms: driver.stamp_ms, served: Vec::new(), published: Vec::new() };
        let eval = args(&["EVAL", &body, "0"]);
        assert_eq!(driver.command(0, &eval), other.command(0, &eval), "{body}");
        assert_eq!(driver.machine.hash(), other.machine.hash(), "{body}");
    }
}

/// A script that needs more than a small part of its budget is undone and begun anew in a fresh VM. Tokens, versions, the
/// selected database and the draws of chance are as if it had been run once.
#[test]
fn a_script_that_was_begun_anew_leaves_what_one_run_leaves() {
    const LOOP: &str = "for i = 1, 50 do redis.call('incr', 'n') end \
        redis.call('select', 1) redis.call('randomkey') for i = 1, 50 do redis.call('incr', 'n') end \
        redis.call('set', 'b', redis.call('randomkey')) return redis.call('fence', 'b')";
    let run = |steps: u32| {
        let mut driver = Driver::new();
        for key in 0..9 {
            driver.command(1, &args(&["SET", &key.to_string(), "v"]));
        }
        driver.command(0, &args(&["CONFIG", "SET", "quorate-script-steps", &steps.to_string()]));
        let reply = driver.command(0, &args(&["EVAL", LOOP, "0"]));
        let look: [(u32, &[&str]); 3] = [(0, &["FENCE", "n"]), (1, &["GET", "b"]), (0, &["DBSIZE"])];
        let state = look.map(|(db, words)| support::show(&driver.command(db, &args(words))));
        let watched = driver.machine.versions(1, &args(&["b"]));
        (reply, state, watched)
    };
    let at_once = run(10_000_000);
    assert!(!at_once.0.is_error());
    // A warm VM has less than a hundredth of these: it ends before the loop, at any turn of it, or not at all.
    for steps in (10_000..500_000).step_by(5_000) {
        assert_eq!(run(steps), at_once, "with {steps} steps");
    }
}
