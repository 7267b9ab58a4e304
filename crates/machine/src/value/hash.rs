//! Fields with values.

use bytes::Bytes;

use super::dictionary::Dictionary;

/// What a value costs beside its bytes: 48 bytes of a leaf, an allocation, and 32 bytes from when it was answered or
/// copied for the first time. Measured: 64 to 71 bytes before that, 96 to 103 after.
const VALUE_BYTES: usize = 80;

/// A hash.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hash {
    fields: Dictionary<Bytes>,
    /// Of the values alone.
    value_bytes: usize,
}

impl Hash {
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// What it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.fields.bytes() + self.value_bytes
    }

    /// What one more field will take.
    pub(crate) fn field_bytes(field: &[u8], value: &[u8]) -> usize {
        Dictionary::<Bytes>::entry_bytes(field) + VALUE_BYTES + value.len()
    }

    /// The fields for reading, in their order.
    pub(crate) fn fields(&self) -> &Dictionary<Bytes> {
        &self.fields
    }

    pub(crate) fn get(&self, field: &[u8]) -> Option<&Bytes> {
        self.fields.get(field)
    }

    /// Sets a field to a copy of a value. Returns whether the field is new.
    pub(crate) fn insert(&mut self, field: &[u8], value: &[u8]) -> bool {
        self.value_bytes += VALUE_BYTES + value.len();
        let former = self.fields.insert(field, Bytes::copy_from_slice(value));
        self.value_bytes -= former.as_ref().map_or(0, |former| VALUE_BYTES + former.len());
        former.is_none()
    }

    /// See [`super::sequence::Sequence::dismantle`].
    pub(crate) fn dismantle(&mut self, elements: usize) -> usize {
        self.fields.dismantle(elements)
    }

    /// Takes a field out, and answers its value.
    pub(crate) fn remove(&mut self, field: &[u8]) -> Option<Bytes> {
        let (_, value) = self.fields.remove(field)?;
        self.value_bytes -= VALUE_BYTES + value.len();
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_bytes_are_those_of_its_fields_and_values() {
        let mut hash = Hash::default();
        assert!(hash.insert(b"field", b"value"));
        assert!(!hash.insert(b"field", b"longer value"));
        assert_eq!(hash.bytes(), Hash::field_bytes(b"field", b"longer value"));
        assert_eq!(hash.remove(b"field").as_deref(), Some(&b"longer value"[..]));
        assert_eq!((hash.bytes(), hash.is_empty()), (0, true));
    }
}
