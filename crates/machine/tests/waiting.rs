//! Those who wait are served by what ends without a command.

mod support;

use quorate_machine::{Machine, Step};
use support::{Driver, args, show};

fn ask(driver: &mut Driver, words: &str) -> String {
    show(&driver.command(0, &args(&words.split(' ').collect::<Vec<_>>())))
}

/// A lock that 1,024 share had no room until somebody released it: that the time of one was over woke nobody, since the key
/// was there still.
#[test]
fn a_full_shared_lock_has_room_again_when_the_time_of_a_reader_ends() {
    let mut driver = Driver::new();
    for reader in 0..1024 {
        let ttl_ms = if reader == 7 { 50 } else { 1000 };
        ask(&mut driver, &format!("LOCK ACQUIRE l OWNER r{reader} TTL {ttl_ms} SHARED"));
    }
    let late = ask(&mut driver, "LOCK ACQUIRE l OWNER late TTL 1000 SHARED WAIT 500");
    assert!(late.starts_with("waits as "), "{late}");
    driver.machine = Machine::restore(driver.machine.snapshot()).expect("a snapshot can be restored");
    assert_eq!(driver.machine.next_deadline(), Some(driver.stamp_ms + 50));
    driver.advance(50);
    assert_eq!(driver.served, [], "the last millisecond is the reader's still");
    driver.advance(1);
    assert_eq!(driver.served.iter().map(|(_, reply)| show(reply)).collect::<Vec<_>>(), ["(integer) 101"]);
    let next = ask(&mut driver, "LOCK ACQUIRE l OWNER next TTL 1000 SHARED WAIT 500");
    assert!(next.starts_with("waits as "), "{next}");
}

/// The locks of a session end in one instant, and whoever waits for one of them is served in the same entry; which of them come
/// first is the same on a replica that begins with a snapshot.
#[test]
fn all_who_wait_for_the_locks_of_a_session_are_served_when_it_ends() {
    let (mut driver, mut restored) = (Driver::new(), Driver::new());
    for driver in [&mut driver, &mut restored] {
        ask(driver, "SESSION OPEN 100");
        for lock in 0..500 {
            ask(driver, &format!("LOCK ACQUIRE l{lock} SESSION 101"));
            ask(driver, &format!("LOCK ACQUIRE l{lock} OWNER w TTL 1000 WAIT 500"));
        }
    }
    restored.machine = Machine::restore(driver.machine.snapshot()).expect("a snapshot can be restored");
    driver.advance(101);
    restored.advance(101);
    assert_eq!(driver.served.len(), 500);
    assert_eq!(driver.served, restored.served);
    assert_eq!(driver.machine.hash(), restored.machine.hash());
}

/// A session that shared many locks with another one ended, and all of them were looked at in one step, though nobody could have
/// any: a node did nothing else meanwhile.
#[test]
fn keys_at_which_there_is_nothing_are_looked_at_in_many_steps() {
    const LOCKS: u64 = 3_000;
    let mut driver = Driver::new();
    ask(&mut driver, "SESSION OPEN 100");
    ask(&mut driver, "SESSION OPEN 200");
    for lock in 0..LOCKS {
        ask(&mut driver, &format!("LOCK ACQUIRE l{lock} SESSION 101 SHARED"));
        ask(&mut driver, &format!("LOCK ACQUIRE l{lock} SESSION 102 SHARED"));
        ask(&mut driver, &format!("LOCK ACQUIRE l{lock} OWNER w TTL 1000 WAIT 5000"));
    }
    driver.stamp_ms += 101;
    let machine = &mut driver.machine;
    machine.begin(machine.applied() + 1, driver.stamp_ms, None).expect("time goes forward");
    let mut pauses = 0;
    loop {
        let before = machine.work();
        let step = machine.apply_next();
        assert!(machine.work() - before <= 1_010, "{step:?} took {}", machine.work() - before);
        match step {
            Step::Applied(applied) => panic!("nobody can be served: {applied:?}"),
            Step::Paused => pauses += 1,
            Step::Finished => break,
        }
    }
    assert!(pauses >= LOCKS / 1_000, "{pauses} pauses");
    driver.advance(100);
    assert_eq!(driver.served.len() as u64, LOCKS);
}

/// How much the steps of an entry took that only lets time pass, each of its own.
fn steps(driver: &mut Driver) -> Vec<u64> {
    let machine = &mut driver.machine;
    machine.begin(machine.applied() + 1, driver.stamp_ms, None).expect("time goes forward");
    let mut steps = Vec::new();
    loop {
        let before = machine.work();
        let step = machine.apply_next();
        steps.push(machine.work() - before);
        match step {
            Step::Applied(applied) => panic!("nobody can be served: {applied:?}"),
            Step::Paused => {}
            Step::Finished => return steps,
        }
    }
}

/// Only sessions counted of those who share a lock: where owners did, all their locks were looked at in one step, each reader of
/// them.
#[test]
fn readers_are_counted_that_are_looked_at_in_vain() {
    const LOCKS: usize = 4;
    let mut driver = Driver::new();
    ask(&mut driver, "SESSION OPEN 100");
    for lock in 0..LOCKS {
        ask(&mut driver, &format!("LOCK ACQUIRE l{lock} SESSION 101 SHARED"));
        for reader in 0..1_000 {
            ask(&mut driver, &format!("LOCK ACQUIRE l{lock} OWNER r{reader} TTL 9000 SHARED"));
        }
        ask(&mut driver, &format!("LOCK ACQUIRE l{lock} OWNER w TTL 1000 WAIT 5000"));
    }
    driver.stamp_ms += 101;
    let steps = steps(&mut driver);
    assert!(steps.len() > LOCKS && steps.iter().all(|work| *work < 2_010), "{steps:?}");
}

/// What a session that has ended had a share of was reclaimed at the price of one key each, though all who share it are copied:
/// an entry that began stood still for all of them.
#[test]
fn what_many_share_is_reclaimed_in_many_entries() {
    const LOCKS: usize = 5;
    let mut driver = Driver::new();
    ask(&mut driver, "CONFIG SET quorate-reclaim-keys 20");
    ask(&mut driver, "SESSION OPEN 100");
    for lock in 0..LOCKS {
        ask(&mut driver, &format!("LOCK ACQUIRE l{lock} SESSION 101 SHARED"));
        for reader in 0..250 {
            ask(&mut driver, &format!("LOCK ACQUIRE l{lock} OWNER r{reader} TTL 9000 SHARED"));
        }
    }
    driver.advance(101);
    let mut entries = 1;
    while driver.machine.next_deadline() == Some(0) {
        driver.advance(0);
        entries += 1;
    }
    assert!(entries >= LOCKS, "{entries}");
}

/// To forget the sessions that had shared a lock cost nothing.
#[test]
fn sessions_are_counted_that_are_forgotten() {
    let mut driver = Driver::new();
    for reader in 0..1_000 {
        let session = ask(&mut driver, "SESSION OPEN 100000").replace("(integer) ", "");
        ask(&mut driver, &format!("LOCK ACQUIRE l SESSION {session} SHARED"));
        assert!(reader > 0 || session == "101", "{session}");
    }
    ask(&mut driver, "LOCK ACQUIREALL 2 l m OWNER w TTL 1000 WAIT 5000");
    let before = driver.machine.work();
    ask(&mut driver, "DEL l");
    assert_eq!(driver.served.len(), 1);
    assert!(driver.machine.work() - before > 1_000, "{}", driver.machine.work() - before);
}
