//! Replays a topic, and redrives rejected reports: from ranges of a topic, or lines of a file, to a topic or standard output.
//!
//! A [`Range`] and a [`Selection`] select the records of a topic, and [`Operation`] decides on each. A
//! [`TopicRun`] copies exactly once and keeps its plan in Kafka, so that it can be resumed; a [`FileRun`] copies
//! at least once; [`print()`] writes lines.

mod command_result;
mod file_run;
mod job;
mod key_partitions;
mod operation;
mod options;
mod partition_range;
mod plan;
mod position;
mod preview;
mod print;
mod progress;
mod range;
mod rate_limit;
mod redriven;
mod run;
mod selection;
mod sink;
mod source;
mod summary;
mod tally;
mod target;
mod time_point;
mod topic_run;
mod totals;
mod transaction_size;

pub use file_run::FileRun;
pub use key_partitions::key_partitions;
pub use operation::Operation;
pub use options::{Outcome, RunId, RunOptions, Start};
pub use partition_range::PartitionRange;
pub use position::Position;
pub use print::print;
pub use progress::Progress;
pub use range::Range;
pub use redriven::Redriven;
pub use selection::Selection;
pub use source::{Item, Source};
pub use tally::time;
pub use time_point::{Moment, TimePoint};
pub use topic_run::TopicRun;
