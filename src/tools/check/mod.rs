//! Everything that can be told before a report is at stake: the configuration, what it points at on this
//! machine, and Kafka. Nothing is changed, but for the probes that are asked for.
//!
//! Each part looks at one thing and gives its [`Finding`]s. What rests on something that is wrong is not looked
//! at, so that one error is one finding.

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

/// Looks at everything, and gives each finding to `found` as soon as there is one.
pub fn run(settings: &Settings, with_probes: bool, found: &mut dyn FnMut(Finding)) {
    let (findings, config) = local::configuration(settings);
    findings.into_iter().for_each(&mut *found);
    files::look(settings).into_iter().for_each(&mut *found);
    let Some(config) = config else {
        return;
    };
    local::look(&config).into_iter().for_each(&mut *found);
    spool::look(config.spool.as_ref())
        .into_iter()
        .for_each(&mut *found);
    cluster::look(&config, with_probes, found);
}
