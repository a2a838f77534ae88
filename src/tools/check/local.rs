//! The configuration, and what of this machine it rests on: channels, certificate, addresses, limits.

use std::fs;
use std::io::ErrorKind;
use std::iter;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use jiff::{SignedDuration, Timestamp};

use super::finding::{Area, Finding};
use crate::bridge::Identity;
use crate::bridge::{channels, open_files};
use crate::certificates::RENEW;
use crate::config::{Config, ConfigError, ConfigErrors, Ingress, Memory, Settings, Tls};
use crate::kafka;

const CGROUPS: &str = "/sys/fs/cgroup";

/// Every error in what was typed and in the channels' files; the configuration where there is none in it.
pub(super) fn configuration(settings: &Settings) -> (Vec<Finding>, Option<Config>) {
    let mut findings = Vec::new();
    let config = match Config::check(settings, kafka::check_property) {
        Ok(config) => {
            findings.push(Area::Configuration.ok("the configuration is valid"));
            Some(config)
        }
        Err(ConfigErrors(errors)) => {
            let errors = errors
                .into_iter()
                .filter(|error| settings.is_root_cause(error));
            findings.extend(errors.map(|error| {
                Area::Configuration.fail(error.to_string(), "mend it; the rest is looked at then")
            }));
            None
        }
    };
    // Where they are may be what could not be read.
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
            let fail = |error: ConfigError| {
                Area::Channels.fail(error.to_string(), "until then the bridge does not start")
            };
            errors.into_iter().map(fail).collect()
        }
    }
}

/// What the configuration points at on this machine, the spool aside.
pub(super) fn look(config: &Config) -> Vec<Finding> {
    let ingress = &config.ingress;
    let mut findings = Vec::new();
    if let Some(files) = &ingress.tls {
        findings.extend(certificate(files, Timestamp::now()));
    }
    findings.extend(listeners(ingress, config.admin.listen));
    findings.extend(files(ingress.connections.get().into(), open_files::most()));
    findings.extend(memory(Memory::from(config).sum(), memory_limit()));
    for property in &config.kafka.unsafe_settings {
        findings.push(Area::UnsafeSettings.warn(
            format!("kafka.properties.{property} has an unsafe value, as kafka.allow_unsafe asks"),
            "leave both out, unless you know what it costs",
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
                .map(|error| {
                    let remedy = "until then the bridge does not start";
                    Area::Certificate.fail(error.to_string(), remedy)
                })
                .collect();
        }
    };
    let warnings = identity.warnings().iter().map(|warning| {
        let remedy = "the bridge starts, and some clients may refuse it or be refused";
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
    if left < RENEW {
        let remedy = "put a new pair in its place; a running bridge takes it over";
        Area::Certificate.warn(what, remedy)
    } else {
        Area::Certificate.ok(what)
    }
}

fn listeners(ingress: &Ingress, admin: SocketAddr) -> Vec<Finding> {
    let addresses = [("ingress.listen", ingress.listen), ("admin.listen", admin)];
    if is_in_the_way(ingress.listen, admin) {
        let what = format!(
            "ingress.listen ({}) and admin.listen ({admin}) are in each other's way",
            ingress.listen
        );
        return vec![Area::Listeners.fail(what, "give one of them another port")];
    }
    let mut findings: Vec<_> = addresses
        .into_iter()
        .map(|(key, address)| listener(key, address))
        .collect();
    if ingress.tls.is_none() && !ingress.listen.ip().is_loopback() {
        findings.push(Area::Listeners.warn(
            format!("{} speaks plain HTTP: passwords and phone numbers cross the network in the clear", ingress.listen),
            "have it reachable by what ends TLS alone, or name ingress.tls.certificate and ingress.tls.key",
        ));
    }
    findings
}

/// `0.0.0.0` is every address.
fn is_in_the_way(one: SocketAddr, other: SocketAddr) -> bool {
    let is_every = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && (one.ip() == other.ip() || is_every)
}

/// Listens for a moment: no other way tells whether it can be done.
fn listener(key: &str, address: SocketAddr) -> Finding {
    match TcpListener::bind(address) {
        Ok(_) => Area::Listeners.ok(format!("{key}: {address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => Area::Listeners.warn(
            format!("{key}: {address} is taken"),
            "if it is not this bridge that runs there already, name another port",
        ),
        Err(error) => Area::Listeners.fail(
            format!("{key}: can't listen on {address}: {error}"),
            "name an address of this machine, and a port above 1023 or the right to use it",
        ),
    }
}

fn files(connections: u64, most: Option<u64>) -> Option<Finding> {
    let (needed, most) = (open_files::needed(connections), most?);
    Some(if most < needed {
        let limit = open_files::connections(connections, most);
        Area::Limits.warn(
            format!("{most} open files are allowed, and ingress.connections = {connections} needs {needed}: the limit is {limit} connections"),
            "raise the limit (LimitNOFILE= of systemd, ulimit -Hn), or lower ingress.connections",
        )
    } else {
        Area::Limits.ok(format!(
            "{connections} connections and what else is open need {needed} files"
        ))
    })
}

fn memory(wanted: u64, limit: Option<u64>) -> Option<Finding> {
    let mebibytes = |bytes: u64| bytes.div_ceil(1 << 20);
    let (wanted, limit) = (mebibytes(wanted), mebibytes(limit?));
    Some(if limit < wanted {
        Area::Limits.warn(
            format!("this container or unit may take {limit} MiB of memory, and the bridge may come to {wanted}"),
            "raise the limit, or lower what `koobridge serve --print-config` adds up",
        )
    } else {
        Area::Limits.ok(format!(
            "at most {wanted} MiB of memory, of {limit} allowed"
        ))
    })
}

/// The least that a cgroup (version 2) around this process allows, in bytes.
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
    fn a_limit_of_memory_below_what_the_bridge_may_take_is_a_warning() {
        let level = |limit| memory(100 << 20, limit).map(|finding| finding.level);
        assert_eq!(level(None), None);
        assert_eq!(level(Some(100 << 20)), Some(Level::Ok));
        assert_eq!(level(Some(99 << 20)), Some(Level::Warn));
    }

    #[test]
    fn more_connections_than_files_is_a_warning() {
        let level = |most| files(1_000, most).map(|finding| finding.level);
        assert_eq!(level(None), None);
        assert_eq!(level(Some(1_512)), Some(Level::Ok));
        assert_eq!(level(Some(1_511)), Some(Level::Warn));
    }
}
