//! The plan of a run. It is committed with the group's offsets, so that a process that resumes the run
//! does the same and nothing else.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::range::{Range, When};
use super::work::Work;
use crate::kafka::{Committed, OffsetRange, Offsets};

/// A later format that this version can't read gets another number.
const FORMAT: u32 = 1;

/// A run's plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub command: Command,
    /// What is read, as it was when the run was started.
    pub ranges: Vec<OffsetRange>,
    /// The name of the process that has the run: one that resumes it takes another name.
    pub holder: String,
}

/// What was asked for.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Command {
    /// `replay` or `redrive`.
    pub name: String,
    pub target: String,
    /// How many partitions the target had: a key keeps its partition for the whole run.
    pub target_partitions: u32,
    pub since: String,
    pub until: String,
    /// [`super::Selection::digest`].
    pub filters: String,
    pub include_replays: bool,
}

impl Command {
    /// What was asked for, as it is written down.
    #[must_use]
    pub fn new(work: &Work, range: &Range, target: &str, target_partitions: u32) -> Self {
        let include_replays = match work {
            Work::Replay {
                include_replays, ..
            } => *include_replays,
            Work::Redrive { .. } => false,
        };
        Self {
            name: work.name().to_owned(),
            target: target.to_owned(),
            target_partitions,
            since: range.since.to_string(),
            until: range.until.to_string(),
            filters: work.selection().digest(),
            include_replays,
        }
    }

    /// How this command differs from the one of a plan; the plan's times hold where none were typed.
    #[must_use]
    pub fn difference(&self, planned: &Self, range: &Range) -> Option<String> {
        let differs =
            |what: &str, planned: &dyn fmt::Display| Some(format!("the run has {what} {planned}"));
        let is_typed = |when: When, default: When| when != default;
        if self.name != planned.name {
            return Some(format!("the run is one of `koobridge {}`", planned.name));
        }
        if self.target != planned.target {
            return differs("--to", &planned.target);
        }
        if is_typed(range.since, When::Beginning) && self.since != planned.since {
            return differs(
                "a range of its own, which is not to be typed again: --since",
                &planned.since,
            );
        }
        if is_typed(range.until, When::Now) && self.until != planned.until {
            return differs(
                "a range of its own, which is not to be typed again: --until",
                &planned.until,
            );
        }
        if self.include_replays != planned.include_replays {
            let said = if planned.include_replays {
                "has"
            } else {
                "has no"
            };
            return Some(format!("the run {said} --include-replays"));
        }
        if self.filters != planned.filters {
            return Some(
                "the filters (--channel, --status, --reason, --message-id, --message-ids) are not \
                 those of the run"
                    .to_owned(),
            );
        }
        None
    }
}

/// What is committed with one partition's offset.
#[derive(Deserialize, Serialize)]
struct Text {
    koobridge: u32,
    #[serde(flatten)]
    command: Command,
    /// How many partitions the plan has.
    partitions: usize,
    first: u64,
    end: u64,
    holder: String,
}

/// Why there is no plan to resume.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum NoPlan {
    /// Nothing is committed.
    #[error(
        "there is no plan of it: the id is another, the run is not of this topic, or Kafka has \
         forgotten it (offsets.retention.minutes)"
    )]
    Gone,
    #[error("Kafka has its plan for {0} of {1} partitions only")]
    Incomplete(usize, usize),
    /// Not written by koobridge, or by a later version.
    #[error("its plan was written by another version of koobridge")]
    Unreadable,
}

impl Plan {
    /// Returns what is to be committed when the run is at these offsets.
    #[must_use]
    pub fn at(&self, next: &BTreeMap<u32, u64>) -> Offsets {
        let ranges = self.ranges.iter().map(|range| {
            let text = Text {
                koobridge: FORMAT,
                command: self.command.clone(),
                partitions: self.ranges.len(),
                first: range.first,
                end: range.end,
                holder: self.holder.clone(),
            };
            let committed = Committed {
                next: next.get(&range.partition).copied().unwrap_or(range.first),
                text: serde_json::to_string(&text).expect("text and numbers"),
            };
            (range.partition, committed)
        });
        ranges.collect()
    }

    /// Reads a plan back, and how far the run is.
    ///
    /// # Errors
    /// Why there is no plan.
    pub fn read(offsets: &Offsets) -> Result<(Self, BTreeMap<u32, u64>), NoPlan> {
        let mut ranges = Vec::new();
        let mut next = BTreeMap::new();
        let mut last: Option<Text> = None;
        for (partition, committed) in offsets {
            let text: Text =
                serde_json::from_str(&committed.text).map_err(|_| NoPlan::Unreadable)?;
            if text.koobridge != FORMAT {
                return Err(NoPlan::Unreadable);
            }
            ranges.push(OffsetRange {
                partition: *partition,
                first: text.first,
                end: text.end,
            });
            next.insert(*partition, committed.next);
            last = Some(text);
        }
        let text = last.ok_or(NoPlan::Gone)?;
        if ranges.len() != text.partitions {
            return Err(NoPlan::Incomplete(ranges.len(), text.partitions));
        }
        let plan = Self {
            command: text.command,
            ranges,
            holder: text.holder,
        };
        Ok((plan, next))
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
        let work = Work::Replay {
            selection,
            include_replays: false,
        };
        Command::new(&work, range, "target", 6)
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
            holder: "h".to_owned(),
        }
    }

    #[test]
    fn a_plan_is_read_back_with_how_far_it_is() {
        let next = BTreeMap::from([(0, 7), (3, 0)]);
        let committed = plan().at(&next);
        assert_eq!(Plan::read(&committed), Ok((plan(), next)));
        let longest = committed
            .values()
            .map(|committed| committed.text.len())
            .max();
        // Kafka's offset.metadata.max.bytes; a topic's name has up to 249 characters.
        assert!(longest.expect("two") < 4096 - 249);
    }

    #[test]
    fn what_is_no_whole_plan_is_none() {
        assert_eq!(Plan::read(&Offsets::new()), Err(NoPlan::Gone));
        let mut committed = plan().at(&BTreeMap::new());
        committed.remove(&3);
        assert_eq!(Plan::read(&committed), Err(NoPlan::Incomplete(1, 2)));
        for other in ["", "{}", "by somebody else"] {
            other.clone_into(&mut committed.get_mut(&0).expect("one").text);
            assert_eq!(Plan::read(&committed), Err(NoPlan::Unreadable));
        }
    }

    #[test]
    fn another_command_is_named_by_what_differs() {
        let planned = plan().command;
        let typed = |since, until, channel| {
            let range = range(since, until);
            command(&range, channel).difference(&planned, &range)
        };
        assert_eq!(typed("2026-11-22T08:00:00Z", "now", Some("c")), None);
        // Times that are not typed again are the plan's.
        assert_eq!(typed("beginning", "now", Some("c")), None);
        let since = typed("2026-11-22T09:00:00Z", "now", Some("c")).expect("a difference");
        assert_eq!(
            since,
            "the run has a range of its own, which is not to be typed again: \
             --since 2026-11-22T08:00:00.000Z"
        );
        assert!(typed("beginning", "2026-11-22T09:00:00Z", Some("c")).is_some());
        assert!(typed("beginning", "now", None).is_some_and(|why| why.starts_with("the filters")));
    }
}
