//! The entries of a directory, durable or not.

use std::collections::{BTreeMap, BTreeSet};

use super::{SurvivalOdds, Survivors, size};
use crate::suite::random::Random;

#[derive(Default)]
pub(super) struct Directory {
    certain: Entries,
    /// Each with the length of the recording before it.
    uncertain: Vec<(u64, Entry)>,
    /// The entries that the running program sees.
    now: Entries,
}

pub(super) type Entries = BTreeMap<String, usize>;

pub(super) enum Entry {
    Add(String, usize),
    Remove(String),
    Rename(String, String),
}

impl Directory {
    /// Adds a durable entry.
    pub(super) fn insert(&mut self, name: &str, node: usize) {
        self.certain.insert(name.to_owned(), node);
        self.now.insert(name.to_owned(), node);
    }

    pub(super) fn entry(&self, name: &str) -> usize {
        self.now[name]
    }

    /// Makes the changes durable that were recorded before this length.
    pub(super) fn sync(&mut self, before: u64) {
        let count = self.uncertain.partition_point(|(at, _)| *at < before);
        for (_, entry) in self.uncertain.drain(..count) {
            entry.apply(&mut self.certain);
        }
    }

    pub(super) fn change(&mut self, at: u64, entry: Entry) {
        entry.apply(&mut self.now);
        self.uncertain.push((at, entry));
    }

    pub(super) fn survivor(&self, odds: &SurvivalOdds, random: &mut Random) -> Entries {
        let mut entries = self.certain.clone();
        let count = self.uncertain.len();
        let first = match odds.survivors {
            Survivors::None => 0,
            Survivors::All => count,
            Survivors::Some if odds.in_order => size(random.below(count as u64 + 1)),
            Survivors::Some => {
                self.keep_some(&mut entries, odds, random);
                return entries;
            }
        };
        for (_, entry) in &self.uncertain[..first] {
            entry.apply(&mut entries);
        }
        entries
    }

    /// Changes of one name stay in order.
    fn keep_some(&self, entries: &mut Entries, odds: &SurvivalOdds, random: &mut Random) {
        let mut lost = BTreeSet::new();
        for (_, entry) in &self.uncertain {
            let is_lost = entry.names().any(|name| lost.contains(name));
            if is_lost || !random.chance(odds.kept) {
                lost.extend(entry.names());
            } else {
                entry.apply(entries);
            }
        }
    }
}

impl Entry {
    fn apply(&self, entries: &mut Entries) {
        match self {
            Self::Add(name, node) => {
                entries.insert(name.clone(), *node);
            }
            Self::Remove(name) => {
                entries.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(node) = entries.remove(from) {
                    entries.insert(to.clone(), node);
                }
            }
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Add(name, _) | Self::Remove(name) => (name, None),
            Self::Rename(from, to) => (from, Some(to)),
        };
        [Some(first), second]
            .into_iter()
            .flatten()
            .map(String::as_str)
    }
}
