//! `parbake artifact diff`

use std::process::ExitCode;

use parbake_artifact::diff::{Attribute, Change, FileChange, LayerChange, MachineChange};
use parbake_artifact::{Difference, Layer, Store, Tag};

use crate::args::GlobalArgs;
use crate::output::{self, count, size};

const EXAMPLES: &str = "\
Examples:
  parbake artifact diff k8s-1.34 mine
  parbake artifact diff before after --output json | jq -r '.layers[].files[].path'
  parbake artifact diff a b --exit-code >/dev/null || echo different

Equal layers are counted. Files that differ only in their mtime are counted, too, and listed in JSON.";

/// Compare two artifacts, file by file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The first artifact
    a: Tag,
    /// The second artifact
    b: Tag,
    /// Exit with 1 if they differ
    #[arg(long)]
    exit_code: bool,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs, store: &Store) -> anyhow::Result<ExitCode> {
        let difference = store.diff(&store.get(&self.a)?, &store.get(&self.b)?)?;
        output::print(global.output, &difference, text)?;
        Ok(if self.exit_code && !difference.is_empty() {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        })
    }
}

fn text(difference: &Difference) -> String {
    let mut lines = vec![
        format!("a: {}", difference.a),
        format!("b: {}", difference.b),
        format!("{}, {}", same_layers(difference), other_layers(difference)),
    ];
    lines.extend(difference.machines.iter().map(machine_text));
    for field in &difference.config {
        let value = |value: &Option<serde_json::Value>| {
            value
                .as_ref()
                .map_or_else(|| "none".to_owned(), ToString::to_string)
        };
        lines.push(format!(
            "config {}: {} -> {}",
            field.field,
            value(&field.a),
            value(&field.b)
        ));
    }
    for layer in &difference.layers {
        lines.push(layer_text(layer));
        let (touched, others): (Vec<_>, Vec<_>) =
            layer.files.iter().partition(|file| differs_in_mtime_only(file));
        lines.extend(others.into_iter().map(file_text));
        if !touched.is_empty() {
            lines.push(format!("  ~ {} with another mtime", count(touched.len(), "file")));
        }
    }
    lines.join("\n") + "\n"
}

fn same_layers(difference: &Difference) -> String {
    format!("{} equal", count(difference.same_layers, "layer"))
}

fn other_layers(difference: &Difference) -> String {
    match difference.layers.len() {
        0 => "none differs".to_owned(),
        1 => "1 differs".to_owned(),
        number => format!("{number} differ"),
    }
}

fn machine_text(machine: &MachineChange) -> String {
    let name = &machine.name;
    match (&machine.a, &machine.b) {
        (Some(a), Some(b)) => format!("machine {name}: {} -> {}", a.join(", "), b.join(", ")),
        (a, _) => format!("machine {name}: only in {}", if a.is_some() { "a" } else { "b" }),
    }
}

fn layer_text(layer: &LayerChange) -> String {
    let title = &layer.title;
    let one = |layer: &Layer| format!("{} {}", layer.digest, size(layer.size));
    match (&layer.a, &layer.b) {
        (Some(a), Some(b)) => {
            let files = match layer.files.len() {
                0 => "equal files, packed differently".to_owned(),
                1 => "1 file differs".to_owned(),
                number => format!("{number} files differ"),
            };
            format!("layer {title}: {} -> {}: {files}", one(a), one(b))
        }
        (Some(a), None) => format!("layer {title}: only in a: {}", one(a)),
        (None, Some(b)) => format!("layer {title}: only in b: {}", one(b)),
        (None, None) => format!("layer {title}"),
    }
}

/// True for most files of two bakes.
fn differs_in_mtime_only(file: &FileChange) -> bool {
    match &file.change {
        Change::Differs { attributes } => attributes.iter().all(|attribute| attribute.name == "mtime"),
        Change::OnlyA | Change::OnlyB => false,
    }
}

fn file_text(file: &FileChange) -> String {
    let path = &file.path;
    match &file.change {
        Change::OnlyA => format!("  - {path}"),
        Change::OnlyB => format!("  + {path}"),
        Change::Differs { attributes } => {
            let attributes: Vec<_> = attributes.iter().map(attribute_text).collect();
            format!("  ~ {path}: {}", attributes.join(", "))
        }
    }
}

/// Digests are left out: they only say that the content differs.
fn attribute_text(attribute: &Attribute) -> String {
    let Attribute { name, a, b } = attribute;
    match (a, b) {
        (Some(a), Some(b)) if a.starts_with("sha256:") && b.starts_with("sha256:") => name.clone(),
        (Some(a), Some(b)) => format!("{name} {a} -> {b}"),
        (Some(_), None) => format!("no {name}"),
        (None, _) => format!("new {name}"),
    }
}

#[cfg(test)]
mod tests {
    use parbake_artifact::diff::FieldChange;
    use serde_json::json;

    use super::{Attribute, Change, Difference, FileChange, MachineChange, text};

    fn digest(text: &str) -> parbake_artifact::Digest {
        parbake_artifact::Digest::of(text.as_bytes())
    }

    #[test]
    fn equal_layers_are_counted_and_differences_are_listed() {
        let layer = |title: &str, content: &str| parbake_artifact::Layer {
            title: title.to_owned(),
            digest: digest(content),
            diff_id: digest(content),
            size: 1000,
            unpacked_size: 2000,
        };
        let attribute = |name: &str, a: Option<&str>, b: Option<&str>| Attribute {
            name: name.to_owned(),
            a: a.map(ToOwned::to_owned),
            b: b.map(ToOwned::to_owned),
        };
        let file = |path: &str, change| FileChange {
            path: path.to_owned(),
            change,
        };
        let content = (digest("x").to_string(), digest("y").to_string());
        let difference = Difference {
            a: digest("a"),
            b: digest("b"),
            config: vec![FieldChange {
                field: "/cluster/pods".to_owned(),
                a: Some(json!(3)),
                b: None,
            }],
            machines: vec![MachineChange {
                name: "node02".to_owned(),
                a: None,
                b: Some(vec!["os".to_owned()]),
            }],
            same_layers: 17,
            layers: vec![parbake_artifact::diff::LayerChange {
                title: "own".to_owned(),
                a: Some(layer("own", "1")),
                b: Some(layer("own", "2")),
                files: vec![
                    file("etc/gone", Change::OnlyA),
                    file("etc/new", Change::OnlyB),
                    file(
                        "etc/newer",
                        Change::Differs {
                            attributes: vec![attribute("mtime", Some("1"), Some("2"))],
                        },
                    ),
                    file(
                        "etc/other",
                        Change::Differs {
                            attributes: vec![
                                attribute("content", Some(&content.0), Some(&content.1)),
                                attribute("size", Some("1"), Some("2")),
                                attribute("opaque", None, Some("yes")),
                            ],
                        },
                    ),
                ],
            }],
        };
        assert_eq!(
            text(&difference),
            format!(
                "a: {}\nb: {}\n17 layers equal, 1 differs\nmachine node02: only in b\n\
                 config /cluster/pods: 3 -> none\n\
                 layer own: {} 1.00 kB -> {} 1.00 kB: 4 files differ\n  - etc/gone\n  + etc/new\n  \
                 ~ etc/other: content, size 1 -> 2, new opaque\n  ~ 1 file with another mtime\n",
                digest("a"),
                digest("b"),
                digest("1"),
                digest("2")
            )
        );
    }
}
