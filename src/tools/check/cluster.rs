//! Checks Kafka: addresses, TLS, login, brokers and topics.

use std::thread::Builder;

use jiff::Timestamp;

use super::bootstrap::{self, Address, AddressError, RAISE_THREADS};
use super::finding::{Area, Finding, Level};
use super::lateness::Lateness;
use super::probe;
use super::topic::{self, TopicUse};
use crate::certificates::RENEWAL_PERIOD;
use crate::config::{Config, Kafka};
use crate::kafka::{ClientCertificate, ClientError, Cluster, ConnectError, Node, Settings};

const RENEWAL: &str = "replace the certificate and its key; a running bridge loads them";

pub(super) fn check(
    config: &Config,
    create_topics: &str,
    with_probes: bool,
    found: &mut dyn FnMut(Finding),
) {
    let servers = config
        .kafka
        .property("bootstrap.servers")
        .unwrap_or_default();
    // Before the addresses: librdkafka names settings that contradict each other.
    let cluster = match Cluster::start(&Settings::from(config)) {
        Ok(cluster) => cluster,
        Err(error) => return found(client_error(&error)),
    };
    let certificate = client_certificate(&config.kafka, Timestamp::now());
    let is_invalid = |finding: &Finding| finding.level == Level::Fail;
    // Brokers may accept an invalid certificate: it is a failure only if they do not answer.
    let (mut invalid, certificate): (Vec<_>, Vec<_>) =
        certificate.into_iter().partition(is_invalid);
    certificate.into_iter().for_each(&mut *found);
    let (findings, is_usable) = bootstrap::check(servers);
    findings.into_iter().for_each(&mut *found);
    if !is_usable {
        return invalid.into_iter().for_each(found);
    }
    let brokers = match cluster.brokers() {
        Ok(brokers) => brokers,
        Err(connect_error) => {
            let is_explained = !invalid.is_empty() && is_of_client_certificate(&connect_error);
            invalid.into_iter().for_each(&mut *found);
            if !is_explained {
                found(connection_error(connect_error));
            }
            return;
        }
    };
    for mut finding in invalid.drain(..) {
        finding.level = Level::Warn;
        found(finding);
    }
    secured(config).into_iter().for_each(&mut *found);
    let reached = reach(&brokers);
    let is_usable = reached.level != Level::Fail;
    found(reached);
    if !is_usable {
        return;
    }
    let lateness = config.spool.as_ref().map(Lateness::of);
    let names = [
        ("kafka.topic", &config.kafka.topic),
        ("kafka.rejected_topic", &config.kafka.rejected_topic),
    ];
    for (key, name) in names {
        let used = TopicUse {
            key,
            name,
            config,
            create_topics,
            brokers: u32::try_from(brokers.len()).unwrap_or(u32::MAX),
            lateness: lateness.as_ref(),
        };
        check_topic(&cluster, &used, with_probes, found);
    }
}

fn check_topic(
    cluster: &Cluster,
    used: &TopicUse<'_>,
    with_probes: bool,
    found: &mut dyn FnMut(Finding),
) {
    let facts = match cluster.topic(used.name) {
        Ok(facts) => facts,
        Err(why) => {
            return found(
                Area::Topics.fail(format!("{}: {why}", used.name), "run the check again"),
            );
        }
    };
    let findings = topic::check(used, &facts);
    let is_usable = findings.iter().all(|finding| finding.level != Level::Fail);
    findings.into_iter().for_each(&mut *found);
    if with_probes && is_usable {
        let mode = used.event_mode();
        let findings = probe::check(cluster, used.name, mode, &facts);
        findings.into_iter().for_each(&mut *found);
    }
}

fn client_error(error: &ClientError) -> Finding {
    match error {
        ClientError::Threads(_) => Area::Limits.fail(error.to_string(), RAISE_THREADS),
        ClientError::Settings(_) => {
            Area::Configuration.fail(error.to_string(), "correct the setting that it names")
        }
    }
}

/// Checks how long the client certificate is valid, if there is one that can be read.
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
    Some(if left < RENEWAL_PERIOD {
        Area::Tls.warn(what, RENEWAL)
    } else {
        Area::Tls.ok(what)
    })
}

/// Returns whether an invalid client certificate can be the reason. A broker may then close the connection without an alert.
fn is_of_client_certificate(connect_error: &ConnectError) -> bool {
    match connect_error {
        ConnectError::Tls(why) => !why.contains("certificate verify failed"),
        ConnectError::NoBroker(_) => true,
        ConnectError::Authentication(_) => false,
    }
}

fn connection_error(connect_error: ConnectError) -> Finding {
    match connect_error {
        ConnectError::Tls(why) => Area::Tls.fail(
            format!("the TLS handshake with Kafka failed: {why}"),
            "check security.protocol and the port, ssl.ca.location, and the name in the broker's certificate",
        ),
        ConnectError::Authentication(why) => Area::Login.fail(
            format!("authentication with Kafka failed: {why}"),
            "check sasl.mechanism, sasl.username and sasl.password",
        ),
        ConnectError::NoBroker(why) => match advertised_broker(&why) {
            // librdkafka has the metadata, and connects to the advertised addresses only.
            Some((address, id)) => not_where_advertised(id, address, &why),
            None => Area::Connection.fail(
                format!("a server listens, but no broker answers: {why}"),
                "check that the port is Kafka's, that security.protocol is the protocol of that port, and that the brokers are not stopped or overloaded",
            ),
        },
    }
}

/// Returns the address and the id of the advertised broker that librdkafka's message `[PROTOCOL://]ADDRESS/ID: …` names. An
/// address of `bootstrap.servers` has no number as its id.
fn advertised_broker(message: &str) -> Option<(&str, &str)> {
    let (name, _) = message.split_once(": ")?;
    let (address, id) = name.rsplit_once('/')?;
    let address = address
        .split_once("://")
        .map_or(address, |(_, address)| address);
    let is_number = !id.is_empty() && id.bytes().all(|digit| digit.is_ascii_digit());
    is_number.then_some((address, id))
}

/// Returns the findings about TLS and login that follow from the answer of a broker.
fn secured(config: &Config) -> Vec<Finding> {
    let kafka = &config.kafka;
    let value = |name| kafka.property(name).unwrap_or_default().to_lowercase();
    let protocol = value("security.protocol");
    let mut findings = Vec::new();
    if protocol.contains("ssl") {
        let is_unverified = kafka
            .unsafe_settings
            .iter()
            .any(|name| name.contains("ssl"));
        findings.push(Area::Tls.ok(if is_unverified {
            "the TLS handshake with Kafka succeeded"
        } else {
            "the TLS handshake with Kafka succeeded, and the broker's certificate was verified"
        }));
    }
    if protocol.contains("sasl") {
        findings.push(Area::Login.ok("Kafka authenticated this client"));
    }
    let is_remote =
        !bootstrap::is_on_this_machine(kafka.property("bootstrap.servers").unwrap_or_default());
    if is_remote && !protocol.contains("ssl") {
        let what = match value("sasl.mechanism").as_str() {
            "plain" => "sasl.password and every report cross",
            _ => "every report, with its phone numbers, crosses",
        };
        findings.push(Area::Tls.warn(
            format!("{what} the network to Kafka in the clear"),
            "set security.protocol to \"SSL\" or \"SASL_SSL\" if the brokers have such a listener",
        ));
    }
    findings
}

/// Connects to the advertised address of each broker, as the bridge will. It fails if none can be reached.
fn reach(brokers: &[Node]) -> Finding {
    let addresses = brokers.iter().map(|broker| Address {
        host: broker.host.clone(),
        port: broker.port,
    });
    let reached = bootstrap::reach_all(addresses.collect(), Builder::new);
    let reached = brokers.iter().zip(reached);
    let bad = reached.filter_map(|(broker, (address, reached))| {
        Some(not_reached(broker, &address, &reached.err()?))
    });
    let mut bad: Vec<_> = bad.collect();
    let (count, all) = (bad.len(), brokers.len());
    if bad.is_empty() {
        let (s, es) = if all == 1 { ("", "") } else { ("s", "es") };
        return Area::Brokers.ok(format!(
            "{all} broker{s}, reachable at the advertised address{es}"
        ));
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

fn not_reached(broker: &Node, address: &Address, error: &AddressError) -> Finding {
    match error {
        AddressError::NoThread(_) => {
            let what = format!("broker {} at {address}: {error}", broker.id);
            Area::Limits.fail(what, RAISE_THREADS)
        }
        AddressError::Unresolved(_) | AddressError::Connect(_) => not_where_advertised(
            &broker.id.to_string(),
            &address.to_string(),
            &error.to_string(),
        ),
    }
}

fn not_where_advertised(id: &str, address: &str, why: &str) -> Finding {
    Area::Brokers.fail(
        format!("broker {id} can't be used at the address that it advertises, {address}: {why}"),
        "correct advertised.listeners of the brokers: clients connect to these addresses",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_advertised_broker_has_a_number_as_its_id() {
        for (message, broker) in [
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
            assert_eq!(advertised_broker(message), broker, "{message}");
        }
    }
}
