//! An error in the configuration, in words that say where it stands and how to mend it.

use std::path::Path;

/// One error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", in_words([place, key, problem]))]
pub struct ConfigError {
    /// File and line, variable or flag; empty if the key is not set.
    pub place: String,
    /// The key, as in the file; empty if the file as a whole is wrong.
    pub key: String,
    /// What is wrong and how to mend it.
    pub problem: String,
}

impl ConfigError {
    /// What is wrong with a file as a whole.
    pub(crate) fn of_file(path: &Path, problem: String) -> Self {
        Self {
            place: path.display().to_string(),
            key: String::new(),
            problem,
        }
    }
}

fn in_words(parts: [&str; 3]) -> String {
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join(": ")
}

/// How many are shown: ten thousand files can each have one.
const SHOWN: usize = 100;

/// Every error that was found, one a line.
#[derive(Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} error{} in the configuration\n  {}",
    .0.len(),
    if .0.len() == 1 { "" } else { "s" },
    self.shown().join("\n  ")
)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// Returns the first of them in one line, and how many more there are.
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
