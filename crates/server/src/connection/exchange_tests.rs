//! Conversations without a socket: commands in, requests to the shard and bytes to the client out.

use std::{collections::BTreeMap, time::Duration};

use quorate_machine::{ChannelKind, Publication, Seen, Version, all};
use tokio::sync::watch;

use super::*;
use crate::{
    connection::{Endpoints, Limits},
    handle::{ConnId, ShardHandle},
    status::Role,
    subscriptions::{self, Subscriptions, Topic},
};

#[path = "exchange_states_tests.rs"]
mod states;
#[path = "exchange_transactions_tests.rs"]
mod transactions;

/// An exchange with a shard that the test plays.
struct Bench {
    exchange: Exchange,
    status: watch::Sender<Arc<NodeStatus>>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Limits::default())
    }

    fn with(limits: Limits) -> Self {
        Self::made_of(limits, Subscriptions::new().0)
    }

    fn listening_to(subscriptions: Arc<Subscriptions>) -> Self {
        Self::made_of(Limits::default(), subscriptions)
    }

    fn made_of(limits: Limits, subscriptions: Arc<Subscriptions>) -> Self {
        let (inputs, _) = crossbeam_channel::unbounded();
        let (status, watched) = watch::channel(Arc::new(NodeStatus::default()));
        let shard = ShardHandle::new(inputs, watched, subscriptions);
        let front = FrontDoor::new(shard, limits, BTreeMap::new(), 7379);
        let (id, _) = front.shard.connect();
        let endpoints =
            Endpoints { remote: ([127, 0, 0, 1], 5).into(), local: ([127, 0, 0, 1], 7379).into() };
        let client = front.clients.admit(id, endpoints, 10).expect("there is room");
        Self { exchange: Exchange::new(front, client), status }
    }

    /// Sends one command of words without spaces.
    fn send(&mut self, line: &str) -> &mut Self {
        assert!(self.exchange.accepts(), "{line} would have to wait");
        let arguments = line.split(' ').map(|word| Bytes::from(word.to_owned())).collect();
        self.exchange.execute(Frame { arguments, bytes: Bytes::from(format!("{line}\n")) });
        self
    }

    /// What went to the shard: the database, the first letter of the action, the words.
    fn asked(&mut self) -> String {
        let words = |words: &[Bytes]| {
            words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ")
        };
        let show = |request: Request| match request.action {
            Action::Read(arguments) => format!("{}R {}", request.db, words(&arguments)),
            Action::StaleRead(arguments) => format!("{}S {}", request.db, words(&arguments)),
            Action::Write(arguments) => format!("{}W {}", request.db, words(&arguments)),
            Action::Wait(arguments) => format!("{}B {}", request.db, words(&arguments)),
            Action::Watch(keys) => format!("{}watch {}", request.db, words(&keys)),
            Action::Reconfigure(change) => format!("members: {change}"),
            Action::View => "view".to_owned(),
            Action::Unblock { target, with_error } => format!("unblock {} {with_error}", target.0),
            Action::Transaction { watched, commands } => {
                let watched: Vec<_> = watched
                    .iter()
                    .map(|watched| match watched.seen {
                        Seen::Present(version) => {
                            format!("{}:{}@{}", watched.db, watched.key.escape_ascii(), version.0)
                        }
                        Seen::Absent(_) => format!("{}:{}@none", watched.db, watched.key.escape_ascii()),
                    })
                    .collect();
                let commands: Vec<_> =
                    commands.iter().map(|(db, arguments)| format!("{db} {}", words(arguments))).collect();
                format!("{}T [{}] {}", request.db, watched.join(" "), commands.join("; "))
            }
        };
        self.exchange.take_requests().into_iter().map(show).collect::<Vec<_>>().join(" | ")
    }

    fn answer(&mut self, reply: Reply) -> &mut Self {
        self.exchange.answer(Answer::Reply(reply), Instant::now()).expect("an answer was awaited");
        self
    }

    fn saw(&mut self, key: &'static str, version: u64) -> &mut Self {
        let seen = Watched {
            db: self.exchange.db,
            key: Bytes::from_static(key.as_bytes()),
            seen: Seen::Present(Version(version)),
        };
        self.exchange.answer(Answer::Watched(vec![seen]), Instant::now()).expect("WATCH awaits it");
        self
    }

    /// What the client has got since the last look, line ends shown as spaces.
    fn got(&mut self) -> String {
        self.exchange.output().split().escape_ascii().to_string().replace("\\r\\n", " ")
    }

    fn says(&mut self, line: &str) -> String {
        self.send(line).got()
    }
}

#[test]
fn replies_keep_the_order_of_commands() {
    let mut bench = Bench::new();
    bench.send("GET a").send("PING").send("SET a b").send("ECHO x");
    assert_eq!(bench.asked(), "0R GET a | 0W SET a b");
    assert_eq!(bench.got(), "");
    assert_eq!(bench.answer(Reply::Null).got(), "$-1 +PONG ");
    assert_eq!(bench.answer(Reply::ok()).got(), "+OK $1 x ");
}

#[test]
fn unknown_commands_and_wrong_arity_are_refused_in_place() {
    let mut bench = Bench::new();
    bench.send("GET a").send("FOO a").send("GET");
    bench.answer(Reply::Null);
    assert_eq!(
        bench.got(),
        "$-1 -ERR unknown command \\'FOO\\', with args beginning with: \\'a\\'  -ERR wrong number of arguments for \
         \\'get\\' command "
    );
}

#[test]
fn hello_changes_how_later_replies_are_written_and_only_those() {
    let mut bench = Bench::new();
    bench.send("GET a").send("HELLO 3").send("GET b");
    bench.answer(Reply::Null);
    let hello = bench.got();
    assert!(hello.starts_with("$-1 %7 $6 server $5 redis $7 version $5 7.2.4 $5 proto :3 "), "{hello}");
    assert_eq!(bench.answer(Reply::Null).got(), "_ ");
    assert!(bench.says("HELLO 2").starts_with("*14 "));
    assert_eq!(bench.says("HELLO 4"), "-NOPROTO unsupported protocol version ");
    assert_eq!(bench.says("HELLO x"), "-ERR Protocol version is not an integer or out of range ");
    assert_eq!(bench.says("HELLO 3 FOO"), "-ERR Syntax error in HELLO option \\'FOO\\' ");
    assert_eq!(
        bench.says("HELLO 3 AUTH a b"),
        "-WRONGPASS invalid username-password pair or user is disabled. "
    );
    bench.says("HELLO 3 AUTH default x SETNAME me");
    assert_eq!(bench.says("CLIENT GETNAME"), "$2 me ");
}

#[test]
fn auth_without_passwords_answers_as_redis_does() {
    let mut bench = Bench::new();
    let text = "-ERR AUTH <password> called without any password configured for the default user. Are you sure your \
                configuration is correct? ";
    assert_eq!(bench.says("AUTH x"), text);
    assert_eq!(bench.says("AUTH default x"), "+OK ");
    assert_eq!(bench.says("AUTH a b c"), "-ERR syntax error ");
}

#[test]
fn select_counts_for_what_follows() {
    let mut bench = Bench::new();
    bench.send("GET a").send("SELECT 3").send("GET a").send("SELECT 16").send("SELECT x").send("GET a");
    assert_eq!(bench.asked(), "0R GET a | 3R GET a | 3R GET a");
    for _ in 0..3 {
        bench.answer(Reply::Null);
    }
    assert_eq!(
        bench.got(),
        "$-1 +OK $-1 -ERR DB index is out of range -ERR value is not an integer or out of range $-1 "
    );
}

#[test]
fn replies_that_wait_behind_others_are_counted() {
    let mut bench = Bench::with(Limits { pipeline_bytes_max: 1000, ..Limits::default() });
    bench.send("GET a").send(&format!("ECHO {}", "x".repeat(1000)));
    assert!(!bench.exchange.accepts() && bench.exchange.held_bytes() > 1000);
    bench.answer(Reply::Null);
    assert!(bench.exchange.accepts());
}

#[test]
fn client_reply_silences_without_losing_the_order() {
    let mut bench = Bench::new();
    bench.send("CLIENT REPLY SKIP").send("GET a").send("ECHO x");
    assert_eq!(bench.answer(Reply::Null).got(), "$1 x ");
    bench.send("CLIENT REPLY OFF").send("PING").send("CLIENT REPLY SKIP").send("PING").send("FOO");
    assert_eq!(bench.got(), "");
    assert_eq!(bench.send("CLIENT REPLY ON").send("PING").got(), "+OK +PONG ");
}

#[test]
fn wait_answers_the_leaders_figure_after_all_before_it() {
    let mut bench = Bench::new();
    bench.send("SET a 1").send("WAIT 1 100");
    assert!(!bench.exchange.accepts());
    let now = Instant::now();
    let followed_by = |connected_slaves| NodeStatus { connected_slaves, ..NodeStatus::default() };
    assert!(!bench.exchange.poll_wait(&followed_by(5), now), "the write is not answered yet");
    bench.answer(Reply::ok());
    assert!(!bench.exchange.poll_wait(&followed_by(0), now));
    assert_eq!(bench.exchange.wait_deadline(), Some(now + Duration::from_millis(100)));
    assert!(bench.exchange.poll_wait(&followed_by(2), now));
    assert_eq!(bench.got(), "+OK :2 ");
}

#[test]
fn info_role_and_wait_agree() {
    let mut bench = Bench::new();
    bench.status.send_modify(|status| {
        *status =
            Arc::new(NodeStatus { connected_slaves: 2, run_id: "f".repeat(40), ..NodeStatus::default() });
    });
    let info = bench.says("INFO replication");
    assert!(info.contains("role:slave ") && info.contains("connected_slaves:2 "), "{info}");
    let info = bench.says("INFO");
    for field in [
        "loading:0 ",
        "redis_version:7.2.4 ",
        "run_id:ffff",
        "cluster_enabled:0 ",
        "arch_bits:64 ",
        "redis_mode:standalone ",
    ] {
        assert!(info.contains(field), "{field} in {info}");
    }
    assert!(bench.says("ROLE").starts_with("*5 $5 slave "));
    assert_eq!(bench.send("MULTI").send("WAIT 9 0").send("EXEC").got(), "+OK +QUEUED *1 :2 ");
    bench.status.send_modify(|status| Arc::make_mut(status).role = Role::Leader);
    assert!(bench.says("INFO replication").contains("role:master "));
    assert_eq!(bench.says("ROLE"), "*3 $6 master :0 *0 ");
}

#[test]
fn quit_answers_and_executes_nothing_more() {
    let mut bench = Bench::new();
    bench.send("GET a").send("QUIT");
    assert!(!bench.exchange.accepts() && !bench.exchange.is_over());
    assert_eq!(bench.answer(Reply::Null).got(), "$-1 +OK ");
    assert!(bench.exchange.is_over());
}

#[test]
fn reset_makes_the_connection_new() {
    let mut bench = Bench::new();
    bench.send("HELLO 3").send("SELECT 3").send("CLIENT SETNAME x").send("MULTI").got();
    assert_eq!(bench.says("RESET"), "+RESET ");
    assert_eq!(bench.says("CLIENT GETNAME"), "$-1 ");
    bench.send("GET a");
    assert_eq!(bench.asked(), "0R GET a");
}

#[test]
fn at_the_pipeline_limit_commands_wait() {
    let mut bench = Bench::with(Limits { pipeline_max: 2, ..Limits::default() });
    bench.send("GET a").send("GET b");
    assert!(!bench.exchange.accepts());
    bench.answer(Reply::Null);
    assert!(bench.exchange.accepts());
}

#[test]
fn large_requests_in_flight_hold_back_the_next() {
    let mut bench = Bench::with(Limits { pipeline_bytes_max: 200, ..Limits::default() });
    bench.send(&format!("SET a {}", "x".repeat(200)));
    assert!(!bench.exchange.accepts());
    assert!(bench.exchange.held_bytes() > 200);
    bench.answer(Reply::ok());
    assert!(bench.exchange.accepts());
    assert!(bench.exchange.held_bytes() < 200);
}

#[test]
fn a_close_of_the_shard_gives_up_what_is_unanswered() {
    let mut bench = Bench::new();
    bench.send("SET a 1").send("SET b 1").answer(Reply::ok());
    let closed = bench.exchange.answer(Answer::Close("command timed out"), Instant::now());
    assert_eq!(closed, Err("command timed out"));
    assert_eq!(bench.got(), "+OK ");
    assert!(bench.exchange.is_over());
}

#[test]
fn broken_input_is_answered_even_in_silence() {
    let mut bench = Bench::new();
    bench.send("CLIENT REPLY OFF");
    bench.exchange.refuse_input(&ProtocolError::InvalidArgumentLength);
    assert_eq!(bench.got(), "-ERR Protocol error: invalid bulk length ");
    assert!(bench.exchange.is_over());
}

#[test]
fn config_joins_the_clusters_settings_and_the_nodes() {
    let mut bench = Bench::new();
    bench.send("CONFIG GET max*");
    assert_eq!(bench.asked(), "0R CONFIG GET max*");
    let memory = (Reply::bulk("maxmemory"), Reply::bulk("9"));
    bench.answer(Reply::Map(vec![memory]));
    assert_eq!(
        bench.got(),
        "*6 $9 maxmemory $1 9 $10 maxclients $5 10000 $16 maxmemory-policy $10 noeviction "
    );
    bench.send("CONFIG SET maxmemory 10");
    assert_eq!(bench.asked(), "0W CONFIG SET maxmemory 10");
    bench.answer(Reply::ok()).got();
    let text = "-ERR Unknown option or number of arguments for CONFIG SET - \\'foo\\' ";
    assert_eq!(bench.says("CONFIG SET foo bar"), text);
    assert!(bench.says("CONFIG SET maxclients 5").starts_with("-ERR CONFIG SET failed (possibly related"));
    assert_eq!(bench.says("CONFIG SET maxclients 10000"), "+OK ");
}

#[test]
fn quorate_status_is_json() {
    let mut bench = Bench::new();
    let got = bench.says("QUORATE STATUS");
    assert!(got.contains("\\\"node_id\\\":0"), "{got}");
    assert_eq!(bench.says("QUORATE FOO"), "-ERR unknown subcommand \\'FOO\\'. Try QUORATE HELP. ");
}

#[test]
fn every_command_that_the_table_leaves_to_the_server_is_answered() {
    for spec in all().flat_map(|spec| std::iter::once(spec).chain(spec.subcommands)) {
        let own = matches!(spec.class, Class::Pure | Class::Connection | Class::Node);
        let arity = usize::try_from(spec.arity.unsigned_abs()).expect("small");
        let mut line: Vec<&str> = spec.name.split('|').collect();
        while line.len() < arity {
            line.push("1");
        }
        if own && spec.subcommands.is_empty() {
            let mut bench = Bench::new();
            bench.send("MULTI").send(&line.join(" "));
            if bench.exchange.accepts() {
                bench.send("EXEC");
            }
            let got = bench.got();
            assert!(!got.contains("cannot be run here"), "{}: {got}", spec.name);
        }
    }
}

/// The shard's answer to its `number`-th request; errors and aborted transactions are among them.
fn scripted_answer(request: &Request, number: usize) -> Answer {
    let reply = Reply::count(number);
    match &request.action {
        Action::Watch(keys) => {
            let seen = Seen::Present(Version(number as u64));
            let saw = |key: &Bytes| Watched { db: request.db, key: key.clone(), seen };
            Answer::Watched(keys.iter().map(saw).collect())
        }
        Action::Transaction { .. } if number.is_multiple_of(3) => Answer::Reply(Reply::NullArray),
        Action::Transaction { commands, .. } => Answer::Reply(Reply::Array(vec![reply; commands.len()])),
        Action::Read(_) | Action::StaleRead(_) | Action::Write(_) | Action::Wait(_)
            if number.is_multiple_of(5) =>
        {
            Answer::Reply(Reply::error("ERR five"))
        }
        Action::Read(_)
        | Action::StaleRead(_)
        | Action::Write(_)
        | Action::Wait(_)
        | Action::Reconfigure(_)
        | Action::View
        | Action::Unblock { .. } => Answer::Reply(reply),
    }
}

/// Sends the lines while the shard answers `patience` requests late, or earlier where it must: what went to the
/// shard and what the client read.
fn converse(lines: &[&str], patience: usize) -> (Vec<Request>, String) {
    let mut bench = Bench::new();
    let (mut asked, mut answered, mut got) = (Vec::new(), 0, String::new());
    let mut answer_one = |bench: &mut Bench, asked: &[Request]| {
        let answer = scripted_answer(&asked[answered], answered);
        bench.exchange.answer(answer, Instant::now()).expect("an answer was awaited");
        answered += 1;
        answered
    };
    let mut done = 0;
    for line in lines {
        while !bench.exchange.accepts() && bench.exchange.is_open() {
            done = answer_one(&mut bench, &asked);
        }
        if !bench.exchange.is_open() {
            break;
        }
        bench.send(line);
        asked.extend(bench.exchange.take_requests());
        while asked.len() - done > patience {
            done = answer_one(&mut bench, &asked);
        }
        got += &bench.got();
    }
    while done < asked.len() {
        done = answer_one(&mut bench, &asked);
    }
    got += &bench.got();
    (asked, got)
}

proptest::proptest! {
    #[test]
    fn how_late_the_shard_answers_changes_nothing(
        choices in proptest::collection::vec(0_usize..17, 1..40),
        patience in 1_usize..10,
    ) {
        const LINES: [&str; 17] = [
            "GET a", "SET a 1", "PING", "SELECT 3", "SELECT 99", "MULTI", "EXEC", "DISCARD", "WATCH a b", "UNWATCH",
            "HELLO 3", "RESET", "CLIENT REPLY SKIP", "CLIENT REPLY OFF", "CLIENT REPLY ON", "FOO", "CONFIG GET none",
        ];
        let lines: Vec<&str> = choices.iter().map(|choice| LINES[*choice]).collect();
        proptest::prop_assert_eq!(converse(&lines, patience), converse(&lines, 0));
    }
}

#[test]
fn a_subscription_begins_when_the_shard_has_confirmed_how_far_it_is() {
    let mut bench = Bench::new();
    bench.send("SUBSCRIBE a b");
    assert_eq!(bench.asked(), "0R ping");
    assert!(!bench.exchange.accepts() && bench.exchange.ends().1.is_none());
    bench.answer(Reply::status("PONG"));
    assert_eq!(bench.got(), "*3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2 ");
    assert_eq!(bench.exchange.client.details().listening.channels, 2);
    bench.send("UNSUBSCRIBE b").send("PUNSUBSCRIBE").send("UNSUBSCRIBE").send("UNSUBSCRIBE");
    assert_eq!(
        bench.got(),
        "*3 $11 unsubscribe $1 b :1 *3 $12 punsubscribe $-1 :1 *3 $11 unsubscribe $1 a :0 *3 $11 unsubscribe $-1 :0 "
    );
}

#[test]
fn who_watches_a_lock_or_an_election_listens_to_its_channel() {
    let mut bench = Bench::new();
    bench.send("SELECT 3").send("LOCK WATCH l");
    assert_eq!(bench.asked(), "3R ping");
    bench.answer(Reply::status("PONG")).send("ELECTION OBSERVE e").answer(Reply::status("PONG"));
    assert_eq!(
        bench.got(),
        "+OK *3 $9 subscribe $12 __lock@3__:l :1 *3 $9 subscribe $16 __election@3__:e :2 "
    );
}

#[test]
fn who_cannot_go_on_from_where_he_was_is_told_so_once_this_node_is_as_far() {
    let mut bench = Bench::new();
    bench.exchange.front.shard.subscriptions().miss(10, "it has just begun");
    bench.send("LOCK WATCH l FROM 10");
    assert_eq!(bench.asked(), "0R ping");
    bench.answer(Reply::status("PONG"));
    assert!(bench.got().starts_with("-GAP not everything from there on"));
    assert_eq!(bench.exchange.client.details().listening.channels, 0);
    for (options, refusal) in [
        ("FROM", "-ERR syntax error "),
        ("SINCE 5", "-ERR syntax error "),
        ("FROM 5 6", "-ERR syntax error "),
        ("FROM 0", "-ERR a position of the log is a positive integer "),
        ("FROM x", "-ERR a position of the log is a positive integer "),
    ] {
        assert_eq!(bench.says(&format!("ELECTION OBSERVE e {options}")), refusal, "{options}");
    }
}

/// A connection that goes back to its pool must not find a message in the place of its next reply.
#[tokio::test]
async fn messages_come_before_the_confirmation_that_no_more_will() {
    let (subscriptions, handed) = Subscriptions::new();
    tokio::spawn(subscriptions::fan_out(Arc::clone(&subscriptions), handed));
    let mut bench = Bench::listening_to(subscriptions);
    bench.send("SUBSCRIBE a").answer(Reply::Null).got();
    let (channel, message) = (Bytes::from_static(b"a"), Bytes::from_static(b"m"));
    let publication = Publication { kind: ChannelKind::Ordinary, channel, message, position: None };
    bench.exchange.front.shard.subscriptions().publish(&[publication], 1);
    while bench.exchange.message_bytes() == 0 {
        tokio::task::yield_now().await;
    }
    bench.send("UNSUBSCRIBE");
    assert_eq!(bench.got(), "*3 $7 message $1 a $1 m *3 $11 unsubscribe $1 a :0 ");
}

#[test]
fn names_and_patterns_are_bounded() {
    let mut bench = Bench::new();
    let long = "x".repeat(1025);
    let refusal = "-ERR the name of a channel, or the pattern, is longer than 1024 bytes ";
    assert_eq!(bench.says(&format!("SUBSCRIBE a {long}")), refusal);
    assert_eq!(bench.says(&format!("PSUBSCRIBE {long}")), refusal);
    assert!(bench.says(&format!("PUBSUB CHANNELS {long}")).starts_with("-ERR the pattern"));
    let patterns = (0..1025).map(|number| number.to_string()).collect::<Vec<_>>().join(" ");
    assert!(bench.says(&format!("PSUBSCRIBE {patterns}")).starts_with("-ERR too many patterns"));
    assert_eq!(bench.asked(), "");
}

#[test]
fn a_subscription_that_cannot_be_confirmed_does_not_begin() {
    let mut bench = Bench::new();
    bench.send("SUBSCRIBE a").answer(Reply::error("CLUSTERDOWN no leader"));
    assert_eq!(bench.got(), "-CLUSTERDOWN no leader ");
    bench.send("PUBSUB CHANNELS");
    assert_eq!(bench.got(), "*0 ");
}

#[test]
fn in_version_2_whoever_listens_can_do_little_else() {
    let mut bench = Bench::new();
    bench.send("SUBSCRIBE a").answer(Reply::Null).got();
    bench.send("GET k").send("PING").send("PING x");
    let refusal = "-ERR Can\\'t execute \\'get\\': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are \
                   allowed in this context ";
    assert_eq!(bench.got(), format!("{refusal}*2 $4 pong $0  *2 $4 pong $1 x "));
    bench.send("RESET").send("PING");
    assert_eq!(bench.got(), "+RESET +PONG ");
}

#[test]
fn in_version_3_confirmations_are_pushes_and_all_commands_go_on() {
    let mut bench = Bench::new();
    bench.send("HELLO 3").got();
    bench.send("SSUBSCRIBE a").answer(Reply::Null);
    assert_eq!(bench.got(), ">3 $10 ssubscribe $1 a :1 ");
    bench.send("GET k");
    assert!(bench.asked().contains("0R GET k"));
    bench.answer(Reply::Null);
    assert_eq!(bench.got(), "_ ");
}

#[test]
fn the_number_of_subscribers_is_this_nodes_also_in_a_transaction() {
    let mut bench = Bench::new();
    let subscriptions = bench.exchange.front.shard.subscriptions();
    let _mailbox = subscriptions.open(ConnId(99), 1000);
    subscriptions.subscribe(ConnId(99), Topic::Pattern, &[Bytes::from_static(b"n*")]);
    bench.send("PUBLISH news x").answer(Reply::Integer(0)).send("SPUBLISH news x").answer(Reply::Integer(0));
    assert_eq!(bench.got(), ":1 :0 ");
    bench.send("MULTI").send("PUBLISH news x").send("SUBSCRIBE a");
    assert_eq!(bench.got(), "+OK +QUEUED -ERR Command not allowed inside a transaction ");
    bench.send("EXEC").send("MULTI").send("PUBLISH news x").send("EXEC").got();
    bench.answer(Reply::Array(vec![Reply::Integer(0)]));
    assert_eq!(bench.got(), "*1 :1 ");
}

#[test]
fn a_node_without_its_data_answers_loading_and_goes_on_serving_once_it_has_them() {
    let mut bench = Bench::new();
    bench.status.send_modify(|status| Arc::make_mut(status).loading = true);
    let loading = "-LOADING Quorate is recovering its data; the command was not applied ";
    for line in ["PING", "GET k", "SET k v", "WATCH k", "TIME", "WAIT 0 0", "CONFIG SET maxmemory 1"] {
        assert_eq!(bench.says(line), loading, "{line}");
    }
    bench.send("CLIENT SETNAME me").send("SELECT 3").send("MULTI").send("SET k v").send("EXEC");
    let aborted = "-EXECABORT Transaction discarded because of previous errors. ";
    assert_eq!(bench.got(), format!("+OK +OK +OK {loading}{aborted}"));
    assert!(bench.says("INFO persistence").contains(" loading:1 "));
    assert_eq!(bench.asked(), "", "nothing waits for a shard that is not there");

    bench.status.send_modify(|status| Arc::make_mut(status).loading = false);
    bench.send("PING").send("GET k");
    assert_eq!(bench.asked(), "3R GET k");
    assert_eq!(bench.answer(Reply::bulk("v")).got(), "+PONG $1 v ");
}
