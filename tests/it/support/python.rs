//! Python with the packages of `tests/it/python/requirements.txt`: independent readers of the bridge's output.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

const REQUIREMENTS: &str = include_str!("../python/requirements.txt");

/// Runs a script of `tests/it/python` with this input, and returns its output.
pub fn run(script: &str, arguments: &[&str], input: &str) -> String {
    static PYTHON: LazyLock<PathBuf> = LazyLock::new(install);
    let mut child = Command::new(&*PYTHON)
        .arg(directory().join(script))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Python");
    let mut stdin = child.stdin.take().expect("a pipe");
    // When the script ends without reading, its standard error gives the reason.
    let _unread = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().expect("an output");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python")
}

/// Creates the virtual environment, unless it has these packages already.
fn install() -> PathBuf {
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/python");
    let python = home.join("bin/python");
    let installed = home.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|packages| packages == REQUIREMENTS) {
        return python;
    }
    let run = |command: &mut Command| {
        let output = command.output().expect("Python 3.10 or later, with venv");
        assert!(output.status.success(), "{output:?}");
    };
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&home));
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
    ];
    run(Command::new(&python)
        .args(pip)
        .arg(directory().join("requirements.txt")));
    fs::write(&installed, REQUIREMENTS).expect("the target directory is writable");
    python
}
