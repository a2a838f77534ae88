//! Checks the configuration, and on this machine its channels, certificate, addresses and limits.

use std::fs;
use std::io::ErrorKind;
use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::finding::{Area, Finding};
use crate::bridge::Identity;
use crate::bridge::{channels, open_files};
use crate::certificates::RENEWAL_PERIOD;
use crate::config::{Config, ConfigError, ConfigErrors, Ingress, Memory, Settings, Tls};
use crate::kafka;

const CGROUPS: &str = "/sys/fs/cgroup";
const NO_START: &str = "correct it; until then the bridge does not start";

/// Returns every error in the configuration and in the channels' files, and the configuration if it is valid.
pub(super) fn configuration(settings: &Settings) -> (Vec<Finding>, Option<Config>) {
    let mut findings = Vec::new();
    let config = match Config::check(settings, kafka::check_property) {
        Ok(config) => {
            findings.push(Area::Configuration.ok("the configuration is valid"));
            Some(config)
        }
        Err(ConfigErrors(errors)) => {
            findings.extend(errors.into_iter().map(|error| {
                Area::Configuration.fail(
                    error.to_string(),
                    "correct it, then run the check again for the rest",
                )
            }));
            None
        }
    };
    // If the configuration could not be read, the default directory may be the wrong one.
    let is_named = config.is_some() || settings.names_channels();
    findings.extend(
        settings
            .channels_directory()
            .filter(|_| is_named)
            .map_or(Vec::new(), channels),
    );
    (findings, config)
}

fn channels(directory: &Path) -> Vec<Finding> {
    match channels::load(directory) {
        Ok(channels) => {
            let count = channels.len();
            let s = if count == 1 { "" } else { "s" };
            vec![Area::Channels.ok(format!("{count} channel{s} with a password"))]
        }
        Err(errors) => {
            let fail = |error: ConfigError| Area::Channels.fail(error.to_string(), NO_START);
            errors.into_iter().map(fail).collect()
        }
    }
}

/// Checks this machine, except for the spool.
pub(super) fn check(config: &Config) -> Vec<Finding> {
    let ingress = &config.ingress;
    let mut findings = Vec::new();
    if let Some(files) = &ingress.tls {
        findings.extend(certificate(files, Timestamp::now()));
    }
    findings.extend(listeners(ingress, config.admin.listen));
    findings.extend(files(
        ingress.connections.get().into(),
        open_files::highest_limit(),
    ));
    findings.extend(memory(Memory::from(config).sum(), memory_limit()));
    for property in &config.kafka.unsafe_settings {
        findings.push(Area::UnsafeSettings.warn(
            format!(
                "kafka.properties.{property} has an unsafe value, which kafka.allow_unsafe allows"
            ),
            "remove both unless you accept the risk",
        ));
    }
    findings
}

fn certificate(files: &Tls, now: Timestamp) -> Vec<Finding> {
    let identity = match Identity::load(files, now) {
        Ok(identity) => identity,
        Err(errors) => {
            let errors = errors.into_iter();
            return errors
                .map(|error| Area::Certificate.fail(error.to_string(), NO_START))
                .collect();
        }
    };
    let warnings = identity.warnings().iter().map(|warning| {
        let remedy = "the bridge starts, but some TLS clients may fail to connect";
        Area::Certificate.warn(warning.to_string(), remedy)
    });
    let validity = validity(files, identity.expires().duration_since(now));
    iter::once(validity).chain(warnings).collect()
}

fn validity(files: &Tls, left: SignedDuration) -> Finding {
    let what = format!(
        "{} is valid for {} more days",
        files.certificate.display(),
        left.as_hours() / 24
    );
    if left < RENEWAL_PERIOD {
        let remedy = "replace the certificate and its key; a running bridge loads them";
        Area::Certificate.warn(what, remedy)
    } else {
        Area::Certificate.ok(what)
    }
}

fn listeners(ingress: &Ingress, admin: SocketAddr) -> Vec<Finding> {
    let addresses = [("ingress.listen", ingress.listen), ("admin.listen", admin)];
    if conflict(ingress.listen, admin) {
        let what = format!(
            "ingress.listen ({}) and admin.listen ({admin}) conflict",
            ingress.listen
        );
        return vec![Area::Listeners.fail(what, "set another port for one of them")];
    }
    let mut findings: Vec<_> = addresses
        .into_iter()
        .map(|(key, address)| listener(key, address))
        .collect();
    if ingress.tls.is_none() && !ingress.listen.ip().is_loopback() {
        findings.push(Area::Listeners.warn(
            format!("{} speaks plain HTTP: passwords and phone numbers cross the network in the clear", ingress.listen),
            "let only the proxy that terminates TLS reach it, or set ingress.tls.certificate and ingress.tls.key",
        ));
    }
    findings
}

/// Returns whether the two can't be listened on at the same time. `0.0.0.0` stands for every address.
fn conflict(one: SocketAddr, other: SocketAddr) -> bool {
    let is_every = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || is_every)
}

/// Binds the address for a moment, since nothing else shows whether the bridge can.
fn listener(key: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Area::Listeners.ok(format!("{key}: {address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Area::Listeners.warn(
            format!("{key}: {address} is in use"),
            "if this bridge is not already running there, set another port",
        ),
        Err(error) => Area::Listeners.fail(
            format!("{key}: can't listen on {address}: {error}"),
            "set an address of this machine, and a port above 1023 or grant CAP_NET_BIND_SERVICE",
        ),
    }
}

fn files(connections: u64, most: Option<u64>) -> Option<Finding> {
    let (needed, most) = (open_files::files_needed(connections), most?);
    Some(if most < needed {
        let limit = open_files::connections(connections, most);
        Area::Limits.warn(
            format!("{most} open files are allowed, but ingress.connections = {connections} needs {needed}: the bridge limits itself to {limit} connections"),
            "raise the limit (LimitNOFILE= of systemd, ulimit -Hn), or lower ingress.connections",
        )
    } else {
        Area::Limits.ok(format!(
            "{needed} open files for {connections} connections are allowed"
        ))
    })
}

fn memory(wanted: u64, limit: Option<u64>) -> Option<Finding> {
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let (wanted, limit) = (mebibytes(wanted), mebibytes(limit?));
    Some(if limit < wanted {
        Area::Limits.warn(
            format!("this container or unit may use {limit} MiB of memory, but the bridge may need {wanted} MiB"),
            "raise the limit, or lower the settings that `koobridge serve --print-config` adds up",
        )
    } else {
        Area::Limits.ok(format!(
            "the bridge needs at most {wanted} MiB of memory; {limit} MiB are allowed"
        ))
    })
}

/// Returns the lowest memory limit, in bytes, of the cgroups (version 2) that this process is in.
fn memory_limit() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let own = Path::new(CGROUPS).join(own);
    let around = own.ancestors().take_while(|path| path.starts_with(CGROUPS));
    let limit = |path: &Path| {
        fs::read_to_string(path.join("memory.max"))
            .ok()?
            .trim()
            .parse()
            .ok()
    };
    around.filter_map(limit).min()
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn a_memory_limit_below_the_bridges_need_is_a_warning() {
        let level = |limit| memory(100 << 20, limit).map(|finding| finding.level);
        assert_eq!(level(None), None);
        assert_eq!(level(Some(100 << 20)), Some(Level::Ok));
        assert_eq!(level(Some(99 << 20)), Some(Level::Warn));
    }

    #[test]
    fn more_connections_than_open_files_is_a_warning() {
        let level = |most| files(1_000, most).map(|finding| finding.level);
        assert_eq!(level(None), None);
        assert_eq!(level(Some(1_512)), Some(Level::Ok));
        assert_eq!(level(Some(1_511)), Some(Level::Warn));
    }
}
