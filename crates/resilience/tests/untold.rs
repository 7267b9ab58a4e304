//! Successes that are counted beside the lock: the count by itself.

#[path = "../src/breaker/untold.rs"]
mod source;

use self::source::Untold;

/// A count that is open for successes of this epoch.
fn open_for(epoch: u64, room: u64) -> Untold {
    let untold = Untold::closed();
    untold.open(epoch, room);
    untold
}

fn added(untold: &Untold, epoch: u64, successes: usize) -> usize {
    (0..successes).filter(|_| untold.add(epoch)).count()
}

#[test]
fn open_count_takes_successes_and_hands_them_out_once() {
    let untold = open_for(7, 10);
    assert_eq!(added(&untold, 7, 3), 3);
    assert_eq!((untold.close(), untold.close()), (3, 0));
}

#[test]
fn count_that_nothing_was_added_to_comes_to_nothing() {
    assert_eq!((Untold::closed().close(), open_for(7, 10).close()), (0, 0));
}

#[test]
fn success_of_another_epoch_is_not_added() {
    let untold = open_for(7, 10);
    assert_eq!((untold.add(6), untold.add(8), untold.close()), (false, false, 0));
}

#[test]
fn full_count_takes_no_more() {
    let untold = open_for(0, 2);
    assert_eq!((added(&untold, 0, 5), untold.close()), (2, 2));
    assert!(!open_for(0, 0).add(0));
}

#[test]
fn room_is_bounded_however_much_is_asked_for() {
    let untold = open_for(1, u64::MAX);
    assert_eq!((added(&untold, 1, 5_000), untold.close()), (1_024, 1_024));
}

#[test]
fn closed_count_takes_nothing() {
    let untold = open_for(0, 10);
    untold.close();
    assert_eq!((untold.add(0), Untold::closed().add(0)), (false, false));
}

#[test]
fn opened_again_it_begins_at_nothing() {
    let untold = open_for(3, 10);
    assert_eq!(added(&untold, 3, 4), 4);
    untold.close();
    untold.open(4, 1);
    assert_eq!((untold.add(3), untold.add(4), untold.close()), (false, true, 1));
}
