//! The source of records: ranges of a topic, or lines of a file. Both can go back to what was committed
//! last.

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
    /// Offsets that do not exist yet are waited for.
    is_followed: bool,
    /// The next offset of each partition.
    next: BTreeMap<u32, u64>,
}

/// Lines, in their order.
pub struct File {
    lines: Receiver<Result<Line, String>>,
    /// What was read since the last commit, and how many of it since going back.
    open: Vec<Line>,
    at: usize,
    /// How many were committed.
    committed: u64,
}

/// What comes next.
pub enum Item<'a> {
    Record(ConsumedRecord<'a>),
    /// A line and its number among them, from 1.
    Line(&'a Line, u64),
    /// Kafka has deleted this before it could be read.
    Deleted(OffsetRange),
    /// Why nothing comes.
    Waiting(Waiting),
    /// Nothing within the patience.
    Nothing,
    /// There is no more.
    End,
}

impl Item<'_> {
    /// Returns the record, if it is one.
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
    /// Reads ranges of a topic, from the offsets in `next` on where it has one.
    ///
    /// # Errors
    /// Where they can't be read.
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
        topic.go_back_to(next)?;
        Ok(Self::Topic(Box::new(topic)))
    }

    /// Reads the lines of a file, on a thread of their own: a read of standard input has no deadline. The thread ends
    /// with the input, or with the first line that it can't hand over. `name` is the file's, for errors.
    #[must_use]
    pub fn file(name: &str, input: impl BufRead + Send + 'static) -> Self {
        let (sender, lines) = sync_channel(AHEAD);
        let failed = sender.clone();
        let name = name.to_owned();
        let reading = move || {
            let named = |line: Result<Line, String>| match line {
                Ok(line) if line.masked => Err(format!(
                    "{name}: its phone numbers are masked: `koobridge tail` printed it, and it can't be published"
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

    /// What comes next, within `patience`.
    ///
    /// # Errors
    /// Where the source can't be read any more.
    pub fn next(&mut self, patience: Duration) -> anyhow::Result<Item<'_>> {
        match self {
            Self::Topic(topic) => topic.next(patience),
            Self::File(file) => file.next(patience),
        }
    }

    /// The next offset of each partition; none of a file.
    #[must_use]
    pub fn position(&self) -> BTreeMap<u32, u64> {
        match self {
            Self::Topic(topic) => topic.next.clone(),
            Self::File(_) => BTreeMap::new(),
        }
    }

    /// How many offsets are still to be read; `None` of a file.
    #[must_use]
    pub fn left(&self) -> Option<u64> {
        match self {
            Self::Topic(topic) => Some(length_of_rest(&topic.ranges, &topic.next)),
            Self::File(_) => None,
        }
    }

    /// There is no going back behind this any more.
    pub fn committed(&mut self) {
        if let Self::File(file) = self {
            file.open.drain(..file.at);
            file.committed += file.at as u64;
            file.at = 0;
        }
    }

    /// Goes back to what was committed last: these offsets, or the lines since.
    ///
    /// # Errors
    /// Where a topic can't be read from there.
    pub fn go_back(&mut self, committed: &BTreeMap<u32, u64>) -> anyhow::Result<()> {
        match self {
            Self::Topic(topic) => topic.go_back_to(committed),
            Self::File(file) => {
                file.at = 0;
                Ok(())
            }
        }
    }
}

/// Returns how many offsets of `ranges` are still to be read.
pub(super) fn length_of_rest(ranges: &[OffsetRange], next: &BTreeMap<u32, u64>) -> u64 {
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
                // Behind the last record there can be marks of transactions.
                let ends = self.ranges.iter();
                self.next
                    .extend(ends.map(|range| (range.partition, range.end.max(range.first))));
                Item::End
            }
        })
    }

    fn go_back_to(&mut self, next: &BTreeMap<u32, u64>) -> anyhow::Result<()> {
        let left: Vec<_> = self.ranges.iter().map(|range| range.rest(next)).collect();
        self.next = left
            .iter()
            .map(|range| (range.partition, range.first))
            .collect();
        if self.is_followed {
            self.reader.follow(&left)?;
        } else {
            self.reader.read(&left)?;
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
    fn lines_are_given_again_until_they_are_committed() {
        let text = "{\"key\":\"a\"}\n{\"key\":\"b\"}\n{\"key\":\"c\"}\n{\"key\":\"d\"}\n";
        let mut source = Source::file("a", text.as_bytes());
        assert_eq!(keys(&mut source, 1), ["a"]);
        source.committed();
        assert_eq!(keys(&mut source, 2), ["b", "c"]);
        source.go_back(&BTreeMap::new()).expect("it can go back");
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
    fn a_source_whose_next_line_does_not_come_says_so_within_the_patience() {
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
