//! Helm, the manifests that it renders from the chart, and their validation by Kubernetes' schemas.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::{Value, json};

const CHART: &str = "deploy/helm/koobridge";
/// The Kubernetes versions for which every manifest must be valid.
const VERSIONS: [&str; 7] = ["1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];
/// Helm's warning about the alerts and the dashboard, which are links to the files of Prometheus and Grafana.
const LINK_WARNING: &str = "found symbolic link in path";

/// The directory into which `tests/chart/tools` installs them.
static TOOLS: LazyLock<PathBuf> = LazyLock::new(|| {
    let status = Command::new(file("tests/chart/tools")).status();
    assert!(status.expect("bash").success(), "tests/chart/tools");
    file("target/chart")
});

fn file(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub fn values(set: &str) -> String {
    format!("ci/{set}-values.yaml")
}

pub fn helm(arguments: &[&str]) -> Output {
    let mut helm = Command::new(TOOLS.join("bin/helm"));
    helm.args(arguments).current_dir(file(CHART));
    helm.output().expect("helm starts")
}

/// Renders the chart with a file of values and more arguments; returns Helm's message when that fails.
pub fn render(set: &str, more: &[&str]) -> Result<String, String> {
    let values = values(set);
    let mut arguments = vec!["template", "bridge", ".", "--namespace", "shop"];
    arguments.extend(["--kube-version", VERSIONS[0], "--values", &*values]);
    arguments.extend(more.iter().flat_map(|value| ["--set", *value]));
    let output = helm(&arguments);
    let said = String::from_utf8(output.stderr).expect("text");
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).expect("text"))
    } else {
        let lines = said.lines().filter(|line| !line.contains(LINK_WARNING));
        Err(lines.collect::<Vec<_>>().join("\n"))
    }
}

/// Runs a Python program with `text` as its input.
pub fn python(arguments: &[&str], text: &str) -> Value {
    let mut python = Command::new(TOOLS.join("venv/bin/python"));
    python
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    python.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = python.stderr(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    // The program reads all input before it writes.
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Renders the chart and returns its manifests, each of which is valid for every version of Kubernetes.
pub fn manifests(set: &str, more: &[&str]) -> Vec<Value> {
    let text = render(set, more).unwrap_or_else(|error| panic!("{set}: {error}"));
    let mut seen = python(&["tests/chart/manifests.py"], &text);
    assert_eq!(seen["versions"], json!(VERSIONS));
    serde_json::from_value(seen["documents"].take()).expect("documents")
}
