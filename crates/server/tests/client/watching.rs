//! Watching who holds a lock, or leads.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use quorate_client::{Change, Error, Event, Watch};
use rustix::process::Signal;

use super::{
    HOUR, connect,
    cutting::Proxy,
    node,
    support::{self, Cluster, LONG, ask},
    take_away,
};

/// The next change, which has to come.
async fn next(watch: &mut Watch) -> Change {
    tokio::time::timeout(LONG, watch.next()).await.expect("a change").expect("it is told")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_of_a_lock_is_told_in_the_order_of_the_log() {
    let (_node, port, _folder, client) = node().await;
    let mut watch = client.lock("a").watch();
    let first = next(&mut watch).await;
    assert_eq!((first.event, first.token, first.position), (Event::Free, None, None));
    let mut position = 0;
    for _ in 0..3 {
        let guard = client.lock("a").acquire().await.unwrap();
        let token = guard.token();
        let came = next(&mut watch).await;
        assert_eq!((came.event, came.token), (Event::Acquired, Some(token)));
        guard.release().await.unwrap();
        let went = next(&mut watch).await;
        assert_eq!((went.event, went.token), (Event::Released, Some(token)));
        assert!(came.position > Some(position) && went.position > came.position, "{came:?} {went:?}");
        position = went.position.unwrap();
    }
    // Who begins to watch learns how it is.
    let guard = client.lock("a").acquire().await.unwrap();
    let found = next(&mut client.lock("a").watch()).await;
    assert_eq!((found.event, found.token, found.position), (Event::Acquired, Some(guard.token()), None));
    take_away(port, "a");
    assert_eq!(next(&mut watch).await.event, Event::Acquired);
    assert_eq!(next(&mut watch).await.event, Event::Released);
    ask(port, &["SET", "b", "text"]);
    let other = client.lock("b").watch().next().await;
    assert!(matches!(other, Err(Error::Refused { code, .. }) if code == "WRONGTYPE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn observers_learn_who_leads_and_what_he_lets_them_know() {
    let (_node, _, _folder, client) = node().await;
    let leadership = client.election("a").value("here now").ttl(HOUR).campaign().await.unwrap();
    let mut watch = client.election("a").observe();
    let told = |change: Change| (change.event, change.token, change.value.map(String::from_utf8));
    let token = Some(leadership.token());
    let value = |text: &str| Some(Ok(text.to_owned()));
    assert_eq!(told(next(&mut watch).await), (Event::Acquired, token, value("here now")));
    leadership.proclaim("there").await.unwrap();
    assert_eq!(told(next(&mut watch).await), (Event::Value, token, value("there")));
    leadership.resign().await.unwrap();
    assert_eq!(told(next(&mut watch).await), (Event::Released, token, None));
}

/// Who only asked how it was by then never learned of those who had come and gone meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_at_another_node_where_it_was_without_a_gap() {
    let mut cluster = Cluster::start();
    let leader = cluster.leader(1, None);
    let mut others = [1, 2, 3].into_iter().filter(|node| *node != leader);
    let (watched, other) = (others.next().unwrap(), others.next().unwrap());
    let client = connect(&[cluster.port(leader), cluster.port(other)]).await;
    let watching = connect(&[cluster.port(watched), cluster.port(other)]).await;
    let mut watch = watching.lock("a").watch();
    assert_eq!(next(&mut watch).await.event, Event::Free);
    let first = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    assert_eq!(next(&mut watch).await.token, Some(first.token()));
    cluster.node(watched).signal(Signal::KILL);
    let mut expected = vec![(Event::Released, Some(first.token()))];
    first.release().await.unwrap();
    for _ in 0..5 {
        let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
        let token = Some(guard.token());
        expected.extend([(Event::Acquired, token), (Event::Released, token)]);
        guard.release().await.unwrap();
    }
    let mut position = None;
    for expected in expected {
        let change = next(&mut watch).await;
        assert_eq!((change.event, change.token), expected);
        assert!(change.position > position, "{change:?} behind {position:?}");
        position = change.position;
    }
}

/// Ends the connections of all who listen at this node.
fn cut_off_listeners(port: u16) {
    ask(port, &["CLIENT", "KILL", "TYPE", "pubsub"]);
}

/// Each time others have come and gone before it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_cut_off_again_and_again_misses_nobody() {
    let (_node, port, _folder, client) = node().await;
    let mut watch = client.election("a").observe();
    // Nobody has been told anything yet: to have asked is enough to go on from there.
    assert_eq!(next(&mut watch).await.event, Event::Free);
    for round in 0..20 {
        cut_off_listeners(port);
        let leadership = client.election("a").value(format!("{round}")).ttl(HOUR).campaign().await.unwrap();
        let token = Some(leadership.token());
        leadership.resign().await.unwrap();
        let came = next(&mut watch).await;
        assert_eq!((came.event, came.token), (Event::Acquired, token), "{round}");
        assert_eq!(came.value, Some(round.to_string().into_bytes()));
        let went = next(&mut watch).await;
        assert_eq!((went.event, went.token), (Event::Released, token), "{round}");
    }
}

/// How often a node was asked to tell who holds a lock.
fn watches(port: u16) -> u64 {
    let statistics = ask(port, &["INFO", "commandstats"]).unwrap_or_default();
    let calls = statistics.split_once("cmdstat_lock|watch:calls=").map_or("0", |(_, calls)| calls);
    calls.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number")
}

/// More than is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_comes_back_too_late_is_told_that_it_has_missed_something_unless_nothing_was() {
    let (_node, port, _folder, client) = node().await;
    let mut watch = client.lock("a").watch();
    assert_eq!(next(&mut watch).await.event, Event::Free);
    let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    assert_eq!(next(&mut watch).await.token, Some(guard.token()));
    let push_out = |names: &str| {
        cut_off_listeners(port);
        let value = "x".repeat(1 << 20);
        for round in 0..20 {
            let name = format!("{names}-{round}");
            ask(port, &["LOCK", "ACQUIRE", &name, "OWNER", "me", "TTL", "3600000", "VALUE", &value]);
        }
    };
    // Nobody asks for the next change, and so it comes back when that is done: it listens from where it was, then without that, and
    // once more behind its question.
    let before = watches(port);
    push_out("some");
    let comes_back = async {
        while watches(port) < before + 3 {
            let glance = tokio::time::timeout(Duration::from_millis(20), watch.next());
            assert!(glance.await.is_err(), "it is as it was");
        }
    };
    tokio::time::timeout(LONG, comes_back).await.expect("it comes back");
    guard.release().await.unwrap();
    assert_eq!(next(&mut watch).await.event, Event::Released);
    let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    assert_eq!(next(&mut watch).await.token, Some(guard.token()));
    push_out("others");
    guard.release().await.unwrap();
    let missed = next(&mut watch).await;
    assert_eq!((missed.event, missed.token, missed.position), (Event::Missed, None, None));
    assert_eq!(next(&mut watch).await.event, Event::Free);
    let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    let came = next(&mut watch).await;
    assert_eq!((came.event, came.token), (Event::Acquired, Some(guard.token())));
}

/// A watcher takes some thousand messages at once; what a single entry tells may be more, and it began there again for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_passes_an_entry_that_tells_more_than_it_takes() {
    let (_node, port, _folder, client) = node().await;
    let mut watch = client.lock("a").watch();
    assert_eq!(next(&mut watch).await.event, Event::Free);
    cut_off_listeners(port);
    let script = "local token
        for _ = 1, 5000 do
            token = redis.call('LOCK', 'ACQUIRE', 'a', 'OWNER', 'me', 'TTL', '3600000')
            redis.call('LOCK', 'RELEASE', 'a', token)
        end
        return redis.call('LOCK', 'ACQUIRE', 'a', 'OWNER', 'me', 'TTL', '3600000')";
    ask(port, &["EVAL", script, "1", "a"]);
    let (mut tokens, mut has_missed) = (Vec::new(), false);
    loop {
        let change = next(&mut watch).await;
        has_missed |= change.event == Event::Missed;
        if change.event == Event::Acquired {
            tokens.push(change.token);
            if change.position.is_none() {
                break;
            }
        }
    }
    assert!(has_missed && tokens.is_sorted(), "{has_missed} {tokens:?}");
}

/// Its messages are in memory, and in its log.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_goes_on_at_a_node_that_was_killed_and_has_its_log() {
    let (mut process, port, folder, client) = node().await;
    let mut watch = client.lock("a").watch();
    assert_eq!(next(&mut watch).await.event, Event::Free);
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
        tokens.push(Some(guard.token()));
        guard.release().await.unwrap();
    }
    process.signal(Signal::KILL);
    process.end();
    let _process = support::serve(port, folder.path(), &[]);
    for token in tokens {
        let (came, went) = (next(&mut watch).await, next(&mut watch).await);
        assert_eq!((came.event, came.token), (Event::Acquired, token));
        assert_eq!((went.event, went.token), (Event::Released, token));
    }
}

/// The first that is asked has other data; it was believed that nobody could tell.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_server_does_not_keep_is_asked_of_the_next() {
    let (_node, port, _folder, client) = node().await;
    let (_other, elsewhere, _elsewhere, _) = node().await;
    for _ in 0..10 {
        client.lock("a").acquire().await.unwrap().release().await.unwrap();
    }
    let proxy = Proxy::to(port);
    let settings = quorate_client::Settings::new().answer_timeout(Duration::from_secs(1)).patience(LONG);
    let url = format!("quorate://127.0.0.1:{},127.0.0.1:{elsewhere},127.0.0.1:{port}", proxy.port());
    let watching = quorate_client::Client::connect_with(&url, settings).await.unwrap();
    let mut watch = watching.lock("a").watch();
    assert_eq!(next(&mut watch).await.event, Event::Free);
    proxy.cut_answer_for_good_of("INFO");
    let is_cut = async {
        while proxy.cuts() == 0 {
            assert!(tokio::time::timeout(Duration::from_millis(20), watch.next()).await.is_err());
        }
    };
    tokio::time::timeout(LONG, is_cut).await.expect("it asks how it is");
    let guard = client.lock("a").acquire().await.unwrap();
    let token = Some(guard.token());
    guard.release().await.unwrap();
    for event in [Event::Acquired, Event::Released] {
        let change = next(&mut watch).await;
        assert_eq!((change.event, change.token), (event, token));
    }
}

/// What was told before an answer may come behind it, from a node that is busy: it was taken for old news.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_overtakes_messages_hides_none_of_them() {
    let push = |words: &[&str]| {
        let words = words.iter().map(|word| format!("${}\r\n{word}\r\n", word.len()));
        format!(">{}\r\n{}", words.len(), words.collect::<String>())
    };
    let told = |message: &str| push(&["message", "__lock@0__:a", message]);
    let confirmed = ">3\r\n$9\r\nsubscribe\r\n$12\r\n__lock@0__:a\r\n:1\r\n";
    let held = "%2\r\n$5\r\nstate\r\n$4\r\nheld\r\n$5\r\ntoken\r\n:7\r\n";
    let late = ["acquired 3 12", "released 3 13", "acquired 7 14", "watching 0 15", "watching 0 15"];
    let connections = vec![
        // At first nobody holds it; then the connection ends.
        vec![
            ("WATCH", format!("{confirmed}{}", told("watching 0 11"))),
            ("INFO", "_\r\n".to_owned()),
            ("WATCH", format!("{confirmed}{}", told("watching 0 12"))),
        ],
        vec![
            ("FROM", confirmed.to_owned()),
            ("INFO", held.to_owned()),
            ("WATCH", format!("{confirmed}{}", late.map(told).concat())),
            ("END", String::new()),
        ],
    ];
    let port = scripted(connections);
    let client = connect(&[port]).await;
    let mut watch = client.lock("a").watch();
    for expected in [
        (Event::Free, None, None),
        (Event::Acquired, Some(3), Some(12)),
        (Event::Released, Some(3), Some(13)),
        (Event::Acquired, Some(7), Some(14)),
    ] {
        let change = next(&mut watch).await;
        assert_eq!((change.event, change.token.map(|token| token.get()), change.position), expected);
    }
}

/// A server of which each connection that listens follows the next script: words that commands contain, and what they are
/// answered. All other commands are answered OK, and HELLO with a map. Behind its script a connection ends.
fn scripted(scripts: Vec<Vec<(&'static str, String)>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("it is bound").port();
    let scripts = Arc::new(Mutex::new(VecDeque::from(scripts)));
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let scripts = Arc::clone(&scripts);
            thread::spawn(move || follow(stream, &scripts));
        }
    });
    port
}

fn follow(mut stream: TcpStream, scripts: &Mutex<VecDeque<Vec<(&'static str, String)>>>) {
    let mut input = BufReader::new(stream.try_clone().expect("a handle"));
    let mut script = None;
    while let Some(command) = command_of(&mut input) {
        if command.contains(&"WATCH".to_owned()) && script.is_none() {
            let next = scripts.lock().expect("no test panics here").pop_front();
            script = next.map(VecDeque::from);
        }
        let step = script.as_mut().and_then(|script| {
            let (word, _) = script.front()?;
            command.contains(&(*word).to_owned()).then(|| script.pop_front())?
        });
        let answer = match step {
            Some((_, answer)) => answer,
            None if command[0] == "HELLO" => "%0\r\n".to_owned(),
            None => "+OK\r\n".to_owned(),
        };
        if stream.write_all(answer.as_bytes()).is_err() || script.as_ref().is_some_and(VecDeque::is_empty) {
            return;
        }
    }
}

/// The words of the next command; `None` if the client has gone.
fn command_of(input: &mut impl BufRead) -> Option<Vec<String>> {
    let mut line = || {
        let mut line = String::new();
        input.read_line(&mut line).ok().filter(|read| *read > 0)?;
        Some(line.trim_end().to_owned())
    };
    let words: usize = line()?.strip_prefix('*')?.parse().ok()?;
    (0..words).map(|_| line().and_then(|_| line())).collect()
}

/// A message tells nothing of it: whoever watches asks from time to time.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_of_no_key_is_found_all_the_same() {
    let (_node, port, _folder, _) = node().await;
    let settings = quorate_client::Settings::new().answer_timeout(std::time::Duration::from_secs(1));
    let url = format!("quorate://127.0.0.1:{port}");
    let client = quorate_client::Client::connect_with(&url, settings.patience(support::LONG)).await.unwrap();
    let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
    let mut watch = client.lock("a").watch();
    assert_eq!(next(&mut watch).await.token, Some(guard.token()));
    ask(port, &["FLUSHALL"]);
    let gone = next(&mut watch).await;
    assert_eq!((gone.event, gone.token), (Event::Free, Some(guard.token())));
}

/// Whoever looked in for a moment again and again began anew each time to wait for the answer, and stayed at a server that gave
/// none, with one more question each time.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_is_given_up_again_and_again_leaves_a_server_that_does_not_answer() {
    let (_node, port, _folder, client) = node().await;
    let settings = quorate_client::Settings::new().answer_timeout(Duration::from_millis(300));
    // When it begins to listen, and when it asks whether all was told.
    for word in ["WATCH", "INFO"] {
        let proxy = Proxy::to(port);
        let url = format!("quorate://127.0.0.1:{},127.0.0.1:{port}", proxy.port());
        let watching = quorate_client::Client::connect_with(&url, settings.clone()).await.unwrap();
        let guard = client.lock("a").ttl(HOUR).acquire().await.unwrap();
        let mut watch = watching.lock("a").watch();
        if word == "INFO" {
            assert_eq!(next(&mut watch).await.token, Some(guard.token()));
        }
        // No message tells of that.
        ask(port, &["FLUSHALL"]);
        let look_in = async {
            loop {
                // At whatever connection.
                proxy.keep_answer_of(word);
                let glance = tokio::time::timeout(Duration::from_millis(50), watch.next());
                if let Ok(change) = glance.await {
                    break change.expect("another node tells it");
                }
            }
        };
        let found = tokio::time::timeout(LONG, look_in).await.expect("it stays there for ever");
        assert_eq!(found.event, Event::Free, "{word}");
        proxy.let_go();
    }
}
