//! Checks the configuration, the files and limits of this machine, and Kafka, before the bridge serves. It changes nothing,
//! except that it publishes the requested probes.
//!
//! Each module checks one thing and returns its [`Finding`]s. When a check fails, the checks that depend on it are
//! skipped, so that one error is one finding.

mod bootstrap;
mod cluster;
mod documents;
mod files;
mod finding;
mod lateness;
mod local;
mod probe;
mod spool;
mod topic;

use crate::config::Settings;
pub use finding::{Area, Finding, Level};

/// Runs all checks, and passes each finding to `found` immediately. `create_topics` is the command that creates the
/// topics.
pub fn run(
    settings: &Settings,
    create_topics: &str,
    with_probes: bool,
    found: &mut dyn FnMut(Finding),
) {
    let (findings, config) = local::configuration(settings);
    findings.into_iter().for_each(&mut *found);
    files::check(settings).into_iter().for_each(&mut *found);
    let Some(config) = config else {
        return;
    };
    local::check(&config).into_iter().for_each(&mut *found);
    spool::check(config.spool.as_ref())
        .into_iter()
        .for_each(&mut *found);
    cluster::check(&config, create_topics, with_probes, found);
}
