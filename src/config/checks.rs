//! From settings to [`Config`]: each value parsed, then what must hold between them.

use std::path::PathBuf;
use std::time::Duration;

use super::keys::PROPERTIES;
use super::layers::Settings;
use super::mistake::{Mistake, Mistakes};
use super::relations::RECORD_OVERHEAD;
use super::{
    Access, Admin, Config, Ingress, Kafka, Limits, Log, LogLevel, Property, PropertyCheck, Spool,
    Tls, networks, parse, properties,
};
use crate::text::Unseen;

/// The least that the spool can do with, on disk as in memory.
pub(super) const SPOOL_MINIMUM: u64 = 1 << 20;

pub(super) fn check(
    settings: &Settings,
    check_property: PropertyCheck,
) -> Result<Config, Mistakes> {
    let mut checker = Checker::new(settings);
    let limits = checker.limits();
    let ingress = checker.ingress(limits);
    let admin = checker.admin();
    let deadline = limits.map(|limits| limits.deadline);
    let kafka = checker.kafka(deadline, check_property);
    let spool = checker.spool();
    let log = checker.log();
    if let Some(limits) = &limits {
        checker.relations(limits, spool.as_ref(), check_property);
    }
    match (ingress, admin, kafka, log) {
        (Some(ingress), Some(admin), Some(kafka), Some(log)) if checker.mistakes.is_empty() => {
            Ok(Config {
                ingress,
                admin,
                kafka,
                spool,
                log,
            })
        }
        _ => Err(Mistakes(checker.mistakes)),
    }
}

pub(super) fn check_kafka(
    settings: &Settings,
    check_property: PropertyCheck,
) -> Result<Kafka, Mistakes> {
    let mut checker = Checker::new(settings);
    match checker.kafka(None, check_property) {
        Some(kafka) if checker.mistakes.is_empty() => Ok(kafka),
        _ => Err(Mistakes(checker.mistakes)),
    }
}

pub(super) struct Checker<'a> {
    pub(super) settings: &'a Settings,
    mistakes: Vec<Mistake>,
}

impl<'a> Checker<'a> {
    fn new(settings: &'a Settings) -> Self {
        let mistakes = settings.mistakes.clone();
        let mut checker = Self { settings, mistakes };
        for (key, setting) in &settings.values {
            if let Some(unseen) = Unseen::find(setting.text.as_bytes()) {
                checker.mistake(key, unseen.to_string());
            }
        }
        checker
    }

    fn value<T>(&mut self, key: &str, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self
            .settings
            .text(key)
            .expect("every key that is read has a default");
        parse(text)
            .map_err(|problem| self.mistake(key, problem))
            .ok()
    }

    pub(super) fn mistake(&mut self, key: &str, problem: impl Into<String>) {
        let setting = self.settings.values.get(key);
        let is_secret = key
            .strip_prefix(PROPERTIES)
            .is_some_and(properties::is_secret);
        let secret = setting.filter(|setting| setting.is_secret || is_secret);
        let secret = secret.filter(|setting| !setting.text.is_empty());
        let problem = problem.into();
        self.mistakes.push(Mistake {
            place: self.settings.place(key),
            key: key.to_owned(),
            problem: match secret {
                Some(secret) => problem.replace(&secret.text, "(redacted)"),
                None => problem,
            },
        });
    }

    fn ingress(&mut self, limits: Option<Limits>) -> Option<Ingress> {
        let listen = self.value("ingress.listen", parse::address);
        let plain_http = self.value("ingress.plain_http", parse::boolean);
        let tls = self.tls();
        if let (Some(listen), Some(false), None) = (listen, plain_http, &tls)
            && !listen.ip().is_loopback()
        {
            self.mistake(
                "ingress.listen",
                format!(
                    "{listen} is not loopback, and over HTTP the password travels in the clear: \
                     name ingress.tls.certificate and ingress.tls.key, listen on 127.0.0.1, or say \
                     plain_http = true where something in front of the bridge ends TLS"
                ),
            );
        }
        let channels = self.value("ingress.channels", parse::path);
        let allow = self.value("ingress.allow", networks::networks);
        let trusted_proxies = self.value("ingress.trusted_proxies", networks::proxies);
        let workers = self.value("ingress.workers", parse::workers);
        let success = self.value("ingress.success_status", parse::success);
        let connections = self.value("ingress.connections", parse::count);
        let reports_in_flight = self.value("ingress.reports_in_flight", parse::count);
        let bytes_in_flight = self.value("ingress.bytes_in_flight", parse::size);
        let bytes_in_flight = bytes_in_flight.map(|bytes| bytes as u64);
        let drain_delay = self.value("ingress.drain_delay", parse::duration);
        if let (Some(bytes), Some(limits)) = (bytes_in_flight, &limits)
            && bytes < limits.body as u64 + RECORD_OVERHEAD
        {
            self.mistake(
                "ingress.bytes_in_flight",
                "is less than one report of body_limit needs; make it at least body_limit + 16 KiB",
            );
        }
        Some(Ingress {
            listen: listen?,
            channels: channels?,
            tls,
            access: Access {
                allow: allow?,
                trusted_proxies: trusted_proxies?,
            },
            workers: workers?,
            success: success?,
            limits: limits?,
            connections: connections?,
            reports_in_flight: reports_in_flight?,
            bytes_in_flight: bytes_in_flight?,
            drain_delay: drain_delay?,
        })
    }

    fn admin(&mut self) -> Option<Admin> {
        let listen = self.value("admin.listen", parse::address);
        let hosts = self.value("admin.hosts", parse::host_names);
        Some(Admin {
            listen: listen?,
            hosts: hosts?,
        })
    }

    /// A certificate needs its key, and a key its certificate.
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
            (Some(_), None) => self.mistake(
                "ingress.tls.key",
                "is missing; name the file with the certificate's private key",
            ),
            (None, Some(_)) => self.mistake(
                "ingress.tls.certificate",
                "is missing; name the file with the key's certificate",
            ),
            (None, None) if client_ca.is_some() => self.mistake(
                "ingress.tls.client_ca",
                "means nothing without ingress.tls.certificate and ingress.tls.key",
            ),
            (None, None) => {}
        }
        None
    }

    /// A path that need not be named.
    fn file(&self, key: &str) -> Option<PathBuf> {
        let text = self.settings.text(key).filter(|text| !text.is_empty());
        text.map(PathBuf::from)
    }

    fn limits(&mut self) -> Option<Limits> {
        let deadline = self.value("ingress.deadline", parse::some_time);
        let head = self.value("ingress.head_limit", parse::size);
        if head.is_some_and(|head| !(8 << 10..=64 << 10).contains(&head)) {
            self.mistake("ingress.head_limit", "must be from 8 KiB to 64 KiB");
        }
        let head_timeout = self.value("ingress.head_timeout", parse::some_time);
        let body = self.value("ingress.body_limit", parse::size);
        if body.is_some_and(|body| body < 1 << 10) {
            self.mistake(
                "ingress.body_limit",
                "must be at least 1 KiB; every report has some hundred bytes",
            );
        }
        let body_timeout = self.value("ingress.body_timeout", parse::some_time);
        let idle_timeout = self.value("ingress.idle_timeout", parse::some_time);
        let connection_age = self.value("ingress.connection_age", parse::duration);
        Some(Limits {
            deadline: deadline?,
            head: head?,
            head_timeout: head_timeout?,
            body: body?,
            body_timeout: body_timeout?,
            idle_timeout: idle_timeout?,
            connection_age: connection_age.map(|age| Some(age).filter(|age| !age.is_zero()))?,
        })
    }

    fn kafka(&mut self, deadline: Option<Duration>, check: PropertyCheck) -> Option<Kafka> {
        let topic = self.value("kafka.topic", parse::topic);
        let rejected_topic = self.value("kafka.rejected_topic", parse::topic);
        if topic.is_some() && topic == rejected_topic {
            self.mistake(
                "kafka.rejected_topic",
                "is the events topic too; name another",
            );
        }
        let event_mode = self.value("kafka.event_mode", parse::event_mode);
        let flush_timeout = self.value("kafka.flush_timeout", parse::duration);
        let allowed = self
            .value("kafka.allow_unsafe", parse::names)
            .unwrap_or_default();
        let (properties, unsafe_settings) = self.properties(check, &allowed, deadline);
        if !properties.iter().any(|property| {
            property.name == "bootstrap.servers" && !property.value.trim().is_empty()
        }) {
            self.mistake(
                "kafka.properties.bootstrap.servers",
                "is missing; name the brokers, for example \"kafka-1:9092,kafka-2:9092\"",
            );
        }
        Some(Kafka {
            topic: topic?,
            rejected_topic: rejected_topic?,
            event_mode: event_mode?,
            flush_timeout: flush_timeout?,
            properties,
            unsafe_settings,
        })
    }

    /// What goes to librdkafka, and those of it whose unsafe value was allowed by name.
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
                    .map_err(|refused| format!("librdkafka does not take it: {refused}")),
            };
            match read.map(|read| properties::danger(name, &read, deadline)) {
                Err(problem) => self.mistake(key, problem),
                Ok(None) => {}
                Ok(Some(_)) if allowed.iter().any(|a| properties::canonical(a) == name) => {
                    unsafe_settings.push(name.to_owned());
                }
                Ok(Some(danger)) => self.mistake(
                    key,
                    format!(
                        "{} is unsafe: {danger}; leave it out, or add \"{name}\" to \
                         kafka.allow_unsafe",
                        setting.text
                    ),
                ),
            }
            given.push(Property {
                name: name.to_owned(),
                value: setting.text.clone(),
                is_secret: setting.is_secret,
            });
        }
        (given, unsafe_settings)
    }

    fn spool(&mut self) -> Option<Spool> {
        let after = self.value("spool.after", parse::some_time);
        let disk_limit = self.value("spool.disk_limit", parse::bytes);
        let free_space = self.value("spool.free_space", parse::bytes);
        let memory = self.value("spool.memory", parse::size);
        if self
            .settings
            .text("spool.directory")
            .is_none_or(str::is_empty)
        {
            self.spool_is_not_meant();
            return None;
        }
        let directory = self.value("spool.directory", parse::path);
        for (key, bytes) in [
            ("spool.disk_limit", disk_limit),
            ("spool.memory", memory.map(|m| m as u64)),
        ] {
            if bytes.is_some_and(|bytes| bytes < SPOOL_MINIMUM) {
                self.mistake(key, "must be at least 1 MiB");
            }
        }
        let timeout = "kafka.properties.message.timeout.ms";
        if self.settings.text(timeout).is_some() {
            self.mistake(
                timeout,
                "is not to be set with a spool: what the spool keeps is delivered however long it takes",
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

    /// A spool without a directory is off: that has to be typed if anything else of it is.
    fn spool_is_not_meant(&mut self) {
        let is_typed = |key: &str| !self.settings.place(key).is_empty();
        let mut names = self.settings.values.keys();
        let typed = names.find(|key| key.starts_with("spool.") && is_typed(key));
        if let Some(key) = typed.filter(|_| !is_typed("spool.directory")) {
            self.mistake(
                key,
                "there is no spool without spool.directory; name one, or write directory = \"\" for none",
            );
        }
    }

    fn log(&mut self) -> Option<Log> {
        let format = self.value("log.format", parse::log_format);
        let level = self.value("log.level", parse::log_level);
        let reports = self.value("log.reports", parse::boolean);
        if let (Some(LogLevel::Error | LogLevel::Warn), Some(true)) = (level, reports) {
            let level = self.settings.text("log.level").unwrap_or_default();
            let problem =
                format!("needs log.level info, at which these lines are written; it is {level}");
            self.mistake("log.reports", problem);
        }
        Some(Log {
            format: format?,
            level: level?,
            reports: reports?,
        })
    }
}
