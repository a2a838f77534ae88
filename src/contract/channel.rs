//! Channels and their webhook passwords.
//!
//! Only the SHA-256 digests of passwords are kept, so that a comparison takes the same time for all lengths, and a
//! password can't be printed.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};
use subtle::{Choice, ConstantTimeEq as _};
use thiserror::Error;

use super::last_report::LastReport;
use super::received::{Arrival, Received};
use crate::text::InvisibleCharacter;

/// A channel of the contact centre, as in the report's path: `[A-Za-z0-9_-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(Arc<str>);

/// The error for a text that is not a channel id.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("a channel id is 1 to 64 letters, digits, '_' or '-'")]
pub struct InvalidChannelId;

impl ChannelId {
    /// The longest channel id, in characters.
    pub const MAX_LENGTH: usize = 64;

    /// Checks the form of a channel id.
    ///
    /// # Errors
    /// If `text` is not 1 to 64 characters of `A-Z a-z 0-9 _ -`.
    pub fn parse(text: &str) -> Result<Self, InvalidChannelId> {
        if Self::is_valid(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidChannelId)
        }
    }

    /// Returns whether `text` is a valid channel id.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        (1..=Self::MAX_LENGTH).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    }

    /// Returns the id as in the report's path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A `str` with the same text hashes and compares like the id.
impl Borrow<str> for ChannelId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

type Digest = [u8; 32];

/// A webhook password, kept as its digest.
#[derive(Clone)]
pub struct Password(Digest);

/// The reason why a line is not a usable password.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidPassword {
    #[error("starts or ends with a space or tab, which HTTP strips from the header")]
    SurroundingSpace,
    #[error("contains a control character, which a header can't contain")]
    ControlCharacter,
    /// An invisible character, which the sender's configuration most likely does not contain.
    #[error("{0}")]
    InvisibleCharacter(InvisibleCharacter),
}

impl Password {
    /// Parses one line of a channel's file, without its line end.
    ///
    /// # Errors
    /// If an `Authorization` header can't contain the line, or if the line contains an invisible character.
    pub fn parse(line: &[u8]) -> Result<Self, InvalidPassword> {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if is_space(line.first()) || is_space(line.last()) {
            return Err(InvalidPassword::SurroundingSpace);
        }
        // RFC 9110, 5.5: VCHAR, obs-text, space and tab.
        if line
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Err(InvalidPassword::ControlCharacter);
        }
        match InvisibleCharacter::find(line) {
            Some(unseen) => Err(InvalidPassword::InvisibleCharacter(unseen)),
            None => Ok(Self(digest(line))),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// The channels with their passwords, which never change, and the times of their last reports.
#[derive(Debug, Default)]
pub struct Channels {
    entries: HashMap<ChannelId, Entry>,
}

#[derive(Debug)]
struct Entry {
    index: usize,
    passwords: [Password; 2],
    last_report: LastReport,
}

impl Channels {
    /// Adds a channel. While its password is being rotated, it has a second one.
    pub fn insert(&mut self, channel: ChannelId, first: Password, second: Option<Password>) {
        let second = second.unwrap_or_else(|| first.clone());
        let known = self.entries.get(&channel);
        let entry = Entry {
            index: known.map_or(self.entries.len(), |known| known.index),
            passwords: [first, second],
            last_report: LastReport::default(),
        };
        self.entries.insert(channel, entry);
    }

    /// Shares the times of the last reports with `before`, which may still authenticate requests.
    pub fn share_last_reports(&mut self, before: &Self) {
        for (channel, entry) in &mut self.entries {
            if let Some(known) = before.entries.get(channel) {
                entry.last_report = known.last_report.clone();
            }
        }
    }

    /// Returns each channel with its index, in arbitrary order.
    pub fn indices(&self) -> impl Iterator<Item = (&ChannelId, usize)> {
        let entries = self.entries.iter();
        entries.map(|(channel, entry)| (channel, entry.index))
    }

    /// Returns each channel with the time of its last report, in arbitrary order.
    pub fn last_reports(&self) -> impl Iterator<Item = (&ChannelId, Option<Timestamp>)> {
        let entries = self.entries.iter();
        entries.map(|(channel, entry)| (channel, entry.last_report.time()))
    }

    /// Returns the number of channels.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns whether there is no channel.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the index of a channel, if it exists.
    #[must_use]
    pub fn index(&self, channel: &str) -> Option<usize> {
        self.entries.get(channel).map(|entry| entry.index)
    }

    /// Checks the password of a report for `channel`. If it is right, sets the time of the last report to `now`.
    ///
    /// The method always computes one digest and makes two comparisons, also for an unknown channel or a missing
    /// password, so that the time of the answer reveals nothing.
    #[must_use]
    pub fn authenticate(
        &self,
        channel: &str,
        password: Option<&[u8]>,
        now: Timestamp,
    ) -> Option<Authenticated> {
        // No known text has a SHA-256 digest of zeros.
        const NONE: [Password; 2] = [Password([0; 32]), Password([0; 32])];
        let given = digest(password.unwrap_or_default());
        let id = ChannelId(channel.into());
        let entry = self.entries.get(&id);
        let (known, good) = match entry {
            Some(entry) => (Choice::from(1), &entry.passwords),
            None => (Choice::from(0), &NONE),
        };
        let matches = given.ct_eq(&good[0].0) | given.ct_eq(&good[1].0);
        let present = Choice::from(u8::from(password.is_some()));
        let is_good = bool::from(known & present & matches);
        let entry = entry.filter(|_| is_good)?;
        entry.last_report.set(now);
        Some(Authenticated {
            channel: id,
            index: entry.index,
        })
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// A sender with the right password; only [`Channels::authenticate`] creates one.
#[derive(Debug)]
pub struct Authenticated {
    channel: ChannelId,
    index: usize,
}

impl Authenticated {
    /// Returns the sender's channel.
    #[must_use]
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// Returns the index of the channel in [`Channels`].
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }

    /// Combines the sender with the complete body that it sent.
    #[must_use]
    pub fn sent(self, arrival: Arrival, body: Vec<u8>) -> Received {
        Received::new(self.channel, arrival, body)
    }
}

#[cfg(test)]
mod tests;
