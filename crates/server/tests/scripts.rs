//! What shell scripts use: `quorate lock` and `elect`, and `get`, `set` and `del`.

mod support;

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use support::{Process, ask, eventually, free_ports, lock_waiting, run, runs, serve, state, try_ask};

/// A node that serves.
fn node() -> (Process, u16, tempfile::TempDir) {
    let (folder, port) = (tempfile::tempdir().expect("a folder"), free_ports(1));
    let node = serve(port, folder.path(), &[]);
    ask(port, &["GET", "anything"]);
    (node, port, folder)
}

/// The command line of `quorate lock a`, with these flags, around a command.
fn line(port: u16, flags: &[&str], command: &[&str]) -> Vec<String> {
    let address = format!("127.0.0.1:{port}");
    let parts = [&["lock", "a", "--addr", &address], flags, &["--"], command];
    parts.concat().into_iter().map(str::to_owned).collect()
}

/// Runs it to its end: exit status, standard output, standard error.
fn lock(port: u16, folder: &Path, flags: &[&str], command: &[&str]) -> (i32, String, String) {
    let line = line(port, flags, command);
    run(&line.iter().map(String::as_str).collect::<Vec<_>>(), folder)
}

/// Runs it, in a shell, until a line of it says that it has begun.
fn begin(port: u16, folder: &Path, flags: &[&str], script: &str) -> Process {
    let process = Process::start(&line(port, flags, &["sh", "-c", script]), folder);
    process.await_line("begun");
    process
}

/// The token of who holds the lock.
fn held(port: u16) -> Option<String> {
    ask(port, &["FENCE", "a"])
}

/// Stays until a signal comes, and says what it knows.
const STAYS: &str = "trap 'echo ended in order; exit 3' TERM; echo begun; sleep 600 & wait";

#[test]
fn a_command_runs_under_the_lock_and_its_output_and_status_are_those_of_the_whole() {
    let (_node, port, folder) = node();
    let script = "echo $QUORATE_LOCK $QUORATE_TOKEN; exit 7";
    let (code, out, errors) = lock(port, folder.path(), &[], &["sh", "-c", script]);
    assert_eq!((code, errors.as_str()), (7, ""));
    let token = out.strip_prefix("a ").and_then(|rest| rest.trim().parse::<u64>().ok());
    assert!(token.is_some_and(|token| token > 0), "{out}");
    assert_eq!(held(port), None, "it is released");
    let (code, ..) = lock(port, folder.path(), &[], &["sh", "-c", "kill -KILL $$"]);
    assert_eq!(code, 128 + 9);
}

#[test]
fn somebody_else_is_waited_for_as_long_as_told() {
    let (_node, port, folder) = node();
    let mut first = begin(port, folder.path(), &["--owner", "the first"], STAYS);
    let info =
        redis::cmd("LOCK").arg("INFO").arg("a").query::<Vec<redis::Value>>(&mut support::connect(port));
    assert!(format!("{info:?}").contains("the first"), "{info:?}");
    let (code, out, errors) = lock(port, folder.path(), &["--wait", "100ms"], &["echo", "unwanted"]);
    assert_eq!((code, out.as_str()), (124, ""));
    assert!(errors.contains("the lock a was not acquired"), "{errors}");

    let second = Process::start(&line(port, &["--wait", "1h"], &["echo", "served"]), folder.path());
    eventually("the second waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    first.signal(Signal::TERM);
    assert_eq!(first.end().code(), Some(3));
    second.await_line("served");
}

#[test]
fn what_cannot_be_run_and_what_is_not_there_differ_and_hold_nothing() {
    let (_node, port, folder) = node();
    let (code, _, errors) = lock(port, folder.path(), &[], &["/no/such/command"]);
    assert!(code == 127 && errors.contains("/no/such/command"), "{code} {errors}");
    let (code, _, errors) = lock(port, folder.path(), &[], &["/"]);
    assert!(code == 126 && errors.contains("/:"), "{code} {errors}");
    assert_eq!(held(port), None);
}

#[test]
fn without_a_node_nothing_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, errors) = lock(free_ports(1), folder.path(), &[], &["echo", "unwanted"]);
    assert_eq!((code, out.as_str()), (125, ""));
    assert!(errors.contains("not applied") && errors.contains("--addr"), "{errors}");
    let (code, _, errors) = lock(1, folder.path(), &["--ttl", "99ms"], &["true"]);
    assert!(code == 2 && errors.contains("at least 100ms"), "{code} {errors}");
}

#[test]
fn the_elected_one_runs_its_command_and_the_next_one_after_it() {
    let (_node, port, folder) = node();
    let address = format!("127.0.0.1:{port}");
    let elect = |value: &str, priority: &str, script: &str| {
        let line = [
            "elect",
            "a",
            "--addr",
            &address,
            "--value",
            value,
            "--priority",
            priority,
            "--",
            "sh",
            "-c",
            script,
        ];
        Process::start(&line.map(str::to_owned), folder.path())
    };
    let candidates = |count| {
        eventually("they wait", || {
            let mut command = redis::cmd("ELECTION");
            let waiting = command
                .arg("CANDIDATES")
                .arg("a")
                .query::<Vec<redis::Value>>(&mut support::connect(port))
                .ok()?;
            (waiting.len() == count).then_some(())
        });
    };
    let mut first = elect("one", "0", STAYS);
    first.await_line("begun");
    let last = elect("three", "0", "echo three $QUORATE_LOCK $QUORATE_TOKEN");
    candidates(1);
    let second = elect("two", "1", "echo two; exec quorate-nonsense");
    candidates(2);
    first.signal(Signal::TERM);
    assert_eq!(first.end().code(), Some(3));
    second.await_line("two");
    last.await_line("three a ");
}

/// What it says is for people; what it does is not to depend on whether they listen.
#[test]
fn a_standard_error_that_nobody_reads_changes_no_status() {
    let (_node, port, folder) = node();
    for (port, command, status) in [(port, "/no/such/command", 127), (free_ports(1), "true", 125)] {
        let mut process = std::process::Command::new(env!("CARGO_BIN_EXE_quorate"))
            .args(line(port, &[], &[command]))
            .current_dir(folder.path())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        drop(process.stderr.take());
        let code = eventually("it ends", || process.try_wait().unwrap()).code();
        assert_eq!(code, Some(status), "{command}");
    }
}

#[test]
fn a_signal_ends_who_still_looks_for_a_node() {
    let folder = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut process = Process::start(&line(port, &[], &["echo", "unwanted"]), folder.path());
    // It listens to signals by then.
    drop(silent.accept().unwrap());
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(128 + 15));
}

#[test]
fn what_nohup_has_ignored_stays_ignored() {
    let (_node, port, folder) = node();
    let mut first = begin(port, folder.path(), &[], STAYS);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_quorate")]);
    shell.args(line(port, &["--wait", "1h"], &["echo", "served"]));
    let mut second = Process::start_by(&mut shell, folder.path());
    eventually("the second waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    second.signal(Signal::HUP);
    first.signal(Signal::TERM);
    assert_eq!(first.end().code(), Some(3));
    second.await_line("served");
    assert_eq!(second.end().code(), Some(0));
}

/// Otherwise the command would go on while nobody renews its lock.
#[test]
fn who_is_stopped_stops_the_command_and_both_go_on_together() {
    let (_node, port, folder) = node();
    let script = format!("echo pid $$; {STAYS}");
    let mut process = begin(port, folder.path(), &["--ttl", "1h"], &script);
    let command: u32 = process.await_line("pid").split(' ').nth(1).unwrap().parse().unwrap();
    let both = [process.pid(), command];
    process.signal(Signal::TSTP);
    eventually("both stand still", || both.iter().all(|pid| state(*pid) == Some('T')).then_some(()));
    process.signal(Signal::CONT);
    eventually("both go on", || both.iter().all(|pid| state(*pid) != Some('T')).then_some(()));
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(3));

    let mut process = begin(port, folder.path(), &["--ttl", "2s"], STAYS);
    process.signal(Signal::TSTP);
    eventually("its time is over", || held(port).is_none().then_some(()));
    process.signal(Signal::CONT);
    assert_eq!(process.end().code(), Some(123));
    process.await_line("ended in order");
}

/// A shell that ends at once took with it what it had started, which then had no time to end in order.
#[test]
fn all_that_a_command_has_started_may_end_in_order() {
    let (_node, port, folder) = node();
    let script =
        "(trap 'sleep 0.2; echo tidied up; exit' TERM; echo begun; while :; do sleep 0.05; done) & wait";
    let mut process = begin(port, folder.path(), &["--kill-after", "1h"], script);
    ask(port, &["LOCK", "FORCE-RELEASE", "a"]);
    process.await_line("tidied up");
    assert_eq!(process.end().code(), Some(123));
}

#[test]
fn a_command_whose_lock_is_taken_away_is_asked_to_end() {
    let (_node, port, folder) = node();
    let mut process = begin(port, folder.path(), &["--ttl", "1s"], STAYS);
    ask(port, &["LOCK", "FORCE-RELEASE", "a"]);
    process.await_line("ended in order");
    assert_eq!(process.end().code(), Some(123));
    process.await_line("the lock a is lost: the server has given it up");
}

/// Neither it nor what it has started may go on beside the next holder.
#[test]
fn a_command_that_does_not_end_is_killed_with_all_that_it_has_started() {
    let (_node, port, folder) = node();
    let stubborn = "trap '' TERM; sleep 600 & echo pids $$ $!; echo begun; while :; do wait; done";
    let mut process = begin(port, folder.path(), &["--ttl", "6s", "--kill-after", "200ms"], stubborn);
    let line = process.await_line("pids");
    let pids: Vec<u32> = line.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    assert!(pids.len() == 2 && pids.iter().all(|pid| runs(*pid)), "{line}");
    ask(port, &["LOCK", "FORCE-RELEASE", "a"]);
    assert_eq!(process.end().code(), Some(123));
    eventually("both have ended", || pids.iter().all(|pid| !runs(*pid)).then_some(()));
}

/// Nobody who presses Ctrl-C again wants to wait for what does not answer.
#[test]
fn a_second_signal_waits_neither_for_the_command_nor_for_a_node() {
    let (node, port, folder) = node();
    let stubborn = "trap 'echo asked' TERM; sleep 600 & echo pids $$ $!; echo begun; while :; do wait; done";
    let mut process = begin(port, folder.path(), &["--ttl", "6s", "--kill-after", "1h"], stubborn);
    let told = process.await_line("pids");
    let pids: Vec<u32> = told.split(' ').skip(1).map(|pid| pid.parse().unwrap()).collect();
    ask(port, &["LOCK", "FORCE-RELEASE", "a"]);
    process.await_line("asked");
    process.signal(Signal::TERM);
    assert_eq!(process.end().code(), Some(123));
    eventually("both have ended", || pids.iter().all(|pid| !runs(*pid)).then_some(()));

    let _first = begin(port, folder.path(), &["--ttl", "1h"], STAYS);
    let mut second = Process::start(&line(port, &["--wait", "1h"], &["true"]), folder.path());
    eventually("the second waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    node.signal(Signal::STOP);
    let begun = Instant::now();
    // Two of a kind may be one to whoever gets them; and where tests run in the background, one of the others may be ignored.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        second.signal(signal);
    }
    let code = second.end().code();
    node.signal(Signal::CONT);
    assert!(matches!(code, Some(143 | 130 | 129)), "{code:?}");
    assert!(begun.elapsed() < Duration::from_secs(4), "it waited for the node's answer");
}

#[test]
fn a_lock_that_is_not_renewed_in_time_is_lost_whoever_is_to_blame() {
    let (node, port, folder) = node();
    // It stood still itself, and wakes up.
    let mut process = begin(port, folder.path(), &["--ttl", "2s"], STAYS);
    process.signal(Signal::STOP);
    eventually("its time is over", || held(port).is_none().then_some(()));
    process.signal(Signal::CONT);
    assert_eq!(process.end().code(), Some(123));
    process.await_line("ended in order");

    // The node does.
    let mut process = begin(port, folder.path(), &["--ttl", "2s"], STAYS);
    node.signal(Signal::STOP);
    let code = process.end().code();
    node.signal(Signal::CONT);
    assert_eq!(code, Some(123));
    process.await_line("is lost: its time to live is over");
}

#[test]
fn signals_are_passed_on() {
    let (_node, port, folder) = node();
    for (signal, status) in [(Signal::TERM, 3), (Signal::USR1, 128 + 10), (Signal::HUP, 128 + 1)] {
        let mut process = begin(port, folder.path(), &[], STAYS);
        process.signal(signal);
        assert_eq!(process.end().code(), Some(status), "{signal:?}");
        assert_eq!(held(port), None);
    }
}

#[test]
fn who_is_ended_while_he_waits_leaves_the_queue() {
    let (_node, port, folder) = node();
    let _first = begin(port, folder.path(), &[], STAYS);
    let mut second = Process::start(&line(port, &["--wait", "1h"], &["echo", "unwanted"]), folder.path());
    eventually("the second waits", || lock_waiting(port, "a").filter(|waiting| *waiting == 1));
    second.signal(Signal::TERM);
    assert_eq!(second.end().code(), Some(128 + 15));
    assert_eq!(lock_waiting(port, "a"), Some(0));
}

#[test]
fn locks_are_told_with_who_holds_them_and_how_many_wait() {
    let (_node, port, folder) = node();
    let address = format!("127.0.0.1:{port}");
    let quorate =
        |arguments: &[&str]| run(&[&["locks", "--addr", &address], arguments].concat(), folder.path());
    assert_eq!(quorate(&[]), (0, String::new(), String::new()));
    assert_eq!(quorate(&["--json"]), (0, "[]\n".to_owned(), String::new()));
    ask(port, &["LOCK", "ACQUIRE", "shard:1", "OWNER", "me", "TTL", "7200000"]);
    ask(port, &["LOCK", "ACQUIRE", "shard:2", "OWNER", "him", "TTL", "7200000", "SHARED"]);
    ask(port, &["LOCK", "ACQUIRE", "shard:2", "OWNER", "her", "TTL", "7200000", "SHARED"]);
    let session = ask(port, &["SESSION", "OPEN", "7200000"]).unwrap();
    ask(port, &["LOCK", "ACQUIRE", "other", "SESSION", &session]);
    ask(port, &["LOCK", "ACQUIRE", "team", "SESSION", &session, "SHARED"]);
    let (code, out, _) = quorate(&[]);
    let rows: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((code, rows.len()), (0, 5), "{out}");
    assert_eq!(rows[0], ["lock", "held", "by", "lasts", "waiting", "token"]);
    assert!(rows[1].starts_with(&["other", "session", session.as_str(), "1h", "59m"]), "{out}");
    assert!(rows[2].starts_with(&["shard:1", "me", "1h", "59m"]) && rows[2].contains(&"0"), "{out}");
    assert!(rows[3].starts_with(&["shard:2", "readers", "her,", "him", "1h"]), "{out}");
    let team = ["team", "readers", "session", session.as_str(), "as", "its", "sessions"];
    assert!(rows[4].starts_with(&team), "{out}");
    let (_, out, _) = quorate(&["team", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(list[0]["reader_sessions"], serde_json::json!([session.parse::<u64>().unwrap()]));
    let (code, out, _) = quorate(&["shard:*", "--json"]);
    let list: serde_json::Value = serde_json::from_str(&out).unwrap();
    let names: Vec<_> = list.as_array().unwrap().iter().map(|lock| lock["name"].clone()).collect();
    assert_eq!((code, names), (0, vec!["shard:1".into(), "shard:2".into()]));
    assert_eq!((&list[0]["owner"], &list[0]["session"]), (&"me".into(), &serde_json::Value::Null));
    assert!(list[0]["ttl_ms"].as_u64() > Some(7_000_000) && list[0]["token"].as_u64() > Some(0), "{out}");
    assert_eq!(list[1]["readers"].as_array().map(Vec::len), Some(2));
}

/// A backup of a value that says nothing of it would be none.
#[test]
fn a_value_that_could_not_be_written_is_a_failure() {
    let (_node, port, folder) = node();
    ask(port, &["SET", "k", "one"]);
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_quorate"))
        .args(["get", "k", "--addr", &format!("127.0.0.1:{port}")])
        .current_dir(folder.path())
        .stdout(std::fs::File::options().write(true).open("/dev/full").unwrap())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&status.stderr);
    assert_eq!(status.status.code(), Some(1), "{told}");
    assert!(told.contains("cannot write to standard output"), "{told}");
}

#[test]
fn keys_are_read_set_and_removed() {
    let (_node, port, folder) = node();
    let address = format!("127.0.0.1:{port}");
    let quorate = |arguments: &[&str]| {
        let (code, out, _) = run(&[arguments, &["--addr", &address]].concat(), folder.path());
        (code, out)
    };
    let answers = |code: i32, out: &str| (code, out.to_owned());
    assert_eq!(quorate(&["get", "k"]), answers(5, ""));
    assert_eq!(quorate(&["get", "k", "--json"]), answers(5, "{\"key\":\"k\",\"value\":null}\n"));
    assert_eq!(quorate(&["set", "k", "one"]), answers(0, ""));
    assert_eq!(quorate(&["get", "k"]), answers(0, "one\n"));
    assert_eq!(quorate(&["set", "k", "two", "--if-absent"]), answers(5, ""));
    let unmet = "{\"key\":\"k\",\"set\":false}\n";
    assert_eq!(quorate(&["set", "k", "two", "--if-equal", "zero", "--json"]), answers(5, unmet));
    assert_eq!(quorate(&["set", "k", "two", "--if-equal", "one"]), answers(0, ""));
    let (code, out) = quorate(&["get", "k", "--stale", "--json"]);
    assert!(code == 0 && out.contains("\"value\":\"two\"") && out.contains("\"age_ms\":"), "{out}");
    assert_eq!(quorate(&["set", "t", "for a time", "--ttl", "1h"]), answers(0, ""));
    let left: Duration =
        Duration::from_millis(redis::cmd("PTTL").arg("t").query(&mut support::connect(port)).unwrap());
    assert!(left > Duration::from_secs(3_000));
    try_ask(port, &["SET", "b", "\u{e9}"]).unwrap();
    assert_eq!(quorate(&["get", "b", "--json"]), answers(0, "{\"key\":\"b\",\"value\":\"\u{e9}\"}\n"));
    assert_eq!(quorate(&["del", "k", "t", "none", "--json"]), answers(0, "{\"deleted\":2}\n"));
    assert_eq!(quorate(&["del", "b"]), answers(0, ""));
}

#[test]
fn each_change_of_a_lock_or_an_election_is_a_line() {
    let (_node, port, folder) = node();
    let address = format!("127.0.0.1:{port}");
    let watch = |more: &[&str]| {
        let line = [&["watch", "a", "--addr", &address], more].concat();
        Process::start(&line.into_iter().map(str::to_owned).collect::<Vec<_>>(), folder.path())
    };
    let process = watch(&[]);
    process.await_line("free -");
    let (code, ..) = lock(port, folder.path(), &[], &["true"]);
    assert_eq!(code, 0);
    let came = process.await_line("acquired ");
    process.await_line(&came.replace("acquired", "released"));

    ask(port, &["ELECTION", "CAMPAIGN", "e", "OWNER", "me", "TTL", "3600000", "VALUE", "here"]);
    let line = ["watch", "e", "--election", "--once", "--json", "--addr", &address];
    let (code, out, errors) = run(&line, folder.path());
    assert_eq!((code, errors.as_str()), (0, ""));
    let object: serde_json::Value = serde_json::from_str(&out).unwrap();
    let told = [&object["name"], &object["event"], &object["value"]].map(|field| field.as_str());
    assert_eq!(told, [Some("e"), Some("acquired"), Some("here")], "{out}");
    assert!(object["token"].is_u64() && object["position"].is_null(), "{out}");
    let (code, _, errors) = run(&["watch", "e", "--once", "--addr", &address], folder.path());
    assert!(code == 1 && errors.contains("WRONGTYPE"), "{code} {errors}");

    let (code, _, errors) = run(&["watch", "k", "--key", "--addr", &address], folder.path());
    assert!(code == 1 && errors.contains("CONFIG SET notify-keyspace-events"), "{code} {errors}");
    ask(port, &["CONFIG", "SET", "notify-keyspace-events", "KA"]);
    let line = ["watch", "k", "--key", "--addr", &address].map(str::to_owned);
    let process = Process::start(&line, folder.path());
    process.await_line("gone");
    ask(port, &["SET", "k", "two\nlines"]);
    process.await_line("set two lines");
}
