//! The partitions of the message ids of a replay.

use std::collections::BTreeSet;

use super::operation::Operation;
use crate::kafka::{ReadError, Reader, partition_for};

/// Returns and prints the partitions of the message ids, by the topic's present number of partitions.
///
/// # Errors
/// If Kafka does not answer with the number of partitions.
pub fn key_partitions(operation: &Operation, reader: &Reader) -> Result<Vec<u32>, ReadError> {
    let count = reader.partitions()?;
    let ids = operation.selection().message_ids.iter();
    let partitions: BTreeSet<u32> = ids.map(|id| partition_for(id.as_bytes(), count)).collect();
    let listed: Vec<String> = partitions.iter().map(u32::to_string).collect();
    crate::try_eprintln!(
        "reading {} of {count} partitions: {}; records from before partitions were added can be on others",
        partitions.len(),
        listed.join(", ")
    );
    Ok(partitions.into_iter().collect())
}
