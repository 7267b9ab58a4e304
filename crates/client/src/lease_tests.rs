use proptest::prelude::*;

use super::*;

fn at(millis: u64) -> BootTime {
    BootTime::from_millis(millis)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_lease_is_counted_from_the_request_less_the_drift_and_renewed_after_a_third() {
    for (ttl, until, renewal) in [(10_000, 9_990, 3_330), (1_000, 999, 333), (300_000, 299_700, 99_900)] {
        let lease = Lease::new(at(500), ms(ttl));
        assert_eq!(lease.until(), Some(at(500 + until)), "{ttl}");
        assert_eq!(lease.loss(at(500 + until - 1)), None, "{ttl}");
        assert_eq!(lease.loss(at(500 + until)), Some(Loss::Expired), "{ttl}");
        assert_eq!(lease.renewal(), Some(at(500 + renewal)), "{ttl}");
    }
}

#[test]
fn renewals_that_fail_come_ever_more_slowly_but_some_always_fit_in() {
    let lease = Lease::new(at(0), ms(10_000));
    let mut now = lease.renewal().unwrap();
    let mut failures = 0;
    while lease.loss(now).is_none() {
        let limit = lease.attempt_limit(now);
        assert!(limit <= lease.until().unwrap().since(now).max(ATTEMPT_MIN), "an attempt outlasts the lease");
        failures += 1;
        now = now + limit + lease.pause(failures);
    }
    assert!((4..50).contains(&failures), "{failures} attempts, each of which hung");
}

#[test]
fn an_extension_counts_from_when_it_was_sent() {
    let mut lease = Lease::new(at(0), ms(1_000));
    lease.ask(at(400), ms(1_000)).unwrap();
    assert_eq!(lease.until(), Some(at(999)), "nothing is gained before the answer");
    lease.extended(at(400), ms(1_000), at(700));
    assert_eq!(lease.until(), Some(at(1_399)));
}

#[test]
fn a_request_that_shortens_the_time_does_so_when_it_is_sent_answered_or_not() {
    let mut lease = Lease::new(at(0), ms(10_000));
    lease.ask(at(1_000), ms(1_000)).unwrap();
    assert_eq!(lease.until(), Some(at(1_999)));
    // Its answer was lost, and it may come into force after the next one.
    lease.ask(at(1_500), ms(10_000)).unwrap();
    lease.extended(at(1_500), ms(10_000), at(1_600));
    assert_eq!(lease.until(), Some(at(2_499)));
    assert_eq!(lease.ttl(), Some(ms(10_000)));
}

/// Who has waited for the lock asks for its time anew, and may have to ask twice: the first request may come into force after
/// one that the holder makes later.
#[test]
fn a_lease_that_was_asked_for_twice_never_counts_on_more_than_the_first_request_gives() {
    let mut lease = Lease::with_astray(at(0), ms(1_000));
    assert_eq!(lease.until(), Some(at(999)));
    lease.ask(at(100), ms(10_000)).unwrap();
    lease.extended(at(100), ms(10_000), at(200));
    assert_eq!(lease.until(), Some(at(1_099)));
}

#[test]
fn what_was_certainly_not_carried_out_is_forgotten() {
    let mut lease = Lease::new(at(0), ms(10_000));
    lease.ask(at(1_000), ms(5_000)).unwrap();
    lease.not_extended();
    lease.ask(at(2_000), ms(10_000)).unwrap();
    lease.extended(at(2_000), ms(10_000), at(2_001));
    assert_eq!(lease.until(), Some(at(11_990)));
}

#[test]
fn a_lease_that_has_run_out_stays_so() {
    let mut lease = Lease::new(at(0), ms(1_000));
    lease.ask(at(900), ms(1_000)).unwrap();
    // The machine was suspended before the answer was read.
    lease.extended(at(900), ms(1_000), at(1_200));
    assert_eq!(lease.loss(at(1_200)), Some(Loss::Expired));
    assert_eq!(lease.ask(at(1_200), ms(1_000)), Err(Loss::Expired));
    assert_eq!((lease.until(), lease.renewal()), (None, None));
}

#[test]
fn the_first_reason_for_a_loss_is_the_one_that_is_told() {
    let mut lease = Lease::new(at(0), ms(1_000));
    lease.end(Loss::Taken);
    lease.end(Loss::Released);
    assert_eq!(lease.loss(at(5_000)), Some(Loss::Taken));
}

/// What may become of a request to extend.
#[derive(Clone, Copy, Debug)]
enum Fate {
    /// Carried out and answered, after these times on the way.
    Answered { there: u64, back: u64 },
    /// Never carried out, and known not to be.
    Refused,
    /// Nobody waits for the answer any longer; carried out at that time after it was sent, however late.
    Astray { there: u64 },
}

fn fates() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (0..400_u64, 0..400_u64).prop_map(|(there, back)| Fate::Answered { there, back }),
        1 => Just(Fate::Refused),
        2 => (0..5_000_u64).prop_map(|there| Fate::Astray { there }),
    ]
}

/// The times from `from` until `to` at which the holder believes in its lock.
fn believed(lease: &Lease, from: u64, to: u64) -> impl Iterator<Item = u64> {
    (from..to).step_by(7).filter(|time| lease.loss(at(*time)).is_none())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Requests are late, lost and overtaken by later ones.
    #[test]
    fn a_lease_never_outlasts_the_lock(
        ttl in 100..3_000_u64,
        granted_after in 0..90_u64,
        asks in prop::collection::vec((0..1_500_u64, 100..3_000_u64, fates()), 1..8),
    ) {
        let mut lease = Lease::new(at(0), ms(ttl));
        // When the server has set a deadline, and which.
        let mut deadlines = vec![(granted_after, granted_after + ttl)];
        let (mut now, mut times) = (granted_after, Vec::new());
        for (pause, ttl, fate) in asks {
            times.extend(believed(&lease, now, now + pause));
            now += pause;
            if lease.ask(at(now), ms(ttl)).is_err() {
                break;
            }
            match fate {
                Fate::Answered { there, back } => {
                    deadlines.push((now + there, now + there + ttl));
                    times.extend(believed(&lease, now, now + there + back));
                    lease.extended(at(now), ms(ttl), at(now + there + back));
                    now += there + back;
                }
                Fate::Refused => lease.not_extended(),
                Fate::Astray { there } => deadlines.push((now + there, now + there + ttl)),
            }
        }
        times.extend(believed(&lease, now, now + 4_000));
        deadlines.sort_unstable();
        for time in times {
            let in_force = deadlines.iter().rfind(|(set, _)| *set <= time);
            let deadline = in_force.map_or(u64::MAX, |(_, deadline)| *deadline);
            prop_assert!(time < deadline, "at {time} a lock is believed in that ended at {deadline}: {deadlines:?}");
        }
    }
}
