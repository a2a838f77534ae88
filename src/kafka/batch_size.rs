//! The size that brokers compare with `max.message.bytes`.

use crate::contract::RecordRef;

/// The size of a batch's head in Kafka's format 2.
const HEAD: usize = 61;
/// The size of a record's attributes, and of its distance in time and offset from the first record of the batch, both
/// 0.
const FIXED: usize = 3;

/// Returns the size in bytes of an uncompressed batch with this record alone.
#[must_use]
pub fn batch_size(record: &RecordRef<'_>) -> usize {
    let headers = record.headers.iter();
    let headers: usize = headers
        .map(|(name, value)| part(Some(name.as_bytes())) + part(value.as_deref()))
        .sum();
    let count = varint(record.headers.len());
    let body =
        FIXED + part(record.key.as_deref()) + part(record.value.as_deref()) + count + headers;
    HEAD + varint(body) + body
}

/// Returns the size in bytes of a part with its length; a missing part has the length -1.
fn part(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint(bytes.len()) + bytes.len())
}

/// Returns the size in bytes of a number in the signed variable-length format.
fn varint(number: usize) -> usize {
    let bits = usize::BITS - (number << 1 | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_as_large_as_kafka_writes_it() {
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
    fn a_number_takes_a_byte_for_each_seven_bits_with_its_sign() {
        let lengths = [0, 63, 64, 8191, 8192, 1 << 20].map(varint);
        assert_eq!(lengths, [1, 1, 2, 2, 3, 4]);
    }
}
