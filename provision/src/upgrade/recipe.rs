//! A provider file of another version: only versions change, comments and the order of things stay.

use parbake_cluster::KubernetesVersion;
use semver::Version;
use toml_edit::{DocumentMut, Item, TableLike, Value};

use super::constants::Constants;
use super::modules::KUBERNETES;
use super::newest::version;
use crate::provider::Recipe;

/// The text of a provider file of the version `new`, made from `text`, which means `old`.
pub(super) fn change(
    text: &str,
    old: &Recipe,
    new: &KubernetesVersion,
    constants: &Constants,
) -> Result<String, toml_edit::TomlError> {
    let mut document: DocumentMut = text.parse()?;
    let (before, after) = (version(&old.kubernetes), version(new));
    put(document.get_mut("kubernetes"), &after.to_string());
    change_variables(&mut document, KUBERNETES, &before, &after);
    for (name, version) in constants.by_name() {
        let Some(component) = old.components.get(name) else {
            continue;
        };
        let item = document
            .get_mut("components")
            .and_then(|table| below(table, name));
        put(item, &version.to_string());
        change_variables(&mut document, name, component, version);
    }
    Ok(comments(&document.to_string(), &before, &after))
}

/// What a table has by a name; what is not there stays so, as it does not with `Item::get_mut`.
fn below<'d>(item: &'d mut Item, name: &str) -> Option<&'d mut Item> {
    item.as_table_like_mut()?.get_mut(name)
}

/// Sets a text and leaves alone what stands around it.
fn put(item: Option<&mut Item>, text: &str) {
    if let Some(value) = item.and_then(Item::as_value_mut) {
        let around = value.decor().clone();
        *value = Value::from(text);
        *value.decor_mut() = around;
    }
}

/// Sets the variables of a folder of modules that say its version.
fn change_variables(document: &mut DocumentMut, folder: &str, before: &Version, after: &Version) {
    let modules = document.get_mut("modules");
    let variables = modules
        .and_then(|modules| below(modules, folder))
        .and_then(|modules| below(modules, "variables"));
    let Some(variables) = variables.and_then(Item::as_table_like_mut) else {
        return;
    };
    let names: Vec<String> = variables.iter().map(|(name, _)| name.to_owned()).collect();
    for name in names {
        if let Some(text) = variable(&*variables, &name, before, after) {
            put(variables.get_mut(&name), &text);
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

/// The same text with the new version where comments name the old one.
fn comments(text: &str, before: &Version, after: &Version) -> String {
    let minor = |version: &Version| format!("{}.{}", version.major, version.minor);
    let changed = text
        .split_inclusive('\n')
        .map(|line| match line.trim_start().starts_with('#') {
            true => {
                let line = replaced(line, &before.to_string(), &after.to_string());
                replaced(
                    &line,
                    &format!("Kubernetes {}", minor(before)),
                    &format!("Kubernetes {}", minor(after)),
                )
            }
            false => line.to_owned(),
        });
    changed.collect()
}

/// Replaces `old` where it is not the beginning of a longer number.
fn replaced(line: &str, old: &str, new: &str) -> String {
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
