//! Relative links of the Markdown pages lead to files, anchors to headings, and the readmes link to every document.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::files::files_below;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(page: &Path) -> String {
    fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// Returns the relative links and images of a page: the path, which is empty for the page itself, and the anchor.
pub fn links(page: &str) -> impl Iterator<Item = (&str, &str)> {
    let links = page.split("](").skip(1).map(|rest| (rest, ')'));
    let images = page.split("src=\"").skip(1).map(|rest| (rest, '"'));
    links
        .chain(images)
        .filter_map(|(rest, end)| Some(rest.split_once(end)?.0))
        .filter(|target| !target.contains("://"))
        .map(|target| target.split_once('#').unwrap_or((target, "")))
}

/// Returns the anchors of a page's headings by GitHub's rules.
fn anchors(page: &str) -> BTreeSet<String> {
    let mut counts = BTreeMap::new();
    let prose = page.split("```").step_by(2);
    let headings = prose.flat_map(str::lines).filter_map(|line| {
        let text = line.trim_start_matches('#').strip_prefix(' ')?;
        line.starts_with('#').then(|| slug(text))
    });
    headings
        .map(|slug| {
            let count = counts.entry(slug.clone()).or_insert(0);
            *count += 1;
            match *count - 1 {
                0 => slug,
                earlier => format!("{slug}-{earlier}"),
            }
        })
        .collect()
}

fn slug(heading: &str) -> String {
    let mut parts = heading.split("](");
    let before = parts.next().unwrap_or_default().to_owned();
    let after_links = parts.filter_map(|part| Some(part.split_once(')')?.1));
    let text = before + &after_links.collect::<String>();
    text.trim().to_lowercase().replace(' ', "-").replace(
        |letter: char| !letter.is_alphanumeric() && letter != '-' && letter != '_',
        "",
    )
}

/// Returns the Markdown pages of the repository: no hidden directory, and no build output.
fn pages(directory: &Path) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with('.') || name == "target" {
            continue;
        }
        if path.is_dir() {
            pages.extend(self::pages(&path));
        } else if name.ends_with(".md") {
            pages.push(path);
        }
    }
    pages
}

/// Returns the files to which a page links.
fn linked(page: &Path) -> BTreeSet<PathBuf> {
    let directory = page.parent().expect("a directory");
    let text = read(page);
    let files = links(&text).filter(|(path, _)| !path.is_empty());
    let files = files.filter_map(|(path, _)| directory.join(path).canonicalize().ok());
    files.collect()
}

#[test]
fn every_link_leads_to_a_file_and_every_anchor_to_a_heading() {
    let (mut count, mut broken) = (0, Vec::new());
    for page in pages(root()) {
        let directory = page.parent().expect("a directory");
        let text = read(&page);
        for (path, anchor) in links(&text) {
            count += 1;
            let target = if path.is_empty() {
                page.clone()
            } else {
                directory.join(path)
            };
            let is_page = target.extension().is_some_and(|end| end == "md");
            let leads = target.exists()
                && (anchor.is_empty() || is_page && anchors(&read(&target)).contains(anchor));
            if !leads {
                let page = page.strip_prefix(root()).expect("it is below");
                broken.push(format!("{}: {path}#{anchor}", page.display()));
            }
        }
    }
    assert!(count > 200, "{count} links");
    assert_eq!(
        broken,
        [] as [String; 0],
        "links to no file or to no heading"
    );
}

#[test]
fn every_document_is_linked_from_a_readme_and_every_picture_from_a_document() {
    let root = root().canonicalize().expect("the checkout");
    let from_readmes: BTreeSet<PathBuf> = ["README.md", "docs/README.md"]
        .iter()
        .flat_map(|readme| linked(&root.join(readme)))
        .chain([root.join("docs/README.md")])
        .collect();
    let from_pages: BTreeSet<PathBuf> = pages(&root).iter().flat_map(|page| linked(page)).collect();
    let files = files_below(&root.join("docs"), true);
    let (documents, others): (Vec<_>, Vec<_>) = files
        .into_iter()
        .partition(|file| file.extension().is_some_and(|end| end == "md"));
    assert!(documents.len() > 10, "{documents:?}");
    let hidden: Vec<_> = documents
        .iter()
        .filter(|file| !from_readmes.contains(*file))
        .collect();
    assert!(
        hidden.is_empty(),
        "link them from docs/README.md: {hidden:?}"
    );
    let unused: Vec<_> = others
        .iter()
        .filter(|file| !from_pages.contains(*file))
        .collect();
    assert!(unused.is_empty(), "no page links to them: {unused:?}");
}

#[test]
fn anchors_follow_the_rules_of_github() {
    let page = "# The chart `koobridge`\n```sh\n# not a heading\n```\n## A, b & [c d](e.md)\n### Twice\n### Twice\n#no heading";
    let expected = ["the-chart-koobridge", "a-b--c-d", "twice", "twice-1"];
    assert_eq!(anchors(page), expected.map(str::to_owned).into());
}
