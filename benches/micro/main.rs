//! The pieces of a command's way, one by one: protocol, log, machine. A change that makes one of them slower
//! shows here, where `bench peers` would show it among everything else. What engines take, `bench engines` tells.
//!
//! Batches are what one is under load: [`BATCH`] commands in an entry. Where a bench says so in its counter, read the
//! items a second. Only `synced` waits for a disk: the one of the folder for temporary files.

mod apply;
mod codec;
mod log;

use bytes::Bytes;

/// The commands of one entry under load.
const BATCH: usize = 32;
const KEY_BYTES: usize = 64;
const VALUE_BYTES: usize = 256;
/// The usual script by which a holder releases its lock.
const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end";

fn main() {
    divan::main();
}

fn key(number: usize) -> String {
    format!("{number:0KEY_BYTES$}")
}

fn value() -> String {
    "v".repeat(VALUE_BYTES)
}

/// A command of these words.
fn command(words: &[&str]) -> Vec<Bytes> {
    words.iter().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect()
}
