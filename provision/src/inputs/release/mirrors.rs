//! Where to fetch what is published from: its own places, or mirrors laid out like them.

use std::fmt;
use std::str::FromStr;

use parbake_artifact::{Digest, Reference, ReferenceError};
use reqwest::Url;

use super::ReleaseError;

/// A text that names no mirror.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no mirror: give {wanted}")]
pub struct InvalidMirror {
    text: String,
    wanted: &'static str,
}

/// A web server that has files under the same paths as the places where they are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryMirror(Url);

/// What stands before the names of repositories in a registry: `HOST[:PORT]`, or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageMirror(String);

/// Where to fetch what is published from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReleaseMirrors {
    /// Instead of the hosts in the provider file.
    pub binaries: Option<BinaryMirror>,
    /// Instead of the registry that kubeadm names.
    pub images: Option<ImageMirror>,
}

impl FromStr for BinaryMirror {
    type Err = InvalidMirror;

    fn from_str(text: &str) -> Result<Self, InvalidMirror> {
        let wrong = || InvalidMirror {
            text: text.to_owned(),
            wanted: "`http://HOST[/PATH]` or `https://HOST[/PATH]`, without user, `?` and `#`",
        };
        let url: Url = text.parse().map_err(|_| wrong())?;
        let plain = url.username().is_empty() && url.password().is_none();
        let bare = url.query().is_none() && url.fragment().is_none();
        let http = matches!(url.scheme(), "http" | "https");
        (http && plain && bare).then_some(Self(url)).ok_or_else(wrong)
    }
}

impl FromStr for ImageMirror {
    type Err = InvalidMirror;

    fn from_str(text: &str) -> Result<Self, InvalidMirror> {
        let prefix = text.trim_end_matches('/');
        let sound = |_: Reference| !prefix.contains('@');
        match format!("{prefix}/image:tag").parse().map(sound) {
            Ok(true) => Ok(Self(prefix.to_owned())),
            _ => Err(InvalidMirror {
                text: text.to_owned(),
                wanted: "`HOST[:PORT][/PATH]` of a registry",
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
    /// Whether any mirror is named.
    pub(in crate::inputs) fn any(&self) -> bool {
        self.binaries.is_some() || self.images.is_some()
    }

    /// Where the file is that is published at `url`: a mirror takes the place of scheme and host.
    pub(super) fn file(&self, url: &str) -> Result<Url, ReleaseError> {
        let wrong = || ReleaseError::Url { url: url.to_owned() };
        let published: Url = url.parse().map_err(|_| wrong())?;
        match &self.binaries {
            None => Ok(published),
            Some(BinaryMirror(mirror)) => {
                let mut there = mirror.clone();
                let base = mirror.path().trim_end_matches('/');
                there.set_path(&format!("{base}{}", published.path()));
                Ok(there)
            }
        }
    }

    /// Where the image is that kubeadm calls `reference`, pinned where a digest is given.
    pub(in crate::inputs) fn image(
        &self,
        reference: &str,
        digest: Option<&Digest>,
    ) -> Result<Reference, ReferenceError> {
        let published: Reference = reference.parse()?;
        let there = match &self.images {
            None => published,
            Some(ImageMirror(prefix)) => {
                let tag = published.tag().map(|tag| format!(":{tag}")).unwrap_or_default();
                format!("{prefix}/{}{tag}", published.repository()).parse()?
            }
        };
        Ok(digest.map_or(there.clone(), |digest| there.at(digest)))
    }
}

#[cfg(test)]
mod tests {
    use super::{BinaryMirror, ImageMirror, ReleaseMirrors};

    #[test]
    fn mirrors_take_the_place_of_hosts() {
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
    fn what_is_no_mirror_is_refused() {
        for bad in [
            "",
            "m",
            "file:///m",
            "http://me:secret@m/",
            "http://m/?a",
            "http://m/#a",
        ] {
            let error = bad.parse::<BinaryMirror>().unwrap_err().to_string();
            assert!(error.contains("is no mirror: give `http://HOST"), "{error}");
        }
        for bad in ["", "http://m", "m", "m:5000/A", "m.example/a@sha256:0"] {
            let error = bad.parse::<ImageMirror>().unwrap_err().to_string();
            assert!(error.contains("is no mirror: give `HOST[:PORT]"), "{error}");
        }
    }
}
