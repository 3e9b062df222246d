use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::{Addon, AddonRecipe, Status};

const GOOD: &str = r#"version = "1.2.3"
description = "a test"
status = "tested"
ready = ["deployment/a/b"]
also = ["docker.io/library/helper:1"]

[options]
path = "/srv"

[components]
tool = "1.2.3"

[modules.tool]
go = "1.26.8"
commands = { tool = "example.org/tool" }

[images.tool]
reference = "docker.io/example/tool:v1.2.3"
files = { "/tool" = "tool" }
packages = ["busybox-static"]
"#;
const MANIFEST: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: a }\ndata: { path: \"@path@\", other: \"@other@\" }\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(dir.path().join(name), text).unwrap();
    }
    dir
}

fn load(path: &Path, options: &[(&str, &str)]) -> Result<Addon, String> {
    let options = options
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let loaded = Addon::load(path, &options.collect::<BTreeMap<_, _>>());
    loaded.map_err(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string);
        format!("{error}: {}", source.unwrap_or_default())
    })
}

#[test]
fn valid_file_is_parsed() {
    let recipe = AddonRecipe::parse(GOOD).unwrap();
    assert_eq!(recipe.version.unwrap().to_string(), "1.2.3");
    assert_eq!(
        (recipe.description.as_str(), recipe.status),
        ("a test", Status::Tested)
    );
    assert_eq!(recipe.ready[0].to_string(), "deployment/a/b");
    assert_eq!(recipe.extra_images, ["docker.io/library/helper:1"]);
    assert_eq!(recipe.modules["tool"].commands["tool"], "example.org/tool");
    let image = &recipe.images["tool"];
    assert_eq!(image.reference, "docker.io/example/tool:v1.2.3");
    assert_eq!(image.recipe.packages, ["busybox-static"]);
}

#[test]
fn problems_are_reported() {
    for (from, to, expected) in [
        ("status = \"tested\"", "", "`status` is missing"),
        (
            "\"tested\"",
            "\"great\"",
            "3:10: `status`: unknown variant `great`, expected `tested` or `untested`",
        ),
        (
            "deployment/a/b",
            "service/a/b",
            "`ready`: `service/a/b` is not a workload",
        ),
        (
            "docker.io/library/helper:1",
            "helper:1",
            "`helper:1` is not complete; write `docker.io/library/helper:1`",
        ),
        (
            "tool = \"1.2.3\"",
            "",
            "`modules.tool` needs its version in `components.tool`",
        ),
        (
            "reference = \"docker.io/example/tool:v1.2.3\"",
            "",
            "`images.tool.reference` is missing",
        ),
        (
            "\"/tool\" = \"tool\"",
            "\"/tool\" = \"saw\"",
            "has the binary `saw`, which nothing in `modules` builds",
        ),
        (
            "path = \"/srv\"",
            "path = \"a b\"",
            "`options.path`: `a b` must have neither white space",
        ),
        ("description", "purpose", "unknown field `purpose`"),
    ] {
        assert!(GOOD.contains(from), "{from}");
        let problems = AddonRecipe::parse(&GOOD.replacen(from, to, 1))
            .unwrap_err()
            .to_string();
        assert!(problems.contains(expected), "{problems}");
    }
}

#[test]
fn only_options_are_replaced() {
    let dir = folder(&[("addon.toml", GOOD), ("a.yaml", MANIFEST)]);
    let addon = load(dir.path(), &[]).unwrap();
    assert_eq!(addon.objects[0]["data"]["path"], "/srv");
    assert_eq!(addon.objects[0]["data"]["other"], "@other@");
    let other = load(dir.path(), &[("path", "/mnt")]).unwrap();
    assert_eq!(other.objects[0]["data"]["path"], "/mnt");
    assert!(addon.sha256() == other.sha256() && addon.fingerprint() != other.fingerprint());
    let error = load(dir.path(), &[("size", "1")]).unwrap_err();
    assert!(
        error.contains("has no option `size`; there are `path`"),
        "{error}"
    );
    fs::write(dir.path().join("a.yaml"), MANIFEST.replace("@path@", "x")).unwrap();
    let error = load(dir.path(), &[]).unwrap_err();
    assert!(
        error.contains("has the option `path`, but no manifest contains `@path@`"),
        "{error}"
    );
}

#[test]
fn plain_manifests_are_an_addon() {
    let list =
        "apiVersion: v1\nkind: List\nitems:\n  - { apiVersion: v1, kind: Secret, metadata: { name: c } }\n";
    let files = [
        ("b.yml", list),
        ("a.yaml", MANIFEST),
        ("c.txt", "no"),
        (
            "d.json",
            "{\"apiVersion\": \"v1\", \"kind\": \"Pod\", \"metadata\": {\"name\": \"d\"}}",
        ),
    ];
    let dir = folder(&files);
    let addon = load(dir.path(), &[]).unwrap();
    let kinds: Vec<_> = addon
        .objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["ConfigMap", "Secret", "Pod"]);
    assert_eq!(
        addon.files.keys().collect::<Vec<_>>(),
        ["a.yaml", "b.yml", "d.json"]
    );
    let single = load(&dir.path().join("a.yaml"), &[]).unwrap();
    assert_eq!((single.name.as_str(), single.objects.len()), ("a", 1));
    assert_eq!(single.files.keys().collect::<Vec<_>>(), ["a.yaml"]);
    let before = addon.sha256();
    fs::write(dir.path().join("c.txt"), "yes").unwrap();
    assert_eq!(load(dir.path(), &[]).unwrap().sha256(), before);
    fs::write(dir.path().join("b.yml"), list.replace("c }", "e }")).unwrap();
    assert_ne!(load(dir.path(), &[]).unwrap().sha256(), before);
}

#[test]
fn invalid_manifests_are_rejected() {
    for (text, expected) in [
        ("", "has no manifest"),
        ("---\n# nothing\n---\n", "has no manifest"),
        ("a: [", "is not a manifest that can be applied"),
        (
            "kind: Pod\nmetadata: { name: a }\n",
            "document 1: `apiVersion` is missing or not a string",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\n---\napiVersion: v1\nkind: Pod\n",
            "document 2: `metadata.name`",
        ),
        ("just words\n", "document 1: `apiVersion`"),
    ] {
        let dir = folder(&[("a.yaml", text)]);
        let error = load(dir.path(), &[]).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
    assert!(
        load(Path::new("/no/such"), &[])
            .unwrap_err()
            .contains("could not read `/no/such`")
    );
}

#[test]
fn addons_are_found_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let addons = dir.path().join("manifests");
    assert!(Addon::list(&addons).unwrap().is_empty());
    fs::create_dir_all(addons.join("one")).unwrap();
    fs::create_dir_all(addons.join("none")).unwrap();
    fs::write(addons.join("one/addon.toml"), GOOD).unwrap();
    fs::write(addons.join("one/a.yaml"), MANIFEST).unwrap();
    assert_eq!(Addon::list(&addons).unwrap(), ["one"]);
    assert!(Addon::find("one", &addons, &BTreeMap::new()).is_ok());
    let error = Addon::find("two", &addons, &BTreeMap::new())
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("; there are `one`"), "{error}");
}

#[test]
fn duplicate_names_binaries_and_images_are_rejected() {
    let providers = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers");
    let provider = || crate::provider::Provider::find("k8s-1.34", &providers).unwrap();
    let addon = |text: &str| {
        let dir = folder(&[("addon.toml", text), ("a.yaml", MANIFEST)]);
        let mut addon = load(dir.path(), &[]).unwrap();
        addon.name = "other".to_owned();
        addon
    };
    let mut whole = provider();
    assert!(whole.image("tool").is_none());
    whole.add_addon(addon(GOOD)).unwrap();
    assert!(whole.image("tool").is_some() && whole.image("etcd").is_some());
    // Only add-ons of the provider file are pinned.
    assert!(!whole.package_sets().contains_key("image/tool"));
    assert!(whole.package_sets().contains_key("image/local-storage-helper"));
    let error = whole.add_addon(addon(GOOD)).unwrap_err().to_string();
    assert!(
        error.contains("has the name `other`, which exists already"),
        "{error}"
    );
    let etcd = GOOD
        .replace("commands = { tool", "commands = { etcd")
        .replace("\"tool\" }", "\"etcd\" }");
    let error = provider().add_addon(addon(&etcd)).unwrap_err().to_string();
    assert!(
        error.contains("has the binary `etcd`, which exists already"),
        "{error}"
    );
    let error = provider().add_addon(addon(&GOOD.replace("[images.tool]", "[images.pause]")));
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("has the image `pause`, which exists already"),
        "{error}"
    );
}
