//! Compares two configs.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::config::Config;
use crate::printable::printable;

/// A field that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FieldChange {
    /// A JSON pointer (RFC 6901): `/cluster/nodes/0/address`.
    pub field: String,
    pub a: Option<Value>,
    pub b: Option<Value>,
}

/// The innermost fields that differ. Machines and diff ids are left out: they are compared as machines and layers.
pub(super) fn changes(a: &Config, b: &Config) -> Vec<FieldChange> {
    let comparable = |config: &Config| {
        let mut value = serde_json::to_value(config).expect("all keys of a config are strings");
        if let Some(fields) = value.as_object_mut() {
            fields.remove("machines");
            fields.remove("rootfs");
        }
        value
    };
    let mut changes = Vec::new();
    compare("", Some(&comparable(a)), Some(&comparable(b)), &mut changes);
    changes
}

/// The recursion is as deep as the document, at most 128 levels (serde_json's limit).
fn compare(field: &str, a: Option<&Value>, b: Option<&Value>, changes: &mut Vec<FieldChange>) {
    match (a, b) {
        (Some(Value::Object(in_a)), Some(Value::Object(in_b))) => {
            let keys: BTreeSet<&String> = in_a.keys().chain(in_b.keys()).collect();
            for key in keys {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                let inner = format!("{field}/{}", printable(&escaped));
                compare(&inner, in_a.get(key), in_b.get(key), changes);
            }
        }
        (Some(Value::Array(in_a)), Some(Value::Array(in_b))) => {
            for index in 0..in_a.len().max(in_b.len()) {
                compare(
                    &format!("{field}/{index}"),
                    in_a.get(index),
                    in_b.get(index),
                    changes,
                );
            }
        }
        (a, b) if a != b => changes.push(FieldChange {
            field: field.to_owned(),
            a: a.cloned(),
            b: b.cloned(),
        }),
        _ => {}
    }
}
