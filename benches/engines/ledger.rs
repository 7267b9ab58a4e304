//! What a node was handed as committed: all that was proposed, in order, and nothing else.

/// Where a payload has its number, so that no engine can lose, repeat or reorder one unnoticed.
const NUMBER_BYTES: usize = 8;

/// A payload of `bytes` bytes that carries `number`, which begins at 1.
pub(crate) fn payload(number: u64, bytes: usize) -> Vec<u8> {
    let mut payload = vec![0; bytes];
    payload[..NUMBER_BYTES].copy_from_slice(&number.to_le_bytes());
    payload
}

/// One node's committed commands.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    commands: u64,
}

impl Ledger {
    /// Takes the next committed command.
    pub(crate) fn apply(&mut self, payload: &[u8]) {
        let number = payload.first_chunk().map(|&bytes: &[u8; NUMBER_BYTES]| u64::from_le_bytes(bytes));
        assert_eq!(number, Some(self.commands + 1), "a command is missing, or out of order");
        self.commands += 1;
    }

    pub(crate) fn commands(&self) -> u64 {
        self.commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "a command is missing, or out of order")]
    fn a_command_that_is_missing_is_noticed() {
        let mut ledger = Ledger::default();
        ledger.apply(&payload(1, 16));
        ledger.apply(&payload(3, 16));
    }
}
