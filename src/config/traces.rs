//! The configuration of traces: the section `traces`, and OpenTelemetry's variables
//! (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>). The section overrides them.

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::checks::Checker;
use super::pairs::pairs;
use super::{Property, parse, url};

/// The prefix of OpenTelemetry's variables. In the lists below, the first variable that is set counts.
pub(super) const PREFIX: &str = "OTEL_";
const DISABLED: &[&str] = &["OTEL_SDK_DISABLED"];
const EXPORTER: &[&str] = &["OTEL_TRACES_EXPORTER"];
const ENDPOINT: &[&str] = &["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
const BASE_ENDPOINT: &[&str] = &["OTEL_EXPORTER_OTLP_ENDPOINT"];
const PROTOCOL: &[&str] = &[
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
];
const HEADERS: &[&str] = &[
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_HEADERS",
];
const TIMEOUT: &[&str] = &[
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
];
const CERTIFICATE: &[&str] = &[
    "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
];
const COMPRESSION: &[&str] = &[
    "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
];
/// Setting one is an error: without a client certificate, the collector would refuse each batch.
const UNSUPPORTED: [&[&str]; 4] = [
    &["OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE"],
    &["OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE"],
    &["OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY"],
    &["OTEL_EXPORTER_OTLP_CLIENT_KEY"],
];
const SERVICE_NAME: &[&str] = &["OTEL_SERVICE_NAME"];
const RESOURCE: &[&str] = &["OTEL_RESOURCE_ATTRIBUTES"];
const SAMPLER: &[&str] = &["OTEL_TRACES_SAMPLER"];
const SAMPLER_ARG: &[&str] = &["OTEL_TRACES_SAMPLER_ARG"];
const QUEUE: &[&str] = &["OTEL_BSP_MAX_QUEUE_SIZE"];
const BATCH: &[&str] = &["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"];
const DELAY: &[&str] = &["OTEL_BSP_SCHEDULE_DELAY"];
const EXPORT_TIMEOUT: &[&str] = &["OTEL_BSP_EXPORT_TIMEOUT"];

/// In milliseconds, up to ten minutes. At least 10 ms, because a busy machine can delay a task by that much.
const TIMES: RangeInclusive<u64> = 10..=600_000;
const SPANS: RangeInclusive<u64> = 1..=1_000_000;
/// The exporter sends no body above 64 MiB.
const BATCH_SPANS: RangeInclusive<u64> = 1..=8192;

/// The collector of traces, and which traces are recorded.
#[derive(Clone, Debug)]
pub struct Traces {
    /// The URL that receives batches of spans.
    pub endpoint: String,
    /// The HTTP headers of each batch, for example a token.
    pub headers: Vec<Property>,
    /// The time limit for one batch.
    pub timeout: Duration,
    /// The authorities of the collector's certificate; if `None`, those of the system.
    pub certificate: Option<PathBuf>,
    /// Attributes that describe this process, at least `service.name`.
    pub resource: Vec<(String, String)>,
    pub sampler: Sampler,
    pub queue: SpanQueue,
}

/// Which traces are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampler {
    /// Whether the sender decides about its own traces, and the ratio only applies to traces that begin here.
    pub follows_parent: bool,
    /// From 0 to 1.
    pub ratio: f64,
}

/// The queue of ended spans for the collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanQueue {
    /// The most queued spans; further spans are dropped.
    pub limit: usize,
    /// The most spans of one batch.
    pub batch: usize,
    /// How long a span waits for a batch to fill.
    pub delay: Duration,
}

impl Checker<'_> {
    /// Returns the configuration of traces; `None` if there are no traces.
    pub(super) fn traces(&mut self) -> Option<Traces> {
        let ratio = self.value("traces.sample_ratio", parse::ratio);
        let is_named = !self.settings.text("traces.endpoint")?.is_empty();
        let is_named = is_named
            || self
                .variable([ENDPOINT, BASE_ENDPOINT].concat().as_slice())
                .is_some();
        if !is_named
            || self.read(DISABLED, boolean) == Some(true)
            || self.read(EXPORTER, is_none) == Some(true)
        {
            return None;
        }
        let endpoint = self.endpoint();
        self.check_protocol();
        let headers = self.read(HEADERS, headers).unwrap_or_default();
        let resource = self.resource();
        let sampler = self.sampler(ratio);
        let queue = self.queue();
        let timeout = self.read(TIMEOUT, time).unwrap_or(Duration::from_secs(10));
        let longest = self
            .read(EXPORT_TIMEOUT, time)
            .unwrap_or(Duration::from_secs(30));
        let certificate = self.variable(CERTIFICATE).map(|(_, path)| path.into());
        Some(Traces {
            endpoint: endpoint?,
            headers,
            timeout: timeout.min(longest),
            certificate,
            resource,
            sampler: sampler?,
            queue,
        })
    }

    fn endpoint(&mut self) -> Option<String> {
        if cfg!(not(feature = "traces")) {
            let problem = "this build of koobridge does not support traces; build it with the feature traces, or remove the endpoint";
            match self.variable([ENDPOINT, BASE_ENDPOINT].concat().as_slice()) {
                Some((name, _)) if self.settings.text("traces.endpoint") == Some("") => {
                    self.variable_error(name, problem);
                }
                _ => self.error("traces.endpoint", problem),
            }
            return None;
        }
        if self.settings.text("traces.endpoint") != Some("") {
            return self.value("traces.endpoint", |text| {
                let has_path = url::check(text)?;
                if has_path {
                    Ok(text.to_owned())
                } else {
                    Err(
                        "has no path; write for example \"http://collector:4318/v1/traces\""
                            .to_owned(),
                    )
                }
            });
        }
        if self.variable(ENDPOINT).is_some() {
            return self.read(ENDPOINT, |text| url::check(text).map(|_| text.to_owned()));
        }
        self.read(BASE_ENDPOINT, |text| {
            url::check(text).map(|_| format!("{}/v1/traces", text.trim_end_matches('/')))
        })
    }

    /// Refuses unsupported protocols, compressions and client certificates.
    fn check_protocol(&mut self) {
        self.read(PROTOCOL, |text| match text {
            "http/protobuf" => Ok(()),
            _ => Err(format!(
                "\"{text}\" is not supported; set http/protobuf, and an endpoint with the collector's HTTP port, usually \
                 4318"
            )),
        });
        self.read(COMPRESSION, |text| match text {
            "none" => Ok(()),
            _ => Err(format!(
                "\"{text}\" is not supported; remove it, or set none"
            )),
        });
        for name in UNSUPPORTED {
            self.read(name, |_| -> Result<(), String> {
                Err(
                    "is not supported: koobridge sends no client certificate to a collector; remove it"
                        .to_owned(),
                )
            });
        }
    }

    /// Returns the resource's attributes. The variable for the service's name overrides the attribute.
    fn resource(&mut self) -> Vec<(String, String)> {
        let mut attributes = self.read(RESOURCE, pairs).unwrap_or_default();
        let name = self.variable(SERVICE_NAME).map(|(_, name)| name.to_owned());
        let has = |attributes: &[(String, String)], wanted: &str| {
            attributes.iter().any(|(name, _)| name == wanted)
        };
        match name {
            Some(name) => {
                attributes.retain(|(name, _)| name != "service.name");
                attributes.push(("service.name".to_owned(), name));
            }
            None if has(&attributes, "service.name") => {}
            None => attributes.push(("service.name".to_owned(), "koobridge".to_owned())),
        }
        if !has(&attributes, "service.version") {
            let version = env!("CARGO_PKG_VERSION").to_owned();
            attributes.push(("service.version".to_owned(), version));
        }
        attributes
    }

    /// Returns the sampler. The key overrides the variable.
    fn sampler(&mut self, ratio: Option<f64>) -> Option<Sampler> {
        let by_key = Sampler {
            follows_parent: true,
            ratio: ratio?,
        };
        let is_set = !self.settings.source_of("traces.sample_ratio").is_empty();
        if is_set || self.variable(SAMPLER).is_none() {
            return Some(by_key);
        }
        let (follows_parent, ratio) = self.read(SAMPLER, |text| parse::one_of(text, SAMPLERS))?;
        let ratio = match ratio {
            Some(ratio) => ratio,
            None if self.variable(SAMPLER_ARG).is_none() => 1.0,
            None => self.read(SAMPLER_ARG, parse::ratio)?,
        };
        Some(Sampler {
            follows_parent,
            ratio,
        })
    }

    fn queue(&mut self) -> SpanQueue {
        let limit = |text: &str| parse::number(text, &SPANS);
        let limit = self.read(QUEUE, limit).unwrap_or(2048);
        let batch = |text: &str| parse::number(text, &BATCH_SPANS);
        let batch = self.read(BATCH, batch);
        if batch.is_some_and(|batch| batch > limit) {
            let problem =
                format!("is more than OTEL_BSP_MAX_QUEUE_SIZE, which is {limit}; lower it");
            self.variable_error(BATCH[0], problem);
        }
        SpanQueue {
            limit,
            batch: batch.unwrap_or(512).min(limit),
            delay: self.read(DELAY, time).unwrap_or(Duration::from_secs(5)),
        }
    }

    /// Returns the first of these variables that is not empty.
    fn variable(&self, names: &[&'static str]) -> Option<(&'static str, &str)> {
        let values = &self.settings.opentelemetry;
        let mut set = names
            .iter()
            .filter_map(|name| Some((*name, values.get(*name)?.trim())));
        set.find(|(_, value)| !value.is_empty())
    }

    /// Reads the first of these variables that is not empty.
    fn read<T>(
        &mut self,
        names: &[&'static str],
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let (name, value) = self.variable(names)?;
        match parse(value) {
            Ok(value) => Some(value),
            Err(problem) => {
                self.variable_error(name, problem);
                None
            }
        }
    }
}

/// For each sampler, whether it follows its parent, and its ratio; `None` if the ratio is the sampler's argument.
const SAMPLERS: &[(&str, (bool, Option<f64>))] = &[
    ("always_on", (false, Some(1.0))),
    ("always_off", (false, Some(0.0))),
    ("traceidratio", (false, None)),
    ("parentbased_always_on", (true, Some(1.0))),
    ("parentbased_always_off", (true, Some(0.0))),
    ("parentbased_traceidratio", (true, None)),
];

fn boolean(text: &str) -> Result<bool, String> {
    parse::boolean(&text.to_ascii_lowercase())
}

fn is_none(text: &str) -> Result<bool, String> {
    parse::one_of(text, &[("otlp", false), ("none", true)])
}

fn time(text: &str) -> Result<Duration, String> {
    parse::number(text, &TIMES).map(Duration::from_millis)
}

/// Parses HTTP headers. An error does not repeat a value, because it may be a password.
fn headers(text: &str) -> Result<Vec<Property>, String> {
    let pairs = pairs(text)?;
    let is_token = |name: &str| {
        let mut bytes = name.bytes();
        bytes.all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    let is_value = |value: &str| value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if pairs
        .iter()
        .all(|(name, value)| is_token(name) && is_value(value))
    {
        let property = |(name, value)| Property {
            name,
            value,
            is_secret: true,
        };
        Ok(pairs.into_iter().map(property).collect())
    } else {
        Err("contains a name or value that is not valid in an HTTP header".to_owned())
    }
}
