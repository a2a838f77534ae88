//! The algorithms of keys, and their usual names.

use std::fmt;

use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use x509_cert::der::asn1::{
    AnyRef, BitStringRef, ContextSpecific, ObjectIdentifier, OctetStringRef, UintRef,
};
use x509_cert::der::{self, Decode as _, SliceReader, TagNumber};
use x509_cert::spki::AlgorithmIdentifierRef;

const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P_256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P_384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const NAMES: [(&str, ObjectIdentifier); 8] = [
    ("P-256", P_256),
    ("P-384", P_384),
    ("P-521", ObjectIdentifier::new_unwrap("1.3.132.0.35")),
    ("secp256k1", ObjectIdentifier::new_unwrap("1.3.132.0.10")),
    ("Ed25519", ED25519),
    ("Ed448", ObjectIdentifier::new_unwrap("1.3.101.113")),
    (
        "RSASSA-PSS",
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10"),
    ),
    ("DSA", ObjectIdentifier::new_unwrap("1.2.840.10040.4.1")),
];

/// The algorithm of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    /// RSA, with the size of the modulus in bits.
    Rsa(usize),
    /// A curve, or another algorithm whose keys have one size.
    Named(ObjectIdentifier),
}

impl Algorithm {
    /// Returns the algorithm of a public key, given as the content of a `SubjectPublicKeyInfo`.
    pub(super) fn of_public(content: &[u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(content)?;
        let identifier = AlgorithmIdentifierRef::decode(&mut reader)?;
        let key = BitStringRef::decode(&mut reader)?;
        if identifier.oid != RSA {
            return Self::of_identifier(&identifier);
        }
        let key = AnyRef::from_der(key.raw_bytes())?;
        modulus(&mut SliceReader::new(key.value())?)
    }

    pub(super) fn of_private(key: &PrivateKeyDer<'_>) -> der::Result<Self> {
        let content = AnyRef::from_der(key.secret_der())?;
        let mut reader = SliceReader::new(content.value())?;
        u8::decode(&mut reader)?;
        match key {
            PrivateKeyDer::Pkcs1(_) => modulus(&mut reader),
            PrivateKeyDer::Sec1(_) => {
                <&OctetStringRef>::decode(&mut reader)?;
                let curve = ContextSpecific::decode_explicit(&mut reader, TagNumber(0))?;
                let curve = curve.ok_or(der::ErrorKind::Failed)?;
                Ok(Self::Named(curve.value))
            }
            _ => {
                let identifier = AlgorithmIdentifierRef::decode(&mut reader)?;
                if identifier.oid != RSA {
                    return Self::of_identifier(&identifier);
                }
                let key = <&OctetStringRef>::decode(&mut reader)?;
                let key = AnyRef::from_der(key.as_bytes())?;
                let mut reader = SliceReader::new(key.value())?;
                u8::decode(&mut reader)?;
                modulus(&mut reader)
            }
        }
    }

    fn of_identifier(identifier: &AlgorithmIdentifierRef<'_>) -> der::Result<Self> {
        match identifier.parameters {
            Some(curve) if identifier.oid == EC => Ok(Self::Named(curve.decode_as()?)),
            _ => Ok(Self::Named(identifier.oid)),
        }
    }

    /// Returns whether ring can verify signatures of such a key.
    pub(super) fn can_verify(self) -> bool {
        match self {
            // ring rounds the size of the modulus up to whole bytes.
            Self::Rsa(bits) => (2048..=8192).contains(&bits.next_multiple_of(8)),
            Self::Named(name) => [P_256, P_384, ED25519].contains(&name),
        }
    }
}

/// Reads the modulus of an RSA key, the next number of the key.
fn modulus(reader: &mut SliceReader<'_>) -> der::Result<Algorithm> {
    let modulus = UintRef::decode(reader)?;
    let bytes = modulus.as_bytes();
    let unused = bytes.first().map_or(0, |first| first.leading_zeros());
    Ok(Algorithm::Rsa(bytes.len() * 8 - unused as usize))
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa(bits) => write!(f, "RSA with {bits} bits"),
            Self::Named(oid) => match NAMES.iter().find(|(_, named)| named == oid) {
                Some((name, _)) => f.write_str(name),
                None => write!(f, "the algorithm {oid}"),
            },
        }
    }
}
