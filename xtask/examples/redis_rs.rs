//! The compat suite's Rust client: the crate `redis` against one URL, sync and async.
//!
//! Each step asserts what Redis itself would answer. Exit code 0 means that all did.

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncCommands, Client, Commands, Connection, ErrorKind, RedisError, Script, ServerErrorKind, Value,
};
use std::error::Error;

const EXTEND: &str = "if redis.call('GET', KEYS[1]) == ARGV[1] then
    return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end return 0";
const RELEASE: &str =
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0";

fn main() -> Result<(), Box<dyn Error>> {
    let url = std::env::args().nth(1).ok_or("usage: redis_rs URL")?;
    let client = Client::open(url)?;
    let mut connection = client.get_connection()?;
    connection.flushall::<()>()?;
    strings(&mut connection)?;
    lock(&mut connection)?;
    pipelines(&mut connection)?;
    transactions(&client, &mut connection)?;
    errors(&mut connection)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(concurrently(&client))?;
    Ok(())
}

fn strings(connection: &mut Connection) -> Result<(), RedisError> {
    connection.set::<_, _, ()>("greeting", "hello")?;
    assert_eq!(connection.get::<_, String>("greeting")?, "hello");
    assert_eq!(connection.get::<_, Option<String>>("missing")?, None);
    assert_eq!(connection.incr::<_, _, i64>("counter", 41)?, 41);
    assert_eq!(connection.incr::<_, _, i64>("counter", 1)?, 42);
    connection.mset::<_, _, ()>(&[("a", "1"), ("b", "2")])?;
    let found: Vec<Option<i64>> = connection.mget(&["a", "missing", "b"])?;
    assert_eq!(found, [Some(1), None, Some(2)]);
    assert_eq!(connection.del::<_, i64>(&["a", "b", "missing"])?, 2);
    Ok(())
}

fn lock(connection: &mut Connection) -> Result<(), RedisError> {
    let acquire = |connection: &mut Connection, id: &str| -> Result<bool, RedisError> {
        let reply: Value = redis::cmd("SET").arg(&["lock", id, "NX", "PX", "60000"]).query(connection)?;
        Ok(reply != Value::Nil)
    };
    let (extend, release) = (Script::new(EXTEND), Script::new(RELEASE));
    assert!(acquire(connection, "me")?);
    assert!(!acquire(connection, "you")?);
    assert_eq!(extend.key("lock").arg("you").arg(90_000).invoke::<i64>(connection)?, 0);
    assert_eq!(extend.key("lock").arg("me").arg(90_000).invoke::<i64>(connection)?, 1);
    let left_ms: i64 = connection.pttl("lock")?;
    assert!((60_001..=90_000).contains(&left_ms), "{left_ms} ms left of 90,000");
    assert_eq!(release.key("lock").arg("you").invoke::<i64>(connection)?, 0);
    assert_eq!(release.key("lock").arg("me").invoke::<i64>(connection)?, 1);
    assert!(acquire(connection, "you")?);
    Ok(())
}

fn pipelines(connection: &mut Connection) -> Result<(), RedisError> {
    const LENGTH: i64 = 500;
    let mut pipeline = redis::pipe();
    for _ in 0..LENGTH {
        pipeline.incr("piped", 1);
    }
    let replies: Vec<i64> = pipeline.query(connection)?;
    assert_eq!(replies, (1..=LENGTH).collect::<Vec<_>>());
    Ok(())
}

fn transactions(client: &Client, connection: &mut Connection) -> Result<(), RedisError> {
    let replies: (i64, i64) = redis::pipe().atomic().incr("one", 1).incr("two", 2).query(connection)?;
    assert_eq!(replies, (1, 2));
    // A watched key that somebody else changes ends the first attempt; the second succeeds.
    let mut other = client.get_connection()?;
    let mut attempts = 0;
    let (doubled,): (i64,) = redis::transaction(connection, &["one"], |connection, pipeline| {
        attempts += 1;
        let value: i64 = connection.get("one")?;
        if attempts == 1 {
            other.set::<_, _, ()>("one", 21)?;
        }
        pipeline.incr("one", value).query(connection)
    })?;
    assert_eq!((attempts, doubled), (2, 42));
    Ok(())
}

fn errors(connection: &mut Connection) -> Result<(), RedisError> {
    connection.set::<_, _, ()>("text", "no number")?;
    let error = connection.incr::<_, _, i64>("text", 1).expect_err("text is no number");
    assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::ResponseError), "{error}");
    let missing = "0000000000000000000000000000000000000000";
    let unknown = redis::cmd("EVALSHA").arg(missing).arg(0).query::<Value>(connection);
    let kind = unknown.expect_err("there is no such script").kind();
    assert_eq!(kind, ErrorKind::Server(ServerErrorKind::NoScript));
    Ok(())
}

/// Many tasks on one multiplexed connection: each still gets the reply to its own command.
async fn concurrently(client: &Client) -> Result<(), Box<dyn Error>> {
    const TASKS: u64 = 50;
    let connection = client.get_multiplexed_async_connection().await?;
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let mut connection: MultiplexedConnection = connection.clone();
        tasks.spawn(async move {
            let key = format!("task:{task}");
            connection.set::<_, _, ()>(&key, task).await?;
            connection.get::<_, u64>(&key).await.map(|value| (task, value))
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        let (task, value) = outcome??;
        assert_eq!(task, value);
    }
    Ok(())
}
