//! Transactions and what WATCH has seen.

use super::*;

#[test]
fn a_transaction_is_one_request() {
    let mut bench = Bench::new();
    bench.send("MULTI").send("SET a 1").send("GET a").send("EXEC");
    assert_eq!(bench.asked(), "0T [] 0 SET a 1; 0 GET a");
    assert_eq!(bench.got(), "+OK +QUEUED +QUEUED ");
    assert!(bench.exchange.accepts(), "nothing depends on its outcome");
    bench.answer(Reply::Array(vec![Reply::ok(), Reply::Integer(1)]));
    assert_eq!(bench.got(), "*2 +OK :1 ");
}

#[test]
fn own_commands_are_woven_into_a_transaction_once_it_took_place() {
    let mut bench = Bench::new();
    bench
        .send("MULTI")
        .send("SELECT 2")
        .send("SET a 1")
        .send("ECHO x")
        .send("SELECT 16")
        .send("GET a")
        .send("EXEC");
    assert_eq!(bench.asked(), "0T [] 2 SET a 1; 2 GET a");
    assert!(!bench.exchange.accepts(), "the database is not known");
    bench.got();
    bench.answer(Reply::Array(vec![Reply::ok(), Reply::Integer(1)]));
    assert_eq!(bench.got(), "*5 +OK +OK $1 x -ERR DB index is out of range :1 ");
    assert_eq!(bench.exchange.db, 2);
}

#[test]
fn a_transaction_that_did_not_take_place_selects_nothing() {
    let mut bench = Bench::new();
    bench.send("MULTI").send("SELECT 2").send("SET a 1").send("EXEC").got();
    assert_eq!(bench.answer(Reply::NullArray).got(), "*-1 ");
    assert_eq!(bench.exchange.db, 0);
}

#[test]
fn a_transaction_without_keys_needs_no_log() {
    let mut bench = Bench::new();
    bench.send("MULTI").send("PING").send("EXEC");
    assert_eq!(bench.asked(), "");
    assert_eq!(bench.got(), "+OK +QUEUED *1 +PONG ");
    bench.send("MULTI").send("EXEC");
    assert_eq!(bench.got(), "+OK *0 ");
}

#[test]
fn a_refused_command_spoils_the_transaction() {
    let mut bench = Bench::new();
    bench.send("MULTI").send("FOO").send("SET a 1").send("EXEC");
    assert_eq!(bench.asked(), "");
    assert!(bench.got().ends_with("+QUEUED -EXECABORT Transaction discarded because of previous errors. "));
    assert_eq!(bench.says("EXEC"), "-ERR EXEC without MULTI ");
    assert_eq!(bench.says("DISCARD"), "-ERR DISCARD without MULTI ");
    bench.send("MULTI");
    assert_eq!(bench.got(), "+OK ");
    assert_eq!(bench.says("MULTI"), "-ERR MULTI calls can not be nested ");
    assert_eq!(bench.says("WATCH a"), "-ERR WATCH inside MULTI is not allowed ");
    assert_eq!(bench.says("DISCARD"), "+OK ");
}

#[test]
fn an_exec_with_arguments_discards_the_transaction() {
    let mut bench = Bench::new();
    bench.send("WATCH a").saw("a", 7).asked();
    bench.send("MULTI").send("SET a 1").got();
    let text =
        "-EXECABORT Transaction discarded because of: wrong number of arguments for \\'exec\\' command ";
    assert_eq!(bench.says("EXEC x"), text);
    assert_eq!(bench.says("EXEC"), "-ERR EXEC without MULTI ");
    bench.send("MULTI").send("SET a 1").send("EXEC");
    assert_eq!(bench.asked(), "0T [] 0 SET a 1");
}

#[test]
fn an_error_of_quorate_spoils_the_transaction_like_any_other() {
    let mut bench = Bench::new();
    bench.send("MULTI").send("QUORATE STATUS").send("QUORATE FOO").send("EXEC");
    assert!(bench.got().ends_with("-EXECABORT Transaction discarded because of previous errors. "));
}

#[test]
fn config_get_in_a_transaction_joins_the_nodes_settings_too() {
    let mut bench = Bench::new();
    bench.send("MULTI").send("CONFIG GET maxclients").send("GET a").send("EXEC").got();
    assert_eq!(bench.asked(), "0T [] 0 CONFIG GET maxclients; 0 GET a");
    bench.answer(Reply::Array(vec![Reply::Map(vec![]), Reply::Null]));
    assert_eq!(bench.got(), "*2 *2 $10 maxclients $5 10000 $-1 ");
}

#[test]
fn client_reply_in_a_transaction_counts_behind_it() {
    for keys in [false, true] {
        let mut bench = Bench::new();
        bench.send("MULTI").send("PING").send("CLIENT REPLY OFF");
        if keys {
            bench.send("GET a");
        }
        bench.send("EXEC").got();
        if keys {
            bench.answer(Reply::Array(vec![Reply::Null]));
        }
        bench.send("PING");
        bench.send("CLIENT REPLY ON");
        let got = bench.got();
        assert!(got.ends_with("+OK ") && !got.contains("PONG +PONG"), "{got}");
    }
    let mut bench = Bench::new();
    bench.send("MULTI").send("CLIENT REPLY SKIP").send("PING").send("EXEC");
    assert_eq!(bench.got(), "+OK +QUEUED +QUEUED *2 +OK +PONG ");
    assert_eq!(bench.send("ECHO a").send("ECHO b").got(), "$1 b ");
}

#[test]
fn hello_in_a_transaction_counts_from_its_own_reply_on() {
    for watches in [false, true] {
        let mut bench = Bench::new();
        if watches {
            bench.send("WATCH a").saw("a", 1);
        }
        bench.send("MULTI").send("CLIENT GETNAME").send("HELLO 3").send("CLIENT GETNAME").send("EXEC");
        if watches {
            bench.answer(Reply::Array(vec![]));
        }
        let got = bench.got();
        assert!(got.contains("*3 $-1 %7 ") && got.ends_with(" _ "), "{got}");
        assert_eq!(bench.says("CLIENT GETNAME"), "_ ");
    }
}

#[test]
fn queued_commands_do_not_pin_a_read_buffer() {
    let mut bench = Bench::new();
    bench.send("MULTI");
    let buffer = Bytes::from([&b"SETav"[..], &[0; 1 << 16]].concat());
    let arguments = vec![buffer.slice(0..3), buffer.slice(3..4), buffer.slice(4..5)];
    bench.exchange.execute(Frame { arguments, bytes: buffer.slice(0..5) });
    assert!(buffer.is_unique());
    bench.send("EXEC");
    assert_eq!(bench.asked(), "0T [] 0 SET a v");
}

#[test]
fn a_broken_transaction_keeps_nothing() {
    let mut bench = Bench::new();
    bench.send("MULTI").send(&format!("SET a {}", "x".repeat(1000))).got();
    assert!(bench.exchange.held_bytes() > 1000);
    bench.send("FOO").send(&format!("SET a {}", "x".repeat(1000)));
    bench.exchange.output().clear();
    let output = bench.exchange.output().capacity();
    assert_eq!(bench.exchange.held_bytes(), output);
}

#[test]
fn own_commands_of_a_transaction_end_where_its_reply_is_too_large() {
    let mut bench = Bench::with(Limits { output_bytes_max: 40, ..Limits::default() });
    bench.send("MULTI");
    for _ in 0..3 {
        bench.send("ECHO 1234567890123456789012345");
    }
    let got = bench.send("EXEC").got();
    assert_eq!(got.matches("$25 ").count(), 2, "{got}");
    assert!(got.ends_with("-ERR not executed: the replies before it exceed max-output-bytes "), "{got}");
}

#[test]
fn a_transaction_that_is_too_large_is_refused_as_a_whole() {
    let mut bench = Bench::with(Limits { transaction_bytes_max: 110, ..Limits::default() });
    bench.send("MULTI").send("SET a 1").send("SET a 12345678901234").send("EXEC");
    let got = bench.got();
    assert!(got.contains("-ERR transaction is too large") && got.contains("-EXECABORT"), "{got}");
}

#[test]
fn watch_remembers_what_it_saw_for_the_next_exec_only() {
    let mut bench = Bench::new();
    bench.send("WATCH a");
    assert_eq!(bench.asked(), "0watch a");
    assert!(!bench.exchange.accepts(), "EXEC needs the versions");
    assert_eq!(bench.saw("a", 7).got(), "+OK ");
    bench.send("MULTI").send("SET a 1").send("EXEC");
    assert_eq!(bench.asked(), "0T [0:a@7] 0 SET a 1");
    bench.answer(Reply::NullArray).send("MULTI").send("SET a 1").send("EXEC");
    assert_eq!(bench.asked(), "0T [] 0 SET a 1");
}

#[test]
fn unwatch_discard_reset_and_a_broken_exec_forget_what_was_watched() {
    for forget in [&["UNWATCH"][..], &["MULTI", "DISCARD"], &["RESET"], &["MULTI", "FOO", "EXEC"]] {
        let mut bench = Bench::new();
        bench.send("WATCH a").saw("a", 7).asked();
        for line in forget {
            bench.send(line);
        }
        bench.send("MULTI").send("SET a 1").send("EXEC");
        assert_eq!(bench.asked(), "0T [] 0 SET a 1", "{forget:?}");
    }
}

#[test]
fn a_watch_is_checked_even_if_nothing_else_needs_the_log() {
    let mut bench = Bench::new();
    bench.send("WATCH a").saw("a", 0).send("MULTI").send("PING").send("EXEC");
    assert_eq!(bench.asked(), "0watch a | 0T [0:a@0] ");
    bench.got();
    assert_eq!(bench.answer(Reply::Array(vec![])).got(), "*1 +PONG ");
}

#[test]
fn watched_keys_do_not_pin_a_read_buffer() {
    let mut bench = Bench::new();
    let buffer = Bytes::from(vec![b'k'; 1 << 16]);
    bench.send("WATCH k");
    let seen = Watched { db: 0, key: buffer.slice(0..1), seen: Seen::Present(Version(1)) };
    bench.exchange.answer(Answer::Watched(vec![seen]), Instant::now()).expect("WATCH awaits it");
    assert!(buffer.is_unique());
}

#[test]
fn what_watch_may_remember_is_bounded() {
    let mut bench = Bench::with(Limits { transaction_bytes_max: 200, ..Limits::default() });
    assert!(bench.says(&format!("WATCH {}", "k".repeat(200))).starts_with("-ERR too many watched keys"));
    bench.send("WATCH a").saw("a", 1).got();
    assert!(bench.says(&format!("WATCH {}", "k".repeat(150))).starts_with("-ERR too many watched keys"));
}

/// Each was once bounded on its own, so that EXEC could make an entry of both that was twice as large.
#[test]
fn what_is_watched_and_what_is_queued_are_bounded_together() {
    let mut bench = Bench::with(Limits { transaction_bytes_max: 250, ..Limits::default() });
    const KEY: &str = match std::str::from_utf8(&[b'k'; 150]) {
        Ok(key) => key,
        Err(_) => unreachable!(),
    };
    bench.send(&format!("WATCH {KEY}")).saw(KEY, 1).got();
    bench.send("MULTI").send("SET a 1").send("EXEC");
    let got = bench.got();
    assert!(got.contains("-ERR transaction is too large") && got.contains("-EXECABORT"), "{got}");
    bench.send("MULTI").send("SET a 1");
    assert_eq!(bench.got(), "+OK +QUEUED ");
}
