//! Tests of `[network]` with IPv6.

use super::{GOOD, problems};
use crate::provider::Recipe;

#[test]
fn networks_can_have_both_families() {
    let text = GOOD
        .replace("\"10.89.0.0/24\"", "[\"10.89.0.0/24\", \"fd00:89::/64\"]")
        .replace("\"10.244.0.0/16\"", "[\"10.244.0.0/16\", \"fd00:244::/56\"]")
        .replace("\"10.96.0.0/12\"", "[\"10.96.0.0/12\", \"fd00:96::/112\"]");
    let cluster = Recipe::parse(&text).unwrap().describe().unwrap();
    let addresses = cluster.nodes()[1].comma_separated(|family| family.address);
    assert_eq!(addresses, "10.89.0.12,fd00:89::c");
    let overlapping = text.replace("fd00:96::/112", "fd00:89::/112");
    let found = problems(&overlapping);
    assert!(
        found.contains("`fd00:89::/112` overlaps `network.nodes`, `fd00:89::/64`"),
        "{found}"
    );
}

#[test]
fn problems_with_families_are_reported() {
    let cases = [
        (
            "\"10.89.0.0/24\"",
            "\"fd00::/64\"",
            "7:1: `network`: `nodes`, `pods` and `services` must have the same families",
        ),
        (
            "\"10.89.0.0/24\"",
            "[\"10.89.0.0/24\", \"fd00::/64\"]",
            "must have the same families, in the same order",
        ),
        ("\"10.89.0.0/24\"", "[]", "must have the same families"),
        (
            "\"10.89.0.0/24\"",
            "7",
            "8:9: `network.nodes`: invalid type: integer `7`, expected a string or a list of strings",
        ),
        (
            "10.89.0.0/24",
            "2001:db8::/64",
            "`2001:db8::/64` is not a local network in `fd00::/8`",
        ),
        (
            "10.244.0.0/16",
            "fd00:1::/65",
            "`fd00:1::/65` must be from /48 to /64",
        ),
        (
            "10.96.0.0/12",
            "fd00:2::/64",
            "`fd00:2::/64` must be from /108 to /123",
        ),
    ];
    for (from, to, expected) in cases {
        assert!(GOOD.contains(from), "{from}");
        let text = problems(&GOOD.replacen(from, to, 1));
        assert!(text.contains(expected), "{to}: {text}");
    }
}
