use parbake_artifact::{Digest, Layer};
use serde_json::{Value, json};

use crate::site::{Site, chain, config, manifest};
use crate::stream::stream;

/// A layer in the site's store.
fn layer(site: &Site) -> Layer {
    let (blob, layer) = stream().file("file", b"").blob();
    site.unpack_blob(&blob, &layer).unwrap();
    layer
}

/// Checks the error for an artifact of one layer after `change`.
#[track_caller]
fn assert_rejected(change: impl Fn(&mut Value, &mut Value), why: &str) {
    let site = Site::new();
    let layers = [layer(&site)];
    let (mut manifest, mut config) = (manifest(&layers), config(&layers));
    change(&mut manifest, &mut config);
    let error = chain(&site.import(&manifest, &config).unwrap_err());
    assert!(error.contains(why), "rejected for another reason: {error}");
    assert!(!error.chars().any(char::is_control), "{error:?}");
}

#[test]
fn number_of_layers_and_machines_is_limited() {
    // As many as fit into some megabytes. Larger manifests are not read, see `registry`.
    let site = Site::new();
    let layer = layer(&site);
    let many: Vec<_> = (0..20_000)
        .map(|number| Layer {
            title: number.to_string(),
            ..layer.clone()
        })
        .collect();
    let error = chain(&site.import(&manifest(&many), &config(&many)).unwrap_err());
    assert!(
        error.contains("lists 20000 layers, more than the 1000"),
        "{error}"
    );
    // Few layers, many times in a machine, or in many machines.
    assert_rejected(
        |_, config| {
            let digest = config["machines"][0]["layers"][0].clone();
            config["machines"][0]["layers"] = Value::Array(vec![digest; 100_000]);
        },
        "has 100000 layers, more than 500",
    );
    assert_rejected(
        |_, config| {
            let machine = config["machines"][0].clone();
            config["machines"] = Value::Array(vec![machine; 100_000]);
        },
        "has 100000 machines, more than 1000",
    );
    assert_rejected(
        |_, config| config["rootfs"]["diff_ids"] = Value::Array(vec![json!(layer_digest()); 100_000]),
        "100000 diff ids",
    );
}

fn layer_digest() -> String {
    Digest::of(b"x").to_string()
}

#[test]
fn digests_that_are_paths_are_rejected() {
    let hex = Digest::of(b"x").hex().to_owned();
    for digest in [
        "../../../canary/file".to_owned(),
        "sha256:../../../../canary/file".to_owned(),
        format!("sha256:../{}", &hex[3..]),
        format!("sha256:{hex}/../../x"),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}\0"),
        format!("sha512:{hex}{hex}"),
        format!("md5:{}", &hex[..32]),
        "/etc/passwd".to_owned(),
        "sha256:".to_owned(),
        String::new(),
    ] {
        let site = Site::new();
        let layers = [layer(&site)];
        let assert_rejected = |manifest: &Value, config: &Value| {
            let error = chain(&site.import(manifest, config).unwrap_err());
            assert!(!error.chars().any(char::is_control), "{error:?}");
        };
        let mut hostile = manifest(&layers);
        hostile["layers"][0]["digest"] = json!(digest);
        assert_rejected(&hostile, &config(&layers));
        let mut hostile = config(&layers);
        hostile["machines"][0]["layers"][0] = json!(digest);
        assert_rejected(&manifest(&layers), &hostile);
        let mut hostile = config(&layers);
        hostile["rootfs"]["diff_ids"][0] = json!(digest);
        assert_rejected(&manifest(&layers), &hostile);
        let mut hostile = manifest(&layers);
        hostile["config"]["digest"] = json!(digest);
        assert!(site.import_as_is(hostile.to_string().as_bytes()).is_err());
    }
}

#[test]
fn machine_names_that_are_paths_are_rejected() {
    for name in [
        "../../canary",
        "/etc",
        ".",
        "..",
        "",
        "a/b",
        "a\0b",
        "node01\n",
        "NODE",
        "-rf",
    ] {
        assert_rejected(
            |_, config| config["machines"][0]["name"] = json!(name),
            "is not a host name",
        );
    }
}

#[test]
fn false_annotations_are_rejected() {
    let annotation = |name: &'static str, value: Value| {
        move |manifest: &mut Value, _: &mut Value| manifest["layers"][0]["annotations"][name] = value.clone()
    };
    let size = "dev.parbake.layer.unpacked-size";
    for value in ["-1", "1e9", "0x10", "", " 1", "18446744073709551616", "NaN"] {
        assert_rejected(
            annotation(size, json!(value)),
            "no valid `dev.parbake.layer.unpacked-size`",
        );
    }
    assert_rejected(annotation(size, json!(1)), "is not an OCI image manifest");
    assert_rejected(
        annotation(size, json!(u64::MAX.to_string())),
        "more than 256 times as much",
    );
    assert_rejected(
        |manifest, _| manifest["layers"][0]["size"] = json!(-1),
        "is not an OCI image manifest",
    );
    assert_rejected(
        |manifest, _| manifest["layers"][0]["size"] = json!(1e300),
        "is not an OCI image manifest",
    );
}

#[test]
fn inconsistent_layers_are_rejected() {
    let site = Site::new();
    let layer = layer(&site);
    let other = Layer {
        title: "other".to_owned(),
        unpacked_size: layer.unpacked_size + 512,
        ..layer.clone()
    };
    let both = [layer.clone(), other];
    let error = chain(&site.import(&manifest(&both), &config(&both[..1])).unwrap_err());
    assert!(error.contains("1 diff ids for 2 layers"), "{error}");
    let mut config = config(&both);
    config["machines"][0]["layers"].as_array_mut().unwrap().pop();
    let error = chain(&site.import(&manifest(&both), &config).unwrap_err());
    assert!(
        error.contains("is listed twice with different properties"),
        "{error}"
    );
    let twins = [layer.clone(), layer];
    config["rootfs"]["diff_ids"][1] = config["rootfs"]["diff_ids"][0].clone();
    let error = chain(&site.import(&manifest(&twins), &config).unwrap_err());
    assert!(error.contains("two layers are called `hostile`"), "{error}");
}

#[test]
fn unprintable_text_is_rejected() {
    let long = "x".repeat(256);
    for text in [
        "\u{1b}[2J\u{1b}[H",
        "a\rb",
        "a\nb",
        "\u{9b}2J",
        "a\u{202e}b",
        "a\u{200b}",
        "\u{7f}",
        "",
        &long,
    ] {
        assert_rejected(
            |manifest, _| manifest["layers"][0]["annotations"]["dev.parbake.layer.title"] = json!(text),
            "has no printable title",
        );
        for field in ["provider", "parbake", "architecture"] {
            assert_rejected(
                |_, config| config[field] = json!(text),
                &format!("`{field}` is not printable text"),
            );
        }
    }
    let escape = "\u{1b}[2J";
    assert_rejected(|_, config| config["os"] = json!(escape), "`os` is `\\u{1b}[2J`");
    assert_rejected(|_, config| config["rootfs"]["type"] = json!(escape), "\\u{1b}[2J");
    assert_rejected(
        |_, config| config[escape] = json!(1),
        "unknown field `\\u{1b}[2J`",
    );
    assert_rejected(
        |manifest, _| manifest["config"]["mediaType"] = json!(escape),
        "`\\u{1b}[2J`",
    );
    assert_rejected(
        |manifest, _| manifest["layers"][0]["mediaType"] = json!(escape),
        "media type",
    );
    assert_rejected(|_, config| config["created"] = json!(escape), "is not valid");
}

#[test]
fn deep_and_malformed_json_is_rejected() {
    let site = Site::new();
    let layers = [layer(&site)];
    let valid = config(&layers).to_string();
    let deep = |open: &str, close: &str| {
        valid.replace(
            "\"cluster\":{}",
            &format!("\"cluster\":{}1{}", open.repeat(100_000), close.repeat(100_000)),
        )
    };
    for config in [
        deep("[", "]"),
        deep("{\"a\":", "}"),
        valid.replace("\"cluster\":{}", &format!("\"cluster\":{}", "[".repeat(1 << 20))),
        valid.replace("\"version\":1", "\"version\":1,\"version\":1"),
        valid.replace("\"version\":1", "\"version\":1e999"),
        valid.replace("\"version\":1", "\"version\":\"\\ud800\""),
        format!("{valid}{valid}"),
        format!("\u{feff}{valid}"),
        "[".repeat(1 << 20),
        String::new(),
    ] {
        let error = chain(
            &site
                .import_bytes(&manifest(&layers), config.as_bytes())
                .unwrap_err(),
        );
        assert!(error.contains("config is not valid"), "{error}");
    }
    for manifest in [
        b"[".repeat(1 << 20),
        b"{\"layers\":".repeat(1 << 18),
        b"\xff".to_vec(),
        Vec::new(),
    ] {
        let error = chain(&site.import_as_is(&manifest).unwrap_err());
        assert!(error.contains("is not an OCI image manifest"), "{error}");
    }
}
