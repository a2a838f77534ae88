//! Writes the figures to `docs/performance.md`, between `<!-- name -->` and `<!-- / -->`.

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};

/// Prints the figures of a section, and writes them to their place on the page.
pub fn put(name: &str, figures: &impl Display) {
    println!("## {name}\n\n{figures}");
    let path = docs().join("performance.md");
    let page = fs::read_to_string(&path).expect("docs/performance.md");
    let (before, rest) = page
        .split_once(&format!("<!-- {name} -->\n"))
        .unwrap_or_else(|| panic!("docs/performance.md has no place for {name}"));
    let (_, after) = rest.split_once("<!-- / -->").expect("the end of its place");
    let page = format!("{before}<!-- {name} -->\n\n{figures}\n<!-- / -->{after}");
    fs::write(path, page).expect("docs/performance.md can be written");
}

/// Writes a picture beside the page.
pub fn put_picture(name: &str, svg: &str) {
    let path = docs().join(format!("performance-{name}.svg"));
    fs::write(path, svg).expect("docs can be written to");
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}
