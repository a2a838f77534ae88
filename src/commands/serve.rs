//! `koobridge serve`: runs the bridge against a Kafka cluster.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{field, info, warn};

use crate::bridge::Identity;
use crate::bridge::Watch;
use crate::bridge::app::{App, Broker};
use crate::bridge::channels;
use crate::cli::{Overrides, Serve};
use crate::config::{self, Config, ConfigErrors, Memory, Settings, Sources, Stop};
use crate::contract::Channels;
use crate::{kafka, telemetry};

pub(super) fn run(serve: &Serve) -> anyhow::Result<ExitCode> {
    // When the start fails, the process has to end even if its message is not read.
    telemetry::start_writer()?;
    let mut sources = sources(serve.config.as_deref(), &serve.overrides);
    sources.flags.extend(serve.log.setting());
    let (watch, settings) = Watch::new(sources);
    if serve.print_config {
        return print_config(&settings);
    }
    let (config, channels, identity) = check(&settings)?;
    telemetry::start(config.log)?;
    super::block_on(async {
        let (count, topic) = (channels.len(), config.kafka.topic.clone());
        let spool = config.spool.as_ref().map(|spool| spool.directory.clone());
        if spool.is_none() {
            warn!(
                "no spool: while Kafka is unavailable, senders get 503, and a report is lost unless its sender retries; set spool.directory"
            );
        }
        // Before the start: a SIGHUP must not end the process while a large spool is opened.
        let hang_up = signal(SignalKind::hangup()).context("can't wait for SIGHUP")?;
        let watch = Some((watch, hang_up));
        let app = App::start(config, channels, identity, Broker::Cluster, watch).await?;
        let (ingress, admin) = app.addresses()?;
        info!(
            %ingress, %admin, channels = count, topic,
            spool = spool.as_ref().map(|directory| field::display(directory.display())),
            spool_bytes = app.spool_bytes(),
            version = env!("CARGO_PKG_VERSION"),
            "listening"
        );
        let end = app.run().await?;
        Ok(super::exit_code(&end, spool.as_deref()))
    })
}

/// Gathers the settings of the file, the variables and the flags.
pub(super) fn gather(file: Option<&Path>, overrides: &Overrides) -> Settings {
    Settings::gather(&sources(file, overrides))
}

fn sources(file: Option<&Path>, overrides: &Overrides) -> Sources {
    Sources {
        file: file.map(Path::to_owned),
        variables: std::env::vars_os().collect(),
        flags: overrides.set.clone(),
    }
}

/// Prints the settings in force, and then the errors in them, or the most memory and the longest stop that they allow.
fn print_config(settings: &Settings) -> anyhow::Result<ExitCode> {
    let mut defaults = kafka::DEFAULTS;
    if settings.spool_directory().is_some() {
        let replaced = defaults
            .iter_mut()
            .find(|(name, _)| *name == kafka::NO_TIMEOUT.0);
        *replaced.expect("a default is replaced") = kafka::NO_TIMEOUT;
    }
    let mut out = std::io::stdout().lock();
    let text = config::print(settings, &defaults, kafka::check_property);
    let written = out.write_all(text.as_bytes());
    let config = Config::check(settings, kafka::check_property)?;
    let written =
        written.and_then(|()| write!(out, "\n{}\n{}", Memory::from(&config), Stop::from(&config)));
    super::printed(written)
}

/// Checks the configuration, the channels' directory and the certificate, and returns all their errors at once.
fn check(settings: &Settings) -> Result<(Config, Channels, Option<Identity>), ConfigErrors> {
    let config = Config::check(settings, kafka::check_property);
    let channels = settings
        .channels_directory()
        .map_or(Ok(Channels::default()), channels::load);
    let tls = config
        .as_ref()
        .ok()
        .and_then(|config| config.ingress.tls.as_ref());
    let identity = tls.map(|files| Identity::load(files, Timestamp::now()));
    match (config, channels, identity.transpose()) {
        (Ok(config), Ok(channels), Ok(identity)) => Ok((config, channels, identity)),
        (config, channels, identity) => {
            // An unreadable file may name another directory than the default.
            let is_named = config.is_ok() || settings.names_channels();
            let mut errors = config.err().map(|errors| errors.0).unwrap_or_default();
            errors.extend(channels.err().filter(|_| is_named).unwrap_or_default());
            errors.extend(identity.err().unwrap_or_default());
            Err(ConfigErrors(errors))
        }
    }
}
