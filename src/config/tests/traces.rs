//! The configuration of traces by the section and by OpenTelemetry's variables.

use super::*;

const KEY: &str = "[traces]\nendpoint = \"http://key:4318/v1/traces\"\n";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
const BASE: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Returns a case with variables.
fn case(text: &str, variables: &[(&str, &str)]) -> Case {
    variables
        .iter()
        .fold(Case::minimal(text), |case, (name, value)| {
            case.variable(name, value)
        })
}

#[cfg(not(feature = "traces"))]
#[test]
fn a_build_without_traces_refuses_an_endpoint() {
    let problem = "this build of koobridge does not support traces; build it with the feature traces, or remove the endpoint";
    let errors = case(KEY, &[]).errors();
    assert_eq!(errors, [format!("k.toml:6: traces.endpoint: {problem}")]);
    let errors = case("", &[(BASE, "http://c:4318")]).errors();
    assert_eq!(errors, [format!("{BASE}: {problem}")]);
    assert!(case("", &[]).config().traces.is_none());
}

#[test]
fn there_are_no_traces_without_an_endpoint() {
    for variables in [
        &[][..],
        &[(BASE, ""), (ENDPOINT, " ")],
        &[
            ("OTEL_SERVICE_NAME", "bridge"),
            ("OTEL_TRACES_SAMPLER", "nonsense"),
        ],
    ] {
        let case = case("[traces]\nsample_ratio = 0.5\n", variables);
        assert!(case.config().traces.is_none(), "{variables:?}");
    }
}

#[test]
fn opentelemetrys_variables_can_turn_traces_off() {
    for off in [
        ("OTEL_SDK_DISABLED", "TRUE"),
        ("OTEL_TRACES_EXPORTER", "none"),
    ] {
        let unread = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        assert!(case(KEY, &[off, unread]).config().traces.is_none());
    }
}

#[cfg(feature = "traces")]
mod on {
    use super::*;
    use std::time::Duration;

    fn traces(text: &str, variables: &[(&str, &str)]) -> Traces {
        let traces = case(text, variables).config().traces;
        traces.expect("traces")
    }

    #[test]
    fn the_key_overrides_the_variables_and_the_traces_variable_the_general_one() {
        let traces_variable = (ENDPOINT, "https://traces/");
        let base = (BASE, "http://base:4318");
        for (text, variables, endpoint) in [
            (
                KEY,
                &[traces_variable, base][..],
                "http://key:4318/v1/traces",
            ),
            ("", &[base, traces_variable], "https://traces/"),
            ("", &[base], "http://base:4318/v1/traces"),
            (
                "",
                &[(BASE, "http://[::1]:4318/otel/")],
                "http://[::1]:4318/otel/v1/traces",
            ),
            ("", &[base, (ENDPOINT, "")], "http://base:4318/v1/traces"),
        ] {
            assert_eq!(traces(text, variables).endpoint, endpoint);
        }
    }

    #[test]
    fn the_defaults_are_those_of_opentelemetry() {
        let traces = traces(KEY, &[("OTEL_SDK_DISABLED", "false")]);
        assert!(traces.headers.is_empty());
        assert_eq!(traces.timeout, Duration::from_secs(10));
        assert_eq!(traces.certificate, None);
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            traces.resource,
            [("service.name", "koobridge"), ("service.version", version)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let sampler = Sampler {
            follows_parent: true,
            ratio: 1.0,
        };
        assert_eq!(traces.sampler, sampler);
        let queue = SpanQueue {
            limit: 2048,
            batch: 512,
            delay: Duration::from_secs(5),
        };
        assert_eq!(traces.queue, queue);
    }

    #[test]
    fn every_variable_is_read() {
        let traces = traces(
            "",
            &[
                (BASE, "http://c:4318"),
                ("OTEL_TRACES_EXPORTER", "otlp"),
                ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
                ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
                (
                    "OTEL_EXPORTER_OTLP_HEADERS",
                    "api-key=s3%20cret, X-Scope-OrgID = one ,",
                ),
                ("OTEL_EXPORTER_OTLP_TIMEOUT", "3000"),
                ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
                ("OTEL_SERVICE_NAME", "bridge"),
                (
                    "OTEL_RESOURCE_ATTRIBUTES",
                    "service.name=other,service.version=7,k8s.pod.name=a%2Cb",
                ),
                ("OTEL_TRACES_SAMPLER", "traceidratio"),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
                ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
                ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50"),
                ("OTEL_BSP_SCHEDULE_DELAY", "200"),
                ("OTEL_BSP_EXPORT_TIMEOUT", "2000"),
            ],
        );
        let headers = traces.headers.iter();
        let headers: Vec<_> = headers
            .map(|header| (&*header.name, &*header.value))
            .collect();
        assert_eq!(headers, [("api-key", "s3 cret"), ("X-Scope-OrgID", "one")]);
        assert_eq!(traces.timeout, Duration::from_secs(2));
        assert_eq!(traces.certificate, Some("/etc/ca.pem".into()));
        assert_eq!(
            traces.resource,
            [
                ("service.version", "7"),
                ("k8s.pod.name", "a,b"),
                ("service.name", "bridge")
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
        );
        let sampler = Sampler {
            follows_parent: false,
            ratio: 0.25,
        };
        assert_eq!(traces.sampler, sampler);
        let queue = SpanQueue {
            limit: 100,
            batch: 50,
            delay: Duration::from_millis(200),
        };
        assert_eq!(traces.queue, queue);
    }

    #[test]
    fn no_secret_is_shown() {
        let headers = ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=s3cret");
        let shown = format!("{:?}", traces(KEY, &[headers]));
        assert!(
            shown.contains("api-key") && !shown.contains("s3cret"),
            "{shown}"
        );
        let case = case(
            "[traces]\nendpoint = \"http://u:s3cret@c/v1/traces\"\n",
            &[],
        );
        assert!(!case.print().contains("s3cret"));
    }

    #[test]
    fn samplers_have_opentelemetrys_names() {
        for (name, argument, follows_parent, ratio) in [
            ("always_on", "0.5", false, 1.0),
            ("always_off", "", false, 0.0),
            ("traceidratio", "", false, 1.0),
            ("parentbased_always_on", "", true, 1.0),
            ("parentbased_always_off", "", true, 0.0),
            ("parentbased_traceidratio", "0.5", true, 0.5),
        ] {
            let variables = [
                ("OTEL_TRACES_SAMPLER", name),
                ("OTEL_TRACES_SAMPLER_ARG", argument),
            ];
            let sampler = Sampler {
                follows_parent,
                ratio,
            };
            assert_eq!(traces(KEY, &variables).sampler, sampler, "{name}");
        }
        let ignored = [("OTEL_TRACES_SAMPLER", "always_off")];
        let sampler = Sampler {
            follows_parent: true,
            ratio: 0.125,
        };
        let text = format!("{KEY}sample_ratio = 0.125\n");
        assert_eq!(traces(&text, &ignored).sampler, sampler);
    }

    #[test]
    fn an_endpoint_has_only_a_host_and_a_path() {
        let no_url = "is not a URL; write for example \"http://collector:4318/v1/traces\"";
        for (text, problem) in [
            ("http://::1/", no_url),
            ("http://[::g]:4318/", no_url),
            ("http://a{b}/", no_url),
            (
                "http://c/?key=s3cret",
                "contains a query; set its values in OTEL_EXPORTER_OTLP_HEADERS",
            ),
        ] {
            let errors = case("", &[(ENDPOINT, text)]).errors();
            assert_eq!(errors, [format!("{ENDPOINT}: {problem}")]);
        }
    }

    #[test]
    fn each_wrong_variable_has_its_own_message_without_secrets() {
        let list = "is not a list of the form name=value,name=value with percent-encoded values";
        let example = "write for example \"http://collector:4318/v1/traces\"";
        let certificate =
            "is not supported: koobridge sends no client certificate to a collector; remove it";
        for (name, value, problem) in [
            (
                "OTEL_SDK_DISABLED",
                "yes",
                "\"yes\" is neither true nor false",
            ),
            (
                "OTEL_TRACES_EXPORTER",
                "console",
                "\"console\" is not one of otlp, none",
            ),
            (
                ENDPOINT,
                "collector:4318",
                &*format!("is not a URL that starts with http:// or https://; {example}"),
            ),
            (BASE, "http://c:port", &format!("is not a URL; {example}")),
            (BASE, "http://", &format!("is not a URL; {example}")),
            (ENDPOINT, "http://c/#a", &format!("is not a URL; {example}")),
            (
                ENDPOINT,
                "http://u:s3cret@c/",
                "contains a password; set it in OTEL_EXPORTER_OTLP_HEADERS",
            ),
            (
                "OTEL_EXPORTER_OTLP_PROTOCOL",
                "grpc",
                "\"grpc\" is not supported; set http/protobuf, and an endpoint with the collector's HTTP port, usually 4318",
            ),
            (
                "OTEL_EXPORTER_OTLP_COMPRESSION",
                "gzip",
                "\"gzip\" is not supported; remove it, or set none",
            ),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key.pem", certificate),
            (
                "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
                "/c.pem",
                certificate,
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "s3cret", list),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%zz", list),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "a=s3cret%0a",
                "contains a name or value that is not valid in an HTTP header",
            ),
            (
                "OTEL_EXPORTER_OTLP_HEADERS",
                "a b=s3cret",
                "contains a name or value that is not valid in an HTTP header",
            ),
            (
                "OTEL_EXPORTER_OTLP_TIMEOUT",
                "10s",
                "\"10s\" is not a whole number from 10 to 600000",
            ),
            ("OTEL_RESOURCE_ATTRIBUTES", "=b", list),
            (
                "OTEL_TRACES_SAMPLER",
                "jaeger_remote",
                "\"jaeger_remote\" is not one of always_on, always_off, traceidratio, parentbased_always_on, \
                 parentbased_always_off, parentbased_traceidratio",
            ),
            (
                "OTEL_BSP_MAX_QUEUE_SIZE",
                "0",
                "\"0\" is not a whole number from 1 to 1000000",
            ),
            (
                "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
                "4096",
                "is more than OTEL_BSP_MAX_QUEUE_SIZE, which is 2048; lower it",
            ),
            (
                "OTEL_BSP_SCHEDULE_DELAY",
                "0",
                "\"0\" is not a whole number from 10 to 600000",
            ),
            (
                "OTEL_BSP_EXPORT_TIMEOUT",
                "-1",
                "\"-1\" is not a whole number from 10 to 600000",
            ),
        ] {
            let is_endpoint = [ENDPOINT, BASE].contains(&name);
            let text = if is_endpoint { "" } else { KEY };
            let errors = case(text, &[(name, value)]).errors();
            assert_eq!(errors, [format!("{name}: {problem}")]);
        }
        let sampler = ("OTEL_TRACES_SAMPLER", "traceidratio");
        let errors = case(KEY, &[sampler, ("OTEL_TRACES_SAMPLER_ARG", "2")]).errors();
        let problem = "OTEL_TRACES_SAMPLER_ARG: \"2\" is not a number from 0 to 1";
        assert_eq!(errors, [problem]);
    }

    #[test]
    fn each_wrong_key_has_its_own_message() {
        let text = "[traces]\nendpoint = \"http://c:4318\"\nsample_ratio = nan\n";
        assert_eq!(
            case(text, &[]).errors(),
            [
                "k.toml:7: traces.sample_ratio: \"nan\" is not a number from 0 to 1",
                "k.toml:6: traces.endpoint: has no path; write for example \
                 \"http://collector:4318/v1/traces\"",
            ]
        );
    }
}
