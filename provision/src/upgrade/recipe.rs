//! Changes a provider file to another version of Kubernetes. Only versions change; comments and the order of fields stay.

use parbake_cluster::KubernetesVersion;
use semver::Version;
use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::constants::Constants;
use super::modules::KUBERNETES;
use super::newest::version;
use crate::provider::Recipe;

/// The text of the provider file for the version `new`; `old` is the recipe of `text`.
pub(super) fn change(
    text: &str,
    old: &Recipe,
    new: &KubernetesVersion,
    constants: &Constants,
) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let (before, after) = (version(&old.kubernetes), version(new));
    set_text(document.get_mut("kubernetes"), &after.to_string());
    change_variables(&mut document, KUBERNETES, &before, &after);
    for (name, version) in constants.by_name() {
        let Some(component) = old.components.get(name) else {
            continue;
        };
        let item = document
            .get_mut("components")
            .and_then(|table| entry(table, name));
        set_text(item, &version.to_string());
        change_variables(&mut document, name, component, version);
    }
    Ok(update_comments(&document.to_string(), &before, &after))
}

/// An entry of a table. Unlike `Item::get_mut`, this never inserts one.
fn entry<'d>(item: &'d mut Item, name: &str) -> Option<&'d mut Item> {
    item.as_table_like_mut()?.get_mut(name)
}

/// Replaces a value and keeps the white space and comments around it.
fn set_text(item: Option<&mut Item>, text: &str) {
    if let Some(value) = item.and_then(Item::as_value_mut) {
        let decor = value.decor().clone();
        *value = Value::from(text);
        *value.decor_mut() = decor;
    }
}

/// Changes the linker variables of a folder that contain its version.
fn change_variables(document: &mut DocumentMut, folder: &str, before: &Version, after: &Version) {
    let modules = document.get_mut("modules");
    let variables = modules
        .and_then(|modules| entry(modules, folder))
        .and_then(|modules| entry(modules, "variables"));
    let Some(variables) = variables.and_then(Item::as_table_like_mut) else {
        return;
    };
    let names: Vec<String> = variables.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        if let Some(text) = variable(&*variables, &name, before, after) {
            set_text(variables.get_mut(&name), &text);
        }
    }
}

fn variable(variables: &dyn TableLike, name: &str, before: &Version, after: &Version) -> Option<String> {
    let value = variables.get(name)?.as_str()?;
    if name.ends_with(".gitMajor") {
        return Some(after.major.to_string());
    }
    if name.ends_with(".gitMinor") {
        return Some(after.minor.to_string());
    }
    [format!("v{before}"), before.to_string()]
        .into_iter()
        .find(|text| text == value)
        .map(|text| text.replace(&before.to_string(), &after.to_string()))
}

/// Replaces versions in comments.
fn update_comments(text: &str, before: &Version, after: &Version) -> String {
    let minor = |version: &Version| format!("{}.{}", version.major, version.minor);
    let changed = text
        .split_inclusive('\n')
        .map(|line| match line.trim_start().starts_with('#') {
            true => {
                let line = replace_version(line, &before.to_string(), &after.to_string());
                replace_version(
                    &line,
                    &format!("Kubernetes {}", minor(before)),
                    &format!("Kubernetes {}", minor(after)),
                )
            }
            false => line.to_owned(),
        });
    changed.collect()
}

/// Replaces `old` except at the beginning of a longer version.
fn replace_version(line: &str, old: &str, new: &str) -> String {
    let mut parts = line.split(old);
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let longer = part.starts_with(|next: char| next.is_ascii_digit())
            || part
                .strip_prefix('.')
                .is_some_and(|rest| rest.starts_with(|next: char| next.is_ascii_digit()));
        text.push_str(if longer { old } else { new });
        text.push_str(part);
    }
    text
}
