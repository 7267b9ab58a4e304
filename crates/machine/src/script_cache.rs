//! The scripts that EVALSHA finds: replicated, bounded, evicted in the same order everywhere.

use std::collections::BTreeMap;

use bytes::Bytes;
use sha1::{Digest, Sha1};

use crate::error::Error;
use crate::settings::Limits;
use crate::wire::{Decoder, Encoder};

/// The SHA-1 digest of a script in lower-case hexadecimal digits: its name.
pub(crate) type ScriptSha = [u8; 40];

/// The name of a script.
pub(crate) fn script_sha(body: &[u8]) -> ScriptSha {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut name = [0; 40];
    for (pair, byte) in name.chunks_exact_mut(2).zip(Sha1::digest(body)) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    name
}

/// Scripts by name. A use is a load or a run in an entry: a read changes nothing.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScriptCache {
    scripts: BTreeMap<ScriptSha, Cached>,
    bytes: u64,
    /// Counts uses.
    uses: u64,
}

#[derive(Clone, Debug)]
struct Cached {
    body: Bytes,
    used_at: u64,
}

impl ScriptCache {
    pub(crate) fn len(&self) -> usize {
        self.scripts.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The script of a name as a client wrote it, in any case.
    pub(crate) fn get(&self, name: &[u8]) -> Option<(ScriptSha, Bytes)> {
        let name = ScriptSha::try_from(name).ok()?.map(|digit| digit.to_ascii_lowercase());
        self.scripts.get(&name).map(|cached| (name, cached.body.clone()))
    }

    /// Marks a script as just used, if it is there.
    pub(crate) fn touch(&mut self, name: &ScriptSha) {
        self.uses += 1;
        if let Some(cached) = self.scripts.get_mut(name) {
            cached.used_at = self.uses;
        }
    }

    /// Keeps a script, and forgets those that were not used for longest if there are too many now.
    pub(crate) fn load(&mut self, body: &[u8], limits: &Limits) -> ScriptSha {
        let name = script_sha(body);
        if !self.scripts.contains_key(&name) {
            self.bytes += body.len() as u64;
            self.scripts.insert(name, Cached { body: Bytes::copy_from_slice(body), used_at: 0 });
        }
        self.touch(&name);
        while self.len() as u64 > limits.script_cache_scripts_max
            || self.bytes > limits.script_cache_bytes_max
        {
            let oldest = self.scripts.iter().min_by_key(|(_, cached)| cached.used_at).map(|(name, _)| *name);
            let Some(forgotten) = oldest.and_then(|name| self.scripts.remove(&name)) else { break };
            self.bytes -= forgotten.body.len() as u64;
        }
        name
    }

    pub(crate) fn flush(&mut self) {
        self.scripts.clear();
        self.bytes = 0;
    }

    pub(crate) fn encode(&self, to: &mut Encoder) {
        to.varint(self.uses);
        to.count(self.scripts.len());
        for (name, cached) in &self.scripts {
            to.fixed(name);
            to.varint(cached.used_at);
            to.bytes(&cached.body);
        }
    }

    pub(crate) fn decode(from: &mut Decoder) -> Result<Self, Error> {
        let uses = from.varint()?;
        let scripts = from.list(|from| {
            let name: ScriptSha = from.array()?;
            let (used_at, body) = (from.varint()?, from.bytes()?);
            if script_sha(&body) != name {
                return Err(from.malformed());
            }
            Ok((name, Cached { body: Bytes::copy_from_slice(&body), used_at }))
        })?;
        let bytes = scripts.iter().map(|(_, cached)| cached.body.len() as u64).sum();
        Ok(Self { scripts: scripts.into_iter().collect(), bytes, uses })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_that_was_unused_for_longest_is_forgotten_first() {
        let limits = Limits { script_cache_scripts_max: 2, ..Limits::default() };
        let mut cache = ScriptCache::default();
        let first = cache.load(b"return 1", &limits);
        let second = cache.load(b"return 2", &limits);
        cache.touch(&first);
        cache.load(b"return 3", &limits);
        assert!(cache.get(&first).is_some());
        assert!(cache.get(&second).is_none());
        assert_eq!(cache.bytes(), 16);
    }

    #[test]
    fn names_are_the_digests_that_redis_uses() {
        assert_eq!(&script_sha(b"return 1"), b"e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    }
}
