//! Kafka as the bridge will find it: addresses, TLS, who it is taken for, brokers, topics.

use std::thread::Builder;

use jiff::Timestamp;

use super::bootstrap::{self, Address, AddressError, RAISE_THREADS};
use super::finding::{Area, Finding, Level};
use super::lateness::Lateness;
use super::probe;
use super::topic::{self, Use};
use crate::certificates::RENEW;
use crate::config::{Config, Kafka};
use crate::kafka::{ClientCertificate, ClientError, Cluster, Node, Settings, Unreached};

const RENEWAL: &str =
    "put a new certificate and its key in their places; a running bridge takes them over";

pub(super) fn look(config: &Config, with_probes: bool, found: &mut dyn FnMut(Finding)) {
    let servers = config
        .kafka
        .property("bootstrap.servers")
        .unwrap_or_default();
    // Before the way there is looked at: it says what of the settings does not go together.
    let cluster = match Cluster::start(&Settings::from(config)) {
        Ok(cluster) => cluster,
        Err(error) => return found(not_together(&error)),
    };
    let certificate = client_certificate(&config.kafka, Timestamp::now());
    let is_invalid = |finding: &Finding| finding.level == Level::Fail;
    // Whether the brokers mind is known when they have been asked.
    let (mut invalid, certificate): (Vec<_>, Vec<_>) =
        certificate.into_iter().partition(is_invalid);
    certificate.into_iter().for_each(&mut *found);
    let (findings, is_of_use) = bootstrap::look(servers);
    findings.into_iter().for_each(&mut *found);
    if !is_of_use {
        return invalid.into_iter().for_each(found);
    }
    let brokers = match cluster.brokers() {
        Ok(brokers) => brokers,
        Err(unreached) => {
            let is_explained = !invalid.is_empty() && is_of_client_certificate(&unreached);
            invalid.into_iter().for_each(&mut *found);
            if !is_explained {
                found(no_answer(unreached));
            }
            return;
        }
    };
    for mut finding in invalid.drain(..) {
        finding.level = Level::Warn;
        found(finding);
    }
    secured(config).into_iter().for_each(&mut *found);
    let nodes = nodes(&brokers);
    let is_of_use = nodes.level != Level::Fail;
    found(nodes);
    if !is_of_use {
        return;
    }
    let lateness = config.spool.as_ref().map(Lateness::of);
    let names = [
        ("kafka.topic", &config.kafka.topic),
        ("kafka.rejected_topic", &config.kafka.rejected_topic),
    ];
    for (key, name) in names {
        let used = Use {
            key,
            name,
            config,
            brokers: u32::try_from(brokers.len()).unwrap_or(u32::MAX),
            lateness: lateness.as_ref(),
        };
        a_topic(&cluster, &used, with_probes, found);
    }
}

fn a_topic(cluster: &Cluster, used: &Use<'_>, with_probes: bool, found: &mut dyn FnMut(Finding)) {
    let facts = match cluster.topic(used.name) {
        Ok(facts) => facts,
        Err(why) => return found(Area::Topics.fail(format!("{}: {why}", used.name), "try again")),
    };
    let findings = topic::look(used, &facts);
    let is_fit = findings.iter().all(|finding| finding.level != Level::Fail);
    findings.into_iter().for_each(&mut *found);
    if with_probes && is_fit {
        let mode = used.event_mode();
        let findings = probe::look(cluster, used.name, mode, &facts);
        findings.into_iter().for_each(&mut *found);
    }
}

fn not_together(error: &ClientError) -> Finding {
    match error {
        ClientError::Threads(_) => Area::Limits.fail(error.to_string(), RAISE_THREADS),
        ClientError::Settings(_) => {
            Area::Configuration.fail(error.to_string(), "mend what it names")
        }
    }
}

/// What the certificate says that Kafka is shown, if there is one that can be read.
fn client_certificate(kafka: &Kafka, now: Timestamp) -> Option<Finding> {
    let protocol = kafka.property("security.protocol").unwrap_or_default();
    if !protocol.to_lowercase().contains("ssl") {
        return None;
    }
    let certificate = ClientCertificate::of(kafka)?;
    if let Some(problem) = certificate.invalid(now) {
        return Some(Area::Tls.fail(problem, RENEWAL));
    }
    let left = certificate.expires.duration_since(now);
    let what = format!(
        "the client certificate is valid for {} more days",
        left.as_hours() / 24
    );
    Some(if left < RENEW {
        Area::Tls.warn(what, RENEWAL)
    } else {
        Area::Tls.ok(what)
    })
}

/// Returns whether an invalid client certificate can be the reason. A broker can hang up for that without an alert.
fn is_of_client_certificate(unreached: &Unreached) -> bool {
    match unreached {
        Unreached::Tls(why) => !why.contains("certificate verify failed"),
        Unreached::NoBroker(_) => true,
        Unreached::Authentication(_) => false,
    }
}

fn no_answer(unreached: Unreached) -> Finding {
    match unreached {
        Unreached::Tls(why) => Area::Tls.fail(
            format!("the TLS handshake with Kafka failed: {why}"),
            "look at security.protocol and the port, at ssl.ca.location, and at the name in the broker's certificate",
        ),
        Unreached::Authentication(why) => Area::Login.fail(
            format!("Kafka did not authenticate this client: {why}"),
            "look at sasl.mechanism, sasl.username and sasl.password",
        ),
        Unreached::NoBroker(why) => match named(&why) {
            // librdkafka has heard of the brokers, and has let go of the address that it was given.
            Some((address, id)) => elsewhere(id, address, &format!("nobody answers there: {why}")),
            None => Area::Connection.fail(
                format!("a server listens, but no broker answers: {why}"),
                "look whether that port is Kafka's, and whether security.protocol is that port's",
            ),
        },
    }
}

/// The broker that librdkafka's words begin with, where it is one that Kafka has told of:
/// `[PROTOCOL://]ADDRESS/ID: …`, in which an address of `bootstrap.servers` has no number.
fn named(words: &str) -> Option<(&str, &str)> {
    let (name, _) = words.split_once(": ")?;
    let (address, id) = name.rsplit_once('/')?;
    let address = address
        .split_once("://")
        .map_or(address, |(_, address)| address);
    let is_number = !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then_some((address, id))
}

/// What was shown by getting an answer at all.
fn secured(config: &Config) -> Vec<Finding> {
    let kafka = &config.kafka;
    let value = |name| kafka.property(name).unwrap_or_default().to_lowercase();
    let protocol = value("security.protocol");
    let mut findings = Vec::new();
    if protocol.contains("ssl") {
        let is_unchecked = kafka
            .unsafe_settings
            .iter()
            .any(|name| name.contains("ssl"));
        findings.push(Area::Tls.ok(if is_unchecked {
            "the TLS handshake with Kafka succeeded"
        } else {
            "the TLS handshake with Kafka succeeded, and the broker's certificate was checked"
        }));
    }
    if protocol.contains("sasl") {
        findings.push(Area::Login.ok("Kafka has authenticated this client"));
    }
    let is_far =
        !bootstrap::is_on_this_machine(kafka.property("bootstrap.servers").unwrap_or_default());
    if is_far && !protocol.contains("ssl") {
        let what = match value("sasl.mechanism").as_str() {
            "plain" => "sasl.password and every report cross",
            _ => "every report, phone numbers in it, crosses",
        };
        findings.push(Area::Tls.warn(
            format!("{what} the network to Kafka in the clear"),
            "have security.protocol = \"SSL\" or \"SASL_SSL\", where the brokers have such a listener",
        ));
    }
    findings
}

/// Where the brokers say that they are is where the bridge will connect to. What is wrong with one is mostly wrong
/// with all, and then nobody answers any more.
fn nodes(brokers: &[Node]) -> Finding {
    let addresses = brokers.iter().map(|broker| Address {
        host: broker.host.clone(),
        port: broker.port,
    });
    let reached = bootstrap::reach_all(addresses.collect(), Builder::new);
    let reached = brokers.iter().zip(reached);
    let bad = reached.filter_map(|(broker, (address, reached))| {
        Some(unreached(broker, &address, &reached.err()?))
    });
    let mut bad: Vec<_> = bad.collect();
    let (count, all) = (bad.len(), brokers.len());
    if bad.is_empty() {
        let s = if all == 1 { "" } else { "s" };
        return Area::Brokers.ok(format!("{all} broker{s}, each where it says that it is"));
    }
    let mut first = bad.swap_remove(0);
    first.what.extend([
        " (",
        &count.to_string(),
        " of ",
        &all.to_string(),
        " brokers)",
    ]);
    if count < all {
        first.level = Level::Warn;
    }
    first
}

fn unreached(broker: &Node, address: &Address, trouble: &AddressError) -> Finding {
    match trouble {
        AddressError::NoThread(_) => {
            let what = format!("broker {} at {address}: {trouble}", broker.id);
            Area::Limits.fail(what, RAISE_THREADS)
        }
        AddressError::Unresolved(_) | AddressError::Unreached(_) => elsewhere(
            &broker.id.to_string(),
            &address.to_string(),
            &trouble.to_string(),
        ),
    }
}

fn elsewhere(id: &str, address: &str, why: &str) -> Finding {
    Area::Brokers.fail(
        format!("broker {id} says that it is at {address}, and {why}"),
        "look at advertised.listeners of the brokers: clients have to reach them by it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_kafka_told_of_is_known_by_its_number() {
        for (words, broker) in [
            (
                "127.0.0.1:9092/0: Connect to …: refused",
                Some(("127.0.0.1:9092", "0")),
            ),
            (
                "ssl://kafka-1:9093/12: Connect: …",
                Some(("kafka-1:9093", "12")),
            ),
            ("kafka-1:9092/bootstrap: Connect: …", None),
            ("no broker answers", None),
        ] {
            assert_eq!(named(words), broker, "{words}");
        }
    }
}
