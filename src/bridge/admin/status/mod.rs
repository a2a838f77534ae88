//! What the status page says: every word and every figure of it. `/status.json` prints it, the page is
//! made of it, and the page's script only puts it in its places.
//!
//! Nothing in it names a message or a person: what it rests on, the `facts`, holds neither.

mod chart;
mod facts;
mod history;
mod latency;
mod sections;
mod state;
mod words;

use std::time::Duration;

use serde::Serialize;

pub(super) use chart::{Chart, Series};
pub(super) use facts::{Facts, SILENT};
pub(super) use history::{EACH, History};

/// What counts as now, of rates and of latencies: a rate shows what comes, a latency needs a few.
const NOW: [Duration; 2] = [Duration::from_secs(10), Duration::from_mins(1)];
/// How soon to look again where all is well, and where Kafka is not, in milliseconds.
const AGAIN: [u32; 2] = [1000, 500];

/// Everything that the status page shows.
#[derive(Debug, Serialize)]
pub(super) struct Status {
    pub(super) state: State,
    pub(super) notes: Vec<Note>,
    pub(super) chart: Chart,
    pub(super) sections: Vec<Section>,
    /// When this was so, in UTC.
    pub(super) as_of: String,
    /// How soon the page had better look again.
    pub(super) again_ms: u32,
}

/// The bridge's state in one line.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct State {
    pub(super) word: &'static str,
    pub(super) tone: Tone,
}

/// How good or bad something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Tone {
    /// Neither.
    #[default]
    Plain,
    Good,
    Warn,
    Bad,
}

/// What is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Note {
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// A few lines that belong together.
#[derive(Debug, Serialize)]
pub(super) struct Section {
    pub(super) id: &'static str,
    pub(super) title: &'static str,
    /// What the two columns of values are, where there are two.
    pub(super) heads: [&'static str; 2],
    pub(super) rows: Vec<Row>,
    /// What else there is to say; in the place of lines, where there is none.
    pub(super) foot: String,
}

/// One line: a name, its value or two, and what there is to know of it.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Row {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) second: String,
    pub(super) note: String,
    pub(super) tone: Tone,
}

impl Status {
    /// What there is to say of these facts.
    pub(super) fn of(facts: &Facts, history: &History) -> Self {
        let counted = |window| history.recent(facts.at, &facts.counts, window);
        let [ten_seconds, minute] = NOW.map(counted);
        let recent = counted(history::SPAN);
        let notes = state::notes(facts);
        let is_well = facts.kafka() == facts::Kafka::Well;
        Self {
            state: state::state(facts, &notes),
            notes,
            chart: Chart::of(facts, history, &ten_seconds, &recent),
            sections: sections::all(facts, &minute.counts, &recent.counts),
            as_of: facts.now.strftime("%H:%M:%S UTC").to_string(),
            again_ms: AGAIN[usize::from(!is_well)],
        }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("the status is plain data")
    }
}

impl Tone {
    /// As the page's style knows it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
        }
    }
}

impl Row {
    fn plain(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            ..Self::default()
        }
    }

    fn with_second(self, second: impl Into<String>) -> Self {
        Self {
            second: second.into(),
            ..self
        }
    }

    fn with_note(self, note: impl Into<String>) -> Self {
        Self {
            note: note.into(),
            ..self
        }
    }

    fn in_tone(self, tone: Tone) -> Self {
        Self { tone, ..self }
    }

    /// In `tone` where something is so.
    fn when(self, is_so: bool, tone: Tone) -> Self {
        if is_so { self.in_tone(tone) } else { self }
    }
}

#[cfg(test)]
pub(super) mod tests;
