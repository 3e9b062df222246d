//! The manifests of an add-on and their objects.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::AddonError;

const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// An invalid manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("{0}")]
    Syntax(String),
    #[error("document {number}: `{field}` is missing or not a string")]
    NotAnObject {
        /// From 1.
        number: usize,
        field: &'static str,
    },
}

/// The manifests of a folder, sorted by name, or the file itself.
pub(super) fn files(path: &Path) -> Result<Vec<PathBuf>, AddonError> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in fs::read_dir(path).map_err(AddonError::read(path))? {
        let file = entry.map_err(AddonError::read(path))?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        if file.is_file() && extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The objects of a manifest, with lists flattened. `@NAME@` is replaced by the value of the option `NAME`, and the names
/// of replaced options are added to `used`.
pub(super) fn objects(
    path: &Path,
    text: &str,
    options: &BTreeMap<String, String>,
    used: &mut BTreeSet<String>,
) -> Result<Vec<Value>, AddonError> {
    let mut text = text.to_owned();
    for (name, value) in options {
        let placeholder = format!("@{name}@");
        if text.contains(&placeholder) {
            used.insert(name.clone());
            text = text.replace(&placeholder, value);
        }
    }
    parse(&text).map_err(|source| AddonError::Manifest {
        path: path.to_owned(),
        source,
    })
}

fn parse(text: &str) -> Result<Vec<Value>, ManifestError> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
        ManifestError::Syntax(error.to_string().lines().next().unwrap_or_default().to_owned())
    })?;
    let mut objects = Vec::new();
    for (index, document) in documents.into_iter().enumerate() {
        for object in flattened(document) {
            let has = |path: &str| {
                object
                    .pointer(path)
                    .is_some_and(|value| value.as_str().is_some_and(|text| !text.is_empty()))
            };
            let number = index + 1;
            for (field, path) in [
                ("apiVersion", "/apiVersion"),
                ("kind", "/kind"),
                ("metadata.name", "/metadata/name"),
            ] {
                if !has(path) {
                    return Err(ManifestError::NotAnObject { number, field });
                }
            }
            objects.push(object);
        }
    }
    Ok(objects)
}

/// The items of a possibly nested list; empty for an empty document.
fn flattened(mut document: Value) -> Vec<Value> {
    if document.is_null() {
        return Vec::new();
    }
    let is_list = document["kind"]
        .as_str()
        .is_some_and(|kind| kind.ends_with("List"));
    match document.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) if is_list => items.into_iter().flat_map(flattened).collect(),
        Some(items) => {
            document["items"] = items;
            vec![document]
        }
        None => vec![document],
    }
}
