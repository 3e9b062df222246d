//! Relative links in Markdown files lead to files and headings that exist.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use parbake_test_support::place::repository;
use regex::Regex;

/// All Markdown files that git tracks or would track.
fn pages() -> Vec<PathBuf> {
    let walk = |dir: &Path| {
        let mut found = Vec::new();
        let mut dirs = vec![dir.to_owned()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(dir).unwrap().flatten() {
                let (path, name) = (entry.path(), entry.file_name());
                if entry.file_type().unwrap().is_dir() {
                    if name != "target" && name != ".git" {
                        dirs.push(path);
                    }
                } else if path.extension().is_some_and(|extension| extension == "md") {
                    found.push(path);
                }
            }
        }
        found
    };
    walk(repository())
}

/// The text outside of code blocks.
fn prose(text: &str) -> String {
    let mut in_code = false;
    let lines = text.lines().filter(|line| {
        let is_fence = line.trim_start().starts_with("```");
        in_code ^= is_fence;
        !in_code && !is_fence
    });
    lines.map(|line| format!("{line}\n")).collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = prose(text);
    let headings = headings.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = heading
            .chars()
            .filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
        kept.map(|letter| if letter == ' ' { '-' } else { letter })
            .collect()
    };
    headings.map(anchor).collect()
}

/// One line for each link of `page` that leads nowhere.
fn broken(page: &Path) -> Vec<String> {
    let text = fs::read_to_string(page).unwrap();
    let link = Regex::new(r"\]\(([^)\s]+)\)").unwrap();
    let code = Regex::new(r"`[^`\n]*`").unwrap();
    let prose = prose(&text);
    let mut broken = Vec::new();
    for found in link.captures_iter(&code.replace_all(&prose, "code")) {
        let target = &found[1];
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
        let file = if path.is_empty() {
            page.to_owned()
        } else {
            page.with_file_name(path)
        };
        let exists = file.exists()
            && (anchor.is_empty()
                || fs::read_to_string(&file).is_ok_and(|text| anchors(&text).contains(anchor)));
        if !exists {
            broken.push(format!("{}: {target}", page.display()));
        }
    }
    broken
}

#[test]
fn relative_links_resolve() {
    let pages = pages();
    assert!(pages.len() > 20, "only {} pages were found", pages.len());
    let broken: Vec<String> = pages.iter().flat_map(|page| broken(page)).collect();
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
}

#[test]
fn broken_links_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.md");
    let text = "# A heading, with `code`\n[a](#a-heading-with-code) [b](#nothing) [c](missing.md) `[d](missing.md)`\n\
                ```\n[e](missing.md)\n# no heading\n```\n[f](page.md) [g](https://example.org)\n";
    fs::write(&page, text).unwrap();
    let found: Vec<String> = broken(&page);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].ends_with("#nothing") && found[1].ends_with("missing.md"),
        "{found:?}"
    );
}
