//! A kubeconfig, in which the entries of one cluster can be edited.

use serde_json::{Map, Value, json};
use serde_saphyr::{ser_options, to_string_with_options};

/// The lists of a kubeconfig, and the field of their items beside the name.
const LISTS: [(&str, &str); 3] = [
    ("clusters", "cluster"),
    ("users", "user"),
    ("contexts", "context"),
];
const CURRENT: &str = "current-context";
/// The field that identifies a cluster.
const AUTHORITY: &str = "certificate-authority-data";
const SERVER: &str = "server";

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Document(Map<String, Value>);

/// A cluster and its administrator.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    cluster: Value,
    user: Value,
}

impl Entry {
    /// The first cluster and user of the kubeconfig `text`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let Document(fields) = Document::parse(text)?;
        let first = |list: &str, field: &str| {
            let found = fields.get(list).and_then(|items| items.get(0)?.get(field));
            found.cloned().ok_or_else(|| format!("it has no `{field}`"))
        };
        Ok(Self {
            cluster: first("clusters", "cluster")?,
            user: first("users", "user")?,
        })
    }
}

impl Document {
    /// Parses a kubeconfig, which may be empty.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let value: Value = match text.trim().is_empty() {
            true => Value::Null,
            // Only the first line: the others quote the file, which may show a key.
            false => serde_saphyr::from_str(text).map_err(|error| first_line(&error.to_string()))?,
        };
        let fields = match value {
            Value::Null => Map::new(),
            Value::Object(fields) => fields,
            _ => return Err("it is not a mapping".to_owned()),
        };
        if let Some(kind) = fields.get("kind").filter(|kind| *kind != "Config") {
            return Err(format!("its `kind` is {kind}"));
        }
        let lists = LISTS.map(|(list, _)| (list, fields.get(list)));
        let not_a_list = lists
            .into_iter()
            .find(|(_, items)| !matches!(items, None | Some(Value::Null | Value::Array(_))));
        match not_a_list {
            Some((list, _)) => Err(format!("its `{list}` is not a list")),
            None => Ok(Self(fields)),
        }
    }

    /// Renders the kubeconfig, and checks that it parses to the same value.
    pub(super) fn text(&self) -> Result<String, String> {
        // Certificates and keys on one line each, as kubectl writes them.
        let options = ser_options! { prefer_block_scalars: false };
        let text = to_string_with_options(&self.0, options).map_err(|error| error.to_string())?;
        match Self::parse(&text) {
            Ok(parsed) if parsed == *self => Ok(text),
            _ => Err("a value in it cannot be written back unchanged".to_owned()),
        }
    }

    /// True if `name` is the current context.
    pub(super) fn is_current(&self, name: &str) -> bool {
        self.0.get(CURRENT).is_some_and(|current| current == name)
    }

    /// Sets the cluster, user and context `name`. It becomes the current context if there is none.
    pub(super) fn put(&mut self, name: &str, entry: &Entry) -> Result<(), String> {
        for (field, value) in [("apiVersion", "v1"), ("kind", "Config")] {
            self.0.entry(field).or_insert_with(|| value.into());
        }
        let context = json!({ "cluster": name, "user": name });
        for ((list, field), value) in LISTS.into_iter().zip([&entry.cluster, &entry.user, &context]) {
            let item = json!({ "name": name, field: value });
            let items = self.0.entry(list).or_insert(Value::Null);
            match items {
                Value::Array(items) => match items.iter_mut().find(|item| item["name"] == name) {
                    Some(old) => *old = item,
                    None => items.push(item),
                },
                other => *other = Value::Array(vec![item]),
            }
        }
        let current = self.0.entry(CURRENT).or_insert(Value::Null);
        if current.is_null() || current == "" {
            *current = name.into();
        }
        Ok(())
    }

    /// True if the cluster `name` is the one of `entry`, by its CA; the server may differ.
    pub(super) fn has(&self, name: &str, entry: &Entry) -> bool {
        let clusters = self.0.get("clusters").and_then(Value::as_array);
        let named = clusters.and_then(|items| items.iter().find(|item| item["name"] == name));
        named.is_some_and(|named| named["cluster"][AUTHORITY] == entry.cluster[AUTHORITY])
    }

    /// Sets the server of the cluster of `entry`, whatever its name.
    pub(super) fn set_server(&mut self, entry: &Entry) {
        let clusters = self.0.get_mut("clusters").and_then(Value::as_array_mut);
        for item in clusters.into_iter().flatten() {
            if item["cluster"][AUTHORITY] == entry.cluster[AUTHORITY] {
                item["cluster"][SERVER] = entry.cluster[SERVER].clone();
            }
        }
    }

    /// Removes the cluster, user and context `name`, unless they belong to another cluster.
    pub(super) fn remove(&mut self, name: &str, entry: &Entry) -> Result<(), String> {
        if !self.has(name, entry) {
            return Ok(());
        }
        for (list, _) in LISTS {
            if let Some(items) = self.0.get_mut(list).and_then(Value::as_array_mut) {
                items.retain(|item| item["name"] != name);
            }
        }
        if self.is_current(name) {
            self.0.insert(CURRENT.to_owned(), "".into());
        }
        Ok(())
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

#[cfg(test)]
mod tests {
    use super::{Document, Entry};

    const PARBAKES: &str = "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: QQ==\n    server: \"https://127.0.0.1:1\"\n  \
                       name: kubernetes\nusers:\n- name: admin\n  user:\n    client-key-data: S0VZ\n";
    /// A user's kubeconfig with details that are easily lost: unknown fields, ambiguous scalars, long lines.
    const USERS: &str = "# mine\napiVersion: v1\nkind: Config\npreferences: {}\nx-more: [1, 2.5, null, true]\n\
        clusters:\n- name: work\n  cluster: {server: 'https://work', insecure-skip-tls-verify: true, extensions: [{name: e, extension: {a: 'yes'}}]}\n\
        contexts:\n- {name: work, context: {cluster: work, user: me, namespace: 'on'}}\ncurrent-context: work\n\
        users:\n- name: me\n  user:\n    exec: {command: get-token, args: ['y', 'no', '012', '1e3', '1_000', '~', '2001-01-01', 'a: b', ' #x', \"two\\nlines\\n\", '']}\n";

    fn entry() -> Entry {
        Entry::parse(PARBAKES).unwrap()
    }

    #[test]
    fn other_entries_survive_put_and_remove() {
        let long = format!(
            "{USERS}- name: long\n  user: {{token: {}}}\n",
            "aB3/".repeat(3000)
        );
        let before = Document::parse(&long).unwrap();
        let mut document = before.clone();
        document.put("parbake-ci", &entry()).unwrap();
        document.put("parbake-ci", &entry()).unwrap();
        let text = document.text().unwrap();
        assert_eq!(Document::parse(&text).unwrap(), document);
        assert!(
            document.is_current("work") && text.matches("name: parbake-ci").count() == 3,
            "{text}"
        );
        // Strings that YAML 1.1 takes for booleans or numbers must be quoted.
        for quoted in [
            "\"y\"",
            "\"no\"",
            "\"012\"",
            "\"1e3\"",
            "\"1_000\"",
            "\"on\"",
            "\"yes\"",
        ] {
            let single = quoted.replace('"', "'");
            assert!(
                text.contains(quoted) || text.contains(&single),
                "{quoted} in {text}"
            );
        }
        document.remove("parbake-ci", &entry()).unwrap();
        assert_eq!(document, before);
    }

    #[test]
    fn empty_file_becomes_a_kubeconfig() {
        for empty in ["", "\n", "# nothing\n", "clusters: null\nusers: []\n"] {
            let mut document = Document::parse(empty).unwrap();
            document.put("parbake-ci", &entry()).unwrap();
            assert!(document.is_current("parbake-ci"));
            let text = document.text().unwrap();
            assert!(
                text.contains("kind: Config") && text.contains("client-key-data: S0VZ"),
                "{text}"
            );
            document.remove("parbake-ci", &entry()).unwrap();
            assert!(!document.is_current("parbake-ci") && !document.text().unwrap().contains("parbake"));
        }
    }

    #[test]
    fn another_cluster_of_the_same_name_is_kept() {
        let mut document = Document::parse("").unwrap();
        document.put("parbake-ci", &entry()).unwrap();
        let before = document.clone();
        let moved = Entry::parse(&PARBAKES.replace("127.0.0.1:1", "127.0.0.1:2")).unwrap();
        assert!(document.has("parbake-ci", &moved) && !document.has("parbake-xy", &moved));
        let other = Entry::parse(&PARBAKES.replace("QQ==", "Qg==")).unwrap();
        document.remove("parbake-ci", &other).unwrap();
        assert_eq!(document, before);
    }

    #[test]
    fn set_server_changes_only_the_cluster_of_the_entry() {
        let both = format!(
            "{PARBAKES}contexts:\n- {{name: mine, context: {{cluster: kubernetes, user: admin, namespace: n}}}}\n"
        )
        .replace(
            "users:",
            "- {name: work, cluster: {certificate-authority-data: Qg==, server: 'https://127.0.0.1:1'}}\nusers:",
        );
        let mut document = Document::parse(&both).unwrap();
        let moved = PARBAKES.replace("127.0.0.1:1", "127.0.0.1:2");
        document.set_server(&Entry::parse(&moved).unwrap());
        let expected = both.replacen("127.0.0.1:1", "127.0.0.1:2", 1);
        assert_eq!(document, Document::parse(&expected).unwrap());
    }

    #[test]
    fn invalid_kubeconfigs_are_refused() {
        for (text, expected) in [
            ("a: [", ""),
            ("a: 1\na: 2\n", ""),
            ("- a\n", "it is not a mapping"),
            ("kind: Pod\n", "its `kind` is \"Pod\""),
            ("clusters: {}\n", "its `clusters` is not a list"),
            ("a: 1\n---\nb: 2\n", ""),
        ] {
            let problem = Document::parse(text).unwrap_err();
            assert!(problem.contains(expected) && !problem.contains('\n'), "{problem}");
            assert!(!problem.starts_with("error: "), "{problem}");
        }
    }
}
