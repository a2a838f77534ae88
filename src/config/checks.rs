//! Parses each setting into [`Config`], and then checks the relations between the values.

use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, ConfigErrors};
use super::keys::{self, PROPERTIES};
use super::layers::Settings;
use super::{
    Access, Admin, Config, Drain, Ingress, Kafka, Limits, Log, LogLevel, Property, PropertyCheck,
    Spool, Tls, networks, parse, properties,
};
use crate::contract::{EventFormat, EventMode};
use crate::text::InvisibleCharacter;

/// Parses a value that has a range.
type ParseInRange<T> = fn(&str, &RangeInclusive<u64>) -> Result<T, String>;

pub(super) fn check(
    settings: &Settings,
    check_property: PropertyCheck,
) -> Result<Config, ConfigErrors> {
    let mut checker = Checker::new(settings);
    let ingress = checker.ingress();
    let admin = checker.admin();
    let deadline = checker.if_valid("ingress.deadline", parse::time);
    let kafka = checker.kafka(deadline, check_property);
    let spool = checker.spool();
    let log = checker.log();
    let traces = checker.traces();
    checker.relations(check_property);
    match (ingress, admin, kafka, log) {
        (Some(ingress), Some(admin), Some(kafka), Some(log)) if checker.errors.is_empty() => {
            Ok(Config {
                ingress,
                admin,
                kafka,
                spool,
                log,
                traces,
            })
        }
        _ => Err(checker.into_errors()),
    }
}

pub(super) fn check_kafka(
    settings: &Settings,
    check_property: PropertyCheck,
) -> Result<Kafka, ConfigErrors> {
    let mut checker = Checker::new(settings);
    match checker.kafka(None, check_property) {
        Some(kafka) if checker.errors.is_empty() => Ok(kafka),
        _ => Err(checker.into_errors()),
    }
}

pub(super) fn check_drain(
    settings: &Settings,
    check_property: PropertyCheck,
) -> Result<Drain, ConfigErrors> {
    let mut checker = Checker::new(settings);
    let kafka = checker.kafka(None, check_property);
    let spool = checker.spool();
    if settings.spool_directory().is_none() {
        checker.error("spool.directory", "is missing; name the spool to drain");
    }
    match (kafka, spool, checker.log()) {
        (Some(kafka), Some(spool), Some(log)) if checker.errors.is_empty() => {
            Ok(Drain { kafka, spool, log })
        }
        _ => Err(checker.into_errors()),
    }
}

pub(super) struct Checker<'a> {
    pub(super) settings: &'a Settings,
    errors: Vec<ConfigError>,
}

impl<'a> Checker<'a> {
    fn new(settings: &'a Settings) -> Self {
        let errors = settings.errors.clone();
        let mut checker = Self { settings, errors };
        for (key, setting) in &settings.values {
            if let Some(unseen) = InvisibleCharacter::find(setting.text.as_bytes()) {
                checker.error(key, unseen.to_string());
            }
        }
        checker
    }

    /// Returns the errors, without those that only follow from others.
    fn into_errors(self) -> ConfigErrors {
        let Self {
            settings,
            mut errors,
        } = self;
        errors.retain(|error| settings.is_root_cause(error));
        ConfigErrors(errors)
    }

    pub(super) fn value<T>(
        &mut self,
        key: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self
            .settings
            .text(key)
            .expect("every key that is read has a default");
        parse(text).map_err(|problem| self.error(key, problem)).ok()
    }

    fn in_range<T>(&mut self, key: &str, parse: ParseInRange<T>) -> Option<T> {
        self.value(key, |text| parse(text, keys::range(key)))
    }

    /// Returns a value if it is valid. If it is not, another check reports the error.
    pub(super) fn if_valid<T>(&self, key: &str, parse: ParseInRange<T>) -> Option<T> {
        parse(self.settings.text(key)?, keys::range(key)).ok()
    }

    fn word<T: Copy>(&mut self, key: &str, known: &[(&'static str, T)]) -> Option<T> {
        self.value(key, |text| parse::one_of(text, known))
    }

    pub(super) fn error(&mut self, key: &str, problem: impl Into<String>) {
        let setting = self.settings.values.get(key);
        let is_secret = key
            .strip_prefix(PROPERTIES)
            .is_some_and(properties::is_secret);
        let secret = setting.filter(|setting| setting.from_file.is_some() || is_secret);
        let secret = secret.filter(|setting| !setting.text.is_empty());
        let problem = problem.into();
        self.errors.push(ConfigError {
            place: self.settings.source_of(key),
            key: key.to_owned(),
            problem: match secret {
                Some(secret) => problem.replace(&secret.text, "(redacted)"),
                None => problem,
            },
        });
    }

    /// Reports an error of a variable that has no key.
    pub(super) fn variable_error(&mut self, name: &str, problem: impl Into<String>) {
        self.errors.push(ConfigError {
            place: name.to_owned(),
            key: String::new(),
            problem: problem.into(),
        });
    }

    fn ingress(&mut self) -> Option<Ingress> {
        let limits = self.limits();
        let listen = self.value("ingress.listen", parse::address);
        let plain_http = self.value("ingress.plain_http", parse::boolean);
        let tls = self.tls();
        let is_plain = self.settings.tls_files().next().is_none();
        if let (Some(listen), Some(false)) = (listen, plain_http)
            && is_plain
            && !listen.ip().is_loopback()
        {
            self.error(
                "ingress.listen",
                format!(
                    "{listen} is not loopback, and HTTP does not encrypt the password: set ingress.tls.certificate and \
                     ingress.tls.key, listen on 127.0.0.1, or set plain_http = true if a proxy in front of the \
                     bridge terminates TLS"
                ),
            );
        }
        let channels = self.value("ingress.channels", parse::path);
        let allow = self.value("ingress.allow", networks::networks);
        let trusted_proxies = self.value("ingress.trusted_proxies", networks::proxies);
        let workers = self.in_range("ingress.workers", parse::number);
        let success = self.word("ingress.success_status", parse::SUCCESSES);
        let connections = self.count("ingress.connections");
        let reports_in_flight = self.count("ingress.reports_in_flight");
        let bytes_in_flight = self.in_range("ingress.bytes_in_flight", parse::size);
        let drain_delay = self.in_range("ingress.drain_delay", parse::time);
        Some(Ingress {
            listen: listen?,
            channels: channels?,
            tls,
            access: Access {
                allow: allow?,
                trusted_proxies: trusted_proxies?,
            },
            workers: NonZeroUsize::new(workers?)
                .or_else(|| std::thread::available_parallelism().ok())
                .unwrap_or(NonZeroUsize::MIN),
            success: success?,
            limits: limits?,
            connections: connections?,
            reports_in_flight: reports_in_flight?,
            bytes_in_flight: bytes_in_flight?,
            drain_delay: drain_delay?,
        })
    }

    fn count(&mut self, key: &str) -> Option<NonZeroU32> {
        self.in_range(key, parse::number::<u32>)
            .and_then(NonZeroU32::new)
    }

    fn admin(&mut self) -> Option<Admin> {
        let listen = self.value("admin.listen", parse::address);
        let hosts = self.value("admin.hosts", parse::host_names);
        Some(Admin {
            listen: listen?,
            hosts: hosts?,
        })
    }

    /// Returns the files for TLS. A certificate needs a key, and a key needs a certificate.
    fn tls(&mut self) -> Option<Tls> {
        let [certificate, key, client_ca] = ["certificate", "key", "client_ca"]
            .map(|name| self.file(&format!("ingress.tls.{name}")));
        match (certificate, key) {
            (Some(certificate), Some(key)) => {
                return Some(Tls {
                    certificate,
                    key,
                    client_ca,
                });
            }
            (Some(_), None) => self.error(
                "ingress.tls.key",
                "is missing; name the file with the certificate's private key",
            ),
            (None, Some(_)) => self.error(
                "ingress.tls.certificate",
                "is missing; name the file with the key's certificate",
            ),
            (None, None) if client_ca.is_some() => self.error(
                "ingress.tls.client_ca",
                "has no effect without ingress.tls.certificate and ingress.tls.key; set them or remove it",
            ),
            (None, None) => {}
        }
        None
    }

    /// Returns an optional path.
    fn file(&self, key: &str) -> Option<PathBuf> {
        let text = self.settings.text(key).filter(|text| !text.is_empty());
        text.map(PathBuf::from)
    }

    fn limits(&mut self) -> Option<Limits> {
        let deadline = self.in_range("ingress.deadline", parse::time);
        let head = self.in_range("ingress.head_limit", parse::size);
        let head_timeout = self.in_range("ingress.head_timeout", parse::time);
        let body = self.in_range("ingress.body_limit", parse::size);
        let body_timeout = self.in_range("ingress.body_timeout", parse::time);
        let idle_timeout = self.in_range("ingress.idle_timeout", parse::time);
        let connection_age = self.in_range("ingress.connection_age", parse::time);
        Some(Limits {
            deadline: deadline?,
            head: head?,
            head_timeout: head_timeout?,
            body: body?,
            body_timeout: body_timeout?,
            idle_timeout: idle_timeout?,
            connection_age: Some(connection_age?).filter(|age| !age.is_zero()),
        })
    }

    fn kafka(&mut self, deadline: Option<Duration>, check: PropertyCheck) -> Option<Kafka> {
        let topic = self.value("kafka.topic", parse::topic);
        let rejected_topic = self.value("kafka.rejected_topic", parse::topic);
        if topic.is_some() && topic == rejected_topic {
            self.error(
                "kafka.rejected_topic",
                "is the same as kafka.topic; name another topic",
            );
        }
        let producers = self.in_range("kafka.producers", parse::number);
        let event_format = self.event_format();
        let flush_timeout = self.in_range("kafka.flush_timeout", parse::time);
        let allowed = self.value("kafka.allow_unsafe", properties::unsafe_names);
        let allowed = allowed.unwrap_or_default();
        let (properties, unsafe_settings) = self.properties(check, &allowed, deadline);
        if !properties.iter().any(|property| {
            property.name == "bootstrap.servers" && !property.value.trim().is_empty()
        }) {
            let file = if self.settings.has_file {
                ""
            } else {
                ", or a configuration file with --config"
            };
            self.error(
                "kafka.properties.bootstrap.servers",
                format!(
                    "is missing; name the brokers, for example \"kafka-1:9092,kafka-2:9092\"{file}"
                ),
            );
        }
        Some(Kafka {
            topic: topic?,
            rejected_topic: rejected_topic?,
            producers: NonZeroUsize::new(producers?),
            event_format: event_format?,
            flush_timeout: flush_timeout?,
            properties,
            unsafe_settings,
        })
    }

    fn event_format(&mut self) -> Option<EventFormat> {
        let mode = self.word("kafka.event_mode", parse::EVENT_MODES);
        let schema_id = self.value("kafka.schema_id", parse::schema_id);
        if let (Some(EventMode::Structured), Some(Some(_))) = (mode, schema_id) {
            self.error(
                "kafka.schema_id",
                "is only for binary mode, and kafka.event_mode is structured; remove one of the two",
            );
        }
        Some(EventFormat {
            mode: mode?,
            schema_id: schema_id?,
        })
    }

    /// Returns the properties for librdkafka, and the names of those with an allowed unsafe value.
    fn properties(
        &mut self,
        check: PropertyCheck,
        allowed: &[String],
        deadline: Option<Duration>,
    ) -> (Vec<Property>, Vec<String>) {
        let mut given = Vec::new();
        let mut unsafe_settings = Vec::new();
        for (key, setting) in &self.settings.values {
            let Some(name) = key.strip_prefix(PROPERTIES) else {
                continue;
            };
            let read = match properties::reserved(name) {
                Some(problem) => Err(problem.to_owned()),
                None => check(name, &setting.text)
                    .map_err(|refused| format!("librdkafka refuses it: {refused}")),
            };
            match read.map(|read| properties::danger(name, &read, deadline)) {
                Err(problem) => self.error(key, problem),
                Ok(None) => {}
                Ok(Some(_)) if allowed.iter().any(|allowed| allowed == name) => {
                    unsafe_settings.push(name.to_owned());
                }
                Ok(Some(danger)) => self.error(
                    key,
                    format!(
                        "{} is unsafe: {danger}; remove it, or add \"{name}\" to \
                         kafka.allow_unsafe",
                        setting.text
                    ),
                ),
            }
            given.push(Property {
                name: name.to_owned(),
                value: setting.text.clone(),
                is_secret: setting.from_file.is_some(),
            });
        }
        (given, unsafe_settings)
    }

    fn spool(&mut self) -> Option<Spool> {
        let after = self.in_range("spool.after", parse::time);
        let disk_limit = self.in_range("spool.disk_limit", parse::size);
        let free_space = self.in_range("spool.free_space", parse::size);
        let memory = self.in_range("spool.memory", parse::size);
        if self.settings.spool_directory().is_none() {
            self.refuse_keys_without_a_spool();
            return None;
        }
        let directory = self.value("spool.directory", parse::path);
        let timeout = "kafka.properties.message.timeout.ms";
        if self.settings.text(timeout).is_some() {
            self.error(
                timeout,
                "must not be set with a spool: spooled reports are delivered however long it takes",
            );
        }
        Some(Spool {
            directory: directory?,
            after: after?,
            disk_limit: disk_limit?,
            free_space: free_space?,
            memory: memory?,
        })
    }

    /// Reports an error if a key of the spool is set and `spool.directory` is not set at all.
    fn refuse_keys_without_a_spool(&mut self) {
        let is_set = |key: &str| !self.settings.source_of(key).is_empty();
        let mut names = self.settings.values.keys();
        let typed = names.find(|key| key.starts_with("spool.") && is_set(key));
        if let Some(key) = typed.filter(|_| !is_set("spool.directory")) {
            self.error(
                key,
                "has no effect without spool.directory; set a directory, or directory = \"\" for no spool",
            );
        }
    }

    fn log(&mut self) -> Option<Log> {
        let format = self.word("log.format", parse::LOG_FORMATS);
        let level = self.word("log.level", parse::LOG_LEVELS);
        let reports = self.value("log.reports", parse::boolean);
        if let (Some(LogLevel::Error | LogLevel::Warn), Some(true)) = (level, reports) {
            let level = self.settings.text("log.level").unwrap_or_default();
            let problem = format!(
                "needs log.level info, because reports are logged at that level; it is {level}"
            );
            self.error("log.reports", problem);
        }
        Some(Log {
            format: format?,
            level: level?,
            reports: reports?,
        })
    }
}
