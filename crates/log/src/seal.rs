//! The envelope of everything that is not a record: identity, hard-state slots, and the heads and feet of
//! segments and snapshots.
//!
//! ```text
//! magic (8) | version u32 | length u32 | body (length) | crc32c u32 of all before
//! ```
//!
//! The envelope stays the same in all versions, so that a newer file is told from a damaged one.

/// The bytes that an envelope adds to its body.
pub(crate) const ENVELOPE_BYTES: usize = 20;

/// The bytes before the body.
pub(crate) const LEAD_BYTES: usize = 16;

/// No index, position or number of a file comes near it. Whoever reads a greater one reads what no log has written, and what
/// follows a lesser one can be counted without an overflow.
pub(crate) const NUMBER_MAX: u64 = 1 << 62;

const CRC_BYTES: usize = 4;
const _: () = assert!(LEAD_BYTES + CRC_BYTES == ENVELOPE_BYTES);

/// What an envelope is for, and the newest version of the body that this program writes and reads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) magic: &'static [u8; 8],
    pub(crate) version: u32,
}

/// What was found in the place of an envelope.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unsealed<'a> {
    /// The body, intact, and the checksum of the envelope.
    Body(&'a [u8], u32),
    /// Intact, but of a version that this program does not know.
    Newer(u32),
    /// Not an envelope of this kind, or damaged.
    Damaged,
}

/// Puts `body` into an envelope.
pub(crate) fn seal(kind: Kind, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("bodies are bounded far below 4 GiB");
    let mut sealed = Vec::with_capacity(body.len() + ENVELOPE_BYTES);
    sealed.extend_from_slice(kind.magic);
    sealed.extend_from_slice(&kind.version.to_le_bytes());
    sealed.extend_from_slice(&length.to_le_bytes());
    sealed.extend_from_slice(body);
    let crc = crc32c::crc32c(&sealed);
    sealed.extend_from_slice(&crc.to_le_bytes());
    sealed
}

/// Takes the envelope at the beginning of `bytes` apart. What follows it is left alone.
pub(crate) fn unseal(kind: Kind, bytes: &[u8]) -> Unsealed<'_> {
    unseal_intact(kind, bytes).unwrap_or(Unsealed::Damaged)
}

fn unseal_intact(kind: Kind, bytes: &[u8]) -> Option<Unsealed<'_>> {
    let lead = bytes.get(..LEAD_BYTES)?;
    if &lead[..8] != kind.magic {
        return None;
    }
    let version = u32_at(lead, 8)?;
    let end = LEAD_BYTES.checked_add(usize::try_from(u32_at(lead, 12)?).ok()?)?;
    let crc = u32_at(bytes, end)?;
    if crc32c::crc32c(&bytes[..end]) != crc {
        return None;
    }
    Some(if version > kind.version {
        Unsealed::Newer(version)
    } else {
        Unsealed::Body(&bytes[LEAD_BYTES..end], crc)
    })
}

/// The length of the body that `lead`, the first [`LEAD_BYTES`] of an envelope, announces.
pub(crate) fn announced_length(lead: &[u8]) -> Option<usize> {
    usize::try_from(u32_at(lead, 12)?).ok()
}

/// The little-endian number at `offset`, if there are four bytes.
pub(crate) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind { magic: b"qtest---", version: 2 };

    #[test]
    fn an_envelope_gives_back_its_body_and_ignores_what_follows() {
        let mut sealed = seal(KIND, b"body");
        sealed.extend_from_slice(b"more");
        assert!(matches!(unseal(KIND, &sealed), Unsealed::Body(b"body", _)));
    }

    #[test]
    fn each_flipped_bit_is_damage_and_never_another_version() {
        let sealed = seal(KIND, b"body");
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(unseal(KIND, &flipped), Unsealed::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn a_newer_version_is_told_from_damage() {
        let sealed = seal(Kind { version: 3, ..KIND }, b"body");
        assert_eq!(unseal(KIND, &sealed), Unsealed::Newer(3));
    }
}
