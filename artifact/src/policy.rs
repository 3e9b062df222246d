//! The policy on artifacts that may be used on this host: `DIR/policy.toml`.
//!
//! ```toml
//! refuse-unsigned = true                  # reject artifacts without a signature by one of `keys`, at pull and start
//! keys = ["/etc/parbake/cosign.pub"]      # public keys, relative to this file's directory
//! allow-local = true                      # artifacts baked or frozen on this host need no signature
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::referrers::Referrer;
use crate::signature::{KeyError, PublicKey};
use crate::store::{Artifact, Store, StoreError};

const FILE: &str = "policy.toml";

/// The policy on artifacts that may be used on this host. By default, all may.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    required: Option<Required>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Required {
    path: PathBuf,
    keys: Vec<PublicKey>,
    allow_local: bool,
}

/// Why an artifact may not be used, or the policy cannot be applied.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("cannot read the policy `{}`", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the policy `{}` is not valid", .path.display())]
    Syntax {
        path: PathBuf,
        source: Box<toml::de::Error>,
    },
    #[error("the policy `{}` requires signatures but lists no `keys`; add the public keys to trust", .path.display())]
    NoKeys { path: PathBuf },
    #[error("the policy `{}` cannot be applied", .path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error(
        "`{artifact}` has no signature by a key in `{}` ({found}); sign it with `parbake publish --sign` or `cosign sign`, then pull it again",
        .path.display()
    )]
    Unsigned {
        artifact: String,
        path: PathBuf,
        found: String,
    },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The content of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    refuse_unsigned: bool,
    #[serde(default)]
    keys: Vec<PathBuf>,
    #[serde(default)]
    allow_local: bool,
}

impl Policy {
    /// Loads the policy from parbake's state directory; without a file everything may be used.
    ///
    /// # Errors
    /// The file or one of its keys is not valid, even if signatures are not required.
    pub fn load(dir: &Path) -> Result<Self, PolicyError> {
        let path = dir.join(FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => return Err(PolicyError::Read { path, source }),
        };
        let file: File = match toml::from_str(&text) {
            Ok(file) => file,
            Err(source) => {
                let source = Box::new(source);
                return Err(PolicyError::Syntax { path, source });
            }
        };
        let keys = file.keys.iter().map(|key| PublicKey::load(&dir.join(key)));
        let keys = match keys.collect::<Result<Vec<_>, _>>() {
            Ok(keys) => keys,
            Err(source) => return Err(PolicyError::Key { path, source }),
        };
        if !file.refuse_unsigned {
            return Ok(Self::default());
        }
        if keys.is_empty() {
            return Err(PolicyError::NoKeys { path });
        }
        let allow_local = file.allow_local;
        Ok(Self {
            required: Some(Required {
                path,
                keys,
                allow_local,
            }),
        })
    }

    /// Checks that the artifact may be started.
    ///
    /// # Errors
    /// [`PolicyError::Unsigned`] if it may not.
    pub fn check(&self, store: &Store, artifact: &Artifact) -> Result<(), PolicyError> {
        match &self.required {
            Some(required) if artifact.origin.is_none() && required.allow_local => Ok(()),
            _ => self.check_signature(store, artifact),
        }
    }

    /// Like [`Self::check`], for an artifact of unknown origin: `allow-local` does not apply.
    ///
    /// # Errors
    /// [`PolicyError::Unsigned`] if a signature is required and none is trusted.
    pub fn check_signature(&self, store: &Store, artifact: &Artifact) -> Result<(), PolicyError> {
        let Some(required) = &self.required else {
            return Ok(());
        };
        let referrers = store.referrers(&artifact.digest)?;
        required.check(store, artifact.tag.as_str(), &artifact.digest, &referrers)
    }

    /// Checks that an artifact with these referrers may be pulled.
    pub(crate) fn check_pulled(
        &self,
        store: &Store,
        reference: &str,
        digest: &Digest,
        referrers: &[Referrer],
    ) -> Result<(), PolicyError> {
        match &self.required {
            Some(required) => required.check(store, reference, digest, referrers),
            None => Ok(()),
        }
    }
}

impl Required {
    fn check(
        &self,
        store: &Store,
        artifact: &str,
        digest: &Digest,
        referrers: &[Referrer],
    ) -> Result<(), PolicyError> {
        if store
            .find_signature_among(digest, referrers, &self.keys)?
            .is_some()
        {
            return Ok(());
        }
        let is_signed = referrers.iter().any(Referrer::is_signatures);
        let found = if is_signed {
            "it is signed with other keys, or the signature is of something else"
        } else {
            "it is unsigned"
        };
        Err(PolicyError::Unsigned {
            artifact: artifact.to_owned(),
            path: self.path.clone(),
            found: found.to_owned(),
        })
    }
}
