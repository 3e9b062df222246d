use serde_json::{Value, json};

use super::Config;
use crate::digest::Digest;
use crate::layer::Layer;

/// Must stay readable in all later versions.
const SAMPLE: &str = include_str!("../../samples/config-v1.json");

fn digest(number: u8) -> Digest {
    format!("sha256:{number:064}").parse().unwrap()
}

fn layers() -> Vec<Layer> {
    let layer = |title: &str, number| Layer {
        title: title.to_owned(),
        digest: digest(number),
        diff_id: digest(number + 10),
        size: 1,
        unpacked_size: 1024,
    };
    vec![layer("os", 1), layer("machine/node01", 2)]
}

/// The error of `check` for the sample after `change`.
fn problems(change: impl FnOnce(&mut Config, &mut Vec<Layer>)) -> String {
    let (mut config, mut layers) = (Config::from_json(SAMPLE.as_bytes()).unwrap(), layers());
    change(&mut config, &mut layers);
    config.check(&layers).unwrap_err().to_string()
}

#[test]
fn version_1_sample_is_read() {
    let config = Config::from_json(SAMPLE.as_bytes()).unwrap();
    config.check(&layers()).unwrap();
    assert_eq!(config.provider, "k8s-1.34");
    assert_eq!(config.machines[0].layers, [digest(1), digest(2)]);
    assert_eq!(
        serde_json::to_value(&config).unwrap(),
        serde_json::from_str::<Value>(SAMPLE).unwrap()
    );
}

#[test]
fn newer_versions_are_rejected_first() {
    let error = Config::from_json(br#"{"version": 2, "news": true}"#).unwrap_err();
    assert_eq!(
        error.to_string(),
        "artifact format version 2 is newer than this parbake understands (1); upgrade parbake"
    );
    assert!(
        Config::from_json(br#"{"version": 0}"#)
            .unwrap_err()
            .to_string()
            .contains("is invalid")
    );
}

#[test]
fn unknown_fields_are_rejected_everywhere() {
    for place in ["", "/machines/0", "/rootfs"] {
        let mut value: Value = serde_json::from_str(SAMPLE).unwrap();
        value.pointer_mut(place).unwrap()["surprise"] = json!(1);
        let error = Config::from_json(value.to_string().as_bytes()).unwrap_err();
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("unknown field `surprise`"), "{source}");
    }
}

#[test]
fn all_inconsistencies_are_reported() {
    assert!(problems(|config, _| config.machines.clear()).contains("no machine"));
    assert!(problems(|config, _| config.machines[0].layers.clear()).contains("`node01` has no layer"));
    assert!(problems(|config, _| config.machines[0].layers.push(digest(9))).contains("does not list"));
    assert!(problems(|config, _| config.machines[0].layers.push(digest(1))).contains("twice"));
    let twin = |config: &mut Config, _: &mut Vec<Layer>| config.machines.push(config.machines[0].clone());
    assert!(problems(twin).contains("two machines are called `node01`"));
    assert!(
        problems(|config, _| config.rootfs.diff_ids.swap(0, 1)).contains("differ from those of the layers")
    );
    assert!(problems(|_, layers| layers.truncate(1)).contains("2 diff ids for 1 layers"));
    assert!(problems(|_, layers| layers[1].title = "os".into()).contains("two layers are called `os`"));
    assert!(problems(|_, layers| layers[1].title = "a\n".into()).contains("no printable title"));
    assert!(problems(|config, _| config.os = "plan9".into()).contains("`plan9`"));
    for name in ["", "Node", "-a", "a-", "a.b", "a/b", "../x", &"a".repeat(64)] {
        assert!(
            problems(|config, _| config.machines[0].name = name.into()).contains("not a host name"),
            "{name}"
        );
    }
    let both = problems(|config, _| {
        config.os = "plan9".into();
        config.machines.clear();
    });
    assert!(both.contains("plan9") && both.contains("no machine"), "{both}");
}
