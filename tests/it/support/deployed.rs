//! The files of `deploy/`, and the program's check of a configuration in them.

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::bridge::{koobridge, run};

/// Reads a file of the checkout.
pub fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A directory in place of `/etc/koobridge`, with the secrets that the configurations name.
pub struct Home(TempDir);

/// The limits that follow from a configuration.
#[derive(Debug)]
pub struct Bounds {
    pub memory_mebibytes: u64,
    /// Time from SIGTERM to the end of the process.
    pub stop_seconds: f64,
}

impl Home {
    pub fn new() -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        for directory in ["channels", "kafka", "tls"] {
            fs::create_dir(home.path().join(directory)).expect("a directory");
        }
        for secret in ["kafka/password", "kafka-password"] {
            fs::write(home.path().join(secret), "secret").expect("a file");
        }
        Self(home)
    }

    /// Checks a configuration with the program, which must find no mistake, and returns its limits.
    pub fn check(&self, text: &str) -> Bounds {
        let directory = format!("{}/", self.0.path().display());
        let file = self.0.path().join("koobridge.toml");
        fs::write(&file, text.replace("/etc/koobridge/", &directory)).expect("a file");
        let output = run(koobridge()
            .args(["serve", "--print-config", "--config"])
            .arg(&file));
        let said = String::from_utf8(output.stderr).expect("text");
        assert_eq!((output.status.code(), &*said), (Some(0), ""), "{text}");
        let shown = String::from_utf8(output.stdout).expect("text");
        let stop: f64 = between(&shown, "# Maximum shutdown time: ", " s, and ");
        let stuck: f64 = between(&shown, " s, and ", " s more");
        Bounds {
            memory_mebibytes: between(&shown, "# Maximum memory: ", " MiB"),
            stop_seconds: stop + stuck,
        }
    }
}

fn between<T: std::str::FromStr>(text: &str, before: &str, after: &str) -> T {
    let (_, text) = text.split_once(before).expect(before);
    let (number, _) = text.split_once(after).expect(after);
    number.parse().ok().expect("a number")
}
