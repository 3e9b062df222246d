//! The crates depend on each other in one direction, and no crate's top-level modules import each other in a circle.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use parbake_test_support::place::repository;
use regex::Regex;

/// The crates, lowest first: each may use only crates of a lower rank.
const RANKS: [(&str, u32); 7] = [
    ("artifact", 0),
    ("machine", 0),
    ("cluster", 1),
    ("provision", 2),
    ("up", 2),
    ("bench", 3),
    ("parbake", 4),
];

/// A graph of names: who imports whom.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The code of a file without comments and unit tests.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let text = text.split("\n#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.map(|line| format!("{line}\n")).collect()
}

/// The top-level modules that the code of each top-level module of `krate` names with `crate::`.
fn imports(krate: &str) -> Graph {
    let src = repository().join(krate).join("src");
    let path = Regex::new(r"\bcrate::(\{[^;]*?\}|\w+)").unwrap();
    let nested = Regex::new(r"\{[^{}]*\}").unwrap();
    let name = Regex::new(r"\w+").unwrap();
    let files: Vec<(String, String)> = sources(&src)
        .into_iter()
        .filter(|file| {
            let relative = file.strip_prefix(&src).unwrap();
            !relative.iter().any(|part| part == "tests" || part == "tests.rs")
        })
        .map(|file| {
            let relative = file.strip_prefix(&src).unwrap();
            let module = Path::new(relative.iter().next().unwrap()).file_stem().unwrap();
            (module.to_string_lossy().into_owned(), code(&file))
        })
        .collect();
    let modules: BTreeSet<String> = files.iter().map(|(module, _)| module.clone()).collect();
    let mut graph = Graph::new();
    for (module, code) in &files {
        if module == "lib" || module == "main" {
            continue;
        }
        let named = path.captures_iter(code).flat_map(|found| {
            let mut list = found[1].trim_start_matches('{').trim_end_matches('}').to_owned();
            while nested.is_match(&list) {
                list = nested.replace_all(&list, "").into_owned();
            }
            let first = list
                .split(',')
                .filter_map(|item| name.find(item).map(|name| name.as_str().to_owned()));
            first.collect::<Vec<_>>()
        });
        let imported = named.filter(|name| modules.contains(name) && name != module);
        graph.entry(module.clone()).or_default().extend(imported);
    }
    graph
}

/// The names on circles: those that can reach themselves.
fn circles(graph: &Graph) -> BTreeSet<String> {
    let reachable = |start: &str| {
        let mut seen = BTreeSet::new();
        let mut next = vec![start.to_owned()];
        while let Some(name) = next.pop() {
            for target in graph.get(&name).into_iter().flatten() {
                if seen.insert(target.clone()) {
                    next.push(target.clone());
                }
            }
        }
        seen
    };
    graph
        .keys()
        .filter(|name| reachable(name).contains(*name))
        .cloned()
        .collect()
}

#[test]
fn top_level_modules_have_no_import_cycle() {
    for (krate, _) in RANKS {
        let graph = imports(krate);
        assert!(
            graph.len() > 3,
            "only {} modules were found in {krate}",
            graph.len()
        );
        let found = circles(&graph);
        let edges = |name: &String| {
            let targets = graph[name].iter().filter(|target| found.contains(*target));
            format!("  {name} -> {}", targets.cloned().collect::<Vec<_>>().join(", "))
        };
        let lines: Vec<String> = found.iter().map(edges).collect();
        assert!(found.is_empty(), "import cycle in {krate}:\n{}", lines.join("\n"));
    }
}

#[test]
fn crates_use_only_lower_crates() {
    for (krate, rank) in RANKS {
        let manifest = fs::read_to_string(repository().join(krate).join("Cargo.toml")).unwrap();
        let manifest: toml::Table = manifest.parse().unwrap();
        for used in manifest["dependencies"].as_table().unwrap().keys() {
            let Some(used) = used.strip_prefix("parbake-") else {
                continue;
            };
            let lower = RANKS.iter().any(|(name, other)| *name == used && *other < rank);
            assert!(lower, "{krate} must not depend on {used}");
        }
    }
}

#[test]
fn cycles_are_found() {
    let graph = |edges: &[(&str, &str)]| {
        let mut graph = Graph::new();
        for (from, to) in edges {
            graph
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        graph
    };
    assert!(circles(&graph(&[("a", "b"), ("b", "c"), ("d", "a")])).is_empty());
    let found = circles(&graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]));
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["a", "b", "c"]);
}
