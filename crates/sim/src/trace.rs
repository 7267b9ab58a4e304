//! The trace of a run: a hash of everything that happened, and, on request, the text of it.

use std::collections::VecDeque;

use crate::{random::mix, time::SimTime};

/// What is remembered of a run's steps.
#[derive(Debug)]
pub(crate) struct Trace {
    hash: u64,
    steps: u64,
    lines: VecDeque<String>,
    lines_max: usize,
}

impl Trace {
    /// A trace that keeps the last `lines_max` lines; with 0 no text is made at all.
    pub(crate) fn new(lines_max: usize) -> Self {
        Self { hash: 0, steps: 0, lines: VecDeque::new(), lines_max }
    }

    /// Counts one event, by numbers that tell it from others.
    pub(crate) fn step(&mut self, at: SimTime, facts: [u64; 2]) {
        self.steps += 1;
        self.fold(at.micros);
        facts.iter().for_each(|&fact| self.fold(fact));
    }

    /// Mixes one more number into the hash.
    pub(crate) fn fold(&mut self, fact: u64) {
        self.hash = mix(self.hash.rotate_left(5) ^ fact);
    }

    /// Adds a line, if lines are wanted.
    pub(crate) fn tell(&mut self, at: SimTime, line: impl FnOnce() -> String) {
        if self.lines_max == 0 {
            return;
        }
        if self.lines.len() == self.lines_max {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{at} {}", line()));
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn take_lines(&mut self) -> Vec<String> {
        std::mem::take(&mut self.lines).into()
    }
}
