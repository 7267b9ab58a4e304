use super::*;

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

fn name(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn publication(kind: ChannelKind, channel: &'static str, message: &'static str) -> Publication {
    Publication { kind, channel: name(channel), message: name(message), position: None }
}

/// The words of what has arrived.
fn taken(mailbox: &mut Mailbox) -> Vec<String> {
    let words = |message: Arc<Message>| match &message.push {
        Reply::Push(parts) => parts
            .iter()
            .map(|part| match part {
                Reply::Bulk(text) => text.escape_ascii().to_string(),
                other => panic!("{other:?} in a message"),
            })
            .collect::<Vec<_>>()
            .join(" "),
        other => panic!("{other:?} is no message"),
    };
    std::iter::from_fn(|| mailbox.take()).map(words).collect()
}

/// Hands a message over and out at once.
fn hand_over(subscriptions: &Subscriptions, publication: Publication) {
    let number = subscriptions.number();
    subscriptions.deliver(number, publication);
    subscriptions.handed_out(number);
}

#[test]
fn a_message_reaches_each_subscription_that_it_matches_once() {
    let (subscriptions, _) = Subscriptions::new();
    let (mut a, mut b) = (subscriptions.open(A, 10_000), subscriptions.open(B, 10_000));
    subscriptions.subscribe(A, Topic::Channel, &[name("news"), name("news")]);
    subscriptions.subscribe(A, Topic::Pattern, &[name("n*")]);
    subscriptions.subscribe(B, Topic::Sharded, &[name("news")]);
    assert_eq!(subscriptions.receivers(ChannelKind::Ordinary, b"news"), 2);
    hand_over(&subscriptions, publication(ChannelKind::Ordinary, "news", "one"));
    hand_over(&subscriptions, publication(ChannelKind::Ordinary, "nothing", "two"));
    hand_over(&subscriptions, publication(ChannelKind::Sharded, "news", "three"));
    assert_eq!(taken(&mut a), ["message news one", "pmessage n* news one", "pmessage n* nothing two"]);
    assert_eq!(taken(&mut b), ["smessage news three"]);
    assert_eq!((a.waiting_bytes(), b.waiting_bytes()), (0, 0));
}

#[test]
fn what_a_connection_listens_to_is_counted_and_forgotten() {
    let (subscriptions, _) = Subscriptions::new();
    let _mailbox = subscriptions.open(A, 1000);
    subscriptions.subscribe(A, Topic::Channel, &[name("one"), name("two")]);
    let listening = subscriptions.subscribe(A, Topic::Pattern, &[name("*")])[0];
    assert_eq!((listening.count(Topic::Channel), listening.count(Topic::Sharded)), (3, 0));
    let left = subscriptions.unsubscribe(A, Topic::Channel, &[name("one"), name("none")]);
    assert_eq!(left.iter().map(|left| left.count(Topic::Pattern)).collect::<Vec<_>>(), [2, 2]);
    assert_eq!(subscriptions.names(Topic::Channel), [name("two")]);
    subscriptions.remove(A);
    assert_eq!((subscriptions.count(Topic::Channel), subscriptions.count(Topic::Pattern)), (0, 0));
    assert!(!subscriptions.is_heard.load(Ordering::Acquire));
}

/// A message that had been published, but not handed out, when another connection subscribed reached it, too.
#[tokio::test]
async fn a_subscriber_gets_nothing_from_before_it_subscribed() {
    let (subscriptions, handed) = Subscriptions::new();
    let (mut a, mut b) = (subscriptions.open(A, 10_000), subscriptions.open(B, 10_000));
    subscriptions.subscribe(A, Topic::Channel, &[name("news")]);
    subscriptions.publish(&[publication(ChannelKind::Ordinary, "news", "before")], 1);
    subscriptions.subscribe(B, Topic::Channel, &[name("news")]);
    subscriptions.publish(&[publication(ChannelKind::Ordinary, "news", "after")], 2);
    tokio::spawn(fan_out(Arc::clone(&subscriptions), handed));
    let first = b.next().await.expect("a message");
    assert!(format!("{first:?}").contains("after"), "{first:?}");
    assert_eq!(taken(&mut a), ["message news before", "message news after"]);
}

/// One subscriber that does not read must neither be waited for nor fill the memory (etcd#16839).
#[tokio::test]
async fn hazard_33_a_subscriber_that_does_not_read_is_cut_off_and_others_go_on() {
    let (subscriptions, published) = Subscriptions::new();
    tokio::spawn(fan_out(Arc::clone(&subscriptions), published));
    let (mut slow, mut other) = (subscriptions.open(A, 1000), subscriptions.open(B, 100_000));
    for conn in [A, B] {
        subscriptions.subscribe(conn, Topic::Channel, &[name("news")]);
    }
    for _ in 0..10 {
        subscriptions.publish(&[publication(ChannelKind::Ordinary, "news", "0123456789")], 1);
    }
    for _ in 0..10 {
        assert!(other.next().await.is_some());
    }
    assert_eq!(subscriptions.receivers(ChannelKind::Ordinary, b"news"), 1);
    let read = taken(&mut slow).len();
    assert!(read > 0 && slow.next().await.is_none(), "{read} messages, and then the end");
}

/// A subscriber that is connected has missed nothing, so that none waits for a release that was told before (hazard 32).
#[tokio::test]
async fn whoever_would_miss_a_message_is_cut_off_behind_what_it_does_not_miss() {
    let (subscriptions, handed) = Subscriptions::new();
    let mut mailbox = subscriptions.open(A, usize::MAX);
    subscriptions.subscribe(A, Topic::Channel, &[name("news")]);
    // Nobody hands them out meanwhile, as if the task could not keep up.
    let large = Bytes::from(vec![0; BACKLOG_BYTES_MAX / 2 - 1024]);
    for _ in 0..3 {
        let message = large.clone();
        subscriptions
            .publish(&[Publication { message, ..publication(ChannelKind::Ordinary, "news", "") }], 1);
    }
    tokio::spawn(fan_out(Arc::clone(&subscriptions), handed));
    assert!(mailbox.next().await.is_some() && mailbox.next().await.is_some());
    assert!(mailbox.next().await.is_none());
    assert_eq!(subscriptions.subscribe(A, Topic::Channel, &[name("more")]), [Listening::default()]);
    assert!(!subscriptions.is_heard.load(Ordering::Acquire));
}

/// What a lock's watchers are told.
fn notice(channel: &'static str, message: &'static str, position: u64) -> Publication {
    Publication { position: Some(position), ..publication(ChannelKind::Ordinary, channel, message) }
}

fn watch(channel: &'static str, from: Option<u64>) -> Watch {
    Watch { channel: name(channel), from }
}

/// Hands out all that was handed over.
fn hand_out(subscriptions: &Subscriptions, handed: &mut UnboundedReceiver<Handed>) {
    while let Ok(handed) = handed.try_recv() {
        match handed {
            Handed::Begin { conn, channel, position } => subscriptions.begin(conn, channel, position),
            Handed::Missing { number, until, reason } => subscriptions.cut_off(number, until, reason),
            Handed::Messages { number, publications } => {
                for publication in publications {
                    subscriptions.deliver(number, publication);
                }
                subscriptions.handed_out(number);
            }
        }
    }
}

/// A node that began when everything up to position 10 was applied.
fn begun_at_10() -> (Arc<Subscriptions>, UnboundedReceiver<Handed>) {
    let (subscriptions, handed) = Subscriptions::new();
    subscriptions.miss(10, "it has just begun");
    subscriptions.publish(&[], 10);
    (subscriptions, handed)
}

#[test]
fn who_watches_from_a_position_is_told_what_was_sent_since_that_and_where_to_go_on() {
    let (subscriptions, mut handed) = begun_at_10();
    // Nobody listens.
    subscriptions.publish(&[notice("l", "acquired 1 11", 11), notice("m", "acquired 2 12", 12)], 12);
    subscriptions.publish(&[notice("l", "released 1 13", 13)], 20);
    hand_out(&subscriptions, &mut handed);
    let (mut a, mut b) = (subscriptions.open(A, 10_000), subscriptions.open(B, 10_000));
    let listening = subscriptions.watch(A, &watch("l", Some(11))).expect("it is all there");
    assert_eq!(listening.count(Topic::Channel), 1);
    subscriptions.watch(B, &watch("l", None)).expect("from now on");
    subscriptions.publish(&[notice("l", "acquired 3 21", 21)], 21);
    hand_out(&subscriptions, &mut handed);
    let told = ["l acquired 1 11", "l released 1 13", "l watching 0 21", "l acquired 3 21"];
    assert_eq!(taken(&mut a), told.map(|told| format!("message {told}")));
    assert_eq!(taken(&mut b), ["message l watching 0 21", "message l acquired 3 21"]);
    // Again, on the same connection: it is told again, and goes on as before.
    subscriptions.watch(A, &watch("l", Some(21))).expect("it is all there");
    subscriptions.publish(&[notice("l", "released 3 22", 22)], 22);
    hand_out(&subscriptions, &mut handed);
    let told = ["l acquired 3 21", "l watching 0 22", "l released 3 22"];
    assert_eq!(taken(&mut a), told.map(|told| format!("message {told}")));
}

/// What waits for the fan-out is neither lost nor told twice, and nobody is told to go on before he was told it.
#[test]
fn who_watches_from_a_position_gets_what_is_not_yet_handed_out_behind_what_is() {
    let (subscriptions, mut handed) = begun_at_10();
    subscriptions.publish(&[notice("l", "acquired 1 11", 11)], 11);
    hand_out(&subscriptions, &mut handed);
    subscriptions.publish(&[notice("l", "released 1 12", 12)], 15);
    let mut mailbox = subscriptions.open(A, 10_000);
    subscriptions.watch(A, &watch("l", Some(11))).expect("it is all there");
    // To ask again from now on takes nothing away.
    subscriptions.watch(A, &watch("l", None)).expect("from now on");
    assert_eq!(taken(&mut mailbox), ["message l acquired 1 11"]);
    hand_out(&subscriptions, &mut handed);
    let told = ["l released 1 12", "l watching 0 16", "l watching 0 16"];
    assert_eq!(taken(&mut mailbox), told.map(|told| format!("message {told}")));
}

/// Of what waits, a subscription from now on is told nothing; whoever then thinks better of it is.
#[test]
fn who_asks_for_the_past_after_all_gets_what_is_not_yet_handed_out() {
    let (subscriptions, mut handed) = begun_at_10();
    hand_out(&subscriptions, &mut handed);
    subscriptions.publish(&[notice("l", "acquired 1 11", 11)], 11);
    let mut mailbox = subscriptions.open(A, 10_000);
    subscriptions.watch(A, &watch("l", None)).expect("from now on");
    subscriptions.watch(A, &watch("l", Some(11))).expect("it is all there");
    hand_out(&subscriptions, &mut handed);
    let told = ["l acquired 1 11", "l watching 0 12", "l watching 0 12"];
    assert_eq!(taken(&mut mailbox), told.map(|told| format!("message {told}")));
}

/// A connection that goes back to its pool must not find it in the place of its next reply.
#[test]
fn who_listens_no_more_is_not_told_where_to_go_on() {
    let (subscriptions, mut handed) = begun_at_10();
    let mut mailbox = subscriptions.open(A, 10_000);
    subscriptions.watch(A, &watch("l", None)).expect("from now on");
    subscriptions.unsubscribe(A, Topic::Channel, &[name("l")]);
    hand_out(&subscriptions, &mut handed);
    assert_eq!(taken(&mut mailbox), [""; 0]);
}

/// Watchers come and go while messages are sent, on threads of their own, as in a server.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_goes_on_where_he_was_misses_nothing_whenever_he_is_cut_off() {
    const LAST: u64 = 5_000;
    /// How far ahead messages are of who has been told the most.
    const AHEAD: u64 = 50;
    let told = Arc::new(AtomicU64::new(0));
    let (subscriptions, handed) = begun_at_10();
    tokio::spawn(fan_out(Arc::clone(&subscriptions), handed));
    let watchers: Vec<_> = (0..4_u64)
        .map(|watcher| {
            let (subscriptions, told) = (Arc::clone(&subscriptions), Arc::clone(&told));
            tokio::spawn(async move {
                let (mut from, mut newest, mut conn) = (11, 10, watcher << 32);
                while newest < LAST {
                    conn += 1;
                    let mut mailbox = subscriptions.open(ConnId(conn), usize::MAX);
                    subscriptions.watch(ConnId(conn), &watch("l", Some(from))).expect("all is kept");
                    // So many messages, and then it is cut off.
                    for _ in 0..1 + conn % 17 {
                        let message = mailbox.next().await.expect("it is connected");
                        let Reply::Push(parts) = &message.push else { panic!("{message:?}") };
                        let Some(Reply::Bulk(text)) = parts.last() else { panic!("{message:?}") };
                        let words = std::str::from_utf8(text).expect("text").split(' ').collect::<Vec<_>>();
                        from = words[2].parse().expect("a position");
                        match words[0] {
                            "watching" => {
                                assert!(from <= newest + 1, "it may not go on at {from} behind {newest}")
                            }
                            _ => {
                                assert!(from <= newest + 1, "{from} is told behind {newest}");
                                newest = newest.max(from);
                                told.fetch_max(newest, Ordering::Relaxed);
                            }
                        }
                        if newest == LAST {
                            break;
                        }
                    }
                    subscriptions.remove(ConnId(conn));
                }
            })
        })
        .collect();
    let publisher = std::thread::spawn(move || {
        for position in 11..=LAST {
            while told.load(Ordering::Relaxed) + AHEAD < position.min(LAST) && position > 11 + AHEAD {
                std::thread::yield_now();
            }
            let message = Bytes::from(format!("acquired 1 {position}"));
            subscriptions.publish(&[Publication { message, ..notice("l", "", position) }], position);
        }
    });
    for watcher in watchers {
        watcher.await.expect("it missed nothing");
    }
    publisher.join().expect("it never waits");
}

#[test]
fn who_would_miss_something_is_told_of_a_gap_and_listens_to_nothing() {
    let (subscriptions, mut handed) = Subscriptions::new();
    let mut mailbox = subscriptions.open(A, 10_000);
    let gap = |subscriptions: &Subscriptions, from| {
        subscriptions.watch(A, &watch("l", Some(from))).map_err(|gap| gap.first)
    };
    assert_eq!(gap(&subscriptions, 1), Err(u64::MAX), "it has not begun");
    subscriptions.miss(10, "the node has just begun");
    subscriptions.publish(&[], 10);
    hand_out(&subscriptions, &mut handed);
    assert_eq!(gap(&subscriptions, 10), Err(11));
    assert_eq!(gap(&subscriptions, 12), Err(11), "that is still to come");
    subscriptions.publish(&[notice("l", "acquired 1 11", 11)], 11);
    // A snapshot that was installed, and what came behind it in the same step.
    subscriptions.miss(20, "a snapshot has taken the place of messages");
    subscriptions.publish(&[notice("l", "acquired 2 21", 21)], 21);
    hand_out(&subscriptions, &mut handed);
    assert_eq!(gap(&subscriptions, 11), Err(21));
    assert_eq!(subscriptions.receivers(ChannelKind::Ordinary, b"l"), 0);
    assert!(gap(&subscriptions, 21).is_ok());
    assert_eq!(taken(&mut mailbox), ["message l acquired 2 21"]);
}

/// It would be cut off, come back from the same position, and be cut off again.
#[test]
fn what_does_not_fit_into_a_mailbox_is_a_gap() {
    let (subscriptions, mut handed) = begun_at_10();
    for position in 11..20 {
        subscriptions.publish(&[notice("l", "acquired 1 11", position)], position);
    }
    hand_out(&subscriptions, &mut handed);
    let mut mailbox = subscriptions.open(A, 10 * MESSAGE_BYTES);
    assert_eq!(subscriptions.watch(A, &watch("l", Some(11))).map_err(|gap| gap.first), Err(20));
    assert_eq!(taken(&mut mailbox), [""; 0]);
    subscriptions.watch(A, &watch("l", Some(15))).expect("that is less");
    assert_eq!(taken(&mut mailbox).len(), 5);
}

/// Whoever came back from before it would miss what was not handed over, and not know.
#[test]
fn what_is_too_much_to_be_handed_over_is_a_gap_for_who_comes_back() {
    let (subscriptions, mut handed) = begun_at_10();
    let large = || Bytes::from(vec![0; BACKLOG_BYTES_MAX / 2]);
    for position in [11, 12, 13] {
        let message = large();
        // Of the entry at 13, which is not yet applied as a whole, something was sent already.
        subscriptions.publish(&[Publication { message, ..notice("l", "", position) }], position.min(12));
    }
    subscriptions.publish(&[notice("m", "acquired 1 13", 13)], 13);
    hand_out(&subscriptions, &mut handed);
    let _mailbox = subscriptions.open(A, 10_000);
    assert_eq!(subscriptions.watch(A, &watch("m", Some(13))).map_err(|gap| gap.first), Err(14));
}
