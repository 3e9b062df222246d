//! Names of container images.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;

use crate::digest::Digest;
use crate::printable::printable;
use crate::reference::parse_reference;

/// The name of a container image in full, as Docker completes it: `app` is `docker.io/library/app:latest`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName(Reference);

/// A text that is not an [`ImageName`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is not an image name: {problem}", printable(text))]
pub struct ImageNameError {
    text: String,
    problem: String,
}

impl ImageName {
    pub fn registry(&self) -> &str {
        self.0.registry()
    }

    pub fn repository(&self) -> &str {
        self.0.repository()
    }

    pub fn tag(&self) -> Option<&str> {
        self.0.tag()
    }

    pub fn digest(&self) -> Option<&str> {
        self.0.digest()
    }

    /// The name with all its parts.
    pub fn whole(&self) -> String {
        self.0.whole()
    }

    /// The name with its tag and without its digest; `None` if it has no tag.
    pub(super) fn tagged(&self) -> Option<String> {
        let tag = self.tag()?;
        Some(format!("{}/{}:{tag}", self.registry(), self.repository()))
    }

    /// The name with `digest` instead of its tag.
    pub(super) fn pinned_to(&self, digest: &Digest) -> String {
        self.0.clone_with_digest(digest.to_string()).whole()
    }

    /// The name without its tag if it has a digest: what runtimes look for.
    pub(super) fn pinned(&self) -> String {
        match self.digest() {
            Some(digest) => self.0.clone_with_digest(digest.to_owned()).whole(),
            None => self.whole(),
        }
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, ImageNameError> {
        parse_reference(text).map(Self).map_err(|problem| ImageNameError {
            text: text.to_owned(),
            problem,
        })
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// True for a name with a registry, a repository or a tag: a bare word in an OCI layout is a tag.
pub(super) fn is_full_name(text: &str) -> bool {
    text.contains(['/', ':'])
}

/// The name under which a container runtime looks for an image that a pod calls `name`: in full, and without its tag if it
/// has a digest. A text that is not an image name is returned unchanged.
pub fn runtime_name(name: &str) -> String {
    match name.parse::<ImageName>() {
        Ok(parsed) => parsed.pinned(),
        Err(_) => name.to_owned(),
    }
}
