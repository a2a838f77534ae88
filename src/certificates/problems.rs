//! The problems of the TLS files: errors, with which the bridge does not start, and warnings.

use std::path::Path;

use crate::config::ConfigError;

/// With an error no client works, or a certificate would be passed over; with a warning some clients may fail.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) warnings: Vec<ConfigError>,
}

impl Problems {
    pub(crate) fn error(&mut self, path: &Path, problem: impl Into<String>) {
        self.errors.push(ConfigError::of_file(path, problem.into()));
    }

    pub(crate) fn warn(&mut self, path: &Path, problem: impl Into<String>) {
        self.warnings
            .push(ConfigError::of_file(path, problem.into()));
    }
}
