//! Where an artifact is in a registry: `REGISTRY/REPOSITORY[:TAG][@DIGEST]`.
//!
//! The grammar is that of Docker's references (`reference.Reference` of distribution/reference), with one difference:
//! the registry must be named. Nothing is ever looked for on Docker Hub because somebody misspelt a local name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::printable::printable;
use crate::tag::{Tag, TagError};

/// The tag that is meant where none is given.
const DEFAULT_TAG: &str = "latest";
/// Digits of a digest that tell artifacts apart in a local name.
const SHORT_DIGEST: usize = 12;

/// Where an artifact is in a registry, for example `registry.example.org/clusters/k8s-1.34:v5`. Without tag and digest
/// it means the tag `latest`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    image: oci_spec::distribution::Reference,
    digest: Option<Digest>,
}

/// A text that is no [`Reference`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no reference: {problem}; one is REGISTRY/REPOSITORY[:TAG][@DIGEST], such as registry.example.org/clusters/k8s-1.34",
    printable(text)
)]
pub struct ReferenceError {
    text: String,
    problem: String,
}

impl Reference {
    /// Host name and port of the registry.
    pub fn registry(&self) -> &str {
        self.image.registry()
    }

    /// The repository in the registry.
    pub fn repository(&self) -> &str {
        self.image.repository()
    }

    /// The tag; `None` when there is only a digest.
    pub fn tag(&self) -> Option<&str> {
        self.image.tag()
    }

    /// The digest that the manifest must have.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository, pinned to the manifest of this digest.
    pub fn pinned(&self, digest: &Digest) -> Self {
        Self {
            image: self.image.clone_with_digest(digest.to_string()),
            digest: Some(digest.clone()),
        }
    }

    /// The same, its tag included, but nothing else than the manifest of this digest.
    pub fn at(&self, digest: &Digest) -> Self {
        match self.tag() {
            Some(tag) => Self {
                image: oci_spec::distribution::Reference::with_tag_and_digest(
                    self.registry().to_owned(),
                    self.repository().to_owned(),
                    tag.to_owned(),
                    digest.to_string(),
                ),
                digest: Some(digest.clone()),
            },
            None => self.pinned(digest),
        }
    }

    /// What its tag means, whatever digest it has; the tag `latest` where there is none.
    pub fn unpinned(&self) -> Self {
        self.with_tag(self.tag().unwrap_or(DEFAULT_TAG))
    }

    /// The tag `latest` of the same repository.
    pub fn latest(&self) -> Self {
        self.with_tag(DEFAULT_TAG)
    }

    fn with_tag(&self, tag: &str) -> Self {
        Self {
            image: oci_spec::distribution::Reference::with_tag(
                self.registry().to_owned(),
                self.repository().to_owned(),
                tag.to_owned(),
            ),
            digest: None,
        }
    }

    /// Whether the other one is in the same repository of the same registry.
    pub fn same_repository(&self, other: &Self) -> bool {
        (self.registry(), self.repository()) == (other.registry(), other.repository())
    }

    /// What the artifact is called in the store unless somebody says otherwise: the last part of the repository, then
    /// `-TAG` where a tag other than `latest` is given, or `-` and the first 12 digits where only a digest is. So two
    /// tags of a repository do not take each other's name.
    ///
    /// # Errors
    /// When that is too long for a name.
    pub fn local_name(&self) -> Result<Tag, TagError> {
        let last = self.repository().rsplit('/').next().unwrap_or_default();
        match (self.tag(), &self.digest) {
            (Some(DEFAULT_TAG), _) | (None, None) => last.parse(),
            (Some(tag), _) => format!("{last}-{tag}").parse(),
            (None, Some(digest)) => format!("{last}-{}", &digest.hex()[..SHORT_DIGEST]).parse(),
        }
    }
}

/// Whether the first part of a reference is a registry; Docker goes by the same signs.
fn is_registry(text: &str) -> bool {
    text == "localhost" || text.contains(['.', ':'])
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        let wrong = |problem: String| ReferenceError {
            text: text.clone(),
            problem,
        };
        let image: oci_spec::distribution::Reference = text
            .parse()
            .map_err(|error: oci_spec::distribution::ParseError| wrong(error.to_string()))?;
        if !text.split_once('/').is_some_and(|(first, _)| is_registry(first)) {
            return Err(wrong("it names no registry".to_owned()));
        }
        let digest = image
            .digest()
            .map(str::parse)
            .transpose()
            .map_err(|_| wrong("its digest is not `sha256:` and 64 lower-case digits".to_owned()))?;
        Ok(Self { image, digest })
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.image.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::Reference;
    use crate::digest::Digest;

    fn reference(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn parts() {
        let whole = reference("127.0.0.1:5000/clusters/k8s-1.34:v5");
        assert_eq!(whole.registry(), "127.0.0.1:5000");
        assert_eq!(
            (whole.repository(), whole.tag(), whole.digest()),
            ("clusters/k8s-1.34", Some("v5"), None)
        );
        assert_eq!(
            reference("example.org/a").to_string(),
            "example.org/a:latest",
            "one spelling for one thing"
        );
        let digest = Digest::of(b"manifest");
        let pinned = whole.pinned(&digest);
        assert_eq!(
            pinned.to_string(),
            format!("127.0.0.1:5000/clusters/k8s-1.34@{digest}")
        );
        assert_eq!(reference(&pinned.to_string()), pinned);
        assert!(pinned.same_repository(&whole));
        assert!(!pinned.same_repository(&reference("127.0.0.1:5000/clusters/other")));
    }

    #[test]
    fn pins_keep_their_tag() {
        let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
        let cases = [
            ("example.org/a", "example.org/a:latest", "example.org/a:latest"),
            (
                "example.org:5000/a/b:v5",
                "example.org:5000/a/b:v5",
                "example.org:5000/a/b:v5",
            ),
            (
                &format!("example.org/a:v5@{old}"),
                "example.org/a:v5",
                "example.org/a:v5",
            ),
            (
                &format!("example.org/a@{old}"),
                "example.org/a",
                "example.org/a:latest",
            ),
        ];
        for (text, pinned, unpinned) in cases {
            let at = reference(text).at(&new);
            assert_eq!(at.to_string(), format!("{pinned}@{new}"));
            assert_eq!(reference(&at.to_string()), at);
            assert_eq!(at.digest(), Some(&new));
            assert_eq!(at.unpinned(), reference(unpinned));
        }
        assert_eq!(reference("example.org/a:v5").latest(), reference("example.org/a"));
    }

    #[test]
    fn local_names() {
        let digest = Digest::of(b"manifest");
        let cases = [
            ("example.org/clusters/k8s-1.34".to_owned(), "k8s-1.34".to_owned()),
            ("example.org/k8s-1.34:latest".to_owned(), "k8s-1.34".to_owned()),
            ("localhost/k8s-1.34:v5".to_owned(), "k8s-1.34-v5".to_owned()),
            (format!("example.org/k8s:v5@{digest}"), "k8s-v5".to_owned()),
            (
                format!("example.org/k8s@{digest}"),
                format!("k8s-{}", &digest.hex()[..12]),
            ),
        ];
        for (text, name) in cases {
            assert_eq!(reference(&text).local_name().unwrap().as_str(), name, "{text}");
        }
        let long = format!("example.org/a:{}", "x".repeat(128));
        assert!(reference(&long).local_name().is_err());
    }

    #[test]
    fn refuses_what_names_no_place() {
        let upper = format!("example.org/a@sha256:{}", "A".repeat(64));
        let cases = [
            ("", "must have at least one component"),
            ("k8s-1.34", "names no registry"),
            ("clusters/k8s-1.34", "names no registry"),
            ("../etc", "invalid reference format"),
            ("http://example.org/a", "invalid reference format"),
            ("example.org/A", "invalid reference format"),
            ("example.org/a:", "invalid reference format"),
            ("example.org/a@sha256:00", "invalid reference format"),
            (&upper, "its digest is not"),
        ];
        for (text, problem) in cases {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(
                serde_json::from_value::<Reference>(text.into()).is_err(),
                "{text}"
            );
        }
    }
}
