//! The counts of a run that are kept in its record.

use std::fmt;

use indicatif::HumanCount;
use serde::{Deserialize, Serialize};

use super::tally::Tally;

/// The counts of a run over all of its processes.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Records on the target.
    pub published: u64,
    /// Offsets that Kafka had deleted before they could be read.
    pub deleted: u64,
    /// Records that the target refuses.
    pub refused: u64,
}

impl Totals {
    /// Returns the totals after a process has counted this.
    #[must_use]
    pub fn with(self, tally: &Tally) -> Self {
        Self {
            published: self.published + tally.records,
            deleted: self.deleted + tally.deleted,
            refused: self.refused + tally.refused,
        }
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            published,
            deleted,
            refused,
        } = *self;
        write!(f, "{} published", HumanCount(published))?;
        if deleted > 0 {
            let deleted = HumanCount(deleted);
            write!(f, ", {deleted} deleted by Kafka before they could be read")?;
        }
        if refused > 0 {
            write!(f, ", {} refused by the target", HumanCount(refused))?;
        }
        Ok(())
    }
}
