//! The private key of the ingress.

use std::path::Path;
use std::sync::Arc;

use tokio_rustls::rustls::crypto::ring::sign;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::rustls::sign::SigningKey;

use super::algorithm::Algorithm;
use crate::certificates::pem::{self, Block, Content};
use crate::certificates::problems::Problems;

/// Reads the first private key of a file.
pub(super) fn read(path: &Path, problems: &mut Problems) -> Option<Arc<dyn SigningKey>> {
    let errors = problems.errors.len();
    let blocks = pem::read(path, Content::PrivateKey, problems);
    if problems.errors.len() > errors {
        return None;
    }
    let keys: Vec<&Block> = blocks
        .iter()
        .filter(|block| block.is_private_key())
        .collect();
    if keys.len() > 1 {
        let problem = format!(
            "holds {} private keys, but only the first is read",
            keys.len()
        );
        problems.warn(path, format!("{problem}; keep only the certificate's key"));
    }
    let loaded = match keys.first() {
        Some(block) => load(block, path),
        None => Err(format!(
            "holds a {} block but no private key; set ingress.tls.key to the key's file",
            blocks[0].label
        )),
    };
    loaded.map_err(|problem| problems.error(path, problem)).ok()
}

fn load(block: &Block, path: &Path) -> Result<Arc<dyn SigningKey>, String> {
    let Block { line, label, .. } = block;
    if block.is_encrypted() {
        let path = path.display();
        return Err(format!(
            "line {line}: the private key is encrypted; decrypt it: \
             openssl pkey -in {path} -out NEW"
        ));
    }
    let Some(key) = block.private_key() else {
        return Err(format!(
            "line {line}: the {label} block can't be read; convert the key to PKCS#8 (BEGIN PRIVATE KEY)"
        ));
    };
    sign::any_supported_type(&key).map_err(|_| unusable(&key))
}

fn unusable(key: &PrivateKeyDer<'_>) -> String {
    let problem = match Algorithm::of_private(key) {
        Ok(algorithm) => format!("{algorithm} is not supported"),
        Err(_) => "it is damaged".to_owned(),
    };
    format!(
        "its private key can't sign: {problem}; use a key of P-256, P-384, Ed25519, or RSA with 2048, 3072 or 4096 bits, \
         and a certificate for it"
    )
}
