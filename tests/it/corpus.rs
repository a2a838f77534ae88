//! Every input that fuzzing has kept, once more: quick, and on each run of the tests.

use std::panic::{self, PanicHookInfo};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

/// Panics of the bridge's own threads, which no test would notice.
static PANICS: AtomicUsize = AtomicUsize::new(0);

#[test]
fn whatever_comes_over_a_connection_is_answered_as_documented() {
    replay("head", fuzz::head::check);
}

#[test]
fn whatever_a_body_is_it_becomes_an_event_or_a_rejected_record() {
    replay("body", fuzz::body::check);
}

#[test]
fn whatever_a_file_of_the_spool_holds_the_bridge_starts_and_keeps_what_comes() {
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
    let failed: Vec<&PathBuf> = inputs.iter().filter(|path| !holds(path, check)).collect();
    assert!(failed.is_empty(), "it does not hold for {failed:?}");
}

fn holds(path: &Path, check: fn(&[u8])) -> bool {
    let input = fs::read(path).expect("an input");
    let before = PANICS.load(Ordering::Relaxed);
    panic::catch_unwind(|| check(&input)).is_ok() && PANICS.load(Ordering::Relaxed) == before
}

fn watch_threads() {
    let told = panic::take_hook();
    panic::set_hook(Box::new(move |panic: &PanicHookInfo<'_>| {
        // A test's thread has the test's name.
        let thread = thread::current();
        let is_a_test = thread.name().is_some_and(|name| name.contains("::"));
        PANICS.fetch_add((!is_a_test).into(), Ordering::Relaxed);
        told(panic);
    }));
}
