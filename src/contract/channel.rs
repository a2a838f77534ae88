//! Channels and their webhook passwords: who may send reports.
//!
//! Passwords are held as SHA-256 digests only, so that comparing takes the same time whatever the
//! lengths, and nothing here can print one. Where the passwords come from is not known here.

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
use crate::text::Unseen;

/// A channel of the contact centre, as in the report's path: `[A-Za-z0-9_-]{1,64}`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChannelId(Arc<str>);

/// The text is no channel id.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("a channel id is 1 to 64 letters, digits, '_' or '-'")]
pub struct InvalidChannelId;

impl ChannelId {
    /// The longest channel id, in characters.
    pub const MAX_LENGTH: usize = 64;

    /// Checks the form of a channel id.
    ///
    /// # Errors
    /// Where `text` is not 1 to 64 of `A-Z a-z 0-9 _ -`.
    pub fn parse(text: &str) -> Result<Self, InvalidChannelId> {
        if Self::is_valid(text) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidChannelId)
        }
    }

    /// Whether `text` has the form of a channel id.
    #[must_use]
    pub fn is_valid(text: &str) -> bool {
        (1..=Self::MAX_LENGTH).contains(&text.len())
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    }

    /// The id as it stands in the path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text hashes and compares like the id.
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

/// Why a line is no password that a sender could send.
#[derive(Debug, PartialEq, Eq, Error)]
pub enum InvalidPassword {
    #[error("has a space or tab at an end, which HTTP strips from the header")]
    OuterSpace,
    #[error("holds a control character, which no header can carry")]
    Unsendable,
    /// A character that a person does not see, and that no sender is configured to send.
    #[error("{0}")]
    Unseen(Unseen),
}

impl Password {
    /// Takes one line of a channel's file, without its line end.
    ///
    /// # Errors
    /// If no `Authorization` header could carry the line, or none would: it holds a character that cannot be seen.
    pub fn parse(line: &[u8]) -> Result<Self, InvalidPassword> {
        let is_space = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
        if is_space(line.first()) || is_space(line.last()) {
            return Err(InvalidPassword::OuterSpace);
        }
        // RFC 9110, 5.5: VCHAR, obs-text, space and tab.
        if line
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Err(InvalidPassword::Unsendable);
        }
        match Unseen::find(line) {
            Some(unseen) => Err(InvalidPassword::Unseen(unseen)),
            None => Ok(Self(digest(line))),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(redacted)")
    }
}

/// Every channel with its one or two passwords, which never change, and the time of its last report.
#[derive(Debug, Default)]
pub struct Channels {
    entries: HashMap<ChannelId, Entry>,
}

#[derive(Debug)]
struct Entry {
    place: usize,
    passwords: [Password; 2],
    last_report: LastReport,
}

impl Channels {
    /// Adds a channel. During a rotation it has a second password.
    pub fn insert(&mut self, channel: ChannelId, first: Password, second: Option<Password>) {
        let second = second.unwrap_or_else(|| first.clone());
        let known = self.entries.get(&channel);
        let entry = Entry {
            place: known.map_or(self.entries.len(), |known| known.place),
            passwords: [first, second],
            last_report: LastReport::default(),
        };
        self.entries.insert(channel, entry);
    }

    /// Shares the times of the last reports with `before`, which may still authenticate a request.
    pub fn share_last_reports(&mut self, before: &Self) {
        for (channel, entry) in &mut self.entries {
            if let Some(known) = before.entries.get(channel) {
                entry.last_report = known.last_report.clone();
            }
        }
    }

    /// Returns each channel with its place among them, from 0, in no order.
    pub fn places(&self) -> impl Iterator<Item = (&ChannelId, usize)> {
        let entries = self.entries.iter();
        entries.map(|(channel, entry)| (channel, entry.place))
    }

    /// Returns each channel with the time of its last report, in no order.
    pub fn last_reports(&self) -> impl Iterator<Item = (&ChannelId, Option<Timestamp>)> {
        let entries = self.entries.iter();
        entries.map(|(channel, entry)| (channel, entry.last_report.time()))
    }

    /// How many channels there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no channel at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns the place of the channel of that name, if there is one.
    #[must_use]
    pub fn place(&self, channel: &str) -> Option<usize> {
        self.entries.get(channel).map(|entry| entry.place)
    }

    /// Checks the password of a report for `channel` that arrived `now`, and notes that time if it is right.
    ///
    /// There are always one digest and two comparisons, for an unknown channel and a missing
    /// password too, so that the answer's time tells nothing.
    #[must_use]
    pub fn authenticate(
        &self,
        channel: &str,
        password: Option<&[u8]>,
        now: Timestamp,
    ) -> Option<Authenticated> {
        // No password has these digests: no text is known whose SHA-256 is all zeros.
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
            place: entry.place,
        })
    }
}

fn digest(bytes: &[u8]) -> Digest {
    Sha256::digest(bytes).into()
}

/// A sender that gave its channel's password; only [`Channels::authenticate`] makes one.
#[derive(Debug)]
pub struct Authenticated {
    channel: ChannelId,
    place: usize,
}

impl Authenticated {
    /// The channel that the sender speaks for.
    #[must_use]
    pub fn channel(&self) -> &ChannelId {
        &self.channel
    }

    /// The place of that channel among the [`Channels`].
    #[must_use]
    pub fn place(&self) -> usize {
        self.place
    }

    /// Joins the sender with the whole body that it sent.
    #[must_use]
    pub fn sent(self, arrival: Arrival, body: Vec<u8>) -> Received {
        Received::new(self.channel, arrival, body)
    }
}

#[cfg(test)]
mod tests;
