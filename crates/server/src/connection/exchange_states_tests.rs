//! What depends on a state of the connection, or of its node.

use super::*;

#[test]
fn readonly_concerns_the_reads_of_its_connection_until_it_is_taken_back() {
    let mut bench = Bench::new();
    let mut asked = |line: &str| bench.send(line).asked();
    assert_eq!(asked("GET k"), "0R GET k");
    assert_eq!(asked("READONLY"), "");
    assert_eq!(asked("GET k"), "0S GET k");
    assert_eq!(asked("EVAL_RO x 0"), "0S EVAL_RO x 0");
    assert_eq!(asked("SET k v"), "0W SET k v");
    assert_eq!(asked("READWRITE"), "");
    assert_eq!(asked("GET k"), "0R GET k");
    bench.send("READONLY").send("RESET");
    assert_eq!(bench.send("GET k").asked(), "0R GET k");
}

#[test]
fn a_node_that_was_removed_refuses_what_needs_the_data_and_answers_for_itself() {
    let mut bench = Bench::new();
    bench.exchange.front.removed.store(true, Ordering::Relaxed);
    assert_eq!(bench.says("SUBSCRIBE c"), format!("-{REMOVED} "));
    assert_eq!(bench.says("GET k"), format!("-{REMOVED} "));
    assert_eq!(bench.asked(), "");
    assert!(bench.says("QUORATE STATUS").contains("node_id"));
}

#[test]
fn members_are_changed_by_the_shard_and_neither_within_a_transaction_nor_while_data_are_recovered() {
    let mut bench = Bench::new();
    bench.status.send_modify(|status| Arc::make_mut(status).loading = true);
    assert!(bench.says("QUORATE MEMBER REMOVE 3").starts_with("-LOADING"));
    bench.status.send_modify(|status| Arc::make_mut(status).loading = false);
    bench.send("QUORATE MEMBER REMOVE 3 PROMOTE 4");
    assert_eq!(bench.asked(), "members: remove n3, promote n4");
    assert_eq!(bench.answer(Reply::ok()).got(), "+OK ");
    assert_eq!(bench.says("MULTI"), "+OK ");
    assert!(bench.says("QUORATE MEMBER REMOVE 3").starts_with("-ERR Command not allowed inside"));
    assert_eq!(bench.says("QUORATE MEMBER LIST"), "*0 ");
}

#[test]
fn who_reads_stale_data_and_hears_nothing_needs_no_leader() {
    let mut bench = Bench::new();
    assert!(!bench.exchange.needs_no_leader());
    bench.send("READONLY");
    assert!(bench.exchange.needs_no_leader());
    bench.exchange.front.removed.store(true, Ordering::Relaxed);
    assert!(!bench.exchange.needs_no_leader());
    bench.exchange.front.removed.store(false, Ordering::Relaxed);
    bench.send("SUBSCRIBE c");
    bench.answer(Reply::ok());
    assert!(!bench.exchange.needs_no_leader());
}
