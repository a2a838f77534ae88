//! The ends of a partition, and the thread that queries them.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::client_error::ClientError;
use super::read_error::ReadError;
use super::topic_consumer::TopicConsumer;

/// The first offset and the two ends of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ends {
    /// The first offset that still exists.
    pub(super) first: u64,
    /// The last stable offset: no transaction is open before it.
    pub(super) stable: u64,
    /// The high watermark.
    pub(super) end: u64,
}

/// The answer to a query.
pub(super) enum Answer {
    Ends(Ends),
    /// A broker answers, but no leader of the partition does.
    NoLeader,
    /// No broker answers, for this reason.
    Unreachable(String),
    /// The partition can no longer be read.
    Failed(ReadError),
}

/// A thread that sends one query at a time, so that a reader never waits for an answer.
pub(super) struct EndsQuery {
    /// Present until the drop.
    asked: Option<Sender<u32>>,
    answers: Receiver<(u32, Answer)>,
    open_since: Option<Instant>,
    /// Present until the drop.
    thread: Option<JoinHandle<()>>,
}

impl Drop for EndsQuery {
    /// Ends the thread. If it still waits for an answer, it is not joined; it ends when its query times out.
    fn drop(&mut self) {
        self.asked = None;
        if let Some(thread) = self.thread.take().filter(|_| self.open_since.is_none()) {
            // The thread can't panic.
            let _ended = thread.join();
        }
    }
}

impl EndsQuery {
    pub(super) fn start(source: Arc<TopicConsumer>) -> Result<Self, ClientError> {
        let (asked, questions) = mpsc::channel();
        let (answer, answers) = mpsc::channel();
        let answering = move || {
            for partition in questions {
                if answer.send((partition, source.ends(partition))).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new()
            .name("ends".to_owned())
            .spawn(answering)?;
        Ok(Self {
            asked: Some(asked),
            answers,
            open_since: None,
            thread: Some(thread),
        })
    }

    /// Returns whether an answer is pending.
    pub(super) fn is_open(&self) -> bool {
        self.open_since.is_some()
    }

    pub(super) fn ask(&mut self, partition: u32, now: Instant) {
        let asked = self.asked.as_ref();
        if asked.is_some_and(|asked| asked.send(partition).is_ok()) {
            self.open_since = Some(now);
        }
    }

    /// Returns the answer if it has come, with the partition and the time of the query.
    pub(super) fn answer(&mut self) -> Option<(u32, Instant, Answer)> {
        let (partition, answer) = self.answers.try_recv().ok()?;
        let since = self.open_since.take()?;
        Some((partition, since, answer))
    }
}
