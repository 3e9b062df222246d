//! TOML files read with serde, with all of their problems reported at once, by line and column.
//!
//! serde stops at the first problem. So [`Document::deserialize`] notes it, removes the offending entry from the parsed
//! document and reads the rest again. What holds between fields is checked afterwards, on the deserialized value:
//! [`Document::report`] finds the line of a value by its path.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Range;
use std::str::FromStr;

use serde::de::{DeserializeOwned, Visitor};
use serde::{Deserialize, Deserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer as TomlDeserializer};

use crate::diagnostics::{Collector, Problems};

/// The path to a value of a document, displayed like `mounts[0].path`.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ValuePath(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Key(String),
    Index(usize),
}

impl ValuePath {
    /// The path that consists of these keys.
    #[must_use]
    pub fn of<const N: usize>(keys: [&str; N]) -> Self {
        keys.into_iter().fold(Self::default(), Self::key)
    }

    /// The path to the entry `key` of the table at this path.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.0.push(Step::Key(key.to_owned()));
        self
    }

    /// The path to an item of the list at this path.
    #[must_use]
    pub fn index(mut self, index: usize) -> Self {
        self.0.push(Step::Index(index));
        self
    }
}

impl fmt::Display for ValuePath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, step) in self.0.iter().enumerate() {
            match step {
                Step::Key(key) if position == 0 => out.write_str(key)?,
                Step::Key(key) => write!(out, ".{key}")?,
                Step::Index(index) => write!(out, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// A problem with the value at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    pub path: ValuePath,
    pub message: String,
}

impl Finding {
    pub fn new(path: ValuePath, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { path, message }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}`: {}", self.path, self.message)
    }
}

/// A value that is deserialized from a string with its `FromStr`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Parsed<T>(pub T);

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(ParsedVisitor(PhantomData))
    }
}

/// Parses inside of the visitor, because `toml` knows the position of a list's item only there.
struct ParsedVisitor<T>(PhantomData<T>);

impl<T: FromStr<Err: fmt::Display>> Visitor<'_> for ParsedVisitor<T> {
    type Value = Parsed<T>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a string")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Parsed<T>, E> {
        text.parse().map(Parsed).map_err(E::custom)
    }
}

type Span = Range<usize>;
/// The keys that lead to an entry; items of lists have the path of their list.
type Keys = Vec<String>;

/// A file whose syntax is valid TOML.
#[derive(Debug)]
pub struct Document<'t> {
    /// What could be deserialized: entries with problems are removed.
    root: Spanned<DeTable<'t>>,
    removed: Vec<Keys>,
    problems: Collector<'t>,
}

impl<'t> Document<'t> {
    /// Parses `text`.
    ///
    /// # Errors
    /// All syntax errors. They are reported alone, since what follows one may be misread.
    pub fn parse(text: &'t str) -> Result<Self, Problems> {
        let mut syntax = Collector::new(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            syntax.add(&error.span().unwrap_or_default(), error.message());
        }
        let root = syntax.finish(errors.is_empty().then_some(root))?;
        Ok(Self {
            root,
            removed: Vec::new(),
            problems: Collector::new(text),
        })
    }

    /// The document as far as it is valid; problems are noted. `None` if the document as a whole is not a `T`.
    pub fn deserialize<T: DeserializeOwned>(&mut self) -> Option<T> {
        let mut damaged = Vec::new();
        let value = loop {
            let error = match T::deserialize(TomlDeserializer::from(self.root.clone())) {
                Ok(value) => break value,
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| self.root.span());
            let in_damaged_item = damaged.contains(&span);
            let removed = remove(self.root.get_mut(), &span, &mut damaged);
            let keys = removed.as_deref().unwrap_or_default();
            let missing = missing_field(error.message()).map(|field| [keys, &[field.to_owned()]].concat());
            // A field that was removed before is missing now.
            let is_consequence =
                in_damaged_item || missing.is_some_and(|field| self.removed.contains(&field));
            if !is_consequence {
                self.problems.add(&span, describe(keys, error.message()));
            }
            self.removed.push(removed?);
        };
        if damaged.is_empty() {
            return Some(value);
        }
        // Items that have lost a field may mean something else than intended.
        for (_, value) in self.root.get_mut().iter_mut() {
            if let DeValue::Array(items) = value.get_mut() {
                let intact = items.iter().filter(|item| !damaged.contains(&item.span()));
                *items = intact.cloned().collect();
            }
        }
        T::deserialize(TomlDeserializer::from(self.root.clone())).ok()
    }

    /// Reports a problem with the value at `path`, or with the nearest value around it.
    pub fn report(&mut self, path: &ValuePath, message: impl Into<String>) {
        let span = find(self.root.get_ref(), &path.0).unwrap_or_else(|| self.root.span());
        self.problems.add(&span, message);
    }

    /// Reports each of `findings`.
    pub fn report_all(&mut self, findings: impl IntoIterator<Item = Finding>) {
        for finding in findings {
            self.report(&finding.path, finding.message);
        }
    }

    /// Returns `value` and reports an absent one as missing, unless it was reported as invalid already. `keys` lead to it.
    pub fn require<T, const N: usize>(&mut self, keys: [&str; N], value: Option<T>) -> Option<T> {
        if value.is_none() && self.is_intact(keys) {
            let table = ValuePath::of(keys).0;
            let table = ValuePath(table[..N.saturating_sub(1)].to_vec());
            self.report(&table, format!("`{}` is missing", ValuePath::of(keys)));
        }
        value
    }

    /// True if everything at and below the path of `keys` was deserialized.
    #[must_use]
    pub fn is_intact<const N: usize>(&self, keys: [&str; N]) -> bool {
        let overlaps = |removed: &Keys| removed.iter().zip(keys).all(|(removed, key)| removed == key);
        !self.removed.iter().any(overlaps)
    }

    /// Returns `value` unless there was a problem.
    ///
    /// # Errors
    /// All problems, in the order of the file.
    pub fn finish<T>(self, value: Option<T>) -> Result<T, Problems> {
        self.problems.finish(value)
    }
}

/// An error of serde, with the path of what it is about.
fn describe(keys: &[String], message: &str) -> String {
    let path = keys.join(".");
    if let Some(field) = missing_field(message) {
        let dot = if keys.is_empty() { "" } else { "." };
        return format!("`{path}{dot}{field}` is missing");
    }
    let unknown = message.strip_prefix("unknown field `");
    if let Some((_, expected)) = unknown.and_then(|rest| rest.split_once('`')) {
        return format!("unknown field `{path}`{expected}");
    }
    match keys {
        [] => message.to_owned(),
        _ => format!("`{path}`: {message}"),
    }
}

fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.strip_suffix('`')
}

fn find(table: &DeTable<'_>, path: &[Step]) -> Option<Span> {
    let (Step::Key(key), rest) = path.split_first()? else {
        return None;
    };
    let value = table.get(key.as_str())?;
    Some(find_in(value, rest))
}

fn find_in(value: &Spanned<DeValue<'_>>, path: &[Step]) -> Span {
    let found = match (path.split_first(), value.get_ref()) {
        (Some((Step::Index(index), rest)), DeValue::Array(items)) => {
            items.get(*index).map(|item| find_in(item, rest))
        }
        (Some(_), DeValue::Table(table)) => find(table, path),
        _ => None,
    };
    found.unwrap_or_else(|| value.span())
}

/// Removes the innermost entry of `table` whose key or value is at `span` and returns its keys; `None` if there is no such
/// entry. Of a list only the item is removed. Items that lost a part are added to `damaged`.
fn remove(table: &mut DeTable<'_>, span: &Span, damaged: &mut Vec<Span>) -> Option<Keys> {
    let mut own = None;
    for (key, value) in table.iter_mut() {
        let name = key.get_ref().to_string();
        if key.span() != *span
            && let Some(below) = remove_in(value, span, damaged)
        {
            return Some([vec![name], below].concat());
        }
        if key.span() == *span || covers(&value.span(), span) {
            own = Some(name);
        }
    }
    let name = own?;
    table.remove(name.as_str());
    Some(vec![name])
}

fn remove_in(value: &mut Spanned<DeValue<'_>>, span: &Span, damaged: &mut Vec<Span>) -> Option<Keys> {
    match value.get_mut() {
        DeValue::Table(table) => remove(table, span, damaged),
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                if let Some(below) = remove_in(item, span, damaged) {
                    damaged.push(item.span());
                    return Some(below);
                }
            }
            items.iter().find(|item| covers(&item.span(), span))?;
            let rest = items.iter().filter(|item| !covers(&item.span(), span));
            *items = rest.cloned().collect();
            Some(Vec::new())
        }
        _ => None,
    }
}

fn covers(outer: &Span, inner: &Span) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use serde::Deserialize;

    use super::{Document, Parsed, ValuePath};

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        name: Option<String>,
        #[serde(default)]
        tools: BTreeMap<String, Tool>,
        #[serde(default)]
        hosts: Vec<Parsed<Ipv4Addr>>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Tool {
        size: u8,
    }

    fn problems(text: &str) -> Vec<String> {
        let mut document = Document::parse(text).unwrap();
        let file = document.deserialize::<File>().unwrap();
        assert!(file.tools.values().all(|tool| tool.size == 1));
        document.require(["name"], file.name);
        let last = ValuePath::of(["hosts"]).index(file.hosts.len().saturating_sub(1));
        if document.is_intact(["hosts"]) {
            document.report(&last, format!("`{last}` is reserved"));
        }
        let problems = document.finish(Some(())).unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_problems_are_reported_with_their_positions() {
        let text = "hosts = ['10.0.0.1', '::1', 3]\ncolor = 1\n[tools.a]\nsize = 'x'\n[tools.b]\n[tools.c]\nsize = 1\n";
        let expected = [
            "1:1: `name` is missing",
            "1:22: `hosts`: invalid IPv4 address syntax",
            "1:29: `hosts`: invalid type: integer `3`, expected a string",
            "2:1: unknown field `color`, expected one of `name`, `tools`, `hosts`",
            "4:8: `tools.a.size`: invalid type: string \"x\", expected u8",
            "5:1: `tools.b.size` is missing",
        ];
        assert_eq!(problems(text), expected);
    }

    #[test]
    fn an_invalid_field_is_not_missing_and_paths_find_items() {
        let found = problems("name = 1\nhosts = ['10.0.0.1',\n  '10.0.0.2']\n");
        let expected = [
            "1:8: `name`: invalid type: integer `1`, expected a string",
            "3:3: `hosts[1]` is reserved",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn syntax_errors_are_reported_alone() {
        let problems = Document::parse("a = \nb = [\n").unwrap_err();
        assert!(problems.iter().count() >= 1, "{problems}");
    }
}
