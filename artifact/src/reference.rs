//! The place of an artifact in a registry: `REGISTRY/REPOSITORY[:TAG][@DIGEST]`.
//!
//! The grammar is that of Docker's references (`reference.Reference` of distribution/reference), except that the registry
//! is mandatory: a misspelt local name must never be looked for on Docker Hub.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use oci_spec::distribution::Reference as OciReference;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::printable::printable;
use crate::tag::{Tag, TagError};

const DEFAULT_TAG: &str = "latest";
/// Digits of a digest that tell artifacts apart in a local name.
const SHORT_DIGEST: usize = 12;
/// Takes the place of an IPv6 address while a reference is parsed.
const PLACEHOLDER: &str = "ipv6.invalid";

/// The place of an artifact in a registry, for example `registry.example.org/clusters/k8s-1.34:v5`. Without tag and digest
/// the tag is `latest`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    image: OciReference,
    digest: Option<Digest>,
}

/// A text that is not a [`Reference`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a reference: {problem}; use REGISTRY/REPOSITORY[:TAG][@DIGEST], such as registry.example.org/clusters/k8s-1.34",
    printable(text)
)]
pub struct ReferenceError {
    text: String,
    problem: String,
}

impl Reference {
    /// Host name or address of the registry, with its port if that is given.
    pub fn registry(&self) -> &str {
        self.image.registry()
    }

    pub fn repository(&self) -> &str {
        self.image.repository()
    }

    /// The tag; `None` if there is only a digest.
    pub fn tag(&self) -> Option<&str> {
        self.image.tag()
    }

    /// The digest that the manifest must have.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The manifest with this digest in the same repository, without a tag.
    pub fn pinned(&self, digest: &Digest) -> Self {
        Self {
            image: self.image.clone_with_digest(digest.to_string()),
            digest: Some(digest.clone()),
        }
    }

    /// The manifest with this digest in the same repository, with the same tag.
    pub fn at(&self, digest: &Digest) -> Self {
        match self.tag() {
            Some(tag) => Self {
                image: OciReference::with_tag_and_digest(
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

    /// The tag without the digest; the tag is `latest` if there is none.
    pub fn unpinned(&self) -> Self {
        self.with_tag(self.tag().unwrap_or(DEFAULT_TAG))
    }

    /// The tag `latest` of the same repository.
    pub fn latest(&self) -> Self {
        self.with_tag(DEFAULT_TAG)
    }

    fn with_tag(&self, tag: &str) -> Self {
        Self {
            image: OciReference::with_tag(
                self.registry().to_owned(),
                self.repository().to_owned(),
                tag.to_owned(),
            ),
            digest: None,
        }
    }

    /// True if both are in one repository of one registry.
    pub fn same_repository(&self, other: &Self) -> bool {
        (self.registry(), self.repository()) == (other.registry(), other.repository())
    }

    /// The default name of the artifact in the store: the last part of the repository, followed by `-TAG` for a tag other
    /// than `latest`, or by `-` and the first 12 digits of the digest if there is only that. So two tags of a repository
    /// have different names.
    ///
    /// # Errors
    /// The name is too long.
    pub fn local_name(&self) -> Result<Tag, TagError> {
        let last = self.repository().rsplit('/').next().unwrap_or_default();
        match (self.tag(), &self.digest) {
            (Some(DEFAULT_TAG), _) | (None, None) => last.parse(),
            (Some(tag), _) => format!("{last}-{tag}").parse(),
            (None, Some(digest)) => format!("{last}-{}", &digest.hex()[..SHORT_DIGEST]).parse(),
        }
    }
}

/// Parses a reference in Docker's grammar, with an IPv6 address in brackets as a registry, too, which the library does not
/// accept. The error describes the problem without the text.
pub(crate) fn parse_reference(text: &str) -> Result<OciReference, String> {
    let parse = |text: &str| text.parse::<OciReference>().map_err(|error| error.to_string());
    let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) else {
        return parse(text);
    };
    if address.parse::<Ipv6Addr>().is_err() {
        return Err(format!("`{}` is not an IPv6 address", printable(address)));
    }
    if !rest.starts_with([':', '/']) {
        return Err("a `/` or a port must follow the registry's address".to_owned());
    }
    let parsed = parse(&format!("{PLACEHOLDER}{rest}"))?;
    let Some(port) = parsed.registry().strip_prefix(PLACEHOLDER) else {
        return Err("it has no repository".to_owned());
    };
    let (registry, repository) = (format!("[{address}]{port}"), parsed.repository().to_owned());
    Ok(match (parsed.tag(), parsed.digest()) {
        (Some(tag), Some(digest)) => {
            OciReference::with_tag_and_digest(registry, repository, tag.to_owned(), digest.to_owned())
        }
        (None, Some(digest)) => OciReference::with_digest(registry, repository, digest.to_owned()),
        (tag, None) => OciReference::with_tag(registry, repository, tag.unwrap_or(DEFAULT_TAG).to_owned()),
    })
}

/// True if the first part of a reference is a registry, by Docker's rules.
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
        let image = parse_reference(&text).map_err(wrong)?;
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
    fn references_have_parts() {
        let whole = reference("127.0.0.1:5000/clusters/k8s-1.34:v5");
        assert_eq!(whole.registry(), "127.0.0.1:5000");
        assert_eq!(
            (whole.repository(), whole.tag(), whole.digest()),
            ("clusters/k8s-1.34", Some("v5"), None)
        );
        assert_eq!(
            reference("example.org/a").to_string(),
            "example.org/a:latest",
            "the default tag is written out"
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
    fn control_characters_do_not_reach_the_terminal() {
        for text in ["[\0\x1b[]2", "[::1]\0/a", "example.org/\x1b[2J"] {
            let error = text.parse::<Reference>().unwrap_err().to_string();
            assert!(!error.contains(char::is_control), "{error:?}");
        }
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
    fn local_names_come_from_repository_and_tag() {
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
    fn malformed_references_are_rejected() {
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

    #[test]
    fn registries_may_be_ipv6_addresses() {
        let digest = Digest::of(b"manifest");
        let plain = reference("[::1]:5000/a/app:v1");
        assert_eq!((plain.registry(), plain.repository()), ("[::1]:5000", "a/app"));
        assert_eq!(plain.tag(), Some("v1"));
        assert_eq!(
            reference("[2001:db8::1]/app").to_string(),
            "[2001:db8::1]/app:latest"
        );
        for text in [
            "[::1]:5000/app:v1".to_owned(),
            format!("[::1]/app@{digest}"),
            format!("[::1]:5000/app:v1@{digest}"),
        ] {
            assert_eq!(reference(&text).to_string(), text);
        }
        assert_eq!(plain.pinned(&digest).registry(), "[::1]:5000");
        for text in [
            "[::1]",
            "[::1]:5000",
            "[::1]app",
            "[1.2.3.4]/app",
            "[fe80::1%eth0]/app",
            "[::1/app",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
