//! A warm VM must show in nothing, also not in what a transaction has left to spend.

#[expect(dead_code, reason = "shared with other tests")]
mod support;

use quorate_machine::{Operation, Reply};
use support::{Driver, args};

/// What a thread keeps between scripts is of that thread alone.
fn on_a_thread_of_its_own<R: Send + 'static>(run: impl FnOnce() -> R + Send + 'static) -> R {
    std::thread::spawn(run).join().expect("the test's own code does not panic")
}

/// A transaction whose script fits into a clean warm VM, and not into one with garbage; and as many commands behind it
/// as use up what it has left.
fn transact() -> (Vec<Reply>, u64) {
    let mut driver = Driver::new();
    let members: Vec<String> = (0..1000).map(|member| member.to_string()).collect();
    driver.command(0, &args(&[&["SADD".to_owned(), "s".to_owned()][..], &members].concat()));
    driver.command(0, &args(&["CONFIG", "SET", "quorate-script-steps", "400000"]));
    let script = "for i = 1, 10 do redis.call('SMEMBERS', 's') end return #string.rep('x', 700 * 1024)";
    let mut commands = vec![(0, args(&["EVAL", script, "0"]))];
    commands.extend((0..400).map(|_| (0, args(&["SMEMBERS", "s"]))));
    let replies = driver.run(vec![Operation::Transaction { watched: vec![], commands }]);
    (replies, driver.machine.hash())
}

/// What a run had spent that was begun in a warm VM and taken back was paid for, so that a replica with garbage in its
/// VM ended the transaction at an earlier command than one without.
#[test]
fn a_transaction_ends_at_the_same_command_whatever_ran_before() {
    let clean = on_a_thread_of_its_own(transact);
    let after_garbage = on_a_thread_of_its_own(|| {
        let garbage = "local t = {} for i = 1, 440 do t[i] = string.rep('x', 1000) .. i end return #t";
        let reply = Driver::new().command(0, &args(&["EVAL", garbage, "0"]));
        assert_eq!(reply, Reply::Integer(440));
        transact()
    });
    assert_eq!(clean, after_garbage);
    let Reply::Array(replies) = &clean.0[0] else { panic!("a transaction answers an array") };
    assert!(matches!(replies.first(), Some(Reply::Integer(716_800))), "{:?}", replies.first());
    assert!(replies.last().is_some_and(Reply::is_error), "the budget is used up");
}
