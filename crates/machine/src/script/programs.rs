//! Compiled scripts that a thread keeps, so that each is compiled once.

use std::collections::HashMap;
use std::rc::Rc;

use super::add_work;
use super::source::compile;
use crate::reply::Reply;
use crate::script_cache::ScriptSha;

/// Bytes of bytecode that are kept. Beyond it all are forgotten: compiling a lock script takes some 20 us.
const BYTECODE_BYTES_MAX: usize = 8 << 20;
/// How fast that is for a long script.
const COMPILED_BYTES_PER_MICROSECOND: usize = 8;

/// A script that can run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) bytecode: Vec<u8>,
    /// The shebang line has the flag `no-writes`.
    pub(super) is_read_only: bool,
}

/// Programs by the digest of their text.
#[derive(Debug, Default)]
pub(super) struct Programs {
    kept: HashMap<ScriptSha, Rc<Program>>,
    bytes: usize,
}

impl Programs {
    /// The program of a text, or the reply that says why it is none.
    pub(super) fn get(&mut self, sha: ScriptSha, body: &[u8]) -> Result<Rc<Program>, Reply> {
        if let Some(program) = self.kept.get(&sha) {
            return Ok(Rc::clone(program));
        }
        add_work((body.len() / COMPILED_BYTES_PER_MICROSECOND) as u64);
        let program = Rc::new(compile(body)?);
        self.bytes += program.bytecode.len();
        if self.bytes > BYTECODE_BYTES_MAX {
            self.kept.clear();
            self.bytes = program.bytecode.len();
        }
        self.kept.insert(sha, Rc::clone(&program));
        Ok(program)
    }
}
