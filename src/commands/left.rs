//! What is said of the reports that are left when a bridge ends.

use std::path::Path;

use tracing::warn;

use crate::bridge::delivery::Left;

/// Warns of what is left in a bridge and in its spool.
pub(super) fn warn_of(left: &Left, spool: Option<&Path>) {
    if left.unpromised > 0 {
        let unpromised = left.unpromised;
        warn!(
            unpromised,
            "stopped with reports that Kafka has not acknowledged; none was promised"
        );
    }
    if let Some(directory) = spool {
        warn_of_spool(left, &directory.display().to_string());
    }
}

fn warn_of_spool(left: &Left, directory: &str) {
    let &Left {
        spooled, undeleted, ..
    } = left;
    match (left.is_due, left.is_counted) {
        (true, true) => warn!(
            spooled,
            directory,
            "stopped with reports in the spool: the next start delivers them, or `koobridge spool drain`"
        ),
        (true, false) => warn!(
            at_least = spooled,
            directory,
            "stopped with reports in the spool that are not all counted yet: the next start delivers them, or \
             `koobridge spool drain`"
        ),
        (false, false) => warn!(
            at_least = spooled,
            directory,
            "stopped before the reports in the spool were counted: `koobridge spool status` counts them"
        ),
        (false, true) => {}
    }
    for topic in &left.other_topics {
        warn!(
            topic,
            directory,
            "stopped with reports in the spool for a topic that is not configured: they stay there until \
             `koobridge spool drain --set kafka.topic={topic}` delivers them"
        );
    }
    if undeleted > 0 {
        warn!(
            undeleted,
            directory,
            "Kafka has these reports, and the disk does not let them be deleted: the next start delivers them again, \
             with the same ce_id"
        );
    }
}
