//! A TOML text read with serde, which stops at the first problem, so that all of them are found: what is wrong is noted,
//! cut out of the parsed document, and the rest is read again.

use std::ops::Range;

use parbake_cluster::diagnostics::{Collector, Problems};
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use super::Config;

/// A part of a configuration, by the keys and indices that lead there.
pub(super) type Place = Vec<Step>;

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// A table's key.
    Key(String),
    /// A list's index.
    Index(usize),
}

impl From<&str> for Step {
    fn from(key: &str) -> Self {
        Self::Key(key.to_owned())
    }
}

impl From<usize> for Step {
    fn from(index: usize) -> Self {
        Self::Index(index)
    }
}

/// `place` as a user would say it, such as `mounts[0].path`.
pub(super) fn shown(place: &[Step]) -> String {
    let mut text = String::new();
    for step in place {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => text.push_str(&format!(".{key}")),
            Step::Index(index) => text.push_str(&format!("[{index}]")),
        }
    }
    text
}

/// Where something is, in bytes.
type Span = Range<usize>;

/// A text that is TOML.
pub(super) struct Document<'t> {
    /// What is left of it: what could not be read is cut out.
    root: Spanned<DeTable<'t>>,
    problems: Collector<'t>,
}

impl<'t> Document<'t> {
    /// # Errors
    /// The text is no TOML.
    pub(super) fn parse(text: &'t str) -> Result<Self, Problems> {
        let mut syntax = Collector::new(text);
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            syntax.add(&error.span().unwrap_or_default(), error.message());
        }
        // What could be made of the rest would be guesswork.
        let root = syntax.finish(errors.is_empty().then_some(root))?;
        let problems = Collector::new(text);
        Ok(Self { root, problems })
    }

    /// The configuration as far as it can be read; notes what cannot.
    pub(super) fn config(&mut self) -> Config {
        let mut spoilt = Vec::new();
        let config = loop {
            let error = match Config::deserialize(Deserializer::from(self.root.clone())) {
                Ok(config) => break config,
                Err(error) => error,
            };
            let span = error.span().unwrap_or_else(|| self.root.span());
            // What a spoilt item lacks now may have been cut out of it.
            let follows = spoilt.contains(&span);
            let cut = cut(self.root.get_mut(), &span, &mut spoilt);
            let message = match &cut {
                // What a value's own type says may not say what it is of.
                Some(keys) => format!("`{}`: {}", keys.join("."), error.message()),
                None => error.message().to_owned(),
            };
            if !follows {
                self.problems.add(&span, message);
            }
            if cut.is_none() {
                return Config::default();
            }
        };
        if spoilt.is_empty() {
            return config;
        }
        // What is left of an item may mean something else than what was meant.
        for (_, value) in self.root.get_mut().iter_mut() {
            if let DeValue::Array(items) = value.get_mut() {
                let rest = items.iter().filter(|item| !spoilt.contains(&item.span()));
                *items = rest.cloned().collect();
            }
        }
        Config::deserialize(Deserializer::from(self.root.clone())).unwrap_or_default()
    }

    /// Notes a problem with what is at `place`, or with the nearest thing around it.
    pub(super) fn note(&mut self, place: &[Step], message: impl Into<String>) {
        let span = find(self.root.get_ref(), place).unwrap_or_else(|| self.root.span());
        self.problems.add(&span, message);
    }

    /// `value`, unless there was a problem.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Problems> {
        self.problems.finish(Some(value))
    }
}

/// Where the value at `place` is.
fn find(table: &DeTable<'_>, place: &[Step]) -> Option<Span> {
    let (Step::Key(key), rest) = place.split_first()? else {
        return None;
    };
    let value = table.get(key.as_str())?;
    Some(find_in(value, rest))
}

fn find_in(value: &Spanned<DeValue<'_>>, place: &[Step]) -> Span {
    let found = match (place.split_first(), value.get_ref()) {
        (Some((Step::Index(index), rest)), DeValue::Array(items)) => {
            items.get(*index).map(|item| find_in(item, rest))
        }
        (Some(_), DeValue::Table(table)) => find(table, place),
        _ => None,
    };
    found.unwrap_or_else(|| value.span())
}

/// Takes out of `table` the innermost entry whose key or value is at `span`; gives the keys that led there, nothing where
/// there is none. An item of a list goes alone; one that only a part of goes out of is spoilt.
fn cut(table: &mut DeTable<'_>, span: &Span, spoilt: &mut Vec<Span>) -> Option<Vec<String>> {
    let mut own = None;
    for (key, value) in table.iter_mut() {
        let name = key.get_ref().to_string();
        if key.span() != *span
            && let Some(below) = cut_value(value, span, spoilt)
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

fn cut_value(value: &mut Spanned<DeValue<'_>>, span: &Span, spoilt: &mut Vec<Span>) -> Option<Vec<String>> {
    match value.get_mut() {
        DeValue::Table(table) => cut(table, span, spoilt),
        DeValue::Array(items) => {
            for item in items.iter_mut() {
                if let Some(below) = cut_value(item, span, spoilt) {
                    spoilt.push(item.span());
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
