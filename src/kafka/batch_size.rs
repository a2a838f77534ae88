//! The size that brokers compare with `max.message.bytes`.

use crate::contract::RecordRef;

/// The header of a batch in Kafka's message format v2.
const BATCH_HEADER: usize = 61;
/// The attributes, timestamp delta and offset delta of the only record in a batch; both deltas are 0.
const RECORD_FIXED: usize = 3;

/// Returns the size in bytes of an uncompressed batch that holds only this record.
#[must_use]
pub fn batch_size(record: &RecordRef<'_>) -> usize {
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|(name, value)| field(Some(name.as_bytes())) + field(value.as_deref()))
        .sum();
    let count = varint(record.headers.len());
    let body = RECORD_FIXED
        + field(record.key.as_deref())
        + field(record.value.as_deref())
        + count
        + headers;
    BATCH_HEADER + varint(body) + body
}

/// Returns the size of a field with its length prefix; the length -1 stands for null.
fn field(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint(bytes.len()) + bytes.len())
}

/// Returns the size of a number as a zigzag varint.
fn varint(number: usize) -> usize {
    let bits = usize::BITS - (number << 1 | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_size_matches_kafkas_format() {
        let empty = RecordRef::default();
        assert_eq!(batch_size(&empty), 61 + 1 + 3 + 1 + 1 + 1);
        let record = RecordRef {
            key: Some(b"key".into()),
            value: Some(vec![0; 64].into()),
            headers: vec![("a".into(), Some(b"bc".into())), ("d".into(), None)],
            timestamp: None,
        };
        let headers = 1 + (1 + 1 + 1 + 2) + (1 + 1 + 1);
        let body = 3 + (1 + 3) + (2 + 64) + headers;
        assert_eq!(batch_size(&record), 61 + 2 + body);
    }

    #[test]
    fn a_varint_takes_a_byte_for_seven_bits_including_the_sign() {
        let lengths = [0, 63, 64, 8191, 8192, 1 << 20].map(varint);
        assert_eq!(lengths, [1, 1, 2, 2, 3, 4]);
    }
}
