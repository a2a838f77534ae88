//! `koobridge redrive`: rejected reports tried again.

use std::process::ExitCode;

use super::consuming;
use super::interrupt::interruptible;
use super::mistyped;
use super::run::{Asked, How, Words};
use crate::cli::Redrive;
use crate::tools::replay::{Range, Selection, When, Work};

pub(super) fn run(typed: &Redrive) -> anyhow::Result<ExitCode> {
    let (kafka, settings) = consuming::connection(&typed.kafka)?;
    let range = match consuming::range(&typed.range) {
        Some(range) => range,
        None if typed.run.resume.is_some() => Range {
            since: When::Beginning,
            until: When::Now,
            offsets: Vec::new(),
        },
        None => return Err(mistyped(consuming::NO_RANGE)),
    };
    let selection = Selection {
        channels: typed.channel.iter().cloned().collect(),
        reasons: typed.reason.iter().cloned().collect(),
        since: range.from_time(),
        until: range.until_time(),
        ..Selection::default()
    };
    let asked = Asked {
        settings,
        source: kafka.rejected_topic,
        target: kafka.topic,
        range,
        only: None,
        work: Work::Redrive {
            selection,
            mode: kafka.event_mode,
        },
        how: How::from(&typed.run),
        again: again(typed),
    };
    interruptible(move |interrupt| asked.run(interrupt))
}

/// The command that goes on with the run: its plan has the range.
fn again(typed: &Redrive) -> String {
    let mut words = Words::of("redrive");
    words.add_kafka(&typed.kafka);
    words.add("--reason", &typed.reason);
    words.add("--channel", &typed.channel);
    words.add("--rate", typed.run.rate);
    words.into_text()
}
