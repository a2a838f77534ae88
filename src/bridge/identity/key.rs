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
            "holds {} private keys, and only the first counts",
            keys.len()
        );
        problems.warn(
            path,
            format!("{problem}; leave the certificate's key there alone"),
        );
    }
    let loaded = match keys.first() {
        Some(block) => load(block, path),
        None => Err(format!(
            "holds no private key, but a block of the kind {}; is it another file that ingress.tls.key should name?",
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
            "line {line}: the private key is encrypted, and can't be read without its passphrase; decrypt it: \
             openssl pkey -in {path} -out NEW"
        ));
    }
    let Some(key) = block.private_key() else {
        return Err(format!(
            "line {line}: the {label} block can't be read; write the key in PKCS#8 (BEGIN PRIVATE KEY)"
        ));
    };
    sign::any_supported_type(&key).map_err(|_| unusable(&key))
}

fn unusable(key: &PrivateKeyDer<'_>) -> String {
    let what = match Algorithm::of_private(key) {
        Ok(algorithm) => format!("{algorithm} can't be used"),
        Err(_) => "it is damaged".to_owned(),
    };
    format!(
        "its private key can't sign: {what}; take a key of P-256, P-384, Ed25519, or RSA with 2048, 3072 or 4096 bits, \
         and a certificate for it"
    )
}
