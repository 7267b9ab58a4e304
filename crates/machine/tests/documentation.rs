//! `docs/commands.md` is made of the command table. Regenerate it with `UPDATE_GOLDENFILES=1`.

use std::collections::BTreeMap;
use std::fmt::Write;

use quorate_machine::settings::SETTINGS;
use quorate_machine::{Class, Flags, Spec, all};

const INTRODUCTION: &str = "# Commands

Made of the command table (`crates/machine/src/commands`) by `cargo test -p quorate-machine`; do not edit.

Replies and error texts are those of Redis 7.0 for commands that it has, and follow the documentation of the version
named for later ones. *Where* says who answers: **log** is applied by every node at its place in the log; **read** is
answered from the state of the last applied entry, or at its place in the log; **node** and **connection** are
answered by the node that the client is on.

What differs from Redis:

* A key exists up to the end of the millisecond of cluster time at which it expires, and then for no command.
* `PTTL` answers at least 1 until the expiry is applied.
* `SCAN` answers pages: one step can answer more than `COUNT`, and visits some 10,000 keys at most; a key that stays is
  answered once, and a cursor holds on every node. Patterns of `KEYS` and `SCAN` are at most 1,024 bytes long.
* `KEYS` and `SCAN` have one order on all nodes; `UNLINK` and `ASYNC` free memory as their counterparts do.
* Fields of hashes and members of sets come in an order of their own, which is the same on all nodes and not that in which
  they were added, and so do the steps of `HSCAN` and `SSCAN`: small collections, too, are answered in steps of `COUNT`,
  10,000 elements at most.
* A collection is at most `quorate-collection-bytes` large. What a write adds to it is added up before anything is
  changed: a field or member that one command names twice counts twice.
* `HRANDFIELD` and `SRANDMEMBER` answer 65,536 elements with repetition at most, and different ones in the order above.
* A value is at most `proto-max-bulk-len` long whatever command makes it. The limit on data counts keys and values,
  and also holds within scripts.
* A transaction has as many steps as one script, which its scripts share evenly. Once its commands have used them up
  the remaining ones answer an error and are not run.
* `PUBLISH` answers how many subscribers there are at the client's own node, as in Redis Cluster; within a script it
  answers 0. A message is for those who had subscribed before it was published, at any node; a subscriber that
  would miss one (it reads too slowly, or its node was sent a snapshot) loses its connection. One command, script or
  transaction publishes 32 MiB at most.
* A command that waits (`BLPOP` and its kin, `LOCK ACQUIRE`, `BARRIER` and others with `WAIT`) answers an error that begins with `UNBLOCKED` when its node stops, or was
  out of contact with the leader for a second: nothing was taken, and its place in the queue is lost. Its time runs in
  the log; should that stand still for 15 s and its time-out, its connection closes. A client that closes its half of the
  connection waits no longer: the connection closes, as in Redis. Time-outs are decimal, at most 285 years.
* A native lock (`LOCK`) is a value of the type `lock`, whose fencing token and time to live are those of its key: `SET` with
  `NX` finds it there, `GET` and others answer WRONGTYPE, `EXPIRE` changes its time. `DEL`, `FLUSHDB`, `RENAME` and
  a write that puts something else there take it from its holder, whose token is stale from then on. Those who wait for it get
  it in the order of arrival, which no `LOCK ACQUIRE` passes; in a transaction or a script nobody waits. `TTL` and `WAIT` are
  whole milliseconds. The time to live begins with the entry that gives the lock: who has waited extends it first, and counts
  from when he asked for that. An extension may also shorten it. Who waits with `REENTRANT` for a lock
  that he is given by another of his commands is given it by this one, too. What a single `LOCK ACQUIRE` gets whose connection
  has ended by then is given back by its node, behind it in the log; if the node dies before, at the end of its time.
* `LOCK ACQUIREALL` takes up to 128 locks of one database, all of them or none. Who waits gets them in the entry that frees the last,
  if he is the first in the queue of each: while he is, the free ones among them are kept for him, and nobody passes. Two that
  want each other's locks do not wait for ever. The locks are then like any others, each with its own token, time and release.
* `SHARED` is for readers, who share a lock and its token, each with a part that lasts his own time, or as long as his session.
  `LOCK RELEASE` says whose part is meant, by `OWNER` or `SESSION`, and `LOCK EXTEND` by `OWNER`. The lock is free with the last of them, and
  nobody holds it alone before. Fair to writers: who asks for it while somebody waits takes his place behind, but for a reader who
  enters again (`REENTRANT`); those who are next to each other in the queue are served together. Nobody rises from reader to
  writer: he would wait for himself. 1,024 share a lock at most, further ones wait until one releases or his time is over. A shared
  lock has no `DELAY`, and its key no time to live while a session is among its readers; where the last of them were sessions that
  have ended, it is free at once, and its key is there until the next entries reclaim it. `LOCK INFO` has owners under `readers`,
  and sessions under `reader-sessions`. It keeps its name: `RENAME` and `COPY` are refused.
* `DELAY` is Chubby's lock-delay: when the time of a lock is over that nobody has released or extended, nobody else is given it for
  so long, in case its holder is late rather than gone. Meanwhile it is nobody's, its token is not current, and its key is there
  still, with the delay in its time to live. `LOCK INFO` says `delayed`, and who has lost it. `LOCK RELEASE`, `LOCK FORCE-RELEASE` and `DEL` free it at once. What was taken by
  force is remembered, the last time for each of 1,024 locks, and as many as have 1 MiB of names, those of the least tokens forgotten first. `LOCK LIST` goes
  through all keys, as `KEYS` does.
* A client's session (`SESSION OPEN`) keeps alive all locks that were acquired with `SESSION`, in every database, by one
  heartbeat, which says nothing of them. It belongs to no connection: it goes on at another node, and through a change of leader,
  and any client may name it. It lasts its whole time from the entry of the last `SESSION KEEPALIVE`; count from when you asked for
  that. When it ends, by time or by `SESSION CLOSE`, its locks are free in the same instant, and who waits for one gets it in the
  same entry; what then waits on its behalf is answered `NOSESSION` as soon as it is the first in its queue. Memory is freed later
  (`quorate-reclaim-keys`), which keyspace notifications tell as `expired`. A lock that a session holds alone has the time to live of the session:
  `LOCK EXTEND` and `EXPIRE` answer an error. `FLUSHALL` ends no session.
* An election (`ELECTION`) is a lock that one leads by, of the type `election`: all that is said of locks holds for it, and commands
  of the one do not know the other (WRONGTYPE). Who waits is a candidate. Those of a greater `PRIORITY` are elected before others,
  and those of the same in the order of arrival; nobody loses what he leads to a later candidate. `ELECTION TRANSFER` hands over
  to a candidate who waits, before all others: one entry ends the one's term and begins the other's, under a token of its own. Who
  leads and campaigns again waits behind himself; to ask again for the same, use `REQUEST`. `DEL` deposes a leader.
* A semaphore (`SEMAPHORE`) has so many permits, 1,024 holders at most, and is of the type `semaphore` while somebody has one. How many
  there are says each `SEMAPHORE ACQUIRE`; another number is refused until all are returned. Each acquisition has a token that names
  its permits, and greater ones are held beside it: a resource cannot fence by the greatest token that it has seen. `FENCED` knows
  whether a token has permits still, and `FENCE` answers nil. Who waits gets permits in the order of arrival; nobody passes, also
  not who wants fewer. Its key outlasts sessions as that of a shared lock does. It keeps its name: `RENAME` and `COPY` are refused,
  or a token that was returned could be good for something again.
* A barrier (`BARRIER`) is a set of those who have arrived; any set is one, and all commands of sets may be used on it: `SMEMBERS` says
  who has, `SCARD` how many, and `SREM` takes somebody back who gave up. Who asks says for how many, and is answered how many have arrived
  once that is so many: by the entry in which the last one does, those who wait for the fewest first. Who arrives twice counts once, so
  that a command can be sent again. Who waits no longer, by time, `CLIENT UNBLOCK` or an `UNBLOCKED`, has arrived all the same. The set
  lasts for good, or for the `TTL` of who has arrived last with one: let that be longer than anybody waits, since he who waits goes on
  doing so when the set is gone, and is not in the next. Have it end by its time, or delete it when all have gone on: who asks again
  for an answer that he has lost would begin another round. Give each round a name of its own. A latch is a barrier at which some arrive
  and others only `AWAIT`. Parties that are there and gone again within a transaction or a script let nobody go.
* `LOCK WATCH` and `ELECTION OBSERVE` subscribe to a channel, `__lock@0__:name` or `__election@0__:name` with the number of the
  database, which `SUBSCRIBE` and `PSUBSCRIBE` know as well; `UNSUBSCRIBE` ends it, and `PUBLISH` to one is refused. In RESP3 messages
  are pushed beside replies. A message is `event token position`: `acquired`, with what the holder lets others know behind it if he
  does, `released` (also by force, by `DEL`, or by a write that puts something else there), `expired`, and `value` when that changes.
  The position is the log's, and changes of one entry have the same. Each who has subscribed is told once, in the order of the
  log, or loses its connection. So watch first and ask `LOCK INFO` or `ELECTION LEADER` then: from there on nothing is missed.
  Whoever comes back, at whatever node, goes on with `FROM` the position that he was told last: he is told what was sent from there
  on, that position included, and so some of it again. Behind what is told of the past, also when that is nothing, comes `watching 0
  position`, from where to go on if nothing else is told: it comes behind everything that was known when it was asked for. Each node
  keeps the latest 16 MiB of such messages, with 72 bytes for each. If not all that is asked for is among them, or it is more than a
  connection may leave unread (`max-output-bytes`), or the position is still to come, the answer is the error `GAP`, which says from
  where on it is possible, and nothing is listened to: ask another node, or watch without `FROM` and ask who has it; another token
  than before says that somebody else was in between. One command, script or transaction tells 16 MiB at most; what comes after
  is left out. That a time
  is over is told when the next one has the lock, or the key is reclaimed, which is the entry in which it ends unless many do. Who
  joins or leaves a shared lock, who has permits of a semaphore, `FLUSHDB` and `FLUSHALL` are not told; nor is a name of more than
  some 1,000 bytes.
* `REQUEST id` names what a client asks by `LOCK ACQUIRE`, `EXTEND` or `RELEASE`, or of an election, so that it can be sent again, at any node,
  when its answer is lost: the same name, database, lock, owner or token, and options; `TTL` and `WAIT` may be others. What was done is not done twice, and is answered
  as it was; that says what became of the request, not that the lock is still held. One that waits keeps its place, which the
  later command has from then on, with its own `TTL` and `WAIT`; the earlier one is answered `UNBLOCKED`. What was answered
  to two is not given back when one of their clients is gone: it lasts its time. An error has had no
  effect and is not remembered. Without `REQUEST`, to acquire with `REENTRANT`, or to release, once more counts twice. An answer
  is remembered for `quorate-request-ms`, or until `quorate-requests` others were given since; who asks later than that asks
  anew. Names have 1 to 128 bytes, and are one for all clients and databases: let them be random. Scripts have none.
* `CLIENT UNBLOCK` is for connections of the same node, which number their clients for themselves. It ends the waiting of
  `BLPOP`, its kin and `LOCK ACQUIRE` in the log: whoever is served before it keeps what it took, and the answer is then 0. `WAIT` is not
  ended, and it is refused inside of a transaction.
* Keyspace notifications (`notify-keyspace-events`) go to the subscribers of all nodes, as those of `PUBLISH` do, in the
  order of the log. A key is told to have `expired` once, when its memory is reclaimed (`quorate-reclaim-keys`) or a write
  meets it before; `FLUSHDB` and `FLUSHALL` tell of no key. `keymiss` is told by writes, and by reads within scripts and
  transactions that may write: any other read leaves no trace. What one command, script or transaction tells of is 16 MiB
  at most, with 72 bytes for each message; what comes after is left out. A key whose `__keyspace@..` channel would have
  more than 1,024 bytes is told of on `__keyevent@..` alone. Classes `e`, `t` and `d` are accepted, and have no events.
* `ZUNION` and its kin go through some 1.25 million members at most, those of a set as often as it is named.
* Scores are read in decimal alone, and written in the fewest digits that give them back, as from Redis 7.2 on: `-0` is 0,
  and bounds with blanks in front or in hexadecimal are refused. With a negative count `ZRANDMEMBER` answers 100,000
  members at most. `ZSCAN` goes through small sets in steps, too.
* Removing nothing (`LTRIM`, `ZREMRANGEBYRANK`) is no change to `WATCH`.
* `DELEX` knows `IFEQ` and `IFNE`, `SET` knows `IFEQ`; digests are not there.
* `SLOWLOG` is the node's that the client is on, and so are `slowlog-log-slower-than` and `slowlog-max-len`, 10,000 at
  most: `CONFIG SET` changes them until the node ends, its flags and file say with what it begins. What counts is how
  long a client was kept, not how long a command was executed: from the reading of the command, once what it must wait
  for is over, until its reply has come, replication, disks and the commands before it in a pipeline included. Commands
  that wait by design (`BLPOP` and its kin, `WAIT`, `SUBSCRIBE`) are never slow. A transaction is one command, `EXEC`. A
  command without a reply, since its connection ends, counts until then. So the limit is 100 ms at first, where Redis
  has 10 ms: under load most replies take longer than that, and none of them is to blame.
* `INFO` has Redis's sections, with what is true here: `usec` of `commandstats` is how long clients were kept, as in
  `SLOWLOG`; a command that waits by design counts and takes no time, one that `MULTI` queues counts when it is queued.
  There is no `latencystats`: `/metrics` has distributions. `used_memory` are the data by the machine's own account.
* A node that recovers its data, or waits to be let into a cluster, answers `LOADING` as Redis does, and also to `TIME`,
  `CONFIG GET`, `CONFIG SET` and `WATCH`.

Scripts are Lua 5.1 on Luau. What differs there:

* A key of a table is a number, a string or a boolean; tables and functions are refused. `pairs` and `next` go through
  numbers, then strings by their bytes, then booleans. `tostring` of a table shows no address, `%s` takes strings and
  numbers alone.
* `math.random` begins with the same seed in each script; the clock is `redis.call('TIME')`, the calendar of the log. It
  follows the clocks of most nodes: setting them forward moves it ahead of real time, as in Redis, and so may changes of
  leader on overloaded machines, by tenths of a second. A lock whose script compares `TIME`, as symfony's does, may end
  that much early; TTLs never do.
* `tostring` of a number gives all its digits (`1e15` is `1000000000000000`), NaN has no sign, and errors that Lua
  itself raises are in Luau's words.
* `KEYS` and `ARGV` are local to the script, and not in `_G`. There is no `load`, `loadstring` or `collectgarbage`. Of
  Luau's additions, `if` as an expression, backticks, compound assignments, types and attributes are refused; so are
  metamethods of arithmetic (`__add` and its kin).
* `cjson`, `cmsgpack`, `struct` and `bit` are those of Redis 7.0. `cjson` and `cmsgpack` write the members of a table in the
  order of `pairs`, and every NaN alike; settings of `cjson` hold for one script; tables nest 1,000 deep at most, whatever
  is set; `cmsgpack.pack` and `struct.pack` take, and each function returns, 3,999 values at most; and what is read
  makes no keys that a script could not make: `cjson.decode` refuses a member `__add`.
* A script ends with an error once it has used up `quorate-script-steps` or `quorate-script-memory`. As with any error,
  what it had written stays. A call, a return and a turn of a loop is a step; what takes longer costs more of them: long
  strings that are compared, searched or made into numbers, what is allocated, caught errors, a large heap, and to set
  an element of a table after removing another.
* A pattern of `find`, `match`, `gmatch` and `gsub` is at most 256 bytes long; a plain search is not limited.
* A script is at most 64 KiB long and holds no byte 0. `redis.log` checks its arguments and writes nothing.
";

fn place(spec: &Spec) -> &'static str {
    match spec.class {
        Class::Read | Class::Pure => "read",
        Class::Write => "log",
        Class::Script if spec.flags.contains(Flags::READONLY) => "read",
        Class::Script => "log",
        Class::Connection => "connection",
        Class::Node => "node",
    }
}

fn row(text: &mut String, spec: &Spec) {
    let syntax = spec.syntax.replace('|', "\\|");
    writeln!(text, "| `{syntax}` | {} | {} | {} |", spec.summary, place(spec), spec.since)
        .expect("a string grows");
}

fn document() -> String {
    let mut groups: BTreeMap<_, Vec<&Spec>> = BTreeMap::new();
    for spec in all() {
        groups.entry(spec.group).or_default().push(spec);
    }
    let mut text = INTRODUCTION.to_owned();
    for (group, specs) in groups {
        let name = group.name();
        let title = name[..1].to_uppercase() + &name[1..];
        write!(text, "\n## {title}\n\n| Command | What it does | Where | Since |\n|---|---|---|---|\n")
            .expect("a string grows");
        for spec in specs {
            if spec.subcommands.is_empty() || spec.name == "command" {
                row(&mut text, spec);
            }
            spec.subcommands.iter().for_each(|subcommand| row(&mut text, subcommand));
        }
    }
    text.push_str("\n## Replicated settings\n\nChanged by `CONFIG SET` on any node, for all nodes at the same place of the log.\n\n");
    text.push_str("| Setting | Default | Least | Greatest | What it limits |\n|---|---|---|---|---|\n");
    for setting in SETTINGS {
        let name = setting.name;
        let [default, min, max] =
            [setting.default, setting.min, setting.max].map(|value| setting.text(value));
        writeln!(text, "| `{name}` | {default} | {min} | {max} | {} |", setting.summary)
            .expect("a string grows");
    }
    text
}

#[test]
fn the_document_says_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/commands.md");
    let expected = document();
    if std::env::var_os("UPDATE_GOLDENFILES").is_some() {
        std::fs::write(path, &expected).expect("the document can be written");
    }
    let present = std::fs::read_to_string(path).expect("the document is there");
    assert!(present == expected, "docs/commands.md is out of date: run with UPDATE_GOLDENFILES=1");
}
