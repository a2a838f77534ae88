//! Power cuts at chosen moments of a history: each one makes an image and checks its spool.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use koobridge::contract::event_id;
use koobridge::spool::Inspection;
use serde_json::Value;

use super::file_system::{FileSystem, Image, Rules, Survivors};
use super::history::{History, memory};
use super::recording::{Change, Step};
use super::senders::body_of;
use crate::suite::random::Random;
use crate::support::bridge::{CHANNEL, koobridge};

/// Of five images, two are the extremes.
const SURVIVORS: [Survivors; 5] = [
    Survivors::None,
    Survivors::All,
    Survivors::Some,
    Survivors::Some,
    Survivors::Some,
];
/// The number of changes before a cut that a failure shows.
const SHOWN: usize = 12;

/// A power cut.
pub struct Cut {
    /// The seed of this image.
    seed: u64,
    /// The length of the recording at the cut.
    pub at: u64,
    survivors: Survivors,
    /// The last changes before the cut.
    last: String,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed,
            at,
            survivors,
            last,
        } = self;
        write!(
            f,
            "image {seed}, cut at {at}, {survivors:?} of the uncertain changes, after:\n{last}"
        )
    }
}

/// The reports in the spool of an image, compared with the promises.
pub struct Verdict {
    /// Reports that only the spool had.
    pub promised: usize,
    pub lost: Vec<String>,
    /// Reports that are more than once in the spool.
    twice: Vec<String>,
    /// Reports that were never sent, or that differ from the sent ones.
    strange: Vec<String>,
    /// Why the spool cannot be read.
    unreadable: Option<String>,
}

/// Returns the images of this many cuts, in the order of the cuts.
pub fn of(
    history: &History,
    rules: Rules,
    count: u64,
    seed: u64,
) -> impl Iterator<Item = (Cut, Image)> {
    let steps = history.recording.steps();
    let lengths = lengths(&steps, count, &mut Random::of(seed));
    let mut system = FileSystem::new(&history.recording.base, rules);
    let mut applied = 0;
    (seed..).zip(lengths).map(move |(seed, length)| {
        for step in &steps[applied..length] {
            system.apply(step);
        }
        applied = length;
        let mut random = Random::of(seed);
        let survivors = random.pick(&SURVIVORS);
        let last = steps[length.saturating_sub(SHOWN)..length].iter();
        let cut = Cut {
            seed,
            at: steps[length - 1].end,
            survivors,
            last: last.map(Step::to_string).collect(),
        };
        (cut, system.image(survivors, &mut random))
    })
}

/// Returns the positions of the cuts: half of them are just before or after an fsync or a change of a directory.
fn lengths(steps: &[Step<'_>], count: u64, random: &mut Random) -> Vec<usize> {
    let is_sync = |step: &Step<'_>| matches!(step.change, Change::Sync { .. });
    let is_entry = |step: &Step<'_>| {
        !is_sync(step) && !matches!(step.change, Change::Write { .. } | Change::Resize { .. })
    };
    let after = |wanted: &dyn Fn(&Step<'_>) -> bool| -> Vec<usize> {
        let found = steps.iter().zip(1..).filter(|(step, _)| wanted(step));
        found.map(|(_, length)| length).collect()
    };
    let (syncs, entries, all) = (after(&is_sync), after(&is_entry), after(&|_| true));
    let length = |_| {
        let places = random.pick(&[&all, &all, &syncs, &entries]);
        let near = random
            .pick(places)
            .saturating_sub(usize::from(random.chance(40)));
        near.max(1)
    };
    let mut lengths: Vec<_> = (0..count).map(length).collect();
    lengths.sort_unstable();
    lengths
}

pub fn write(image: &Image, directory: &Path) {
    for (path, content) in image {
        let path = directory.join(path);
        match content {
            Some(content) => fs::write(path, content).expect("a file"),
            None => fs::create_dir(path).expect("a directory"),
        }
    }
}

/// Returns each event of a spool, read by the code of `koobridge spool export`.
pub fn events(image: &Image) -> Result<Vec<String>, String> {
    let directory = memory();
    write(image, directory.path());
    let mut events = Vec::new();
    let spool =
        Inspection::of(&directory.path().join("spool")).map_err(|error| error.to_string())?;
    let shown = spool.each(|kept| {
        let text = String::from_utf8(kept.record.value).map_err(io::Error::other);
        events.push(text?);
        Ok(())
    });
    let problems = shown.map_err(|error| error.to_string())?;
    if let Some(problem) = problems.first() {
        return Err(problem.to_string());
    }
    Ok(events)
}

/// The same, by the command itself.
pub fn exported(image: &Image) -> Result<Vec<String>, String> {
    let directory = memory();
    write(image, directory.path());
    let spool = directory.path().join("spool");
    let mut command = koobridge();
    let command = command.args(["spool", "export", "--directory"]).arg(spool);
    let output = command.output().expect("koobridge starts");
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        // Nothing of the spool was durable yet.
        if said.contains("is not a spool") {
            return Ok(Vec::new());
        }
        return Err(said);
    }
    let value = |line: &str| {
        let line: Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
        line["value"]
            .as_str()
            .map(str::to_owned)
            .ok_or("no text".to_owned())
    };
    String::from_utf8(output.stdout)
        .expect("text")
        .lines()
        .map(value)
        .collect()
}

pub fn verdict(history: &History, cut: &Cut, found: &Result<Vec<String>, String>) -> Verdict {
    let events = found.as_deref().unwrap_or_default();
    let (mut kept, mut twice, mut strange) = (BTreeSet::new(), Vec::new(), Vec::new());
    for event in events {
        match message_of(event).filter(|message| history.is_known(message)) {
            None => strange.push(event.chars().take(200).collect()),
            Some(message) if !kept.insert(message.clone()) => twice.push(message),
            Some(_) => {}
        }
    }
    let promised = history.promised(cut.at);
    let lost = promised.iter().filter(|message| !kept.contains(**message));
    Verdict {
        lost: lost.map(|&message| message.to_owned()).collect(),
        promised: promised.len(),
        twice,
        strange,
        unreadable: found.as_ref().err().cloned(),
    }
}

/// Returns the message of an event, if the event is complete.
pub fn message_of(event: &str) -> Option<String> {
    let event: Value = serde_json::from_str(event).ok()?;
    let message = event["message_id"].as_str()?;
    let sent: Value = serde_json::from_slice(&body_of(message)).expect("JSON");
    let id = event_id(CHANNEL, message, "read").to_string();
    let is_whole = event["status"] == "read"
        && event["event_id"] == id
        && event["extra"]["pad"] == sent["pad"];
    is_whole.then(|| message.to_owned())
}

impl Verdict {
    /// Fails unless the spool has exactly the promised reports. When that fails, the image is kept.
    pub fn check(&self, cut: &impl fmt::Display, image: &Image) {
        let Self {
            lost,
            twice,
            strange,
            unreadable,
            ..
        } = self;
        if lost.is_empty() && twice.is_empty() && strange.is_empty() && unreadable.is_none() {
            return;
        }
        let directory = tempfile::tempdir().expect("a temporary directory").keep();
        write(image, &directory);
        let directory = directory.display();
        panic!(
            "{directory}: {cut}\nlost: {lost:?}\ntwice: {twice:?}\nstrange: {strange:?}\nunreadable: {unreadable:?}"
        );
    }
}
