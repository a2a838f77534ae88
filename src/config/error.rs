//! Configuration errors, each with its place and its remedy.

use std::path::Path;

/// One error in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", join([place, key, problem]))]
pub struct ConfigError {
    /// The file and line, the variable, or `flag`; empty if the key is not set.
    pub place: String,
    /// The key; empty if the error has no key, for example an unreadable file.
    pub key: String,
    /// The problem and its remedy.
    pub problem: String,
}

impl ConfigError {
    /// Returns an error about a whole file.
    pub(crate) fn of_file(path: &Path, problem: String) -> Self {
        Self {
            place: path.display().to_string(),
            key: String::new(),
            problem,
        }
    }
}

fn join(parts: [&str; 3]) -> String {
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(": ")
}

/// The most errors that are shown: each of ten thousand channel files can have one.
const SHOWN: usize = 100;

/// All errors that were found; shown one per line.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} error{} in the configuration\n  {}",
    .0.len(),
    if .0.len() == 1 { "" } else { "s" },
    self.shown().join("\n  ")
)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// Returns the errors in one line: the first ones, and the number of the others.
    pub(crate) fn in_one_line(&self) -> String {
        self.shown().join("; ")
    }

    fn shown(&self) -> Vec<String> {
        let shown = self.0.iter().take(SHOWN).map(ToString::to_string);
        let more = self.0.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("and {more} more"));
        shown.chain(more).collect()
    }
}
