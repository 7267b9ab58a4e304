//! Everything that reads bytes which somebody else wrote, given garbage.
//!
//! A [`Target`] is a function of some bytes that panics if a promise is broken. Its inputs are mutations of a committed
//! corpus (`fuzz/corpus`), to which each input that has found something is added, and of seeds that the present formats
//! make. What a target returns stands for what became of an input: one with a new outcome among them is kept and mutated
//! further, which takes the mutations past the first check.
//!
//! The targets are plain functions of `&[u8]`, so that a fuzzer with feedback from coverage can call them as well. This
//! one needs no more than the toolchain that builds the product, and its campaigns are functions of a seed.
//!
//! What is promised of every input:
//! * no panic, and no memory or time out of proportion to it;
//! * what was read is written back to the same bytes, or to bytes that are read as the same;
//! * how a stream is cut into reads changes nothing;
//! * two machines that are given the same are the same.

mod campaign;
#[expect(clippy::unwrap_used, dead_code, reason = "a disk for tests, which can do more than is needed here")]
#[path = "../../crates/log/tests/log/memory_disk.rs"]
mod memory_disk;
mod mutator;
pub mod targets;

use std::{fs, io, path::PathBuf};

pub use campaign::{Campaign, Finding, Tally};
pub use targets::TARGETS;

/// One thing that is given garbage.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its folder in the corpus.
    pub name: &'static str,
    /// Takes an input; panics if a promise is broken. Answers what became of it, as numbers that each stand for something.
    pub run: fn(&[u8]) -> Vec<u64>,
    /// Inputs that are as they should be, made by the present code.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that its inputs consist of, for the mutator.
    pub words: &'static [&'static [u8]],
}

impl Target {
    /// The target of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.iter().copied().find(|target| target.name == name)
    }

    /// The seeds and the committed corpus, always in the same order.
    ///
    /// # Errors
    /// The corpus cannot be read.
    pub fn corpus(&self) -> io::Result<Vec<Vec<u8>>> {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus").join(self.name);
        let mut paths = match fs::read_dir(folder) {
            Ok(entries) => {
                entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        paths.sort();
        let files = paths.into_iter().map(fs::read).collect::<Result<Vec<_>, _>>()?;
        Ok((self.seeds)().into_iter().chain(files).collect())
    }
}
