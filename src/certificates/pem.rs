//! Reads PEM files without silently skipping a block.
//!
//! The decoder of rustls skips lines that it does not know: it would miss a certificate if a byte order mark comes
//! before its BEGIN line, or if its END line has no line break.

use std::path::Path;

use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::problems::Problems;
use crate::text::{self, BYTE_ORDER_MARK, is_utf16};

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
/// The labels of certificates and private keys. Other text between hyphens may be a comment.
const LABELS: [&str; 8] = [
    "CERTIFICATE",
    "TRUSTED CERTIFICATE",
    "X509 CERTIFICATE",
    "PKCS7",
    "PRIVATE KEY",
    "ENCRYPTED PRIVATE KEY",
    "RSA PRIVATE KEY",
    "EC PRIVATE KEY",
];

/// The expected content of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// The certificate of the ingress, and the certificates of its issuers.
    Chain,
    /// The authorities of client certificates.
    Authorities,
    PrivateKey,
}

/// The lines from a BEGIN line to its END line. They may hold a key, so there is no `Debug`.
pub(crate) struct Block {
    /// The number of its BEGIN line, counted from 1.
    pub(crate) line: usize,
    pub(crate) label: String,
    text: String,
}

impl Content {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Chain | Self::Authorities => "certificate",
            Self::PrivateKey => "private key",
        }
    }
}

impl Block {
    fn new(line: usize, label: &str) -> Self {
        Self {
            line,
            label: label.to_owned(),
            text: format!("{BEGIN}{label}-----\n"),
        }
    }

    pub(crate) fn certificate(&self) -> Option<CertificateDer<'static>> {
        CertificateDer::from_pem_slice(self.text.as_bytes()).ok()
    }

    pub(crate) fn private_key(&self) -> Option<PrivateKeyDer<'static>> {
        PrivateKeyDer::from_pem_slice(self.text.as_bytes()).ok()
    }

    pub(crate) fn is_private_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// PKCS#8 shows encryption in the label, and OpenSSL's older format in a header.
    pub(crate) fn is_encrypted(&self) -> bool {
        let is_header = |line: &str| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED");
        self.label == "ENCRYPTED PRIVATE KEY" || self.text.lines().any(is_header)
    }
}

/// Reads the blocks of a file. Adds a problem for each broken block, and returns the others.
pub(crate) fn read(path: &Path, content: Content, problems: &mut Problems) -> Vec<Block> {
    let bytes = match text::read_small(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            problems.error(path, text::unreadable(&error, ""));
            return Vec::new();
        }
    };
    if let Some(problem) = other_format(&bytes, path, content) {
        problems.error(path, problem);
        return Vec::new();
    }
    let (blocks, broken) = parse(&String::from_utf8_lossy(&bytes));
    if blocks.is_empty() && broken.is_empty() {
        let name = content.name();
        problems.error(path, format!("holds no {name} in PEM format"));
    }
    for (line, problem) in broken {
        problems.error(path, format!("line {line}: {problem}"));
    }
    blocks
}

/// Returns the problem with a file in a format that is often mistaken for PEM.
fn other_format(bytes: &[u8], path: &Path, content: Content) -> Option<String> {
    if bytes
        .windows(BEGIN.len())
        .any(|part| part == BEGIN.as_bytes())
    {
        return None;
    }
    let path = path.display();
    let (format, command) = match bytes {
        _ if is_utf16(bytes) => {
            let command = format!("iconv -f UTF-16 -t UTF-8 {path} > NEW");
            ("UTF-16, not UTF-8", command)
        }
        // A SEQUENCE that starts with a version; PKCS#12 has version 3.
        [0x30, 0x82, _, _, 2, 1, 3, ..]
        | [0x30, 0x80 | 0x81, _, 2, 1, 3, ..]
        | [0x30, 0x80, 2, 1, 3, ..] => {
            let only = match content {
                Content::Chain | Content::Authorities => "-nokeys",
                Content::PrivateKey => "-nocerts -nodes",
            };
            let command = format!("openssl pkcs12 -in {path} {only} -out NEW");
            ("PKCS#12, not PEM", command)
        }
        [0x30, length, ..] if !length.is_ascii() || !bytes.is_ascii() => {
            let tool = match content {
                Content::Chain | Content::Authorities => "x509",
                Content::PrivateKey => "pkey",
            };
            let command = format!("openssl {tool} -inform DER -in {path} -out NEW");
            ("DER, not PEM", command)
        }
        _ => return None,
    };
    Some(format!("is {format}; convert it: {command}"))
}

/// Returns the first certificate in a text, if it can be read.
pub(crate) fn first_certificate(text: &str) -> Option<CertificateDer<'static>> {
    let (blocks, _) = parse(text);
    blocks.iter().find_map(Block::certificate)
}

/// A broken block: the number of its line, and its defect.
type Broken = (usize, String);

fn parse(text: &str) -> (Vec<Block>, Vec<Broken>) {
    let text = text.replace("\r\n", "\n");
    let (mut blocks, mut broken) = (Vec::new(), Vec::new());
    let mut open: Option<Block> = None;
    for (line, number) in text.split(['\n', '\r']).zip(1..) {
        let line = line.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK);
        if let Some(label) = label(line, BEGIN) {
            broken.extend(open.replace(Block::new(number, label)).map(unterminated));
        } else if let Some(label) = label(line, END) {
            match open.take() {
                Some(mut block) if block.label == label => {
                    block.text.push_str(line);
                    blocks.push(block);
                }
                Some(block) => broken.push(unterminated(block)),
                None => broken.push((number, "this END line has no BEGIN line".to_owned())),
            }
        } else if is_malformed_boundary(line) {
            let problem =
                "put BEGIN and END on separate lines, each with five hyphens before and after it";
            broken.push((number, problem.to_owned()));
            open = None;
        } else if let Some(block) = &mut open
            && !line.starts_with('#')
        {
            block.text.push_str(line);
            block.text.push('\n');
        }
    }
    broken.extend(open.map(unterminated));
    (blocks, broken)
}

fn label<'a>(line: &'a str, start: &str) -> Option<&'a str> {
    let label = line.strip_prefix(start)?.strip_suffix("-----")?;
    (!label.contains('-')).then_some(label)
}

/// Returns whether a line is a malformed BEGIN or END line: it has too few hyphens, or an editor has replaced them by
/// dashes, or two files were joined in it without a line break.
fn is_malformed_boundary(line: &str) -> bool {
    let is_dash = |c: char| matches!(c, '-' | '\u{2010}'..='\u{2015}' | '\u{2212}');
    let between = line.trim_matches(is_dash);
    let label = between
        .strip_prefix("BEGIN ")
        .or_else(|| between.strip_prefix("END "));
    let is_known = label.is_some_and(|label| LABELS.contains(&label));
    let has_dashes = line.starts_with(is_dash) && line.ends_with(is_dash);
    is_known && has_dashes || line.starts_with(BEGIN) || line.starts_with(END)
}

fn unterminated(block: Block) -> Broken {
    let problem = format!("the {} block that begins here has no END line", block.label);
    (block.line, problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    fn found(text: &str) -> (Vec<usize>, Vec<usize>) {
        let (blocks, broken) = parse(text);
        let lines = blocks.iter().map(|block| {
            assert!(block.certificate().is_some(), "{}", block.text);
            block.line
        });
        (
            lines.collect(),
            broken.into_iter().map(|(line, _)| line).collect(),
        )
    }

    #[test]
    fn text_line_ends_and_byte_order_marks_do_not_hide_a_block() {
        for text in [
            BLOCK.repeat(2),
            BLOCK.repeat(2).replace('\n', "\r\n"),
            BLOCK.repeat(2).replace('\n', "\r"),
            format!("\u{feff}{BLOCK}\u{feff}{BLOCK}"),
            BLOCK.repeat(2).replace('\n', " \t\n"),
            BLOCK.repeat(2).trim_end().to_owned(),
        ] {
            assert_eq!(found(&text), (vec![1, 4], Vec::new()), "{text:?}");
        }
        let text = format!("Bag Attributes\n{BLOCK}subject=CN = a\n\n  {BLOCK}the END of it");
        assert_eq!(found(&text), (vec![2, 7], Vec::new()));
    }

    #[test]
    fn comments_are_not_blocks() {
        let commented = BLOCK.replace('\n', "\n  # ");
        for comment in [
            format!("# {commented}\n"),
            format!("#{commented}\n").replace("-----BEGIN", "----BEGIN"),
            "--BEGIN intermediate--\n".to_owned(),
            "--BEGIN ROOT--\n".to_owned(),
            "the next line is -----BEGIN CERTIFICATE-----\n".to_owned(),
            "; -----BEGIN CERTIFICATE-----\n; -----END CERTIFICATE-----\n".to_owned(),
        ] {
            let lines = comment.lines().count();
            let text = format!("{comment}{BLOCK}");
            assert_eq!(found(&text), (vec![lines + 1], Vec::new()), "{text}");
        }
        let text = BLOCK.replace("AAAA", "# root\nAAAA");
        assert_eq!(found(&text), (vec![1], Vec::new()));
    }

    #[test]
    fn a_broken_block_is_named_and_does_not_affect_others() {
        let lines: Vec<&str> = BLOCK.lines().collect();
        let [begin, body, end] = lines[..] else {
            panic!("{lines:?}");
        };
        for (text, blocks, broken) in [
            (format!("{begin}\n{body}\n{BLOCK}"), vec![3], vec![1]),
            (format!("{BLOCK}{begin}\n{body}\n"), vec![1], vec![4]),
            (format!("{body}\n{end}\n{BLOCK}"), vec![3], vec![2]),
            (
                format!("{begin}\n{body}\n-----END X-----\n{BLOCK}"),
                vec![4],
                vec![1],
            ),
            (BLOCK.trim_end().repeat(2), vec![], vec![3, 5]),
            (BLOCK.replace("-----BEGIN", "----BEGIN"), vec![], vec![1, 3]),
            (
                BLOCK.replace("--BEGIN", "\u{2014}BEGIN"),
                vec![],
                vec![1, 3],
            ),
            (
                BLOCK.replace("CERTIFICATE-----", "CERTIFICATE----"),
                vec![],
                vec![1, 3],
            ),
            (
                BLOCK.replace("-----", "\u{2013}-\u{2014}"),
                vec![],
                vec![1, 3],
            ),
        ] {
            assert_eq!(found(&text), (blocks, broken), "{text}");
        }
    }
}
