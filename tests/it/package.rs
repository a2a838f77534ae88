//! The Debian package: its documents link to each other, and the program names them by their installed paths.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::links::links;
use crate::support::bridge::{configuration, run};
use crate::support::files::files_below;

const DOCUMENTS: &str = "usr/share/doc/koobridge";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files of the package by their installed path. Those in `target/` exist only after a build.
fn package_files() -> BTreeMap<PathBuf, PathBuf> {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let manifest: toml::Table = manifest.parse().expect("TOML");
    let package = &manifest["package"]["metadata"]["deb"];
    let assets = package["assets"].as_array().expect("a list");
    let mut package_files = BTreeMap::new();
    for asset in assets {
        let [source, target, _mode] = &asset.as_array().expect("a list")[..] else {
            panic!("{asset}");
        };
        let target = target.as_str().expect("text");
        assert!(target.ends_with('/'), "{target}: a directory");
        for (file, name) in sources(source.as_str().expect("text")) {
            package_files.insert(Path::new(target).join(name), file);
        }
    }
    package_files
}

/// Returns the files that an asset matches, with their paths below its directory.
fn sources(asset: &str) -> Vec<(PathBuf, PathBuf)> {
    let (directory, pattern) = asset.rsplit_once('/').unwrap_or(("", asset));
    let Some(end) = pattern.strip_prefix('*') else {
        assert!(!asset.contains('*'), "{asset}: not a pattern of this test");
        return vec![(root().join(asset), pattern.into())];
    };
    let (directory, deep) = match directory.strip_suffix("/**") {
        Some(directory) => (directory, true),
        None => (directory, false),
    };
    let directory = root().join(directory);
    let files = files_below(&directory, deep).into_iter();
    let files = files.filter(|file| file.to_string_lossy().ends_with(end));
    let named = files.map(|file| {
        let name = file.strip_prefix(&directory).expect("it is below").into();
        (file, name)
    });
    let named: Vec<_> = named.collect();
    assert!(!named.is_empty(), "{asset}: no file");
    named
}

/// Resolves a relative link in a directory.
fn resolved(directory: &Path, link: &str) -> PathBuf {
    let mut path = directory.to_owned();
    for component in Path::new(link).components() {
        match component {
            Component::ParentDir => assert!(path.pop(), "{link}"),
            Component::CurDir => {}
            name => path.push(name),
        }
    }
    path
}

#[test]
fn every_link_of_a_packaged_page_leads_to_a_file_of_the_package() {
    let package_files = package_files();
    let leads_to_a_file = |path: &Path| package_files.keys().any(|file| file.starts_with(path));
    let (mut count, mut broken) = (0, Vec::new());
    let pages = package_files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "md"));
    for (path, source) in pages {
        let page = fs::read_to_string(source).expect("a page");
        let files = links(&page).filter(|(path, _)| !path.is_empty());
        for (link, _) in files {
            count += 1;
            let directory = path.parent().expect("a directory");
            if !leads_to_a_file(&resolved(directory, link)) {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(count > 100, "{count} links");
    assert_eq!(broken, [] as [String; 0]);
}

/// Configuration, unit and copyright name documents by their installed path.
#[test]
fn every_document_that_a_packaged_file_names_is_in_the_package() {
    let package_files = package_files();
    let mut named = 0;
    for source in files_below(&root().join("deploy/debian"), false)
        .into_iter()
        .chain(files_below(&root().join("deploy/systemd"), false))
    {
        let text = fs::read_to_string(&source).expect("text");
        let begin = format!("/{DOCUMENTS}/");
        for rest in text.split(&begin).skip(1) {
            let name = rest.split_whitespace().next().expect("a name");
            let path = Path::new(DOCUMENTS).join(name.trim_end_matches(['.', ',']));
            assert!(
                package_files.contains_key(&path),
                "{}: {}",
                source.display(),
                path.display()
            );
            named += 1;
        }
    }
    assert!(named >= 3, "{named}");
}

#[test]
fn the_packaged_program_names_the_packaged_pages() {
    let home = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let prefix = home.path().join("usr");
    let pages = Path::new(DOCUMENTS).join("docs");
    for (path, source) in package_files() {
        let (true, Ok(path)) = (path.starts_with(&pages), path.strip_prefix("usr")) else {
            continue;
        };
        let path = prefix.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::copy(source, path).expect("a copy");
    }
    let program = prefix.join("bin/koobridge");
    fs::create_dir(prefix.join("bin")).expect("a directory");
    fs::hard_link(env!("CARGO_BIN_EXE_koobridge"), &program).expect("a link");
    let file = configuration(home.path(), "127.0.0.1:1", "t", "r");
    let check = |arguments: &[&str]| {
        let mut command = Command::new(&program);
        command.env_clear().args(["check", "--config"]).arg(&file);
        let output = run(command.args(arguments));
        String::from_utf8(output.stdout).expect("text")
    };
    let page = prefix.join("share/doc/koobridge/docs/checking.md");
    let expected = format!("({}#connection)", page.display());
    let text = check(&[]);
    assert!(text.lines().any(|line| line.ends_with(&expected)), "{text}");
    let json: Value = serde_json::from_str(&check(&["--json"])).expect("JSON");
    let findings = json["findings"].as_array().expect("a list");
    let docs = findings
        .iter()
        .find(|finding| finding["area"] == "connection");
    assert_eq!(
        docs.expect("a finding")["docs"],
        "docs/checking.md#connection"
    );
}
