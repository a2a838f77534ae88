//! Checks that the tests which `docs/guarantees.md` names exist.

use std::collections::HashSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Returns the names of all tests of this binary.
fn tests() -> HashSet<String> {
    let listed = Command::new(env::current_exe().expect("this binary"))
        .arg("--list")
        .output()
        .expect("a list of tests");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let names = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    names.map(str::to_owned).collect()
}

/// Returns `true` if the library has a unit test with this name: the file of its module has the function.
fn is_unit_test(name: &str) -> bool {
    let Some((module, function)) = name.split_once("::tests::") else {
        return false;
    };
    let module = format!("src/{}", module.replace("::", "/"));
    let (inner, function) = function.rsplit_once("::").unwrap_or(("", function));
    let files = [
        format!("{module}/tests/{inner}.rs"),
        format!("{module}/tests.rs"),
        format!("{module}.rs"),
        format!("{module}/mod.rs"),
    ];
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let texts = files
        .iter()
        .filter_map(|file| fs::read_to_string(root.join(file)).ok());
    let wanted = format!("fn {function}(");
    texts.into_iter().any(|text| text.contains(&wanted))
}

#[test]
fn every_test_that_a_guarantee_names_exists() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/guarantees.md");
    let document = fs::read_to_string(document).expect("a document");
    let tests = tests();
    let quoted = document.split('`').skip(1).step_by(2);
    // A module ends in `::`, or no function follows: the citation means all its tests.
    let (modules, named): (Vec<_>, Vec<_>) = quoted
        .filter(|quoted| quoted.contains("::") && !quoted.contains(' '))
        .map(|name| name.trim_end_matches(':'))
        .partition(|name| {
            tests
                .iter()
                .any(|test| test.starts_with(&format!("{name}::")))
        });
    assert!(!modules.is_empty() && named.len() > 30, "{named:?}");
    let missing: Vec<_> = named
        .into_iter()
        .filter(|name| !tests.contains(*name) && !is_unit_test(name))
        .collect();
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
}
