//! Strings of provider and add-on files, checked while they are deserialized.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use parbake_cluster::toml_document::Parsed;
use serde::{Deserialize, Deserializer};

/// What strings of one kind must look like.
pub(super) trait Rule: Ord {
    /// # Errors
    /// Why `text` is not of this kind.
    fn check(text: &str) -> Result<(), String>;
}

/// A name that is also a file name: of a binary, a component, an image, a folder of modules, a Debian suite.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name;

impl Rule for Name {
    fn check(text: &str) -> Result<(), String> {
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
        match text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed) {
            true => Ok(()),
            false => Err(format!(
                "`{text}` is not a name of `a`-`z`, `0`-`9`, `.`, `_` and `-`"
            )),
        }
    }
}

/// A string that needs no quotes in the flags of the Go linker.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Word;

impl Rule for Word {
    fn check(text: &str) -> Result<(), String> {
        match text.is_empty() || text.contains(|c: char| c.is_whitespace() || "'\"".contains(c)) {
            true => Err(format!(
                "`{text}` must have neither white space nor quotes and not be empty"
            )),
            false => Ok(()),
        }
    }
}

/// The name of a Debian package (Debian Policy, section 5.6.1).
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct PackageName;

impl Rule for PackageName {
    fn check(text: &str) -> Result<(), String> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        match text.len() >= 2
            && text.starts_with(plain)
            && text.chars().all(|c| plain(c) || "+-.".contains(c))
        {
            true => Ok(()),
            false => Err(format!("`{text}` is not the name of a Debian package")),
        }
    }
}

/// An absolute path in an image, in its shortest form.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ImagePath;

impl Rule for ImagePath {
    fn check(text: &str) -> Result<(), String> {
        let parts = text.strip_prefix('/').map(|rest| rest.split('/'));
        match parts.is_some_and(|mut parts| parts.all(|part| !matches!(part, "" | "." | ".."))) {
            true => Ok(()),
            false => Err(format!(
                "`{text}` is not an absolute path without `.`, `..` and double slashes"
            )),
        }
    }
}

/// A text to search source files for.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Marker;

impl Rule for Marker {
    fn check(text: &str) -> Result<(), String> {
        match !text.trim().is_empty() && !text.contains('\n') {
            true => Ok(()),
            false => Err("a marker must be a text within one line".to_owned()),
        }
    }
}

/// Any string.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Any;

impl Rule for Any {
    fn check(_: &str) -> Result<(), String> {
        Ok(())
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Checked<R>(String, PhantomData<R>);

impl<R: Rule> FromStr for Checked<R> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        R::check(text)?;
        Ok(Self(text.to_owned(), PhantomData))
    }
}

pub(super) fn optional<'de, R: Rule, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    let text = Option::<Parsed<Checked<R>>>::deserialize(from)?;
    Ok(text.map(|text| text.0.0))
}

pub(super) fn list<'de, R: Rule, D: Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    let list = Vec::<Parsed<Checked<R>>>::deserialize(from)?;
    Ok(list.into_iter().map(|text| text.0.0).collect())
}

pub(super) fn map<'de, K: Rule, V: Rule, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    let map = BTreeMap::<Parsed<Checked<K>>, Parsed<Checked<V>>>::deserialize(from)?;
    Ok(map.into_iter().map(|(key, value)| (key.0.0, value.0.0)).collect())
}

/// A table whose keys are names.
pub(super) fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let table = BTreeMap::<Parsed<Checked<Name>>, T>::deserialize(from)?;
    Ok(table.into_iter().map(|(key, value)| (key.0.0, value)).collect())
}

/// A table of names and values that are parsed from strings.
pub(super) fn named_parsed<'de, T, D>(from: D) -> Result<BTreeMap<String, T>, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    let table = named::<Parsed<T>, D>(from)?;
    Ok(table.into_iter().map(|(key, value)| (key, value.0)).collect())
}

/// A value that is parsed from a string.
pub(super) fn parsed<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    Parsed::deserialize(from).map(|value| value.0)
}
