//! The certificate of the ingress, and those that it was issued by.

use std::path::Path;

use jiff::Timestamp;
use tokio_rustls::rustls::crypto::WebPkiSupportedAlgorithms;
use tokio_rustls::rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{self, Decode as _, Encode, Reader as _, SliceReader};

use super::certificates::{self, expires, invalid, is_self_issued, title};
use super::problems::Problems;

pub(super) struct Chain {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    /// When the first one of them expires.
    pub(super) expires: Timestamp,
}

/// A certificate as it is sent, and as it is read.
type Link<'a> = (&'a CertificateDer<'static>, Certificate);

impl Chain {
    pub(super) fn read(
        path: &Path,
        now: Timestamp,
        algorithms: &WebPkiSupportedAlgorithms,
        problems: &mut Problems,
    ) -> Option<Self> {
        let errors = problems.errors.len();
        let certificates = certificates::read(path, problems)?;
        let mut links: Vec<Link<'_>> = Vec::new();
        for (index, der) in certificates.iter().enumerate() {
            match Certificate::from_der(der) {
                Ok(certificate) => links.push((der, certificate)),
                Err(error) => {
                    let problem = format!("certificate {} is no sound X.509: {error}", index + 1);
                    problems.error(path, format!("{problem}; copy it anew"));
                }
            }
        }
        if problems.errors.len() > errors {
            return None;
        }
        check_validity(path, &links, now, problems);
        check_order(path, &links, algorithms, problems);
        // Clients do not look at the root that is sent.
        let sent = links.iter().enumerate();
        let checked = sent.filter(|(index, (_, link))| *index == 0 || !is_self_issued(link));
        let expires = checked.map(|(_, (_, link))| expires(link)).min()?;
        (problems.errors.len() == errors).then_some(Self {
            certificates,
            expires,
        })
    }
}

fn check_validity(path: &Path, links: &[Link<'_>], now: Timestamp, problems: &mut Problems) {
    for (index, (_, certificate)) in links.iter().enumerate() {
        let Some(invalid) = invalid(certificate, now) else {
            continue;
        };
        if index == 0 {
            let remedy = "put a new one there, and look at the clock of this machine";
            problems.error(path, format!("its certificate {invalid}; {remedy}"));
        } else {
            let title = title(index, certificate);
            let remedy = "clients that need it refuse the connection; put its successor there";
            problems.warn(path, format!("{title} {invalid}; {remedy}"));
        }
    }
}

/// Many clients find their way through any order, and some do not.
fn check_order(
    path: &Path,
    links: &[Link<'_>],
    algorithms: &WebPkiSupportedAlgorithms,
    problems: &mut Problems,
) {
    let pairs = links.iter().zip(links.iter().skip(1));
    for (index, (link, (_, issuer))) in pairs.enumerate() {
        if let Some(problem) = misplaced(link, issuer, algorithms) {
            let [first, second] = [title(index, &link.1), title(index + 1, issuer)];
            let place = format!("{second} is out of place: it comes after {first}, which");
            problems.warn(path, format!("{place} {problem}"));
        }
    }
}

/// Returns why `issuer` should not follow a certificate, and what should.
fn misplaced(
    (der, certificate): &Link<'_>,
    issuer: &Certificate,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Option<String> {
    let named = certificate.tbs_certificate().issuer();
    let problem = if is_self_issued(certificate) {
        return Some("ends the chain, for it has issued itself; take it out".to_owned());
    } else if named != issuer.tbs_certificate().subject() {
        "another one has issued"
    } else if is_signed_by(der, issuer, algorithms) == Ok(false) {
        "names it as its issuer, but is signed by another key"
    } else {
        return None;
    };
    let remedy = "put after each certificate the one that has issued it, here";
    Some(format!("{problem}; {remedy} {named}"))
}

/// Whether the key of `issuer` has signed a certificate; an error if that can't be found out.
fn is_signed_by(
    certificate: &[u8],
    issuer: &Certificate,
    algorithms: &WebPkiSupportedAlgorithms,
) -> der::Result<bool> {
    let signed = SliceReader::new(certificate)?.sequence(|reader| {
        let signed = reader.tlv_bytes()?;
        reader.drain(reader.remaining_len())?;
        Ok::<_, der::Error>(signed)
    })?;
    let certificate = Certificate::from_der(certificate)?;
    let key = issuer.tbs_certificate().subject_public_key_info();
    let [signature_algorithm, key_algorithm] = [
        content(certificate.signature_algorithm())?,
        content(&key.algorithm)?,
    ];
    let algorithm = algorithms.all.iter().find(|algorithm| {
        algorithm.signature_alg_id().as_ref() == signature_algorithm
            && algorithm.public_key_alg_id().as_ref() == key_algorithm
    });
    let algorithm = algorithm.ok_or_else(|| der::Error::from(der::ErrorKind::Failed))?;
    let (key, signature) = (key.subject_public_key.raw_bytes(), certificate.signature());
    Ok(algorithm
        .verify_signature(key, signed, signature.raw_bytes())
        .is_ok())
}

/// Encodes a sequence without its tag and length.
fn content(sequence: &impl Encode) -> der::Result<Vec<u8>> {
    let der = sequence.to_der()?;
    Ok(AnyRef::from_der(&der)?.value().to_vec())
}
