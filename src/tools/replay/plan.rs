//! The plan of a run. It is committed with the group's offsets, so that a process that resumes the run reads the same
//! ranges.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::operation::Operation;
use super::range::Range;
use super::totals::Totals;
use crate::kafka::{Committed, OffsetRange, Offsets};

/// The version of the format; a format that this version can't read has another number.
const FORMAT: u32 = 2;
/// The offset that a finished run commits, so that no monitor sees its group fall behind: larger than that of any
/// record, and a number that every program can represent.
const FINISHED: u64 = 1 << 53;

/// A run's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub command: Command,
    /// The offset ranges to read, as of the start of the run.
    pub ranges: Vec<OffsetRange>,
    /// The times of the selected records in milliseconds since 1970: from the first on, before the second.
    pub times: [Option<i64>; 2],
    /// The name of the process that has the run. A process that resumes the run has another name.
    pub holder: String,
}

/// The parameters of a run, which must not change when it is resumed.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Command {
    /// `replay` or `redrive`.
    pub name: String,
    pub target: String,
    /// The number of partitions of the target when the run started: a key keeps its partition for the whole run.
    pub target_partitions: u32,
    pub since: String,
    pub until: String,
    /// [`Range::offsets_digest`].
    pub offsets: String,
    /// Whether only the partitions of the message ids are read.
    #[serde(default)]
    pub is_by_key: bool,
    /// [`super::Selection::digest`].
    pub filters: String,
    /// Whether records that were replayed or redriven before are included.
    pub include_repeats: bool,
}

impl Command {
    /// Returns the command of `operation`; if there is no range, its range is not compared.
    #[must_use]
    pub fn new(
        operation: &Operation,
        range: Option<&Range>,
        target: &str,
        target_partitions: u32,
    ) -> Self {
        let text = |text: fn(&Range) -> String| range.map(text).unwrap_or_default();
        Self {
            name: operation.name().to_owned(),
            target: target.to_owned(),
            target_partitions,
            since: text(|range| range.since.to_string()),
            until: text(|range| range.until.to_string()),
            offsets: text(Range::offsets_digest),
            is_by_key: false,
            filters: operation.selection().digest(),
            include_repeats: operation.includes_repeats(),
        }
    }

    /// Returns how this command differs from that of a plan; a missing range does not differ.
    #[must_use]
    pub fn difference(&self, planned: &Self) -> Option<String> {
        let has = |what: &str, planned: &str| Some(format!("the run has {what} {planned}"));
        let has_range = !self.since.is_empty();
        if self.name != planned.name {
            return Some(format!("it is a run of `koobridge {}`", planned.name));
        }
        if self.target != planned.target {
            return has("--to", &planned.target);
        }
        if has_range && self.offsets != planned.offsets {
            return Some("the run has different --offsets, or none".to_owned());
        }
        if has_range && self.is_by_key != planned.is_by_key {
            return Some("the run and this command differ in --key-partition".to_owned());
        }
        if has_range && self.since != planned.since {
            return has("--since", &planned.since);
        }
        if has_range && self.until != planned.until {
            return has("--until", &planned.until);
        }
        if self.include_repeats != planned.include_repeats {
            let has = if planned.include_repeats {
                "has"
            } else {
                "does not have"
            };
            let option = if self.name == "replay" {
                "--include-replays"
            } else {
                "--include-redriven"
            };
            return Some(format!("the run {has} {option}"));
        }
        if self.filters != planned.filters {
            return Some(
                "the filters (--channel, --status, --reason, --message-id, --message-ids) differ \
                 from those of the run"
                    .to_owned(),
            );
        }
        None
    }
}

/// A plan and the progress of its run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    pub plan: Plan,
    /// The next offset of each partition.
    pub next: BTreeMap<u32, u64>,
    pub totals: Totals,
    pub is_finished: bool,
}

/// The metadata of one partition's committed offset.
#[derive(Deserialize, Serialize)]
struct Text {
    koobridge: u32,
    #[serde(flatten)]
    command: Command,
    /// The number of partitions of the plan.
    partitions: usize,
    first: u64,
    end: u64,
    times: [Option<i64>; 2],
    holder: String,
    #[serde(flatten)]
    totals: Totals,
    is_finished: bool,
}

/// Why there is no plan to resume.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum PlanError {
    /// Nothing is committed.
    #[error(
        "Kafka has no record of it: the id is wrong, the run is of another topic, or Kafka has \
         deleted the record (offsets.retention.minutes)"
    )]
    Gone,
    #[error("Kafka has its plan for only {0} of {1} partitions")]
    Incomplete(usize, usize),
    /// Not written by koobridge, or by a later version.
    #[error("its plan was written by another version of koobridge")]
    Unreadable,
}

impl Plan {
    /// Returns the offsets and metadata to commit when the run is at these offsets, or has finished.
    #[must_use]
    pub fn at(&self, next: &BTreeMap<u32, u64>, totals: Totals, is_finished: bool) -> Offsets {
        let ranges = self.ranges.iter().map(|range| {
            let text = Text {
                koobridge: FORMAT,
                command: self.command.clone(),
                partitions: self.ranges.len(),
                first: range.first,
                end: range.end,
                times: self.times,
                holder: self.holder.clone(),
                totals,
                is_finished,
            };
            let next = next.get(&range.partition).copied().unwrap_or(range.first);
            let committed = Committed {
                next: if is_finished { FINISHED } else { next },
                text: serde_json::to_string(&text).expect("text and numbers"),
            };
            (range.partition, committed)
        });
        ranges.collect()
    }

    /// Reads a committed plan and the progress of its run.
    ///
    /// # Errors
    /// Why there is no plan.
    pub fn read(offsets: &Offsets) -> Result<Planned, PlanError> {
        let mut ranges = Vec::new();
        let mut next = BTreeMap::new();
        let mut last: Option<Text> = None;
        for (partition, committed) in offsets {
            let text: Text =
                serde_json::from_str(&committed.text).map_err(|_| PlanError::Unreadable)?;
            if text.koobridge != FORMAT {
                return Err(PlanError::Unreadable);
            }
            ranges.push(OffsetRange {
                partition: *partition,
                first: text.first,
                end: text.end,
            });
            next.insert(*partition, committed.next);
            last = Some(text);
        }
        let text = last.ok_or(PlanError::Gone)?;
        if ranges.len() != text.partitions {
            return Err(PlanError::Incomplete(ranges.len(), text.partitions));
        }
        Ok(Planned {
            plan: Self {
                command: text.command,
                ranges,
                times: text.times,
                holder: text.holder,
            },
            next,
            totals: text.totals,
            is_finished: text.is_finished,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tools::replay::Selection;

    fn range(since: &str, until: &str) -> Range {
        Range {
            since: since.parse().expect("a time"),
            until: until.parse().expect("a time"),
            offsets: Vec::new(),
        }
    }

    fn command(range: &Range, channel: Option<&str>) -> Command {
        let selection = Selection {
            channels: channel.into_iter().map(str::to_owned).collect(),
            ..Selection::default()
        };
        let operation = Operation::Replay {
            selection,
            include_replays: false,
        };
        Command::new(&operation, Some(range), "target", 6)
    }

    fn plan() -> Plan {
        let offsets = |partition, first, end| OffsetRange {
            partition,
            first,
            end,
        };
        Plan {
            command: command(&range("2026-11-22T08:00:00Z", "now"), Some("c")),
            ranges: vec![offsets(0, 5, 9), offsets(3, 0, 0)],
            times: [Some(1_795_000_000_000), None],
            holder: "h".to_owned(),
        }
    }

    #[test]
    fn a_plan_is_read_back_with_its_progress() {
        let next = BTreeMap::from([(0, 7), (3, 0)]);
        let totals = Totals {
            published: u64::MAX,
            deleted: 2,
            refused: 3,
        };
        let committed = plan().at(&next, totals, false);
        let planned = Planned {
            plan: plan(),
            next,
            totals,
            is_finished: false,
        };
        assert_eq!(Plan::read(&committed), Ok(planned));
        let longest = committed
            .values()
            .map(|committed| committed.text.len())
            .max();
        // Kafka's offset.metadata.max.bytes; a topic's name has up to 249 characters.
        assert!(longest.expect("two") < 4096 - 249);
    }

    #[test]
    fn an_incomplete_or_foreign_plan_is_an_error() {
        assert_eq!(Plan::read(&Offsets::new()), Err(PlanError::Gone));
        let mut committed = plan().at(&BTreeMap::new(), Totals::default(), false);
        committed.remove(&3);
        assert_eq!(Plan::read(&committed), Err(PlanError::Incomplete(1, 2)));
        for other in ["", "{}", "by another program"] {
            other.clone_into(&mut committed.get_mut(&0).expect("one").text);
            assert_eq!(Plan::read(&committed), Err(PlanError::Unreadable));
        }
    }

    #[test]
    fn a_finished_run_is_behind_no_record() {
        let committed = plan().at(&BTreeMap::new(), Totals::default(), true);
        assert!(
            committed
                .values()
                .all(|committed| committed.next == FINISHED)
        );
        assert!(Plan::read(&committed).is_ok_and(|planned| planned.is_finished));
    }

    #[test]
    fn a_different_command_is_described_by_its_difference() {
        let planned = plan().command;
        let typed =
            |since, until, channel| command(&range(since, until), channel).difference(&planned);
        assert_eq!(typed("2026-11-22T08:00:00Z", "now", Some("c")), None);
        let without = Command {
            since: String::new(),
            until: String::new(),
            offsets: String::new(),
            ..planned.clone()
        };
        assert_eq!(without.difference(&planned), None);
        let since = typed("2026-11-22T09:00:00Z", "now", Some("c")).expect("a difference");
        assert_eq!(since, "the run has --since 2026-11-22T08:00:00.000Z");
        assert!(typed("beginning", "now", Some("c")).is_some());
        assert!(typed("2026-11-22T08:00:00Z", "2026-11-22T09:00:00Z", Some("c")).is_some());
        let filters = typed("2026-11-22T08:00:00Z", "now", None).expect("a difference");
        assert!(filters.starts_with("the filters"), "{filters}");
    }
}
