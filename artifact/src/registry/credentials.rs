//! Who one is to a registry: from the files and helpers that Docker and Podman use (containers-auth.json(5),
//! `docker login`).

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::path::PathBuf;

use docker_credential::{CredentialRetrievalError, DockerCredential, get_credential_from_reader};
use oci_client::secrets::RegistryAuth;

use crate::reference::Reference;

/// What a helper says when it knows nothing of a registry (docker-credential-helpers, `credentials/error.go`).
const HELPER_HAS_NONE: &str = "credentials not found";
const DOCKER_HUB: &str = "docker.io";
/// The name under which `docker login` files Docker Hub.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// Why a file of credentials cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// It cannot be read.
    #[error("cannot read the credentials in `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no JSON.
    #[error("the credentials in `{}` are no JSON", .path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The file or a helper that it names makes no sense.
    #[error("cannot get the credential for `{registry}` by `{}`: {problem}", .path.display())]
    Get {
        /// The file.
        path: PathBuf,
        /// The registry.
        registry: String,
        /// What is wrong.
        problem: String,
    },
}

/// Who one is to a registry, and how that is known.
pub(super) struct Credentials {
    pub(super) auth: RegistryAuth,
    /// A token that others are given for (distribution, "OAuth2 Token Authentication": a refresh token); `auth` is
    /// anonymous then.
    pub(super) identity: Option<String>,
    /// The file with the credential, or all files without one.
    from: Result<PathBuf, Vec<PathBuf>>,
}

impl Credentials {
    /// Looks for the credential of a repository in the files of this process's user.
    pub(super) fn find(reference: &Reference) -> Result<Self, CredentialError> {
        let get = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        Self::find_in(files(get), reference)
    }

    fn find_in(files: Vec<PathBuf>, reference: &Reference) -> Result<Self, CredentialError> {
        for path in &files {
            let text = match fs::read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text.map_err(|source| CredentialError::Read {
                    path: path.clone(),
                    source,
                })?,
            };
            let wrong = |problem| CredentialError::Get {
                path: path.clone(),
                registry: reference.registry().to_owned(),
                problem,
            };
            let file = serde_json::from_slice(&text).map_err(|source| CredentialError::Json {
                path: path.clone(),
                source,
            })?;
            for key in keys(&file, reference) {
                let from = Ok(path.clone());
                let (auth, identity) = match credential(&text, &key).map_err(wrong)? {
                    Some(DockerCredential::UsernamePassword(user, password)) => {
                        (RegistryAuth::Basic(user, password), None)
                    }
                    Some(DockerCredential::IdentityToken(token)) => (RegistryAuth::Anonymous, Some(token)),
                    None => continue,
                };
                return Ok(Self { auth, identity, from });
            }
        }
        Ok(Self {
            auth: RegistryAuth::Anonymous,
            identity: None,
            from: Err(files),
        })
    }
}

/// Says what was tried, for those who were refused.
impl fmt::Display for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.from {
            Ok(path) => write!(f, "the credential in `{}` was used", path.display()),
            Err(files) => {
                f.write_str("no credential was found in ")?;
                for (number, path) in files.iter().enumerate() {
                    let comma = if number == 0 { "" } else { ", " };
                    write!(f, "{comma}`{}`", path.display())?;
                }
                f.write_str("; `skopeo login` or `docker login` writes one")
            }
        }
    }
}

/// The files to look into, in order.
fn files(get: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let under = |name: &str, rest: &str| get(name).map(|dir| PathBuf::from(dir).join(rest));
    if let Some(only) = get("REGISTRY_AUTH_FILE") {
        return vec![only.into()];
    }
    let podman = under("XDG_RUNTIME_DIR", "containers/auth.json")
        .unwrap_or_else(|| PathBuf::from("/run/containers/0/auth.json"));
    let own = under("XDG_CONFIG_HOME", "containers/auth.json")
        .or_else(|| under("HOME", ".config/containers/auth.json"));
    let docker = under("DOCKER_CONFIG", "config.json").or_else(|| under("HOME", ".docker/config.json"));
    [Some(podman), own, docker].into_iter().flatten().collect()
}

/// What the credential may be filed under, the most particular first: Podman also has them for repositories.
fn keys(file: &serde_json::Value, reference: &Reference) -> Vec<String> {
    let registry = reference.registry();
    let whole = format!("{registry}/{}", reference.repository());
    let mut keys: Vec<String> = whole
        .rmatch_indices('/')
        .map(|(end, _)| whole[..end].to_owned())
        .filter(|key| key != registry)
        .collect();
    keys.insert(0, whole.clone());
    // Helpers know nothing of repositories and would be asked for them.
    keys.retain(|key| file["auths"].get(key).is_some());
    keys.push(registry.to_owned());
    if registry == DOCKER_HUB {
        keys.push(DOCKER_HUB_KEY.to_owned());
    }
    keys
}

/// The credential that is filed under `key`, or what is wrong with it.
fn credential(file: &[u8], key: &str) -> Result<Option<DockerCredential>, String> {
    match get_credential_from_reader(file, key) {
        Ok(credential) => Ok(Some(credential)),
        Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
        Err(CredentialRetrievalError::HelperFailure { stdout, .. }) if stdout.contains(HELPER_HAS_NONE) => {
            Ok(None)
        }
        Err(error) => Err(error.to_string().trim_end().to_owned()),
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;
