//! A parsed TOML text that is read field by field, noting every problem instead of stopping at the first.
//!
//! A reader takes fields out of a [`Fields`]; what it has not taken when it calls [`Fields::finish`] is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use parbake_cluster::diagnostics::{Collector, Problems};

/// A value and where it is.
pub(super) type At<T> = (T, Range<usize>);

/// One table that is being read.
pub(super) struct Fields<'d, 'i> {
    /// The table's name as in the file, empty for the file itself.
    path: String,
    span: Range<usize>,
    table: &'d DeTable<'i>,
    known: BTreeSet<&'static str>,
}

/// Reads a whole text with `read`; what is no TOML is among the problems.
pub(super) fn whole<T>(
    text: &str,
    read: impl FnOnce(&mut Collector<'_>, Fields<'_, '_>) -> Option<T>,
) -> Result<T, Problems> {
    let mut problems = Collector::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        problems.add(&error.span().unwrap_or_default(), error.message());
    }
    let fields = Fields::new("", document.span(), document.get_ref());
    let found = read(&mut problems, fields);
    problems.finish(found)
}

impl<'d, 'i> Fields<'d, 'i> {
    fn new(path: &str, span: Range<usize>, table: &'d DeTable<'i>) -> Self {
        Self {
            path: path.to_owned(),
            span,
            table,
            known: BTreeSet::new(),
        }
    }

    /// Where the table is.
    pub(super) fn span(&self) -> &Range<usize> {
        &self.span
    }

    fn name(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The value of `key`, if it is there.
    fn get(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'i>>> {
        self.known.insert(key);
        self.table.get(key)
    }

    /// The value of `key`; it must be there.
    fn need(&mut self, problems: &mut Collector<'_>, key: &'static str) -> Option<&'d Spanned<DeValue<'i>>> {
        let value = self.get(key);
        if value.is_none() {
            problems.add(&self.span, format!("`{}` is missing", self.name(key)));
        }
        value
    }

    /// A text that `T` can be made of.
    pub(super) fn parsed<T>(&mut self, problems: &mut Collector<'_>, key: &'static str) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        let name = self.name(key);
        let value = self.need(problems, key)?;
        parsed(problems, &name, value)
    }

    /// The same, where it need not be there.
    pub(super) fn optional_parsed<T>(
        &mut self,
        problems: &mut Collector<'_>,
        key: &'static str,
    ) -> Option<At<T>>
    where
        T: FromStr<Err: Display>,
    {
        let name = self.name(key);
        let value = self.get(key)?;
        parsed(problems, &name, value)
    }

    /// Whether something is so; it is not where nothing is said.
    pub(super) fn flag(&mut self, problems: &mut Collector<'_>, key: &'static str) -> bool {
        let name = self.name(key);
        let Some(value) = self.get(key) else {
            return false;
        };
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            problems.add(&value.span(), wrong(&name, "`true` or `false`", value));
        }
        flag.unwrap_or_default()
    }

    /// One table, if it is there.
    pub(super) fn optional_table(
        &mut self,
        problems: &mut Collector<'_>,
        key: &'static str,
    ) -> Option<Fields<'d, 'i>> {
        let name = self.name(key);
        let value = self.get(key)?;
        as_fields(problems, &name, value)
    }

    /// A list of texts that `T` can be made of; one that is not there is empty.
    pub(super) fn list<T>(&mut self, problems: &mut Collector<'_>, key: &'static str) -> Option<Vec<At<T>>>
    where
        T: FromStr<Err: Display>,
    {
        let name = self.name(key);
        let Some(value) = self.get(key) else {
            return Some(Vec::new());
        };
        let Some(items) = value.get_ref().as_array() else {
            problems.add(&value.span(), wrong(&name, "a list of strings", value));
            return None;
        };
        let items: Vec<_> = items.iter().map(|item| parsed(problems, &name, item)).collect();
        items.into_iter().collect()
    }

    /// The same, which must be there, even if it is empty.
    pub(super) fn needed_list<T>(
        &mut self,
        problems: &mut Collector<'_>,
        key: &'static str,
    ) -> Option<Vec<At<T>>>
    where
        T: FromStr<Err: Display>,
    {
        self.need(problems, key)?;
        self.list(problems, key)
    }

    /// A text that `T` can be made of, or a list of such; it must be there.
    pub(super) fn one_or_more<T>(
        &mut self,
        problems: &mut Collector<'_>,
        key: &'static str,
    ) -> Option<Vec<At<T>>>
    where
        T: FromStr<Err: Display>,
    {
        let listed = self
            .table
            .get(key)
            .is_some_and(|value| value.get_ref().is_array());
        if listed {
            self.list(problems, key)
        } else {
            Some(vec![self.parsed(problems, key)?])
        }
    }

    /// A table whose keys and texts `K` and `T` can be made of; one that is not there is empty.
    pub(super) fn map<K, T>(
        &mut self,
        problems: &mut Collector<'_>,
        key: &'static str,
    ) -> Option<BTreeMap<K, At<T>>>
    where
        K: FromStr<Err: Display> + Ord,
        T: FromStr<Err: Display>,
    {
        self.tables_of(problems, key, |problems, name, value| {
            parsed(problems, name, value)
        })
    }

    /// All fields of this table, whose keys and texts `K` and `T` can be made of.
    pub(super) fn all<K, T>(self, problems: &mut Collector<'_>) -> Option<BTreeMap<K, At<T>>>
    where
        K: FromStr<Err: Display> + Ord,
        T: FromStr<Err: Display>,
    {
        entries(problems, &self.path, self.table, parsed)
    }

    /// A table of tables, each read by `read`; one that is not there is empty.
    pub(super) fn tables<K, T>(
        &mut self,
        problems: &mut Collector<'_>,
        key: &'static str,
        mut read: impl FnMut(&mut Collector<'_>, Fields<'d, 'i>) -> Option<T>,
    ) -> Option<BTreeMap<K, T>>
    where
        K: FromStr<Err: Display> + Ord,
    {
        self.tables_of(problems, key, |problems, name, value| {
            let fields = as_fields(problems, name, value)?;
            read(problems, fields)
        })
    }

    fn tables_of<K, T>(
        &mut self,
        problems: &mut Collector<'_>,
        key: &'static str,
        read: impl FnMut(&mut Collector<'_>, &str, &'d Spanned<DeValue<'i>>) -> Option<T>,
    ) -> Option<BTreeMap<K, T>>
    where
        K: FromStr<Err: Display> + Ord,
    {
        let name = self.name(key);
        let Some(value) = self.get(key) else {
            return Some(BTreeMap::new());
        };
        let Some(table) = value.get_ref().as_table() else {
            problems.add(&value.span(), wrong(&name, "a table", value));
            return None;
        };
        entries(problems, &name, table, read)
    }

    /// One table, which must be there.
    pub(super) fn table(
        &mut self,
        problems: &mut Collector<'_>,
        key: &'static str,
    ) -> Option<Fields<'d, 'i>> {
        let name = self.name(key);
        let value = self.need(problems, key)?;
        as_fields(problems, &name, value)
    }

    /// A list of tables, which must be there, each read by `read`.
    pub(super) fn array<T>(
        &mut self,
        problems: &mut Collector<'_>,
        key: &'static str,
        mut read: impl FnMut(&mut Collector<'_>, Fields<'d, 'i>) -> Option<T>,
    ) -> Option<At<Vec<T>>> {
        let name = self.name(key);
        let value = self.need(problems, key)?;
        let Some(items) = value.get_ref().as_array() else {
            problems.add(&value.span(), wrong(&name, "a list of tables", value));
            return None;
        };
        let mut found = Vec::new();
        for item in items {
            let fields = as_fields(problems, &name, item);
            found.push(fields.and_then(|fields| read(problems, fields)));
        }
        Some((found.into_iter().collect::<Option<_>>()?, value.span()))
    }

    /// Notes every field that nothing has asked for.
    pub(super) fn finish(self, problems: &mut Collector<'_>) {
        for (key, _) in self.table {
            if !self.known.contains(key.get_ref().as_ref()) {
                let known: Vec<String> = self.known.iter().map(|name| format!("`{name}`")).collect();
                let message = format!(
                    "unknown field `{}`; known here: {}",
                    self.name(key.get_ref()),
                    known.join(", ")
                );
                problems.add(&key.span(), message);
            }
        }
    }
}

fn entries<'d, 'i, K, T>(
    problems: &mut Collector<'_>,
    name: &str,
    table: &'d DeTable<'i>,
    mut read: impl FnMut(&mut Collector<'_>, &str, &'d Spanned<DeValue<'i>>) -> Option<T>,
) -> Option<BTreeMap<K, T>>
where
    K: FromStr<Err: Display> + Ord,
{
    let mut entries = Vec::new();
    for (key, value) in table {
        let read_key = key.get_ref().parse::<K>();
        if let Err(error) = &read_key {
            problems.add(&key.span(), format!("`{name}`: {error}"));
        }
        let value = read(problems, &format!("{name}.{}", key.get_ref()), value);
        entries.push(read_key.ok().zip(value));
    }
    entries.into_iter().collect()
}

fn as_fields<'d, 'i>(
    problems: &mut Collector<'_>,
    name: &str,
    value: &'d Spanned<DeValue<'i>>,
) -> Option<Fields<'d, 'i>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        problems.add(&value.span(), wrong(name, "a table", value));
    }
    Some(Fields::new(name, value.span(), table?))
}

fn parsed<T>(problems: &mut Collector<'_>, name: &str, value: &Spanned<DeValue<'_>>) -> Option<At<T>>
where
    T: FromStr<Err: Display>,
{
    let Some(text) = value.get_ref().as_str() else {
        problems.add(&value.span(), wrong(name, "a string", value));
        return None;
    };
    match text.parse() {
        Ok(parsed) => Some((parsed, value.span())),
        Err(error) => {
            problems.add(&value.span(), format!("`{name}`: {error}"));
            None
        }
    }
}

fn wrong(name: &str, wanted: &str, value: &Spanned<DeValue<'_>>) -> String {
    format!(
        "`{name}` must be {wanted}, not of type {}",
        value.get_ref().type_str()
    )
}
