//! The content of a file, durable or not.

use super::{SurvivalOdds, Survivors, size};
use crate::suite::random::Random;

pub(super) struct File<'r> {
    certain: Vec<u8>,
    /// Each with the length of the recording before it.
    uncertain: Vec<(u64, Content<'r>)>,
}

#[derive(Clone, Copy)]
pub(super) enum Content<'r> {
    Write { at: u64, data: &'r [u8] },
    Resize(u64),
}

impl<'r> File<'r> {
    pub(super) fn new(certain: Vec<u8>) -> Self {
        Self {
            certain,
            uncertain: Vec::new(),
        }
    }

    pub(super) fn change(&mut self, at: u64, content: Content<'r>) {
        self.uncertain.push((at, content));
    }

    /// Makes the changes durable that were recorded before this length.
    pub(super) fn sync(&mut self, before: u64) {
        let count = self.uncertain.partition_point(|(at, _)| *at < before);
        for (_, content) in self.uncertain.drain(..count) {
            content.apply(&mut self.certain);
        }
    }

    pub(super) fn survivor(&self, odds: &SurvivalOdds, random: &mut Random) -> Vec<u8> {
        let mut content = self.certain.clone();
        for (_, change) in &self.uncertain {
            match odds.survivors {
                Survivors::None => {}
                Survivors::All => change.apply(&mut content),
                Survivors::Some => change.apply_in_part(&mut content, odds, random),
            }
        }
        content
    }
}

impl Content<'_> {
    fn apply(self, content: &mut Vec<u8>) {
        match self {
            Self::Write { at, data } => put(content, at, data),
            Self::Resize(length) => content.resize(size(length), 0),
        }
    }

    fn apply_in_part(self, content: &mut Vec<u8>, odds: &SurvivalOdds, random: &mut Random) {
        let is_kept = random.chance(odds.kept);
        match self {
            Self::Write { at, data } if is_kept && random.chance(odds.torn) => {
                put_some(content, at, data, odds.sector, random);
            }
            _ if is_kept => self.apply(content),
            // Only the new length of the file survives.
            Self::Write { at, data } if random.chance(25) => grow(content, at, data),
            _ => {}
        }
    }
}

/// Writes half of the sectors.
fn put_some(content: &mut Vec<u8>, at: u64, data: &[u8], sector: u64, random: &mut Random) {
    let end = at + data.len() as u64;
    let mut from = at;
    while from < end {
        let to = end.min((from / sector + 1) * sector);
        if random.chance(50) {
            put(content, from, &data[size(from - at)..size(to - at)]);
        }
        from = to;
    }
}

fn put(content: &mut Vec<u8>, at: u64, data: &[u8]) {
    grow(content, at, data);
    content[size(at)..][..data.len()].copy_from_slice(data);
}

fn grow(content: &mut Vec<u8>, at: u64, data: &[u8]) {
    let end = size(at) + data.len();
    content.resize(end.max(content.len()), 0);
}
