//! Credentials from the files and helpers that Docker and Podman use (containers-auth.json(5), `docker login`).

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;

use super::HttpError;
use super::error::one_line;
use super::helper;

const DOCKER_HUB: &str = "docker.io";
/// The name under which `docker login` stores the credential of Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// A user's credential for a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Credential {
    Password {
        user: String,
        password: String,
    },
    /// A refresh token (distribution, "OAuth2 Token Authentication").
    IdentityToken(String),
}

/// The credential for a server, if there is one, and where it was found.
#[derive(Debug)]
pub(crate) struct Credentials {
    pub(crate) credential: Option<Credential>,
    origin: Origin,
}

#[derive(Debug)]
enum Origin {
    /// The file that has or names the credential.
    File(PathBuf),
    /// None of these files has one.
    Nowhere(Vec<PathBuf>),
    /// Why it could not be used.
    Unusable(String),
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AuthFile {
    auths: Option<BTreeMap<String, AuthEntry>>,
    creds_store: Option<String>,
    cred_helpers: Option<BTreeMap<String, String>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    /// `USER:PASSWORD` in base64.
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

impl Credentials {
    /// Looks for the credential of a registry, or of one of its repositories, in the files of this process's user. A
    /// credential helper must answer within `timeout`.
    pub(crate) async fn find(
        registry: &str,
        repository: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, HttpError> {
        let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Self::find_in(files(variable), registry, repository, timeout).await
    }

    async fn find_in(
        files: Vec<PathBuf>,
        registry: &str,
        repository: Option<&str>,
        timeout: Duration,
    ) -> Result<Self, HttpError> {
        for path in &files {
            let unusable = |source: Box<dyn std::error::Error + Send + Sync>| HttpError::CredentialFile {
                path: path.clone(),
                source,
            };
            let text = match fs::read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text.map_err(|error| unusable(error.into()))?,
            };
            let file: AuthFile = serde_json::from_slice(&text).map_err(|error| unusable(error.into()))?;
            for key in file.keys(registry, repository) {
                let credential = file.credential(&key, timeout).await;
                let credential = credential.map_err(|problem| HttpError::Credential {
                    path: path.clone(),
                    registry: registry.to_owned(),
                    problem,
                })?;
                if credential.is_some() {
                    return Ok(Self {
                        credential,
                        origin: Origin::File(path.clone()),
                    });
                }
            }
        }
        Ok(Self {
            credential: None,
            origin: Origin::Nowhere(files),
        })
    }

    /// No credential, because of a failure to find it.
    pub(crate) fn unusable(error: &HttpError) -> Self {
        Self {
            credential: None,
            origin: Origin::Unusable(one_line(error)),
        }
    }
}

/// Says which credential was used, for error messages about a refused request.
impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.origin {
            Origin::File(path) => write!(f, "the credential in `{}` was used", path.display()),
            Origin::Unusable(problem) => f.write_str(problem),
            Origin::Nowhere(files) => {
                let files: Vec<_> = files.iter().map(|path| format!("`{}`", path.display())).collect();
                write!(
                    f,
                    "no credential was found in {}; `skopeo login` or `docker login` writes one",
                    files.join(", ")
                )
            }
        }
    }
}

impl AuthFile {
    /// The keys that the credential may be stored under, the most specific first: Podman stores credentials of single
    /// repositories, too.
    fn keys(&self, registry: &str, repository: Option<&str>) -> Vec<String> {
        let mut keys = Vec::new();
        if let Some(repository) = repository {
            let whole = format!("{registry}/{repository}");
            let parents = whole.rmatch_indices('/').map(|(end, _)| &whole[..end]);
            let all = [whole.as_str()].into_iter().chain(parents);
            // Helpers know registries only, and must not be asked for repositories.
            let stored = all.filter(|key| *key != registry && self.entry(key).is_some());
            keys.extend(stored.map(str::to_owned));
        }
        keys.push(registry.to_owned());
        if registry == DOCKER_HUB {
            keys.push(DOCKER_HUB_KEY.to_owned());
        }
        keys
    }

    fn entry(&self, key: &str) -> Option<&AuthEntry> {
        self.auths.as_ref()?.get(key)
    }

    /// The credential that is stored under `key`, or why it cannot be used.
    async fn credential(&self, key: &str, timeout: Duration) -> Result<Option<Credential>, String> {
        let helper = self.cred_helpers.as_ref().and_then(|helpers| helpers.get(key));
        if let Some(name) = helper.filter(|name| !name.is_empty()) {
            return helper::get(name, key, timeout).await;
        }
        let by_registry = || {
            let mut entries = self.auths.iter().flatten();
            entries.find(|(other, _)| registry_of(other) == registry_of(key))
        };
        let entry = self.entry(key).or_else(|| by_registry().map(|(_, entry)| entry));
        if let Some(credential) = entry.map(AuthEntry::credential).transpose()?.flatten() {
            return Ok(Some(credential));
        }
        match self.creds_store.as_ref().filter(|name| !name.is_empty()) {
            Some(name) => helper::get(name, key, timeout).await,
            None => Ok(None),
        }
    }
}

impl AuthEntry {
    fn credential(&self) -> Result<Option<Credential>, String> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Credential::IdentityToken(token.clone())));
        }
        let pair = self.username.clone().zip(self.password.clone());
        let pair = pair.map(|(user, password)| Credential::Password { user, password });
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) else {
            return Ok(pair);
        };
        let decoded = decode(auth).ok_or("`auth` is not `USER:PASSWORD` in base64")?;
        if pair.is_some_and(|pair| pair != decoded) {
            return Err("`auth` differs from `username` and `password`".to_owned());
        }
        Ok(Some(decoded))
    }
}

fn decode(auth: &str) -> Option<Credential> {
    let config = GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    let bytes = GeneralPurpose::new(&alphabet::STANDARD, config)
        .decode(auth)
        .ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some(Credential::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    })
}

/// The registry of a key, which older versions of Docker wrote as a URL.
fn registry_of(key: &str) -> &str {
    let without_scheme = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let registry = without_scheme.map_or(key, |rest| rest.split('/').next().unwrap_or_default());
    match registry {
        "registry-1.docker.io" | DOCKER_HUB => "index.docker.io",
        registry => registry,
    }
}

/// The files to search, in order.
fn files(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let under = |name: &str, rest: &str| variable(name).map(|dir| PathBuf::from(dir).join(rest));
    if let Some(only) = variable("REGISTRY_AUTH_FILE") {
        return vec![only.into()];
    }
    let podman = under("XDG_RUNTIME_DIR", "containers/auth.json")
        .unwrap_or_else(|| PathBuf::from("/run/containers/0/auth.json"));
    let own = under("XDG_CONFIG_HOME", "containers/auth.json")
        .or_else(|| under("HOME", ".config/containers/auth.json"));
    let docker = under("DOCKER_CONFIG", "config.json").or_else(|| under("HOME", ".docker/config.json"));
    [Some(podman), own, docker].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
