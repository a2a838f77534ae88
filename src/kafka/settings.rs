//! librdkafka's properties: the bridge's defaults, the configured values, and the check whether librdkafka accepts a
//! value.

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

use super::client_certificate::ClientCertificate;
use super::cluster::Cluster;
use super::topic::TopicState;
use super::transactions::Batching;
use crate::config::{Config, Kafka};

/// The bridge's defaults, measured on three brokers. `docs/configuration.md` gives the reasons.
pub const DEFAULTS: [(&str, &str); 14] = [
    ("acks", "all"),
    ("allow.auto.create.topics", "false"),
    ("client.id", "koobridge"),
    ("enable.idempotence", "true"),
    ("linger.ms", "5"),
    ("max.in.flight.requests.per.connection", "1"),
    ("message.max.bytes", "1000000"),
    ("message.timeout.ms", "120000"),
    ("reconnect.backoff.max.ms", "1000"),
    ("reconnect.backoff.ms", "50"),
    ("request.timeout.ms", "2000"),
    ("socket.keepalive.enable", "true"),
    ("socket.timeout.ms", "10000"),
    ("topic.metadata.propagation.max.ms", "1000"),
];

/// Replaces the default if there is a spool, which keeps reports until Kafka accepts them.
pub const NO_TIMEOUT: (&str, &str) = ("message.timeout.ms", "0");

const READING: [(&str, &str); 11] = [
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.partition.eof", "true"),
    ("fetch.max.bytes", "2097152"),
    ("fetch.message.max.bytes", "524288"),
    // By default librdkafka checks a full queue again after a second, so that a fast reader would wait for that long.
    ("fetch.queue.backoff.ms", "5"),
    ("fetch.wait.max.ms", "100"),
    // librdkafka requires a group name even if the client joins no group.
    ("group.id", "koobridge-reader"),
    ("isolation.level", "read_committed"),
    ("queued.max.messages.kbytes", "4096"),
    ("receive.message.max.bytes", "100000000"),
];

const TRANSACTIONS: [(&str, &str); 9] = [
    ("acks", "all"),
    ("enable.idempotence", "true"),
    // No sender waits for a single record, and larger batches are cheaper for the brokers.
    ("linger.ms", "50"),
    // The highest value for which an idempotent producer keeps the order.
    ("max.in.flight.requests.per.connection", "5"),
    ("message.max.bytes", "16777216"),
    ("queue.buffering.max.kbytes", "16384"),
    ("queue.buffering.max.messages", "7000"),
    // librdkafka requires that it does not exceed `transaction.timeout.ms`.
    ("socket.timeout.ms", "10000"),
    // An open transaction blocks every read-committed subscriber of its topic.
    ("transaction.timeout.ms", "10000"),
];

/// The complete properties of a client.
#[derive(Clone)]
pub struct Settings {
    config: ClientConfig,
    /// The client certificate, read when the settings were created.
    certificate: Option<ClientCertificate>,
}

impl From<&Config> for Settings {
    /// Returns the properties of a bridge's producers.
    fn from(config: &Config) -> Self {
        Self::for_producers(&config.kafka, config.spool.is_some())
    }
}

impl From<&Kafka> for Settings {
    /// Returns the properties of a tool's clients.
    fn from(kafka: &Kafka) -> Self {
        Self {
            certificate: ClientCertificate::of(kafka),
            ..Self::new(properties(kafka))
        }
    }
}

fn properties(kafka: &Kafka) -> impl Iterator<Item = (&str, &str)> {
    let properties = kafka.properties.iter();
    properties.map(|property| (&*property.name, &*property.value))
}

impl Settings {
    /// Returns the properties of producers with or without a spool.
    #[must_use]
    pub fn for_producers(kafka: &Kafka, has_spool: bool) -> Self {
        let spooled = has_spool.then_some(NO_TIMEOUT);
        Self {
            certificate: ClientCertificate::of(kafka),
            ..Self::new(properties(kafka).chain(spooled))
        }
    }

    /// Returns the bridge's defaults overridden by `properties`, which [`check_property`] has accepted.
    #[must_use]
    pub fn new<'a>(properties: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut config = ClientConfig::new();
        for (name, value) in DEFAULTS.into_iter().chain(properties) {
            config.set(name, value);
        }
        config.set_log_level(RDKafkaLogLevel::Info);
        Self {
            config,
            certificate: None,
        }
    }

    /// Returns the client certificate, if there is a readable one.
    #[must_use]
    pub fn certificate(&self) -> Option<&ClientCertificate> {
        self.certificate.as_ref()
    }

    /// Checks that a client with these properties can replace the current producers of `topics`, whose states show how
    /// Kafka answers them.
    ///
    /// # Errors
    /// If librdkafka rejects the properties, if no broker answers, or if a topic is less usable than before.
    pub fn check_replacement(&self, topics: [(&str, TopicState); 2]) -> Result<(), String> {
        let cluster = Cluster::start(self).map_err(|error| error.to_string())?;
        cluster.brokers().map_err(|error| error.to_string())?;
        for (topic, current) in topics {
            let condition = cluster.condition(topic)?;
            if !condition.can_follow(&current.condition) {
                return Err(format!("{topic}: {condition}"));
            }
        }
        Ok(())
    }

    /// Returns the properties for a consumer: without those of producers, and with a limit on the fetched records in
    /// memory. It reads committed records only and commits no offsets.
    pub(super) fn for_reading(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        for name in self
            .config
            .config_map()
            .into_keys()
            .filter(|name| is_common(name))
        {
            // The values in the map are redacted if they are secrets.
            config.set(name, self.config.get(name).unwrap_or_default());
        }
        for (name, value) in READING {
            config.set(name, value);
        }
        config
    }

    /// Returns the properties for a consumer that only queries offsets, including those of open transactions. It has no
    /// group, so that it needs no right on one.
    pub(super) fn for_offset_queries(&self) -> ClientConfig {
        let mut config = self.for_reading();
        config.set("isolation.level", "read_uncommitted");
        config.remove("group.id");
        config
    }

    /// Returns the properties for a producer with this transactional id. Its records can wait as long as the
    /// transaction is open, and only the topic limits their size.
    pub(super) fn for_transactions(&self, id: &str, batching: Batching) -> ClientConfig {
        let mut config = self.config.clone();
        config.remove("message.timeout.ms");
        config.set("transactional.id", id);
        for (name, value) in TRANSACTIONS {
            config.set(name, value);
        }
        if let Some(bytes) = batching.bytes {
            config.set("batch.size", bytes.to_string());
        }
        if batching.is_immediate {
            config.set("linger.ms", "0");
        }
        config
    }

    /// Returns whether the producer compresses records, so that Kafka checks the compressed size.
    #[must_use]
    pub fn compresses(&self) -> bool {
        let names = ["compression.type", "compression.codec"];
        let mut values = names.into_iter().filter_map(|name| self.config.get(name));
        values.any(|value| !value.eq_ignore_ascii_case("none"))
    }

    pub(super) fn client_config(&self) -> &ClientConfig {
        &self.config
    }
}

/// Returns whether a property concerns connections rather than producers.
fn is_common(name: &str) -> bool {
    const NAMES: [&str; 8] = [
        "api.version.fallback.ms",
        "connections.max.idle.ms",
        "debug",
        "enable.metrics.push",
        "log.connection.close",
        "enable.sasl.oauthbearer.unsecure.jwt",
        "enable.ssl.certificate.verification",
        "plugin.library.paths",
    ];
    const PREFIXES: [&str; 13] = [
        "api.version.request",
        "bootstrap.",
        "broker.",
        "client.",
        "https.",
        "metadata.",
        "reconnect.",
        "retry.backoff.",
        "sasl.",
        "security.",
        "socket.",
        "ssl.",
        "topic.metadata.",
    ];
    NAMES.contains(&name) || PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns the value as librdkafka parses it.
///
/// # Errors
/// librdkafka's message if it does not know the property or rejects the value.
pub fn check_property(name: &str, value: &str) -> Result<String, String> {
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(config) => Ok(config.get(name).unwrap_or_else(|_| value.to_owned())),
        Err(KafkaError::ClientConfig(_, description, ..)) => Err(description.trim_end().to_owned()),
        Err(other) => Err(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn librdkafka_accepts_every_default() {
        for (name, value) in DEFAULTS {
            assert!(check_property(name, value).is_ok(), "{name}");
        }
    }

    #[test]
    fn a_consumer_has_connection_properties_and_no_producer_properties() {
        let given = [("sasl.password", "s3cret"), ("compression.type", "zstd")];
        let config = Settings::new(given).for_reading();
        assert_eq!(config.get("sasl.password"), Some("s3cret"));
        assert_eq!(config.get("socket.timeout.ms"), Some("10000"));
        assert_eq!(config.get("isolation.level"), Some("read_committed"));
        for producers in ["compression.type", "acks", "linger.ms"] {
            assert_eq!(config.get(producers), None);
        }
    }

    #[test]
    fn a_consumer_has_the_same_connection_properties_as_the_bridge() {
        for (name, value) in [
            ("api.version.request.timeout.ms", "5000"),
            ("broker.address.family", "v4"),
            (
                "client.dns.lookup",
                "resolve_canonical_bootstrap_servers_only",
            ),
            ("client.rack", "a"),
            ("connections.max.idle.ms", "60000"),
            ("enable.sasl.oauthbearer.unsecure.jwt", "true"),
            ("enable.ssl.certificate.verification", "false"),
            ("https.ca.location", "/ca.pem"),
            ("https.ca.pem", "pem"),
            ("metadata.broker.list", "kafka-1:9092"),
            ("metadata.recovery.strategy", "none"),
            ("retry.backoff.ms", "50"),
            ("sasl.mechanism", "PLAIN"),
            ("security.protocol", "ssl"),
            ("ssl.ca.pem", "pem"),
            ("ssl.endpoint.identification.algorithm", "none"),
        ] {
            for config in [
                Settings::new([(name, value)]).for_reading(),
                Settings::new([(name, value)]).for_offset_queries(),
            ] {
                assert_eq!(config.get(name), Some(value), "{name}");
            }
        }
    }

    /// The properties of librdkafka 2.12.1 that concern consumers and producers alike (C/P `*` in its
    /// CONFIGURATION.md) and can be written as text.
    const OF_ALL_CLIENTS: &str = "
        client.id metadata.broker.list bootstrap.servers message.max.bytes message.copy.max.bytes
        receive.message.max.bytes max.in.flight.requests.per.connection max.in.flight metadata.recovery.strategy
        metadata.recovery.rebootstrap.trigger.ms topic.metadata.refresh.interval.ms metadata.max.age.ms
        topic.metadata.refresh.fast.interval.ms topic.metadata.refresh.fast.cnt topic.metadata.refresh.sparse
        topic.metadata.propagation.max.ms topic.blacklist debug socket.timeout.ms socket.blocking.max.ms
        socket.send.buffer.bytes socket.receive.buffer.bytes socket.keepalive.enable socket.nagle.disable
        socket.max.fails broker.address.ttl broker.address.family socket.connection.setup.timeout.ms
        connections.max.idle.ms reconnect.backoff.jitter.ms reconnect.backoff.ms reconnect.backoff.max.ms
        statistics.interval.ms enabled_events log_level log.queue log.thread.name enable.random.seed
        log.connection.close internal.termination.signal api.version.request api.version.request.timeout.ms
        api.version.fallback.ms broker.version.fallback allow.auto.create.topics security.protocol ssl.cipher.suites
        ssl.curves.list ssl.sigalgs.list ssl.key.location ssl.key.password ssl.key.pem ssl.certificate.location
        ssl.certificate.pem ssl.ca.location https.ca.location https.ca.pem ssl.ca.pem ssl.ca.certificate.stores
        ssl.crl.location ssl.keystore.location ssl.keystore.password ssl.providers ssl.engine.location ssl.engine.id
        enable.ssl.certificate.verification ssl.endpoint.identification.algorithm sasl.mechanisms sasl.mechanism
        sasl.kerberos.service.name sasl.kerberos.principal sasl.kerberos.kinit.cmd sasl.kerberos.keytab
        sasl.kerberos.min.time.before.relogin sasl.username sasl.password sasl.oauthbearer.config
        enable.sasl.oauthbearer.unsecure.jwt sasl.oauthbearer.method sasl.oauthbearer.client.id
        sasl.oauthbearer.client.credentials.client.id sasl.oauthbearer.client.credentials.client.secret
        sasl.oauthbearer.client.secret sasl.oauthbearer.scope sasl.oauthbearer.extensions
        sasl.oauthbearer.token.endpoint.url sasl.oauthbearer.grant.type sasl.oauthbearer.assertion.algorithm
        sasl.oauthbearer.assertion.private.key.file sasl.oauthbearer.assertion.private.key.passphrase
        sasl.oauthbearer.assertion.private.key.pem sasl.oauthbearer.assertion.file
        sasl.oauthbearer.assertion.claim.aud sasl.oauthbearer.assertion.claim.exp.seconds
        sasl.oauthbearer.assertion.claim.iss sasl.oauthbearer.assertion.claim.jti.include
        sasl.oauthbearer.assertion.claim.nbf.seconds sasl.oauthbearer.assertion.claim.sub
        sasl.oauthbearer.assertion.jwt.template.file sasl.oauthbearer.metadata.authentication.type
        plugin.library.paths client.rack retry.backoff.ms retry.backoff.max.ms client.dns.lookup enable.metrics.push";

    /// Those that do not concern connections: limits and topics of a reader, and librdkafka's log.
    const NOT_ABOUT_CONNECTIONS: &str = "
        message.max.bytes message.copy.max.bytes receive.message.max.bytes max.in.flight.requests.per.connection
        max.in.flight topic.blacklist statistics.interval.ms enabled_events log_level log.queue log.thread.name
        enable.random.seed internal.termination.signal allow.auto.create.topics";

    #[test]
    fn every_client_has_every_connection_property() {
        let left_out: Vec<&str> = NOT_ABOUT_CONNECTIONS.split_whitespace().collect();
        for name in OF_ALL_CLIENTS.split_whitespace() {
            let refused = check_property(name, "").err().unwrap_or_default();
            assert!(!refused.contains("No such"), "{refused}");
            let settings = Settings::new([(name, "given")]);
            let is_left_out = left_out.contains(&name);
            let expected = (!is_left_out).then_some("given");
            for config in [settings.for_reading(), settings.for_offset_queries()] {
                let kept = config.get(name).filter(|value| *value == "given");
                assert_eq!(kept, expected, "{name}");
            }
            let transactions = settings.for_transactions("id", Batching::default());
            if !is_left_out && name != "socket.timeout.ms" {
                assert_eq!(transactions.get(name), Some("given"), "{name}");
            }
        }
    }

    #[test]
    fn an_offset_query_sees_open_transactions_and_has_no_group() {
        let config = Settings::new([]).for_offset_queries();
        assert_eq!(config.get("isolation.level"), Some("read_uncommitted"));
        assert_eq!(config.get("group.id"), None);
    }

    #[test]
    fn a_transactional_producer_starts_with_any_configured_timeout() {
        for (name, value) in [
            ("message.timeout.ms", "300000"),
            ("request.timeout.ms", "30000"),
            ("socket.timeout.ms", "60000"),
        ] {
            let config = Settings::new([(name, value)]).for_transactions("t", Batching::default());
            let producer = config.create::<rdkafka::producer::BaseProducer>();
            assert!(producer.is_ok(), "{name}: {:?}", producer.err());
        }
    }

    #[test]
    fn a_value_is_returned_as_librdkafka_parses_it() {
        for (name, value, read) in [
            ("acks", "ALL", "-1"),
            ("enable.idempotence", "T", "true"),
            ("message.timeout.ms", "0x64", "100"),
            ("linger.ms", "5", "5"),
        ] {
            assert_eq!(check_property(name, value), Ok(read.to_owned()), "{name}");
        }
    }

    #[test]
    fn an_unknown_property_and_a_bad_value_are_refused() {
        assert_eq!(
            check_property("lingr.ms", "5"),
            Err("No such configuration property: \"lingr.ms\"".to_owned())
        );
        // librdkafka's message names the property's alias.
        assert_eq!(
            check_property("linger.ms", "soon"),
            Err("Invalid value for configuration property \"queue.buffering.max.ms\"".to_owned())
        );
    }
}
