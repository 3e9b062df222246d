//! Which artifacts may be used on this host: `DIR/policy.toml`.
//!
//! ```toml
//! refuse-unsigned = true                  # what none of `keys` signed is neither pulled nor started
//! keys = ["/etc/parbake/cosign.pub"]      # public keys, from the folder of this file on; one of them is enough
//! allow-local = true                      # what was baked or frozen on this host needs no signature; else it does
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::Digest;
use crate::referrers::Referrer;
use crate::signature::{KeyError, PublicKey};
use crate::store::{Artifact, Store, StoreError};

/// The file's name in parbake's state directory.
const FILE: &str = "policy.toml";

/// Which artifacts may be used on this host. By default, all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    required: Option<Required>,
}

/// What an artifact must have.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Required {
    path: PathBuf,
    keys: Vec<PublicKey>,
    allow_local: bool,
}

/// Why an artifact may not be used, or nobody knows whether it may.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The policy cannot be read.
    #[error("cannot read the policy `{}`", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The policy makes no sense.
    #[error("the policy `{}` is not valid", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Why, with line and column.
        source: Box<toml::de::Error>,
    },
    /// The policy asks for signatures by nobody.
    #[error("the policy `{}` refuses what is unsigned, but lists no `keys`; add the public keys to trust", .path.display())]
    NoKeys {
        /// The file.
        path: PathBuf,
    },
    /// A key of the policy cannot be used.
    #[error("the policy `{}` cannot be followed", .path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyError,
    },
    /// Nobody whom the policy trusts has signed the artifact.
    #[error(
        "`{artifact}` has no signature by a key that `{}` trusts ({found}); have it signed with `parbake publish --sign` or `cosign sign`, then pull it again",
        .path.display()
    )]
    Unsigned {
        /// Its name or reference.
        artifact: String,
        /// The policy.
        path: PathBuf,
        /// What it has instead.
        found: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the file says.
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
    /// Reads the policy in parbake's state directory; without a file everything may be used.
    ///
    /// # Errors
    /// When the file or one of its keys makes no sense, also where nothing is refused.
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

    /// Whether the artifact may be started.
    ///
    /// # Errors
    /// [`PolicyError::Unsigned`] when it may not.
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
        let attached = store.referrers(&artifact.digest)?;
        required.check(store, artifact.tag.as_str(), &artifact.digest, &attached)
    }

    /// Whether what was found with these attachments may be pulled.
    pub(crate) fn check_pulled(
        &self,
        store: &Store,
        reference: &str,
        digest: &Digest,
        attached: &[Referrer],
    ) -> Result<(), PolicyError> {
        match &self.required {
            Some(required) => required.check(store, reference, digest, attached),
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
        attached: &[Referrer],
    ) -> Result<(), PolicyError> {
        if store
            .find_signature_among(digest, attached, &self.keys)?
            .is_some()
        {
            return Ok(());
        }
        let is_signed = attached.iter().any(Referrer::is_signatures);
        let found = if is_signed {
            "it was signed by others, or the signature is of something else"
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
