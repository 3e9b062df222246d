//! Mirrors of published files and images.

use std::fmt;
use std::str::FromStr;

use parbake_artifact::{Digest, Reference, ReferenceError};
use reqwest::Url;

use super::ReleaseError;

/// A text that is not a mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a mirror: give {expected}")]
pub struct InvalidMirror {
    text: String,
    expected: &'static str,
}

/// A web server that has published files under their original paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryMirror(Url);

/// The prefix of repository names in a registry: `HOST[:PORT][/PATH]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMirror(String);

/// Mirrors to use, if any.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseMirrors {
    /// Replaces the hosts in the provider file.
    pub binaries: Option<BinaryMirror>,
    /// Replaces the registry that kubeadm names.
    pub images: Option<ImageMirror>,
}

impl FromStr for BinaryMirror {
    type Err = InvalidMirror;

    fn from_str(text: &str) -> Result<Self, InvalidMirror> {
        let invalid = || InvalidMirror {
            text: text.to_owned(),
            expected: "`http://HOST[/PATH]` or `https://HOST[/PATH]`, without user, `?` and `#`",
        };
        let url: Url = text.parse().map_err(|_| invalid())?;
        let has_user = !url.username().is_empty() || url.password().is_some();
        let has_suffix = url.query().is_some() || url.fragment().is_some();
        let is_http = matches!(url.scheme(), "http" | "https");
        (is_http && !has_user && !has_suffix)
            .then_some(Self(url))
            .ok_or_else(invalid)
    }
}

impl FromStr for ImageMirror {
    type Err = InvalidMirror;

    fn from_str(text: &str) -> Result<Self, InvalidMirror> {
        let prefix = text.trim_end_matches('/');
        let is_valid = |_: Reference| !prefix.contains('@');
        match format!("{prefix}/image:tag").parse().map(is_valid) {
            Ok(true) => Ok(Self(prefix.to_owned())),
            _ => Err(InvalidMirror {
                text: text.to_owned(),
                expected: "`HOST[:PORT][/PATH]` of a registry",
            }),
        }
    }
}

impl fmt::Display for BinaryMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ImageMirror {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl ReleaseMirrors {
    /// True if there is any mirror.
    pub(in crate::inputs) fn any(&self) -> bool {
        self.binaries.is_some() || self.images.is_some()
    }

    /// The URL of the file that is published at `url`: a mirror replaces scheme and host.
    pub(in crate::inputs) fn file(&self, url: &str) -> Result<Url, ReleaseError> {
        let invalid = || ReleaseError::Url { url: url.to_owned() };
        let published: Url = url.parse().map_err(|_| invalid())?;
        match &self.binaries {
            None => Ok(published),
            Some(BinaryMirror(mirror)) => {
                let mut url = mirror.clone();
                let base = mirror.path().trim_end_matches('/');
                url.set_path(&format!("{base}{}", published.path()));
                Ok(url)
            }
        }
    }

    /// The location of the image that kubeadm calls `reference`, pinned to `digest`, if there is one.
    pub(in crate::inputs) fn image(
        &self,
        reference: &str,
        digest: Option<&Digest>,
    ) -> Result<Reference, ReferenceError> {
        let published: Reference = reference.parse()?;
        let location = match &self.images {
            None => published,
            Some(ImageMirror(prefix)) => {
                let tag = published.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
                format!("{prefix}/{}{tag}", published.repository()).parse()?
            }
        };
        Ok(digest.map_or(location.clone(), |digest| location.at(digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::{BinaryMirror, ImageMirror, ReleaseMirrors};

    #[test]
    fn mirrors_replace_hosts() {
        let url = "https://dl.k8s.io/release/v1/bin/kubelet";
        let file = |mirror: Option<&str>| {
            let binaries = mirror.map(|mirror| mirror.parse().unwrap());
            let mirrors = ReleaseMirrors {
                binaries,
                images: None,
            };
            mirrors.file(url).unwrap().to_string()
        };
        assert_eq!(file(None), url);
        assert_eq!(file(Some("http://m:8")), "http://m:8/release/v1/bin/kubelet");
        assert_eq!(file(Some("http://m:8/")), "http://m:8/release/v1/bin/kubelet");
        assert_eq!(
            file(Some("https://m/k8s")),
            "https://m/k8s/release/v1/bin/kubelet"
        );
        let image = |mirror: Option<&str>| {
            let images = mirror.map(|mirror| mirror.parse().unwrap());
            let mirrors = ReleaseMirrors {
                images,
                binaries: None,
            };
            mirrors
                .image("registry.k8s.io/coredns/coredns:v1", None)
                .unwrap()
                .to_string()
        };
        assert_eq!(image(None), "registry.k8s.io/coredns/coredns:v1");
        assert_eq!(image(Some("m:5000")), "m:5000/coredns/coredns:v1");
        assert_eq!(image(Some("m.example/k8s/")), "m.example/k8s/coredns/coredns:v1");
    }

    #[test]
    fn invalid_mirrors_are_rejected() {
        for bad in [
            "",
            "m",
            "file:///m",
            "http://me:secret@m/",
            "http://m/?a",
            "http://m/#a",
        ] {
            let error = bad.parse::<BinaryMirror>().unwrap_err().to_string();
            assert!(error.contains("is not a mirror: give `http://HOST"), "{error}");
        }
        for bad in ["", "http://m", "m", "m:5000/A", "m.example/a@sha256:0"] {
            let error = bad.parse::<ImageMirror>().unwrap_err().to_string();
            assert!(error.contains("is not a mirror: give `HOST[:PORT]"), "{error}");
        }
    }
}
