//! The findings of a check: level, area, description and remedy.

use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use super::documents;

/// The page that has a section for each [`Area`].
const PAGE: &str = "docs/checking.md";

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Ok,
    /// The bridge runs, but less safely or slower than it could.
    Warn,
    /// The bridge does not start, or reports may be lost.
    Fail,
}

/// The subject of a finding; docs/checking.md has a section for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Area {
    Configuration,
    Files,
    Channels,
    Certificate,
    Listeners,
    Limits,
    Spool,
    UnsafeSettings,
    Addresses,
    Connection,
    Tls,
    Login,
    Brokers,
    Topics,
    Probe,
    Clock,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub level: Level,
    pub area: Area,
    /// The observation.
    pub what: String,
    /// The advice; empty if there is nothing to do.
    pub remedy: String,
}

impl Level {
    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

impl Area {
    #[cfg(test)]
    pub(super) const ALL: [Self; 16] = [
        Self::Configuration,
        Self::Files,
        Self::Channels,
        Self::Certificate,
        Self::Listeners,
        Self::Limits,
        Self::Spool,
        Self::UnsafeSettings,
        Self::Addresses,
        Self::Connection,
        Self::Tls,
        Self::Login,
        Self::Brokers,
        Self::Topics,
        Self::Probe,
        Self::Clock,
    ];

    /// Returns its name, which is also the anchor of its section.
    const fn name(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Files => "files",
            Self::Channels => "channels",
            Self::Certificate => "certificate",
            Self::Listeners => "listeners",
            Self::Limits => "limits",
            Self::Spool => "spool",
            Self::UnsafeSettings => "unsafe-settings",
            Self::Addresses => "addresses",
            Self::Connection => "connection",
            Self::Tls => "tls",
            Self::Login => "login",
            Self::Brokers => "brokers",
            Self::Topics => "topics",
            Self::Probe => "probe",
            Self::Clock => "clock",
        }
    }

    /// Returns its section in the source tree, which does not depend on the installation.
    fn docs(self) -> String {
        format!("{PAGE}#{}", self.name())
    }

    pub(super) fn ok(self, what: impl Into<String>) -> Finding {
        self.finding(Level::Ok, what, String::new())
    }

    pub(super) fn warn(self, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Level::Warn, what, remedy)
    }

    pub(super) fn fail(self, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        self.finding(Level::Fail, what, remedy)
    }

    fn finding(self, level: Level, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding {
            level,
            area: self,
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl Finding {
    /// Returns the finding as JSON. Later versions may add members.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "level": self.level,
            "area": self.area.name(),
            "what": self.what,
            "remedy": self.remedy,
            "docs": self.area.docs(),
        })
    }
}

/// Writes one line.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (level, area) = (self.level.name(), self.area.name());
        // Some messages of librdkafka and Kafka end with a full stop or have line breaks.
        let what = self.what.replace('\n', " ");
        write!(f, "{level:<5} {area:<15} {}", what.trim_end_matches('.'))?;
        if !self.remedy.is_empty() {
            let page = documents::path(PAGE);
            write!(f, "; {} ({}#{area})", self.remedy, page.display())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn a_finding_is_one_line_with_a_remedy_and_a_section() {
        let bad = Area::Topics.fail("t is\nmissing.", "create it");
        let line = "fail  topics          t is missing; create it (docs/checking.md#topics)";
        assert_eq!(bad.to_string(), line);
        assert_eq!(
            Area::Tls.ok("fine").to_string(),
            "ok    tls             fine"
        );
    }

    #[test]
    fn json_has_the_same_members() {
        let expected = json!({"level": "warn", "area": "unsafe-settings", "what": "w", "remedy": "r",
                              "docs": "docs/checking.md#unsafe-settings"});
        assert_eq!(Area::UnsafeSettings.warn("w", "r").to_json(), expected);
    }

    #[test]
    fn every_area_has_a_section() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/checking.md");
        let docs = std::fs::read_to_string(docs).expect("the page is there");
        let is_headed = |area: Area| {
            let mut headings = docs.lines().filter_map(|line| line.strip_prefix("## "));
            headings.any(|heading| heading.to_lowercase().replace(' ', "-") == area.name())
        };
        let without: Vec<_> = Area::ALL
            .into_iter()
            .filter(|area| !is_headed(*area))
            .collect();
        assert_eq!(without, []);
    }
}
