//! The Helm chart's manifests, checked with Kubernetes' schemas and with the program.

use koobridge::config::{Applies, KEYS};
use serde_json::{Value, json};

use crate::support::bridge::Bridge;
use crate::support::deployed::{Home, read};
use crate::support::helm::{helm, manifests, python, render, values};
use crate::support::http::{body, exchange, report};

/// The sets of values under test.
const SETS: [&str; 4] = ["standalone", "sidecar", "without-spool", "full"];

fn of_kind<'a>(manifests: &'a [Value], kind: &str) -> &'a Value {
    let found = manifests.iter().find(|manifest| manifest["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}"))
}

fn configuration(manifests: &[Value]) -> &str {
    let text = &of_kind(manifests, "ConfigMap")["data"]["koobridge.toml"];
    text.as_str().expect("text")
}

/// Returns the template of the pods.
fn pod(manifests: &[Value]) -> &Value {
    let is_workload = |manifest: &&Value| !manifest["spec"]["template"].is_null();
    let workload = manifests.iter().find(is_workload).expect("pods");
    &workload["spec"]["template"]
}

/// Returns koobridge's own container, in both forms of the chart.
fn container(manifests: &[Value]) -> &Value {
    let spec = &pod(manifests)["spec"];
    let lists = ["initContainers", "containers"].map(|list| spec[list].as_array());
    let mut containers = lists.into_iter().flatten().flatten();
    let ours = containers.find(|container| container["name"] == "koobridge");
    ours.expect("koobridge's container")
}

#[test]
fn helm_lint_passes_for_every_set_of_values() {
    for set in SETS {
        let output = helm(&["lint", "--strict", "--values", &values(set), "."]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{set}: {said}");
        let is_complaint = |line: &str| {
            ["[WARNING]", "[ERROR]"]
                .iter()
                .any(|level| line.starts_with(level))
        };
        assert!(!said.lines().any(is_complaint), "{set}: {said}");
    }
    let chart = read("deploy/helm/koobridge/Chart.yaml");
    let version = format!("\nappVersion: {}\n", env!("CARGO_PKG_VERSION"));
    assert!(chart.contains(&version), "{chart}");
}

#[test]
fn every_kubernetes_version_accepts_the_manifests() {
    let common = "NetworkPolicy PodDisruptionBudget ServiceAccount ConfigMap";
    for (set, expected) in [
        ("standalone", "Service Service StatefulSet"),
        ("sidecar", "Service Deployment"),
        ("without-spool", "Service Service StatefulSet"),
        (
            "full",
            "ConfigMap Service Service StatefulSet PodMonitor PrometheusRule",
        ),
    ] {
        let manifests = manifests(set, &[]);
        let mut kinds: Vec<&str> = manifests
            .iter()
            .filter_map(|manifest| manifest["kind"].as_str())
            .collect();
        let mut expected: Vec<&str> = common.split(' ').chain(expected.split(' ')).collect();
        kinds.sort_unstable();
        expected.sort_unstable();
        assert_eq!(kinds, expected, "{set}");
    }
}

/// Checks the limit of memory and the grace period.
#[test]
fn every_configuration_is_valid_and_fits_the_pods_limits() {
    for set in SETS {
        let manifests = manifests(set, &[]);
        let most = Home::new().check(configuration(&manifests));
        let limit = &container(&manifests)["resources"]["limits"]["memory"];
        let limit = limit.as_str().and_then(|limit| limit.strip_suffix("Mi"));
        let limit: u64 = limit.expect("a limit in Mi").parse().expect("a number");
        assert!(
            most.memory_mebibytes <= limit,
            "{set}: {most:?} of {limit} MiB"
        );
        if set == "standalone" {
            let said = format!(
                "takes at most: {} MiB for these values",
                most.memory_mebibytes
            );
            assert!(
                read("deploy/helm/koobridge/values.yaml").contains(&said),
                "{said}"
            );
        }
        let pause = &container(&manifests)["lifecycle"]["preStop"]["sleep"]["seconds"];
        let adapter = if set == "sidecar" { 30.0 } else { 0.0 };
        let needed = (pause.as_f64().expect("a pause") + adapter + most.stop_seconds).ceil();
        let grace = &pod(&manifests)["spec"]["terminationGracePeriodSeconds"];
        assert_eq!(grace.as_f64(), Some(needed), "{set}: {most:?}");
    }
}

#[test]
fn invalid_values_are_refused_with_a_message() {
    let standalone = [
        (
            "terminationGracePeriodSeconds=64",
            "terminationGracePeriodSeconds: 64 s is too short: a stop takes up to 65 s",
        ),
        (
            "config.ingress.drain_delay=5",
            "config.ingress.drain_delay: \"5\" is not a duration; write for example \"5s\"",
        ),
        (
            "config.ingress.listen=0.0.0.0:1",
            "config.ingress.listen: the chart sets it itself",
        ),
        (
            "config.spool.directory=/tmp",
            "config.spool.directory: the chart sets it itself",
        ),
        (
            "secrets.tls=",
            "secrets.tls: name a Secret with tls.crt and tls.key, or set config.ingress.plain_http",
        ),
        (
            "config.kafka.properties.bootstrap\\.servers=",
            "config.kafka.properties: give bootstrap.servers",
        ),
        (
            "spool.size=1280Mi",
            "spool.size: 1280Mi is too small: make it larger than config.spool.disk_limit and free_space together, 1280 MiB",
        ),
        ("spool.size=much", "spool.size: \"much\" is not a size"),
        (
            "ports.admin=18446",
            "ports: ingress and admin have to differ",
        ),
        (
            "extraEnv[0].name=KOOBRIDGE_INGRESS_DEADLINE",
            "extraEnv: KOOBRIDGE_INGRESS_DEADLINE: put it into config",
        ),
        // Messages of the values' schema.
        ("form=daemon", "'standalone', 'sidecar'"),
        ("replicas=3", "additional properties 'replicas' not allowed"),
        ("ports.admin=80", "minimum: got 80, want 1,024"),
        ("image.digest=sha256:1", "'sha256:1' does not match pattern"),
        ("config.ingress=null", "missing property 'ingress'"),
        (
            "labels.app\\.kubernetes\\.io/name=a",
            "at '/labels/app.kubernetes.io~1name'",
        ),
        (
            "podLabels.app\\.kubernetes\\.io/instance=a",
            "at '/podLabels/app.kubernetes.io~1instance'",
        ),
    ];
    let sidecar = [
        (
            "terminationGracePeriodSeconds=384",
            "a stop takes up to 385 s with these values",
        ),
        (
            "spool.size=1Gi",
            "spool.size: 1Gi is too small: make it larger than config.spool.disk_limit, 1024 MiB",
        ),
        (
            "sidecar.containers=null",
            "sidecar.containers: name the adapter's container",
        ),
    ];
    let standalone = standalone.map(|case| ("standalone", case));
    let sidecar = sidecar.map(|case| ("sidecar", case));
    for (set, (value, expected)) in standalone.into_iter().chain(sidecar) {
        let said = render(set, &[value]).expect_err(value);
        assert!(said.contains(expected), "{value}: {said}");
    }
    assert!(render("standalone", &["terminationGracePeriodSeconds=65"]).is_ok());
}

#[test]
fn a_change_restarts_the_pods_only_if_it_cannot_be_reloaded() {
    let template = read("deploy/helm/koobridge/templates/_config.tpl");
    let (_, block) = template
        .split_once("define \"koobridge.takenOver\" -}}\n")
        .expect("the keys");
    let (block, _) = block.split_once("\n{{- end").expect("an end");
    // These two keys change the pod's grace period.
    let restarting = ["ingress.deadline", "ingress.head_timeout"];
    let keys = KEYS.iter().filter(|key| key.applies != Applies::Start);
    let keys = keys.map(|key| key.name);
    let keys: Vec<&str> = keys.filter(|name| !restarting.contains(name)).collect();
    assert_eq!(block.lines().collect::<Vec<_>>(), keys);

    let pod = |change: &[&str]| pod(&manifests("standalone", change)).to_string();
    let before = pod(&[]);
    let taken_over = ["config.ingress.body_timeout=1s", "config.log.reports=true"];
    assert_eq!(before, pod(&taken_over));
    assert_ne!(before, pod(&["config.ingress.workers=3"]));
    for key in restarting {
        assert_ne!(before, pod(&[&format!("config.{key}=6s")]), "{key}");
    }
}

#[test]
fn a_sidecar_restricts_only_itself_and_stops_after_the_adapter() {
    let plain = manifests("sidecar", &[]);
    let spec = &pod(&plain)["spec"];
    // A security context of the pod would apply to the adapter too, whose image may have to run as root.
    assert_eq!(
        spec["securityContext"],
        json!({ "fsGroup": 10001, "fsGroupChangePolicy": "OnRootMismatch" })
    );
    let [adapter] = &spec["containers"].as_array().expect("containers")[..] else {
        panic!("one adapter: {spec}");
    };
    let koobridge = container(&plain);
    assert_eq!(koobridge["restartPolicy"], "Always");
    assert_eq!(koobridge["securityContext"]["runAsNonRoot"], true);
    // When its adapter has ended, a pod is no longer ready.
    assert_eq!(adapter["lifecycle"], koobridge["lifecycle"]);
    // A limit of ephemeral-storage would count the adapter's files too.
    let requests = json!({ "cpu": "250m", "memory": "384Mi", "ephemeral-storage": "1536Mi" });
    let resources = json!({ "requests": requests, "limits": { "memory": "384Mi" } });
    assert_eq!(koobridge["resources"], resources);

    let container = ["name=a", "image=a", "lifecycle.preStop.exec.command={sync}"];
    let container = container.map(|value| format!("sidecar.containers[0].{value}"));
    let paused = manifests("sidecar", &container.each_ref().map(String::as_str));
    let own = json!({ "preStop": { "exec": { "command": ["sync"] } } });
    assert_eq!(pod(&paused)["spec"]["containers"][0]["lifecycle"], own);
}

#[test]
fn services_target_a_sidecars_ports_by_number() {
    for (set, expected) in [("standalone", &[18446, 18447][..]), ("sidecar", &[18446])] {
        let manifests = manifests(set, &[]);
        let services = manifests
            .iter()
            .filter(|manifest| manifest["kind"] == "Service");
        let ports: Vec<&Value> = services
            .map(|service| &service["spec"]["ports"][0]["targetPort"])
            .collect();
        assert_eq!(ports, expected.iter().collect::<Vec<_>>(), "{set}");
    }
}

/// Kubernetes refuses a deadline that is not longer.
#[test]
fn the_progress_deadline_is_longer_than_min_ready_seconds() {
    for (ready, deadline) in [(0, 600), (900, 1500)] {
        let manifests = manifests("sidecar", &[&format!("minReadySeconds={ready}")]);
        let spec = &of_kind(&manifests, "Deployment")["spec"];
        assert_eq!(spec["minReadySeconds"], ready);
        assert_eq!(spec["progressDeadlineSeconds"], deadline);
    }
}

/// Helm parses the numbers in a values file as floating-point numbers.
#[test]
fn a_large_user_id_stays_an_integer() {
    let manifests = manifests("full", &[]);
    let koobridge = &container(&manifests)["securityContext"];
    let users = [&koobridge["runAsUser"], &koobridge["runAsGroup"]];
    let group = &pod(&manifests)["spec"]["securityContext"]["fsGroup"];
    for user in [users[0], users[1], group] {
        assert_eq!(user.as_u64(), Some(1_000_720_000), "{user}");
    }
}

#[test]
fn labels_of_a_part_override_the_common_ones() {
    let manifests = manifests("full", &[]);
    let team = |kind: &str| &of_kind(&manifests, kind)["metadata"]["labels"]["team"];
    assert_eq!(team("StatefulSet"), "messaging");
    assert_eq!(team("PodMonitor"), "monitoring");
    assert_eq!(team("PrometheusRule"), "monitoring");
    assert_eq!(pod(&manifests)["metadata"]["labels"]["team"], "bridge");
}

#[test]
fn the_rule_has_the_tested_alerts() {
    let parse = "import json, sys, yaml; print(json.dumps(yaml.safe_load(sys.stdin)))";
    let mut alerts = python(&["-c", parse], &read("deploy/prometheus/alerts.yml"));
    let rules = alerts["groups"][0]["rules"].as_array_mut().expect("rules");
    rules.retain(|rule| rule["alert"] != "KoobridgeNoReports");
    assert!(rules.len() > 20);
    let manifests = manifests("full", &[]);
    assert_eq!(of_kind(&manifests, "PrometheusRule")["spec"], alerts);
}

#[test]
fn the_dashboard_is_the_one_of_docker_compose() {
    let manifests = manifests("full", &[]);
    let mut texts = manifests
        .iter()
        .filter_map(|manifest| manifest["data"]["koobridge.json"].as_str());
    let text = texts.next().expect("a dashboard");
    // assert_eq would print the whole dashboard.
    assert!(text.trim_end() == read("deploy/grafana/koobridge.json").trim_end());
}

#[test]
fn with_ipv6_enabled_both_address_families_work() {
    let manifests = manifests("full", &[]);
    for listen in ["listen = \"[::]:18446\"", "listen = \"[::]:18447\""] {
        assert!(configuration(&manifests).contains(listen));
    }
    let services = manifests
        .iter()
        .filter(|manifest| manifest["kind"] == "Service");
    let policies: Vec<&Value> = services
        .map(|service| &service["spec"]["ipFamilyPolicy"])
        .collect();
    assert_eq!(policies, ["PreferDualStack", "PreferDualStack"]);

    let settings = [
        ("ingress.listen", "[::]:0"),
        ("ingress.plain_http", "true"),
        ("admin.listen", "[::]:0"),
    ];
    let bridge = Bridge::start("127.0.0.1:1", "events", "rejected", &settings);
    for host in ["127.0.0.1", "::1"] {
        let address =
            |port: u16| (host.parse::<std::net::IpAddr>().expect("an address"), port).into();
        let sent = exchange(address(bridge.ingress.port()), &report(&body("m1", "read")));
        assert_eq!(sent.status, 503, "{host}: an answer, without Kafka");
        let probe = b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert_eq!(
            exchange(address(bridge.admin.port()), probe).status,
            200,
            "{host}"
        );
    }
}
