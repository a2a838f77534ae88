//! Ends the process when a thread panics. A bridge without one of its threads would look healthy but not work; when the
//! process ends, a supervisor restarts it.

use std::panic::{self, PanicHookInfo};
use std::process;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::error;
use tracing::level_filters::LevelFilter;

/// Installs a panic hook that logs a message and ends the process.
pub fn end_on_panic() {
    panic::set_hook(Box::new(|panic| {
        log(panic);
        super::flush();
        // A core dump would contain passwords and phone numbers.
        let none = Rlimit {
            current: Some(0),
            ..getrlimit(Resource::Core)
        };
        let _unlimited = setrlimit(Resource::Core, none);
        process::abort();
    }));
}

fn log(panic: &PanicHookInfo<'_>) {
    let current = thread::current();
    let thread = current.name().unwrap_or("unnamed");
    let message = panic.payload_as_str().unwrap_or("no message");
    let place = panic.location().map(ToString::to_string);
    let place = place.unwrap_or_default();
    if LevelFilter::current() == LevelFilter::OFF {
        crate::try_eprintln!("koobridge: thread {thread} panicked at {place}: {message}");
    } else {
        error!(
            thread,
            place, message, "a thread panicked, which is a bug in koobridge: the process ends"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::Command;

    use super::*;

    const CHILD: &str = "KOOBRIDGE_TEST_PANICS";
    const SIGABRT: i32 = 6;

    #[test]
    fn a_thread_that_panics_ends_the_process_with_its_name() {
        if env::var_os(CHILD).is_some() {
            end_on_panic();
            let thread = thread::Builder::new().name("spool".to_owned());
            let thread = thread.spawn(|| panic!("the disk is gone"));
            let _never = thread.expect("a thread").join();
            unreachable!("the process ends");
        }
        let name = "telemetry::panics::tests::a_thread_that_panics_ends_the_process_with_its_name";
        let mut child = Command::new(env::current_exe().expect("this program"));
        let child = child.args(["--exact", name, "--nocapture"]).env(CHILD, "");
        let output = child.output().expect("this program starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.signal(), Some(SIGABRT), "{stderr}");
        assert!(stderr.contains("koobridge: thread spool panicked at src/telemetry/panics.rs:"));
        assert!(stderr.contains("the disk is gone"), "{stderr}");
    }
}
