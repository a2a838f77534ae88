//! A `koobridge spool export` whose reader reads a little and then stops.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

use crate::support::bridge::{eventually, koobridge};

pub struct HangingExport {
    child: Child,
    /// Taken when the reader ends.
    output: Option<ChildStdout>,
}

impl HangingExport {
    /// Returns when the export has printed something.
    pub fn start(directory: &Path) -> Self {
        let mut child = koobridge()
            .args(["spool", "export", "--directory"])
            .arg(directory)
            .stdout(Stdio::piped())
            .spawn()
            .expect("koobridge starts");
        let mut output = child.stdout.take().expect("a pipe");
        output
            .read_exact(&mut [0; 4096])
            .expect("a spool with reports");
        Self {
            child,
            output: Some(output),
        }
    }

    /// Ends the reader, and with it the unfinished export.
    pub fn end(mut self) {
        let ended = self.child.try_wait().expect("a child");
        assert!(ended.is_none(), "the export has not waited: {ended:?}");
        drop(self.output.take());
        let ended = eventually(|| {
            let ended = self.child.try_wait().expect("a child");
            ended.ok_or("the export goes on without a reader".to_owned())
        });
        assert!(ended.success(), "{ended}");
    }
}

impl Drop for HangingExport {
    fn drop(&mut self) {
        self.child.kill().expect("a child can be killed");
        self.child.wait().expect("a killed child ends");
    }
}
