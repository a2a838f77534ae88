//! Reads text files that people write, and finds invisible characters in them.

use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

/// The character that some editors put before the text of a file.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// The size limit of a file of passwords, certificates or a key, in bytes.
const SMALL: u64 = 1 << 20;
/// The size limit of any other file, in bytes.
const LARGE: u64 = 64 << 20;

/// Reads a small file, which the bridge reads repeatedly while it serves. Only regular files are opened: a pipe could
/// block for ever, and a device has no end.
///
/// # Errors
/// If the system can't read it, or with `InvalidInput` if it is not a regular file or is larger than 1 MiB.
pub fn read_small(path: &Path) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        let problem = "it is not a regular file; replace it with one";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    read_at_most(path, SMALL)
}

/// Returns why a file or directory can't be read, and the remedy. For other reasons than missing permission, the remedy
/// is `otherwise`, which may be empty.
pub fn unreadable(error: &io::Error, otherwise: &str) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::PermissionDenied => "give this user read access",
        // The error names its remedy.
        io::ErrorKind::InvalidInput => "",
        _ => otherwise,
    };
    let separator = if remedy.is_empty() { "" } else { "; " };
    format!("can't be read: {error}{separator}{remedy}")
}

fn read_at_most(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(limit + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        let problem = format!("it is larger than {} MiB", limit >> 20);
        return Err(io::Error::new(io::ErrorKind::InvalidInput, problem));
    }
    Ok(bytes)
}

/// Reads a file of UTF-8 text. Removes a byte order mark at its start.
///
/// # Errors
/// If the system can't read it, or with `InvalidData` if it is not UTF-8, or `InvalidInput` if it is larger than 64
/// MiB.
pub fn read(path: &Path) -> io::Result<String> {
    let bytes = read_at_most(path, LARGE)?;
    let invalid = |problem| io::Error::new(io::ErrorKind::InvalidData, problem);
    if is_utf16(&bytes) {
        return Err(invalid(UTF_16));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| invalid("it is not UTF-8 text; save it as UTF-8"))?;
    match text.strip_prefix(BYTE_ORDER_MARK) {
        Some(text) => Ok(text.to_owned()),
        None => Ok(text),
    }
}

/// The problem with a file for which [`is_utf16`] returns `true`.
pub const UTF_16: &str = "it is UTF-16 text; save it as UTF-8";

/// Returns whether a file has the byte order mark of UTF-16, or begins with an ASCII character in UTF-16.
#[must_use]
pub fn is_utf16(bytes: &[u8]) -> bool {
    match bytes {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => true,
        [0, other, ..] | [other, 0, ..] => other.is_ascii_graphic(),
        _ => false,
    }
}

/// A character that people do not see: non-ASCII white space at the start or end of a text, or an invisible character
/// anywhere in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvisibleCharacter {
    character: char,
    place: &'static str,
}

impl InvisibleCharacter {
    /// Returns the first such character of a text, which may contain invalid UTF-8.
    #[must_use]
    pub fn find(text: &[u8]) -> Option<Self> {
        let chunks = || text.utf8_chunks();
        let first = chunks()
            .next()
            .and_then(|chunk| chunk.valid().chars().next());
        let last = chunks().last().filter(|chunk| chunk.invalid().is_empty());
        let last = last.and_then(|chunk| chunk.valid().chars().next_back());
        let inside = chunks().flat_map(|chunk| chunk.valid().chars());
        let found = |character, place| Self { character, place };
        let begins = first
            .filter(|c| is_blank(*c))
            .map(|c| found(c, "begins with"));
        let ends = || last.filter(|c| is_blank(*c)).map(|c| found(c, "ends with"));
        let holds = || {
            inside
                .clone()
                .find(|c| is_invisible(*c))
                .map(|c| found(c, "holds"))
        };
        begins.or_else(ends).or_else(holds)
    }
}

impl fmt::Display for InvisibleCharacter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.character {
            BYTE_ORDER_MARK => "a byte order mark",
            '\u{a0}' => "a no-break space",
            '\u{200b}' => "a zero width space",
            '\u{3000}' => "an ideographic space",
            other if other.is_whitespace() => "a white space character",
            _ => "an invisible character",
        };
        let (place, code) = (self.place, u32::from(self.character));
        write!(
            f,
            "{place} {name} (U+{code:04X}), which is invisible; remove it"
        )
    }
}

/// Returns whether a character is blank at an end of a text. This includes joiners, which are valid only inside words
/// or emojis.
fn is_blank(character: char) -> bool {
    let is_joiner = matches!(character, '\u{200c}' | '\u{200d}');
    !character.is_ascii() && (character.is_whitespace() || is_joiner) || is_invisible(character)
}

/// Returns whether a character has no width. Such hyphens, fillers and direction marks are often copied with a text.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'
            | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{2800}' | '\u{3164}' | BYTE_ORDER_MARK | '\u{ffa0}' | '\u{fff9}'..='\u{fffb}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &[u8]) -> Option<String> {
        InvisibleCharacter::find(text).map(|unseen| unseen.to_string())
    }

    #[test]
    fn non_ascii_white_space_is_found_at_the_ends_and_invisible_characters_everywhere() {
        let rest = "which is invisible; remove it";
        for (text, expected) in [
            ("\u{feff}a", "begins with a byte order mark (U+FEFF)"),
            ("\u{feff}", "begins with a byte order mark (U+FEFF)"),
            ("a\u{a0}", "ends with a no-break space (U+00A0)"),
            ("\u{3000}a", "begins with an ideographic space (U+3000)"),
            ("a\u{85}", "ends with a white space character (U+0085)"),
            ("a\u{202f}", "ends with a white space character (U+202F)"),
            ("a\u{200b}", "ends with a zero width space (U+200B)"),
            ("a\u{200b}b", "holds a zero width space (U+200B)"),
            ("a\u{200d}", "ends with an invisible character (U+200D)"),
            ("a\u{202c}b", "holds an invisible character (U+202C)"),
        ] {
            let expected = format!("{expected}, {rest}");
            assert_eq!(found(text.as_bytes()), Some(expected), "{text:?}");
        }
        let latin = found(b"\xef\xbb\xbf\xe9t\xe9").expect("a byte order mark");
        assert!(
            latin.starts_with("begins with a byte order mark"),
            "{latin}"
        );
    }

    #[test]
    fn intended_characters_are_not_found() {
        let family = "\u{1f468}\u{200d}\u{1f469}";
        let heart = "\u{2764}\u{fe0f}";
        for text in ["", "a b", " a\t", "a\u{a0}b", "é", "密码", family, heart] {
            assert_eq!(found(text.as_bytes()), None, "{text:?}");
        }
        for bytes in [&b"\xe9t\xe9"[..], b"a\xa0", b"a\xff"] {
            assert_eq!(found(bytes), None, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_file_is_read_as_utf_8_without_its_byte_order_mark() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("text");
        let read_of = |bytes: &[u8]| {
            fs::write(&path, bytes).expect("a file");
            read(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read_of(b"\xef\xbb\xbfa\n"), Ok("a\n".to_owned()));
        assert_eq!(read_of("é".as_bytes()), Ok("é".to_owned()));
        for utf16 in [&b"\xff\xfea\0"[..], b"\xfe\xff\0a", b"a\0b\0", b"\0a\0b"] {
            assert_eq!(read_of(utf16), Err(UTF_16.to_owned()));
        }
        let expected = "it is not UTF-8 text; save it as UTF-8";
        assert_eq!(read_of(b"\xe9"), Err(expected.to_owned()));
    }

    #[test]
    fn a_small_file_is_a_regular_file_of_at_most_1_mib() {
        let home = tempfile::tempdir().expect("a temporary directory");
        let path = home.path().join("file");
        fs::write(&path, vec![b'x'; 1 << 20]).expect("a file");
        assert_eq!(
            read_small(&path).map(|bytes| bytes.len()).ok(),
            Some(1 << 20)
        );
        fs::write(&path, vec![b'x'; (1 << 20) + 1]).expect("a file");
        let problem = |path: &Path| read_small(path).unwrap_err().to_string();
        assert_eq!(problem(&path), "it is larger than 1 MiB");
        for other in [home.path(), Path::new("/dev/zero")] {
            assert_eq!(
                problem(other),
                "it is not a regular file; replace it with one"
            );
        }
        // Opening a pipe waits for its other end.
        let pipe = home.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("coreutils").success());
        assert_eq!(
            problem(&pipe),
            "it is not a regular file; replace it with one"
        );
    }
}
