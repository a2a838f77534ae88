//! A mistake in the configuration, in words that say where it stands and how to mend it.

use std::fmt;
use std::path::Path;

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// File and line, variable or flag; empty where something is missing.
    pub place: String,
    /// The key, as in the file; empty where the file as a whole is wrong.
    pub key: String,
    /// What is wrong and how to mend it.
    pub problem: String,
}

impl Mistake {
    /// What is wrong with a file as a whole.
    pub(crate) fn of_file(path: &Path, problem: String) -> Self {
        Self {
            place: path.display().to_string(),
            key: String::new(),
            problem,
        }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.place, &self.key]
            .into_iter()
            .filter(|part| !part.is_empty())
        {
            write!(f, "{part}: ")?;
        }
        f.write_str(&self.problem)
    }
}

/// How many are shown: ten thousand files can each have one.
const SHOWN: usize = 100;

/// Every mistake that was found, one a line.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(
            f,
            "{count} mistake{} in the configuration",
            if count == 1 { "" } else { "s" }
        )?;
        let mut shown = self.0.iter().take(SHOWN);
        shown.try_for_each(|mistake| write!(f, "\n  {mistake}"))?;
        match count.saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl Mistakes {
    /// Returns the first of them in one line, and how many more there are.
    pub(crate) fn in_one_line(&self) -> String {
        let shown = self.0.iter().take(SHOWN).map(ToString::to_string);
        let more = self.0.len().saturating_sub(SHOWN);
        let more = (more > 0).then(|| format!("and {more} more"));
        shown.chain(more).collect::<Vec<_>>().join("; ")
    }
}

impl std::error::Error for Mistakes {}
