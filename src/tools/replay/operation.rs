//! The decision about one record, which is the same for a preview, a run and standard output.

use std::borrow::Cow;

use super::position::Position;
use super::redriven::Redriven;
use super::selection::Selection;
use crate::contract::{
    EventFields, EventFormat, RecordRef, RedrivenMarker, RejectedFields, StillRejected, redrive,
};

/// The header that every replayed record has: the id of its replay.
pub const REPLAY_ID: &str = "replay_id";

/// The work of a run: to replay events, or to redrive rejected reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    Replay {
        selection: Selection,
        /// Includes records that are replays already.
        include_replays: bool,
    },
    Redrive {
        selection: Selection,
        format: EventFormat,
        /// Includes reports that an earlier redrive has brought back.
        include_redriven: bool,
        /// The reports that an earlier redrive has brought back.
        redriven: Redriven,
    },
}

/// The decision about a record.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// Publish this record; the text is the status or reason under which it is counted.
    Publish(RecordRef<'a>, Cow<'a, str>),
    Skip(SkipReason<'a>),
}

/// Why a record is not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkipReason<'a> {
    /// The filters leave it out.
    FilteredOut,
    /// It is a replay already.
    Replay,
    /// An earlier redrive has brought it back.
    Redriven,
    /// It is a marker of a report that was brought back.
    Marker,
    /// koobridge did not write it, or not this version.
    Foreign,
    /// It was rejected for the first reason, and would be rejected for the second today.
    StillRejected(Cow<'a, str>, &'static str),
}

impl Operation {
    /// Returns the name of the command.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Replay { .. } => "replay",
            Self::Redrive { .. } => "redrive",
        }
    }

    /// Returns the filters.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        match self {
            Self::Replay { selection, .. } | Self::Redrive { selection, .. } => selection,
        }
    }

    /// Sets the times of the selected records, in milliseconds since 1970.
    pub(super) fn set_times(&mut self, [since, until]: [Option<i64>; 2]) {
        let (Self::Replay { selection, .. } | Self::Redrive { selection, .. }) = self;
        (selection.since, selection.until) = (since, until);
    }

    /// Sets the reports that an earlier redrive has brought back.
    pub(super) fn set_redriven(&mut self, found: Redriven) {
        if let Self::Redrive { redriven, .. } = self {
            *redriven = found;
        }
    }

    /// Returns whether records that were replayed or redriven before are included.
    #[must_use]
    pub fn includes_repeats(&self) -> bool {
        match self {
            Self::Replay {
                include_replays: includes,
                ..
            }
            | Self::Redrive {
                include_redriven: includes,
                ..
            } => *includes,
        }
    }

    /// Returns whether a marker is left on the source for each record that is published.
    pub(super) fn leaves_markers(&self) -> bool {
        matches!(self, Self::Redrive { .. })
    }

    /// Decides on a record.
    #[must_use]
    pub fn judge<'a>(
        &self,
        record: &'a RecordRef<'_>,
        position: Option<Position<'_>>,
    ) -> Verdict<'a> {
        if RedrivenMarker::of(record).is_some() {
            return Verdict::Skip(SkipReason::Marker);
        }
        if !self.selection().has_time(record.timestamp) {
            return Verdict::Skip(SkipReason::FilteredOut);
        }
        match self {
            Self::Replay {
                selection,
                include_replays,
            } => judge_event(record, selection, *include_replays),
            Self::Redrive {
                selection,
                format,
                redriven,
                ..
            } => {
                let verdict = judge_rejected(record, selection, *format);
                let at = position.map(|position| (position.partition, position.offset));
                let marked = at.and_then(|at| redriven.get(&at));
                let is_redriven = marked.is_some_and(|time| *time == record.timestamp);
                match verdict {
                    Verdict::Publish(..) if is_redriven => Verdict::Skip(SkipReason::Redriven),
                    verdict => verdict,
                }
            }
        }
    }

    /// Adds headers with the run's id and the record's position.
    pub fn sign(&self, record: &mut RecordRef<'_>, id: &str, position: Option<Position<'_>>) {
        let names = match self {
            Self::Replay { .. } => [
                REPLAY_ID,
                "replay_topic",
                "replay_partition",
                "replay_offset",
            ],
            Self::Redrive { .. } => [
                "redrive_id",
                "redrive_topic",
                "redrive_partition",
                "redrive_offset",
            ],
        };
        // A record from a spool export has never been on the topic, so it gets no headers of a replay.
        let Some(position) = position else { return };
        record
            .headers
            .retain(|(known, _)| !names.contains(&&**known));
        let values = [
            id.to_owned(),
            position.topic.to_owned(),
            position.partition.to_string(),
            position.offset.to_string(),
        ];
        for (name, value) in names.into_iter().zip(values) {
            record.add_header(name, value);
        }
    }
}

fn judge_event<'a>(
    record: &'a RecordRef<'_>,
    selection: &Selection,
    include_replays: bool,
) -> Verdict<'a> {
    let Some(fields) = EventFields::of(record).filter(|_| record.key.is_some()) else {
        return Verdict::Skip(SkipReason::Foreign);
    };
    if !selection.has_event(&fields) {
        return Verdict::Skip(SkipReason::FilteredOut);
    }
    if !include_replays && record.header(REPLAY_ID).is_some() {
        return Verdict::Skip(SkipReason::Replay);
    }
    Verdict::Publish(borrowed(record), fields.status)
}

fn judge_rejected<'a>(
    record: &'a RecordRef<'_>,
    selection: &Selection,
    format: EventFormat,
) -> Verdict<'a> {
    let Some(fields) = RejectedFields::of(record) else {
        return Verdict::Skip(SkipReason::Foreign);
    };
    if !selection.has_rejected(&fields, record.text_key()) {
        return Verdict::Skip(SkipReason::FilteredOut);
    }
    match redrive(record, format) {
        Ok(event) => Verdict::Publish(event, Cow::Borrowed(fields.reason)),
        Err(StillRejected::Invalid(code)) => Verdict::Skip(SkipReason::StillRejected(
            Cow::Borrowed(fields.reason),
            code,
        )),
        Err(StillRejected::NotRejectedByKoobridge) => Verdict::Skip(SkipReason::Foreign),
    }
}

fn borrowed<'a>(record: &'a RecordRef<'_>) -> RecordRef<'a> {
    let headers = record.headers.iter();
    RecordRef {
        key: record.key.as_deref().map(Cow::Borrowed),
        headers: headers
            .map(|(name, value)| (Cow::Borrowed(&**name), value.as_deref().map(Cow::Borrowed)))
            .collect(),
        value: record.value.as_deref().map(Cow::Borrowed),
        timestamp: record.timestamp,
    }
}
