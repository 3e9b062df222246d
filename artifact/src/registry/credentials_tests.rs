//! Tests of who one is to a registry.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use oci_client::secrets::RegistryAuth;
use serde_json::{Value, json};

use super::{Credentials, files};
use crate::reference::Reference;

fn reference() -> Reference {
    "example.org:5000/team/clusters/k8s".parse().unwrap()
}

/// What is found in a file.
fn find(file: &Value) -> Result<RegistryAuth, String> {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("auth.json");
    fs::write(&path, file.to_string()).unwrap();
    let found = Credentials::find_in(vec![path], &reference());
    found.map(|found| found.auth).map_err(|error| error.to_string())
}

fn basic(user: &str, password: &str) -> RegistryAuth {
    RegistryAuth::Basic(user.to_owned(), password.to_owned())
}

#[test]
fn places() {
    let home = |name: &str| (name == "HOME").then(|| OsString::from("/home/me"));
    let expected = [
        "/run/containers/0/auth.json",
        "/home/me/.config/containers/auth.json",
        "/home/me/.docker/config.json",
    ];
    assert_eq!(files(home), expected.map(PathBuf::from));
    let all = |name: &str| Some(OsString::from(format!("/{name}")));
    assert_eq!(
        files(all),
        [PathBuf::from("/REGISTRY_AUTH_FILE")],
        "who names one means it"
    );
    let others = |name: &str| all(name).filter(|_| name != "REGISTRY_AUTH_FILE");
    let expected = [
        "/XDG_RUNTIME_DIR/containers/auth.json",
        "/XDG_CONFIG_HOME/containers/auth.json",
        "/DOCKER_CONFIG/config.json",
    ];
    assert_eq!(files(others), expected.map(PathBuf::from));
}

#[test]
fn the_most_particular_one_wins() {
    // `me:secret` and `team:other` in base64.
    let registry = json!({"auth": "bWU6c2VjcmV0"});
    let team = json!({"auth": "dGVhbTpvdGhlcg=="});
    let cases = [
        (json!({}), RegistryAuth::Anonymous),
        (
            json!({"auths": {"example.org": registry}}),
            RegistryAuth::Anonymous,
        ),
        (
            json!({"auths": {"example.org:5000": registry}}),
            basic("me", "secret"),
        ),
        (
            json!({"auths": {"https://example.org:5000": registry}}),
            basic("me", "secret"),
        ),
        (
            json!({"auths": {"example.org:5000": registry, "example.org:5000/team": team}}),
            basic("team", "other"),
        ),
        (
            json!({"auths": {"example.org:5000": registry, "example.org:5000/others": team}}),
            basic("me", "secret"),
        ),
    ];
    for (file, expected) in cases {
        assert!(find(&file) == Ok(expected), "{file}: {:?}", find(&file));
    }
}

#[test]
fn what_cannot_be_used_is_an_error() {
    let broken = find(&json!({"auths": {"example.org:5000": {"auth": "%"}}})).unwrap_err();
    assert!(
        broken.contains("`example.org:5000`") && broken.contains("decode"),
        "{broken}"
    );
    let token = json!({"auths": {"example.org:5000": {"identitytoken": "t"}}});
    assert_eq!(find(&token), Ok(RegistryAuth::Anonymous), "it is no password");
    let helper = json!({"credHelpers": {"example.org:5000": "parbake-has-no-such-helper"}});
    assert!(find(&helper).unwrap_err().contains("credential helper"));
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("auth.json");
    fs::write(&path, "{").unwrap();
    let error = Credentials::find_in(vec![path], &reference()).err().unwrap();
    assert!(error.to_string().ends_with("are no JSON"), "{error}");
}

#[test]
fn says_where_it_looked() {
    let temp = tempfile::tempdir().unwrap();
    let (none, some) = (temp.path().join("none"), temp.path().join("some"));
    fs::write(
        &some,
        json!({"auths": {"example.org:5000": {"auth": "bWU6c2VjcmV0"}}}).to_string(),
    )
    .unwrap();
    let said = |files| Credentials::find_in(files, &reference()).unwrap().to_string();
    let (none_text, some_text) = (none.display().to_string(), some.display().to_string());
    assert_eq!(
        said(vec![none.clone(), some]),
        format!("the credential in `{some_text}` was used")
    );
    assert_eq!(
        said(vec![none]),
        format!("no credential was found in `{none_text}`; `skopeo login` or `docker login` writes one")
    );
}
