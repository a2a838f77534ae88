use std::os::unix::fs::symlink;
use std::path::PathBuf;

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

    fn load(&self) -> Result<Channels, Vec<Mistake>> {
        load(self.0.path())
    }

    /// Each mistake as file name and problem.
    fn mistakes(&self) -> Vec<(String, String)> {
        let mistakes = self.load().expect_err("mistakes").into_iter();
        let name = |place: String| {
            let name = Path::new(&place)
                .strip_prefix(self.0.path())
                .expect("in the directory");
            name.display().to_string()
        };
        mistakes
            .map(|mistake| (name(mistake.place), mistake.problem))
            .collect()
    }
}

fn is_good(channels: &Channels, channel: &str, password: &[u8]) -> bool {
    channels.authenticate(channel, Some(password)).is_some()
}

#[test]
fn one_file_a_channel_with_one_or_two_passwords() {
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
fn a_mounted_kubernetes_secret_is_such_a_directory() {
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
fn every_mistake_is_named_at_once_and_no_password_repeated() {
    let directory = Directory::with(&[
        ("a.txt", b"secret"),
        ("blank", b"\n\r\n"),
        ("control", b"sec\x01ret"),
        ("ends", b"\n secret\nsecret\t\n"),
        ("good", b"secret"),
        ("three", b"secret1\nsecret2\nsecret3"),
    ]);
    fs::create_dir(directory.path("folder")).expect("a directory");
    let space = "has a space or tab at an end, which HTTP strips from the header";
    let expected = [
        (
            "a.txt",
            "its name is no channel id, which is 1 to 64 letters, digits, '_' or '-'".to_owned(),
        ),
        ("blank", "holds no password; write one on a line".to_owned()),
        (
            "control",
            "the password on line 1 holds a control character, which no header can carry"
                .to_owned(),
        ),
        ("ends", format!("the password on line 2 {space}")),
        ("ends", format!("the password on line 3 {space}")),
        (
            "folder",
            "can't be read: Is a directory (os error 21)".to_owned(),
        ),
        (
            "three",
            "holds 3 passwords; keep one, or two while you change from one to the other".to_owned(),
        ),
    ];
    let expected = expected.map(|(name, problem)| (name.to_owned(), problem));
    assert_eq!(directory.mistakes(), expected);
}

#[test]
fn a_directory_without_a_channel_is_a_mistake() {
    let directory = Directory::with(&[]);
    let mistakes = directory.mistakes();
    assert_eq!(mistakes.len(), 1);
    assert!(
        mistakes[0].1.starts_with("holds no channel; add a file"),
        "{mistakes:?}"
    );
    let missing = load(&directory.path("missing")).expect_err("a mistake");
    assert!(
        missing[0]
            .problem
            .starts_with("can't be read: No such file"),
        "{missing:?}"
    );
}
