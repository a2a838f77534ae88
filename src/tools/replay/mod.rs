//! Replaying a topic, and driving rejected reports again: from ranges of a topic, or lines of a
//! file, to a topic or standard output.
//!
//! A [`Range`] names the part of the topic that is meant, a [`Selection`] which of its records, [`Work`]
//! what becomes of each. [`look()`] counts what would be done; a [`Run`] does it, exactly once, and
//! keeps its [`Plan`] in Kafka so that it can be gone on with.

mod look;
mod pace;
mod plan;
mod progress;
mod range;
mod run;
mod selection;
mod source;
mod tally;
mod work;

pub use crate::kafka::OffsetRange;
pub use look::{is_unread, look, print};
pub use pace::Pace;
pub use plan::{Command, NoPlan, Plan};
pub use progress::Progress;
pub use range::{Range, TypedOffsets, When};
pub use run::{End, Job, Reading, Run, TakenOver, Target};
pub use selection::Selection;
pub use source::{Item, Source};
pub use tally::{Group, Tally, bytes, grouped, time};
pub use work::{Pass, Position, REPLAY_ID, Verdict, Work};
