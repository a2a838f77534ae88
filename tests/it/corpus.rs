//! Runs every input of the fuzzing corpus with each test run.

use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

/// The number of panics in the bridge's own threads, which a test would not notice otherwise.
static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn any_bytes_on_a_connection_get_a_documented_answer() {
    replay("head", fuzz::head::check);
}

#[test]
fn any_body_becomes_an_event_or_a_rejected_record() {
    replay("body", fuzz::body::check);
}

#[test]
fn the_bridge_starts_and_keeps_new_reports_with_any_spool_file() {
    replay("spool_file", fuzz::spool_file::check);
}

fn replay(target: &str, check: fn(&[u8])) {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(watch_threads);
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let inputs = fs::read_dir(corpus.join(target)).expect("a corpus");
    let inputs: Vec<PathBuf> = inputs
        .map(|input| input.expect("an input").path())
        .collect();
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    let failed: Vec<&PathBuf> = inputs.iter().filter(|path| !passes(path, check)).collect();
    assert!(failed.is_empty(), "the check failed for {failed:?}");
}

fn passes(path: &Path, check: fn(&[u8])) -> bool {
    let input = fs::read(path).expect("an input");
    let before = PANICS.load(Ordering::Relaxed);
    panic::catch_unwind(|| check(&input)).is_ok() && PANICS.load(Ordering::Relaxed) == before
}

fn watch_threads() {
    let previous = panic::take_hook();
    panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        // The name of a test's thread contains the path of the test.
        let thread = thread::current();
        let is_a_test = thread.name().is_some_and(|name| name.contains("::"));
        PANICS.fetch_add((!is_a_test).into(), Ordering::Relaxed);
        previous(panic);
    }));
}
