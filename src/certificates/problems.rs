//! The problems of the TLS files: errors, which prevent the start, and warnings.

use std::path::Path;

use crate::config::ConfigError;

/// An error means that no client can connect or that a certificate would be ignored; a warning, that some clients may
/// fail.
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
