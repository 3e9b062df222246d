//! The record of combinations that were tested on real clusters: `docs/tested.toml`, which tests write, and the table in
//! `docs/tested.md`.
//!
//! ```text
//! [[tested]]                  # sorted; one for each provider, source and number of nodes
//! provider = "k8s-1.34"
//! source = "modules"          # as `--source` names it; `directory` for a folder
//! nodes = 3
//! what = ["bake", "thaw"]     # sorted
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The file, relative to the repository's root.
pub const FILE: &str = "docs/tested.toml";
/// The first lines of the file.
const HEAD: &str = "# What tests on real clusters passed. Written by the tests when `PARBAKE_TESTED=write` is set; do not edit.\n\n";

/// A combination of inputs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Baked {
    pub provider: String,
    pub source: String,
    pub nodes: u64,
}

/// What was tested of each combination.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tested(pub BTreeMap<Baked, BTreeSet<String>>);

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default)]
    tested: Vec<Row>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    provider: String,
    source: String,
    nodes: u64,
    what: BTreeSet<String>,
}

impl Tested {
    /// Parses the file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let document: Document = toml::from_str(text).map_err(|error| format!("`{FILE}`: {error}"))?;
        let mut tested = Self::default();
        for row in document.tested {
            let baked = Baked {
                provider: row.provider,
                source: row.source,
                nodes: row.nodes,
            };
            tested.add(baked, row.what);
        }
        Ok(tested)
    }

    /// Adds what was tested of a combination.
    pub fn add(&mut self, baked: Baked, what: impl IntoIterator<Item = String>) {
        self.0.entry(baked).or_default().extend(what);
    }

    /// The text of the file.
    pub fn text(&self) -> Result<String, String> {
        let rows = self.0.iter().map(|(baked, what)| Row {
            provider: baked.provider.clone(),
            source: baked.source.clone(),
            nodes: baked.nodes,
            what: what.clone(),
        });
        let document = Document {
            tested: rows.collect(),
        };
        let text = toml::to_string(&document).map_err(|error| error.to_string())?;
        Ok(format!("{HEAD}{text}"))
    }
}
