//! A self-signed certificate of the server, which the load trusts.

use std::fs;
use std::path::Path;

use rcgen::generate_simple_self_signed;
use tempfile::TempDir;

pub struct Certificate {
    /// The paths of the files, which are deleted with the directory.
    files: [String; 2],
    _directory: TempDir,
}

impl Certificate {
    /// Generates a certificate with rcgen's default key, ECDSA on P-256.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let issued = generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let texts = [issued.cert.pem(), issued.signing_key.serialize_pem()];
        let files = ["tls.crt", "tls.key"].map(|name| directory.path().join(name));
        for (file, text) in files.iter().zip(texts) {
            fs::write(file, text).expect("a file");
        }
        Self {
            files: files.map(|file| file.display().to_string()),
            _directory: directory,
        }
    }

    pub fn path(&self) -> &Path {
        Path::new(&self.files[0])
    }

    /// Returns the settings for a bridge to use it.
    pub fn settings(&self) -> [(&str, &str); 2] {
        let [certificate, key] = &self.files;
        [
            ("ingress.tls.certificate", certificate),
            ("ingress.tls.key", key),
        ]
    }
}
