//! The brokers' listeners with TLS, certificates or passwords, and the settings of clients that use them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::authority::{Authority, NOW};
use crate::support::cluster::{self, Exclusive};

/// The user of the listener with SASL and without TLS.
pub const SASL_USER: &str = "bridge";
pub const SASL_PASSWORD: &str = "bridge-secret";
/// A second user of that listener with the same password, by PLAIN only, without any right.
pub const STRANGER: &str = "stranger";
/// The user of the listener with SASL and TLS, with the same password and every right.
pub const TLS_USER: &str = "bridge-over-tls";
/// The common name in the certificate of a client with every right.
pub const COMMON_NAME: &str = "koobridge";
/// Files in a broker's directory: its certificate with its key, and the authority of its clients.
pub const KEYSTORE: &str = "keystore.pem";
pub const TRUSTSTORE: &str = "truststore.pem";

/// The authority of the brokers' and the clients' certificates.
pub static AUTHORITY: LazyLock<Authority> = LazyLock::new(|| {
    let authority = Authority::named("Kafka");
    authority.issue("broker", 1, NOW);
    authority
});

/// A listener of each broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    /// A password over plain TCP.
    Sasl,
    /// TLS with the broker's certificate only.
    Tls,
    /// TLS with a certificate of the client too.
    MutualTls,
    /// A password over TLS.
    SaslTls,
}

/// A client's setting: its key and its value.
pub type Setting = (&'static str, String);

/// The settings of [`SASL_USER`].
pub const LOGIN: [(&str, &str); 4] = login("SCRAM-SHA-256", SASL_USER, SASL_PASSWORD);

/// Returns the settings of a client with a password, over plain TCP.
pub const fn login<'a>(
    mechanism: &'a str,
    user: &'a str,
    password: &'a str,
) -> [(&'static str, &'a str); 4] {
    [
        (PROTOCOL, "sasl_plaintext"),
        (MECHANISM, mechanism),
        (USER, user),
        (PASSWORD, password),
    ]
}

const PROTOCOL: &str = "kafka.properties.security.protocol";
const MECHANISM: &str = "kafka.properties.sasl.mechanism";
const USER: &str = "kafka.properties.sasl.username";
pub const PASSWORD: &str = "kafka.properties.sasl.password";
const CA: &str = "kafka.properties.ssl.ca.location";
const CERTIFICATE: &str = "kafka.properties.ssl.certificate.location";
const KEY: &str = "kafka.properties.ssl.key.location";

/// Writes a broker's TLS files into its directory.
pub fn write_broker_files(directory: &Path) {
    let keystore = AUTHORITY.read("broker.key") + &AUTHORITY.read("broker.crt");
    fs::write(directory.join(KEYSTORE), keystore).expect("the broker's directory is writable");
    fs::copy(AUTHORITY.path("ca.crt"), directory.join(TRUSTSTORE)).expect("so it is");
}

/// The validity of a certificate that causes no warning about its expiry.
pub const FRESH: Duration = Duration::from_hours(100 * 24);

/// The files that a client's settings name.
pub struct ClientFiles {
    security: Security,
    home: TempDir,
}

impl ClientFiles {
    /// Writes the files that a client of this listener needs. Its certificate is [`FRESH`].
    pub fn new(security: Security) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        let files = Self { security, home };
        files.write("ca.crt", &AUTHORITY.read("ca.crt"));
        match security {
            Security::MutualTls => files.renew_certificate(FRESH),
            Security::Sasl | Security::SaslTls => files.write("password", SASL_PASSWORD),
            Security::Tls => {}
        }
        files
    }

    /// Returns the client's settings.
    pub fn settings(&self) -> Vec<Setting> {
        let path = |name| self.path(name).display().to_string();
        let protocol = match self.security {
            Security::Sasl => "sasl_plaintext",
            Security::Tls | Security::MutualTls => "ssl",
            Security::SaslTls => "sasl_ssl",
        };
        let mut settings = vec![(PROTOCOL, protocol.to_owned())];
        if self.security != Security::Sasl {
            settings.push((CA, path("ca.crt")));
        }
        if self.security == Security::MutualTls {
            settings.extend([(CERTIFICATE, path("client.crt")), (KEY, path("client.key"))]);
        }
        if let Some((mechanism, user)) = self.security.user() {
            settings.extend([(MECHANISM, mechanism.to_owned()), (USER, user.to_owned())]);
            let password = format!("{{ from_file = \"{}\" }}", path("password"));
            settings.push((PASSWORD, password));
        }
        settings
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Replaces a file atomically.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(".new"), text).expect("a file");
        fs::rename(self.path(".new"), self.path(name)).expect("a file");
    }

    /// Replaces the certificate and its key by new ones that are valid for `time`.
    pub fn renew_certificate(&self, time: Duration) {
        let [certificate, key] = AUTHORITY.issue_for(COMMON_NAME, time);
        self.write("client.key", &key);
        self.write("client.crt", &certificate);
    }
}

impl Security {
    /// Returns the client's SASL mechanism and user.
    fn user(self) -> Option<(&'static str, &'static str)> {
        match self {
            Self::Sasl => Some(("SCRAM-SHA-256", SASL_USER)),
            Self::SaslTls => Some(("SCRAM-SHA-512", TLS_USER)),
            Self::Tls | Self::MutualTls => None,
        }
    }
}

/// Changes the password of this listener's user.
pub fn set_password(kafka: &Exclusive, security: Security, password: &str) {
    let (mechanism, user) = security.user().expect("a way with a password");
    let output = Command::new("java")
        .args(["-XX:TieredStopAtLevel=1", "-cp"])
        .arg(cluster::jars().join("*"))
        .arg("kafka.admin.ConfigCommand")
        .args(["--bootstrap-server", kafka.bootstrap()])
        .args(["--alter", "--entity-type", "users", "--entity-name", user])
        .args([
            "--add-config",
            &format!("{mechanism}=[password={password}]"),
        ])
        .output()
        .expect("Java runs");
    assert!(output.status.success(), "{output:?}");
}
