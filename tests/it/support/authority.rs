//! Certificate authorities and the certificates that they issue, as PEM files.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SerialNumber,
    date_time_ymd,
};
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// A certificate authority and the directory of its files.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    home: tempfile::TempDir,
}

impl Authority {
    pub fn new() -> Self {
        Self::named("authority")
    }

    pub fn named(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::self_signed(authority_params(name, NOW), key);
        Self::of(issuer.expect("an authority"))
    }

    /// Issues the certificate of another authority.
    pub fn issue_authority(&self, name: &str, years: [i32; 2]) -> Self {
        self.certify(authority_params(name, years))
    }

    pub fn certify(&self, authority: CertificateParams) -> Self {
        let key = KeyPair::generate().expect("a key");
        let issuer = CertifiedIssuer::signed_by(authority, key, &self.issuer);
        Self::of(issuer.expect("an authority"))
    }

    fn of(issuer: CertifiedIssuer<'static, KeyPair>) -> Self {
        let home = tempfile::tempdir().expect("a temporary directory");
        fs::write(home.path().join("ca.crt"), issuer.pem()).expect("a file");
        Self { issuer, home }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    pub fn setting(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes `NAME.crt` and `NAME.key`, a certificate for these years and its key.
    pub fn issue(&self, name: &str, serial: u64, years: [i32; 2]) {
        let mut params = params(name, years);
        params.serial_number = Some(SerialNumber::from(serial));
        let [certificate, key] = self.issue_with(&params);
        self.write(&format!("{name}.crt"), &certificate);
        self.write(&format!("{name}.key"), &key);
    }

    /// Returns a certificate that expires after `time`, and its key.
    pub fn issue_for(&self, common_name: &str, time: Duration) -> [String; 2] {
        let mut params = params(common_name, NOW);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        params.not_after = date_time_ymd(1970, 1, 1) + now.expect("a clock after 1970") + time;
        self.issue_with(&params)
    }

    fn issue_with(&self, params: &CertificateParams) -> [String; 2] {
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        [certificate.pem(), key.serialize_pem()]
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a file")
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(".new"), text).expect("a file");
        fs::rename(self.path(".new"), self.path(name)).expect("a file");
    }

    /// Returns the settings of a bridge that uses `server.crt` and `server.key`.
    pub fn settings(&self) -> [(&'static str, String); 2] {
        [
            ("ingress.tls.certificate", self.setting("server.crt")),
            ("ingress.tls.key", self.setting("server.key")),
        ]
    }

    pub fn client(&self, versions: &[&'static SupportedProtocolVersion]) -> ClientConfig {
        self.client_as(versions, None)
    }

    pub fn client_as(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        name: Option<&str>,
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).expect("an authority");
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let Some(name) = name else {
            return builder.with_no_client_auth();
        };
        let certificate = CertificateDer::from_pem_file(self.path(&format!("{name}.crt")));
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")));
        builder
            .with_client_auth_cert(vec![certificate.expect("a file")], key.expect("a file"))
            .expect("a client's certificate")
    }
}

fn params(name: &str, years: [i32; 2]) -> CertificateParams {
    let mut params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
    params.distinguished_name.push(DnType::CommonName, name);
    [params.not_before, params.not_after] = years.map(|year| date_time_ymd(year, 1, 1));
    params
}

pub fn authority_params(name: &str, years: [i32; 2]) -> CertificateParams {
    let mut params = params(name, years);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

pub const NOW: [i32; 2] = [2020, 2100];

pub fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    let settings = settings.iter();
    settings.map(|(key, value)| (*key, &**value)).collect()
}
