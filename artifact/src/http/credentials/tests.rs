//! Tests of credential files.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::{Credential, Credentials, files};
use crate::http::one_line;

/// `me:secret` in base64.
const AUTH: &str = "bWU6c2VjcmV0";

fn find_in(files: Vec<PathBuf>) -> Result<Credentials, String> {
    let found = Credentials::find_in(
        files,
        "example.org:5000",
        Some("team/clusters/k8s"),
        Duration::from_secs(5),
    );
    let found = Runtime::new().unwrap().block_on(found);
    found.map_err(|error| one_line(&error))
}

fn find(file: &Value) -> Result<Option<Credential>, String> {
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("auth.json");
    fs::write(&path, file.to_string()).unwrap();
    Ok(find_in(vec![path])?.credential)
}

fn password(user: &str, password: &str) -> Option<Credential> {
    Some(Credential::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

#[test]
fn files_follow_the_environment() {
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
        "an explicit file is the only one"
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
fn most_specific_key_wins() {
    let registry = json!({"auth": AUTH});
    // `team:other`
    let team = json!({"auth": "dGVhbTpvdGhlcg=="});
    let cases = [
        (json!({}), None),
        (json!({"auths": {"example.org": registry}}), None),
        (
            json!({"auths": {"example.org:5000": registry}}),
            password("me", "secret"),
        ),
        (
            json!({"auths": {"https://example.org:5000/v1/": registry}}),
            password("me", "secret"),
        ),
        (
            json!({"auths": {"example.org:5000": registry, "example.org:5000/team": team}}),
            password("team", "other"),
        ),
        (
            json!({"auths": {"example.org:5000": registry, "example.org:5000/others": team}}),
            password("me", "secret"),
        ),
        (
            json!({"auths": {"example.org:5000": {"username": "me", "password": "plain"}}}),
            password("me", "plain"),
        ),
        (
            json!({"auths": {"example.org:5000": {"identitytoken": "t"}}}),
            Some(Credential::IdentityToken("t".to_owned())),
        ),
    ];
    for (file, expected) in cases {
        assert_eq!(find(&file), Ok(expected), "{file}");
    }
}

#[test]
fn unusable_files_are_errors() {
    let entry = |entry: Value| find(&json!({"auths": {"example.org:5000": entry}})).unwrap_err();
    let error = entry(json!({"auth": "%"}));
    assert!(
        error.contains("`example.org:5000`") && error.contains("base64"),
        "{error}"
    );
    let error = entry(json!({"auth": AUTH, "username": "me", "password": "other"}));
    assert!(error.contains("differs"), "{error}");
    let helper = json!({"credHelpers": {"example.org:5000": "parbake-absent"}});
    let error = find(&helper).unwrap_err();
    assert!(
        error.contains("`docker-credential-parbake-absent` is not installed"),
        "{error}"
    );
    let temp = tempfile::tempdir().unwrap();
    let path = temp.path().join("auth.json");
    fs::write(&path, "{").unwrap();
    let error = find_in(vec![path]).err().unwrap();
    assert!(error.starts_with("cannot use the credentials in"), "{error}");
}

#[test]
fn display_names_the_files() {
    let temp = tempfile::tempdir().unwrap();
    let (absent, present) = (temp.path().join("absent"), temp.path().join("present"));
    let file = json!({"auths": {"example.org:5000": {"auth": AUTH}}});
    fs::write(&present, file.to_string()).unwrap();
    let text = |files| find_in(files).unwrap().to_string();
    let (absent_text, present_text) = (absent.display().to_string(), present.display().to_string());
    assert_eq!(
        text(vec![absent.clone(), present]),
        format!("the credential in `{present_text}` was used")
    );
    assert_eq!(
        text(vec![absent]),
        format!("no credential was found in `{absent_text}`; `skopeo login` or `docker login` writes one")
    );
}
