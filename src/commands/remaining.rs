//! Warns of reports that remain when a bridge stops.

use std::path::Path;

use tracing::warn;

use crate::bridge::delivery::Undelivered;

/// Warns of the reports that remain in a bridge and in its spool.
pub(super) fn warn_of_remaining(left: &Undelivered, spool: Option<&Path>) {
    if left.unpromised > 0 {
        let unpromised = left.unpromised;
        warn!(
            unpromised,
            "stopped with reports that Kafka has not acknowledged; none was answered with success"
        );
    }
    if let Some(directory) = spool {
        warn_of_spool(left, &directory.display().to_string());
    }
}

fn warn_of_spool(left: &Undelivered, directory: &str) {
    let &Undelivered {
        spooled, undeleted, ..
    } = left;
    match (left.is_due, left.is_counted) {
        (true, true) => warn!(
            spooled,
            directory,
            "stopped with reports in the spool; deliver them with the next start or with `koobridge spool drain`"
        ),
        (true, false) => warn!(
            at_least = spooled,
            directory,
            "stopped with reports in the spool, not all of them counted; deliver them with the next start or with \
             `koobridge spool drain`"
        ),
        (false, false) => warn!(
            at_least = spooled,
            directory,
            "stopped before the reports in the spool were counted; count them with `koobridge spool status`"
        ),
        (false, true) => {}
    }
    for topic in &left.other_topics {
        warn!(
            topic,
            directory,
            "stopped with reports in the spool for a topic that is not configured; deliver them with \
             `koobridge spool drain --set kafka.topic={topic}`"
        );
    }
    if undeleted > 0 {
        warn!(
            undeleted,
            directory,
            "can't delete delivered reports from the spool; check its disk; the next start delivers them \
             again, with the same ce_id"
        );
    }
}
