//! The commands of docs/replaying.md, run as they are printed.

use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;

use super::desk::{Desk, NewRecord, event};
use super::redrive::{rejected, valid_report};
use crate::support::bridge::run;
use crate::support::cluster;

/// The message id in the document.
const MESSAGE: &str = "044852ee407b40ec88ea65adb73ff5c27";

/// Returns the commands of the document, in their order.
fn commands() -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/replaying.md");
    let text = fs::read_to_string(path).expect("the document");
    let commands = text.lines().filter_map(|line| line.strip_prefix("    "));
    let commands = commands.filter(|line| line.starts_with("koobridge "));
    commands.map(str::to_owned).collect()
}

/// Returns an event of the message that has just arrived.
fn event_of_today(number: usize) -> NewRecord {
    let event = event(number);
    let key = String::from_utf8(event.key.expect("a key")).expect("text");
    let value = String::from_utf8(event.value.expect("a value")).expect("text");
    NewRecord {
        key: Some(MESSAGE.into()),
        value: Some(
            value
                .replace(&format!("\"{key}\""), &format!("\"{MESSAGE}\""))
                .into_bytes(),
        ),
        timestamp: Timestamp::now().as_millisecond(),
        ..event
    }
}

#[test]
fn each_command_of_the_document_runs_as_it_is_printed() {
    let kafka = cluster::shared();
    let desk = Desk::new(&kafka);
    desk.write(&desk.events, (0..3).map(event_of_today));
    let unknown = NewRecord {
        timestamp: Timestamp::now().as_millisecond(),
        ..rejected("unknown-status", &valid_report("m9"), Some("m9"))
    };
    desk.write(&desk.rejected, [unknown]);
    let directory = tempfile::tempdir().expect("a directory");
    let config = format!(
        "[kafka]\ntopic = \"{}\"\nrejected_topic = \"{}\"\n[kafka.properties]\n\"bootstrap.servers\" = \"{}\"\n",
        desk.events,
        desk.rejected,
        kafka.bootstrap()
    );
    fs::write(directory.path().join("koobridge.toml"), config).expect("it can be written");
    let binaries = Path::new(env!("CARGO_BIN_EXE_koobridge"))
        .parent()
        .expect("a directory");
    let path = std::env::var("PATH").expect("a path");
    let commands = commands();
    assert!(commands.len() > 15, "{commands:?}");
    for command in commands {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &command])
            .current_dir(directory.path())
            .env("PATH", format!("{}:{path}", binaries.display()))
            .env("KOOBRIDGE_CONFIG", "koobridge.toml");
        let output = run(&mut shell);
        assert!(output.status.success(), "{command}: {output:?}");
    }
    // One day, one conversation, two archives and the job. The job also copies the redriven event.
    let copies = desk.read("reprocess");
    assert!(copies.iter().all(|copy| copy.key.is_some()), "{copies:?}");
    assert_eq!(copies.len(), 3 + 3 + 3 + 3 + 4);
    assert_eq!(desk.read(&desk.events).len(), 3 + 1);
}
