//! The source of records: ranges of a topic, or lines of a file. Both can go back to the last commit.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::anyhow;

use super::position::Position;
use crate::contract::RecordRef;
use crate::kafka::{ConsumedRecord, OffsetRange, ReadStep, Reader, Waiting};
use crate::tools::archive::{self, Line};

/// How long a tool waits for a record before it checks whether to stop.
pub(super) const POLL: Duration = Duration::from_millis(100);

/// How many lines are read ahead.
const AHEAD: usize = 64;

/// A source of records.
pub enum Source {
    Topic(Box<Topic>),
    File(File),
}

/// Ranges of a topic.
pub struct Topic {
    reader: Reader,
    ranges: Vec<OffsetRange>,
    /// Waits for offsets that do not exist yet.
    is_followed: bool,
    /// The next offset of each partition.
    next: BTreeMap<u32, u64>,
}

/// Lines, in their order.
pub struct File {
    lines: Receiver<Result<Line, String>>,
    /// The lines that were read since the last commit.
    open: Vec<Line>,
    /// How many of them were returned since the last commit, or since going back.
    at: usize,
    /// The number of committed lines.
    committed: u64,
}

/// The next item of a source.
pub enum Item<'a> {
    Record(ConsumedRecord<'a>),
    /// A line and its number, from 1.
    Line(&'a Line, u64),
    /// Kafka has deleted these offsets before they could be read.
    Deleted(OffsetRange),
    /// Why there is no record at present.
    Waiting(Waiting),
    /// There was no record within the patience.
    Nothing,
    /// The end of the source.
    End,
}

impl Item<'_> {
    /// Returns the record, if the item is one.
    #[must_use]
    pub fn record(&self) -> Option<RecordRef<'_>> {
        match self {
            Self::Record(record) => Some(record.record()),
            Self::Line(line, _) => Some(line.record()),
            Self::Deleted(_) | Self::Waiting(_) | Self::Nothing | Self::End => None,
        }
    }

    /// Returns the record's position, if it had one; `topic` is the topic that is read.
    #[must_use]
    pub fn position<'a>(&'a self, topic: &'a str) -> Option<Position<'a>> {
        match self {
            Self::Record(record) => Some(Position {
                topic,
                partition: record.partition(),
                offset: record.offset(),
            }),
            Self::Line(line, _) => Some(Position {
                topic: line.topic.as_deref()?,
                partition: line.partition?,
                offset: line.offset?,
            }),
            Self::Deleted(_) | Self::Waiting(_) | Self::Nothing | Self::End => None,
        }
    }
}

impl Source {
    /// Reads ranges of a topic. A partition that is in `next` is read from that offset.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn topic(
        reader: Reader,
        ranges: Vec<OffsetRange>,
        next: BTreeMap<u32, u64>,
    ) -> anyhow::Result<Self> {
        Self::begin(reader, ranges, false, &next)
    }

    /// Reads ranges of a topic that can hold offsets that do not exist yet.
    ///
    /// # Errors
    /// If they can't be read.
    pub fn follow(reader: Reader, ranges: Vec<OffsetRange>) -> anyhow::Result<Self> {
        Self::begin(reader, ranges, true, &BTreeMap::new())
    }

    fn begin(
        reader: Reader,
        ranges: Vec<OffsetRange>,
        is_followed: bool,
        next: &BTreeMap<u32, u64>,
    ) -> anyhow::Result<Self> {
        let mut topic = Topic {
            reader,
            ranges,
            is_followed,
            next: BTreeMap::new(),
        };
        topic.rewind_to(next)?;
        Ok(Self::Topic(Box::new(topic)))
    }

    /// Reads the lines of a file on a separate thread, since a read of standard input has no deadline. The thread ends when
    /// the input ends, or when the receiver is gone. Errors have the `name` of the file.
    #[must_use]
    pub fn file(name: &str, input: impl BufRead + Send + 'static) -> Self {
        let (sender, lines) = sync_channel(AHEAD);
        let failed = sender.clone();
        let name = name.to_owned();
        let reading = move || {
            let named = |line: Result<Line, String>| match line {
                Ok(line) if line.masked => Err(format!(
                    "{name}: its phone numbers are masked: it is output of `koobridge tail`, which can't be published"
                )),
                line => line.map_err(|why| format!("{name}, {why}")),
            };
            let _is_read = archive::lines(input).all(|line| sender.send(named(line)).is_ok());
        };
        let started = thread::Builder::new().name("lines".to_owned());
        if let Err(error) = started.spawn(reading) {
            let why = format!("the system can't start a thread to read the lines: {error}");
            failed
                .send(Err(why))
                .expect("the channel is empty and open");
        }
        Self::File(File {
            lines,
            open: Vec::new(),
            at: 0,
            committed: 0,
        })
    }

    /// Returns the next item, and waits for it up to `patience`.
    ///
    /// # Errors
    /// If the source can't be read.
    pub fn next(&mut self, patience: Duration) -> anyhow::Result<Item<'_>> {
        match self {
            Self::Topic(topic) => topic.next(patience),
            Self::File(file) => file.next(patience),
        }
    }

    /// Returns the next offset of each partition; a file has none.
    #[must_use]
    pub fn position(&self) -> BTreeMap<u32, u64> {
        match self {
            Self::Topic(topic) => topic.next.clone(),
            Self::File(_) => BTreeMap::new(),
        }
    }

    /// Returns how many offsets are still to be read; `None` for a file.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        match self {
            Self::Topic(topic) => Some(remaining_offsets(&topic.ranges, &topic.next)),
            Self::File(_) => None,
        }
    }

    /// Notes that all items so far are committed: [`Self::rewind`] does not return them again.
    pub fn committed(&mut self) {
        if let Self::File(file) = self {
            file.open.drain(..file.at);
            file.committed += file.at as u64;
            file.at = 0;
        }
    }

    /// Goes back to the last commit: to these offsets, or to the first uncommitted line.
    ///
    /// # Errors
    /// If a topic can't be read from there.
    pub fn rewind(&mut self, committed: &BTreeMap<u32, u64>) -> anyhow::Result<()> {
        match self {
            Self::Topic(topic) => topic.rewind_to(committed),
            Self::File(file) => {
                file.at = 0;
                Ok(())
            }
        }
    }
}

/// Returns how many offsets of `ranges` are still to be read.
pub(super) fn remaining_offsets(ranges: &[OffsetRange], next: &BTreeMap<u32, u64>) -> u64 {
    ranges.iter().map(|range| range.rest(next).length()).sum()
}

impl Topic {
    fn next(&mut self, patience: Duration) -> anyhow::Result<Item<'_>> {
        Ok(match self.reader.next(patience)? {
            ReadStep::Record(record) => {
                self.next.insert(record.partition(), record.offset() + 1);
                Item::Record(record)
            }
            ReadStep::Deleted(gone) => {
                self.next.insert(gone.partition, gone.end);
                Item::Deleted(gone)
            }
            ReadStep::Waiting(waiting) => Item::Waiting(waiting),
            ReadStep::Nothing => Item::Nothing,
            ReadStep::Finished => {
                // After the last record there can be control records of transactions.
                let ends = self.ranges.iter();
                self.next
                    .extend(ends.map(|range| (range.partition, range.end.max(range.first))));
                Item::End
            }
        })
    }

    fn rewind_to(&mut self, next: &BTreeMap<u32, u64>) -> anyhow::Result<()> {
        let remaining: Vec<_> = self.ranges.iter().map(|range| range.rest(next)).collect();
        self.next = remaining
            .iter()
            .map(|range| (range.partition, range.first))
            .collect();
        if self.is_followed {
            self.reader.follow(&remaining)?;
        } else {
            self.reader.read(&remaining)?;
        }
        Ok(())
    }
}

impl File {
    fn next(&mut self, patience: Duration) -> anyhow::Result<Item<'_>> {
        if self.at == self.open.len() {
            match self.lines.recv_timeout(patience) {
                Ok(line) => self.open.push(line.map_err(|why| anyhow!(why))?),
                Err(RecvTimeoutError::Timeout) => return Ok(Item::Nothing),
                Err(RecvTimeoutError::Disconnected) => return Ok(Item::End),
            }
        }
        self.at += 1;
        let number = self.committed + self.at as u64;
        Ok(Item::Line(&self.open[self.at - 1], number))
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, BufReader, Write as _};

    use super::*;

    const PATIENCE: Duration = Duration::from_mins(1);

    fn keys(source: &mut Source, count: usize) -> Vec<String> {
        let mut keys = Vec::new();
        while keys.len() < count {
            let item = source.next(PATIENCE).expect("a source that can be read");
            let Some(record) = item.record() else { break };
            keys.push(record.text_key().expect("a key").to_owned());
        }
        keys
    }

    #[test]
    fn lines_are_repeated_until_they_are_committed() {
        let text = "{\"key\":\"a\"}\n{\"key\":\"b\"}\n{\"key\":\"c\"}\n{\"key\":\"d\"}\n";
        let mut source = Source::file("a", text.as_bytes());
        assert_eq!(keys(&mut source, 1), ["a"]);
        source.committed();
        assert_eq!(keys(&mut source, 2), ["b", "c"]);
        source.rewind(&BTreeMap::new()).expect("it can go back");
        assert_eq!(keys(&mut source, 1), ["b"]);
        source.committed();
        assert_eq!(keys(&mut source, 9), ["c", "d"]);
        assert!(matches!(source.next(PATIENCE), Ok(Item::End)));
    }

    #[test]
    fn a_line_that_cannot_be_published_is_named_with_its_file() {
        for (text, why) in [
            (
                "{\"key\":7}\n",
                "a.jsonl, line 1: not a record as koobridge writes it: ",
            ),
            (
                "{\"masked\":true}\n",
                "a.jsonl: its phone numbers are masked: ",
            ),
        ] {
            let mut source = Source::file("a.jsonl", text.as_bytes());
            let error = source.next(PATIENCE).err().expect(why).to_string();
            assert!(error.starts_with(why), "{error}");
        }
    }

    #[test]
    fn a_source_returns_within_the_patience_if_no_line_comes() {
        let (input, mut output) = io::pipe().expect("a pipe");
        let mut source = Source::file("a", BufReader::new(input));
        assert!(matches!(source.next(Duration::ZERO), Ok(Item::Nothing)));
        output.write_all(b"{\"key\":\"a\"}\n").expect("room");
        assert_eq!(keys(&mut source, 1), ["a"]);
        assert!(matches!(source.next(Duration::ZERO), Ok(Item::Nothing)));
        drop(output);
        assert!(matches!(source.next(PATIENCE), Ok(Item::End)));
    }
}
