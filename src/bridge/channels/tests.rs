use std::os::unix::fs::symlink;
use std::path::PathBuf;

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;

struct Directory(TempDir);

impl Directory {
    fn with(files: &[(&str, &[u8])]) -> Self {
        let directory = Self(tempfile::tempdir().expect("a directory"));
        for (name, text) in files {
            fs::write(directory.path(name), text).expect("a file");
        }
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Channels, Vec<ConfigError>> {
        load(self.0.path())
    }

    /// Each error as file name and problem.
    fn errors(&self) -> Vec<(String, String)> {
        let errors = self.load().expect_err("errors").into_iter();
        let name = |place: String| {
            let name = Path::new(&place)
                .strip_prefix(self.0.path())
                .expect("in the directory");
            name.display().to_string()
        };
        errors
            .map(|error| (name(error.place), error.problem))
            .collect()
    }
}

fn is_good(channels: &Channels, channel: &str, password: &[u8]) -> bool {
    channels
        .authenticate(channel, Some(password), Timestamp::UNIX_EPOCH)
        .is_some()
}

#[test]
fn each_file_is_a_channel_with_one_or_two_passwords() {
    let directory = Directory::with(&[
        ("one", b"secret, with spaces"),
        ("two", b"\r\n# old\r\n\n\xffnew\n\n"),
        (".hidden", b"\x00"),
    ]);
    let channels = directory.load().expect("channels");
    assert_eq!(channels.len(), 2);
    assert!(is_good(&channels, "one", b"secret, with spaces"));
    assert!(is_good(&channels, "two", b"# old"));
    assert!(is_good(&channels, "two", b"\xffnew"));
    assert!(!is_good(&channels, "one", b"# old"));
}

#[test]
fn a_mounted_kubernetes_secret_is_read() {
    let directory = Directory::with(&[]);
    fs::create_dir(directory.path("..2026_11_23")).expect("a directory");
    fs::write(directory.path("..2026_11_23/one"), "secret").expect("a file");
    symlink("..2026_11_23", directory.path("..data")).expect("a link");
    symlink("..data/one", directory.path("one")).expect("a link");
    let channels = directory.load().expect("channels");
    assert_eq!(channels.len(), 1);
    assert!(is_good(&channels, "one", b"secret"));
}

#[test]
fn all_errors_are_reported_at_once_without_passwords() {
    let directory = Directory::with(&[
        ("a.txt", b"secret"),
        ("blank", b"\n\r\n"),
        ("control", b"sec\x01ret"),
        ("ends", b"\n secret\nsecret\t\n"),
        ("good", b"secret"),
        ("three", b"secret1\nsecret2\nsecret3"),
    ]);
    fs::create_dir(directory.path("folder")).expect("a directory");
    let space = "starts or ends with a space or tab, which HTTP strips from the header";
    let expected = [
        (
            "a.txt",
            "its name is not a channel id, which has 1 to 64 letters, digits, '_' or '-'"
                .to_owned(),
        ),
        ("blank", "holds no password; write it on a line".to_owned()),
        (
            "control",
            "the password on line 1 contains a control character, which a header can't contain"
                .to_owned(),
        ),
        ("ends", format!("the password on line 2 {space}")),
        ("ends", format!("the password on line 3 {space}")),
        (
            "folder",
            "can't be read: it is not a regular file; replace it with one".to_owned(),
        ),
        (
            "three",
            "holds 3 passwords; keep one, or two while you change the password".to_owned(),
        ),
    ];
    let expected = expected.map(|(name, problem)| (name.to_owned(), problem));
    assert_eq!(directory.errors(), expected);
}

#[test]
fn a_directory_without_a_channel_is_an_error() {
    let directory = Directory::with(&[]);
    let errors = directory.errors();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].1.starts_with("holds no channel; add a file"),
        "{errors:?}"
    );
    let missing = load(&directory.path("missing")).expect_err("an error");
    assert!(
        missing[0]
            .problem
            .starts_with("can't be read: No such file"),
        "{missing:?}"
    );
}

#[test]
fn an_error_has_the_full_path_and_the_remedy() {
    let directory = Directory::with(&[("empty", b"")]);
    let root = directory.0.path().display().to_string();
    let in_words = |found: Result<Channels, Vec<ConfigError>>| {
        let errors = found.expect_err("errors");
        let words: Vec<String> = errors.iter().map(ToString::to_string).collect();
        words.join("\n").replace(&root, "DIR")
    };
    assert_eq!(
        in_words(directory.load()),
        "DIR/empty: holds no password; write it on a line"
    );
    assert_eq!(
        in_words(load(&directory.path("missing"))),
        "DIR/missing: can't be read: No such file or directory (os error 2); \
         set ingress.channels to the directory of the password files"
    );
    assert_eq!(
        in_words(load(&directory.path("empty"))),
        "DIR/empty: can't be read: Not a directory (os error 20); \
         set ingress.channels to the directory of the password files"
    );
    fs::remove_file(directory.path("empty")).expect("a file");
    assert_eq!(
        in_words(directory.load()),
        "DIR: holds no channel; add a file that is named after the channel's id and holds its webhook password"
    );
}

#[test]
fn a_line_without_its_line_end_is_a_password() {
    for (text, passwords) in [
        (&b"one"[..], &[&b"one"[..]][..]),
        (b"one\n", &[b"one"]),
        (b"one\r\n", &[b"one"]),
        (b"one\r", &[b"one"]),
        (b"one\r\ntwo", &[b"one", b"two"]),
        (b"\n\r\n\none\n\n\ntwo\n\n", &[b"one", b"two"]),
        (b"#\n# a", &[b"#", b"# a"]),
        (b"a\tb, c", &[b"a\tb, c"]),
        (b"Bearer \xc3\xa9\xff", &[b"Bearer \xc3\xa9\xff"]),
        (b"same\nsame\n", &[b"same"]),
    ] {
        let channels = Directory::with(&[("c", text)]).load().expect("channels");
        for password in passwords {
            assert!(is_good(&channels, "c", password), "{}", text.escape_ascii());
        }
        assert!(!is_good(&channels, "c", text) || passwords == [text]);
        assert!(!is_good(&channels, "c", b""));
    }
}

#[test]
fn characters_that_no_header_can_carry_are_named_by_line_and_not_shown() {
    let control = "contains a control character, which a header can't contain";
    let space = "starts or ends with a space or tab, which HTTP strips from the header";
    for (text, number, problem) in [
        (&b"hunter2\x00"[..], 1, control),
        (b"\x7fhunter2", 1, control),
        (b"good\nhun\rter2\n", 2, control),
        (b"hunter2\r\r\n", 1, control),
        (b"good\n\n\nhunter2\x1b\n", 4, control),
        (b"hunter2 \r\n", 1, space),
        (b"\thunter2", 1, space),
        (b"good\n \n", 2, space),
    ] {
        let errors = Directory::with(&[("c", text)]).errors();
        let expected = format!("the password on line {number} {problem}");
        assert_eq!(errors, [("c".to_owned(), expected)]);
        assert!(!format!("{errors:?}").contains("hunter2"));
    }
}

#[test]
fn a_file_that_is_not_a_channel_and_a_dangling_link_are_errors() {
    let directory = Directory::with(&[("a.b", b"p"), ("a b", b"p"), ("good", b"p")]);
    let long = "x".repeat(65);
    fs::write(directory.path(&long), "p").expect("a file");
    symlink("..data/gone", directory.path("gone")).expect("a link");
    let name = "its name is not a channel id, which has 1 to 64 letters, digits, '_' or '-'";
    let gone =
        "can't be read: No such file or directory (os error 2); replace it with a regular file";
    let expected = [("a b", name), ("a.b", name), ("gone", gone), (&long, name)];
    let expected = expected.map(|(name, problem)| (name.to_owned(), problem.to_owned()));
    assert_eq!(directory.errors(), expected);
    let longest = "x".repeat(64);
    let channels = Directory::with(&[(&longest, b"p")])
        .load()
        .expect("channels");
    assert!(is_good(&channels, &longest, b"p"));
}

/// A password that looks right, but that no sender sends: every request would be answered 401.
#[test]
fn an_invisible_character_is_named_with_its_line_but_without_the_password() {
    let seen = "which is invisible; remove it";
    for (text, number, found) in [
        (
            &b"\xef\xbb\xbfhunter2\n"[..],
            1,
            "begins with a byte order mark (U+FEFF)",
        ),
        (
            b"hunter2\xc2\xa0\r\n",
            1,
            "ends with a no-break space (U+00A0)",
        ),
        (
            b"good\n\xc2\xa0hunter2",
            2,
            "begins with a no-break space (U+00A0)",
        ),
        (
            b"good\nhunt\xe2\x80\x8ber2\n",
            2,
            "holds a zero width space (U+200B)",
        ),
        (
            b"hunter2\xe3\x80\x80",
            1,
            "ends with an ideographic space (U+3000)",
        ),
    ] {
        let errors = Directory::with(&[("c", text)]).errors();
        let expected = format!("the password on line {number} {found}, {seen}");
        assert_eq!(errors, [("c".to_owned(), expected)]);
    }
}

#[test]
fn a_utf_16_file_is_an_error() {
    for text in [&b"\xff\xfeh\0u\0\n\0"[..], b"\xfe\xff\0h\0u", b"h\0u\0"] {
        let errors = Directory::with(&[("c", text)]).errors();
        let expected = "can't be used: it is UTF-16 text; save it as UTF-8".to_owned();
        assert_eq!(errors, [("c".to_owned(), expected)]);
    }
}
