//! Conversion of partitions and offsets, for which librdkafka uses signed numbers.

pub(super) fn to_u32(number: i32) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

pub(super) fn to_i32(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

pub(super) fn to_u64(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

pub(super) fn to_i64(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
