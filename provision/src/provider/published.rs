//! Where source `release` finds published binaries.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Deserialize;

use super::Recipe;

/// Where a binary is published.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Published {
    /// On a web server: the binary itself, or a `.tar.gz` with a file of its name. The URL has placeholders for versions:
    /// `{kubernetes}`, `{arch}` and names of components.
    File(String),
    /// In one of the provider's images.
    InImage {
        /// Short name.
        image: String,
        /// Absolute.
        path: String,
    },
}

const IN_IMAGE: &str = "image/";

impl Published {
    /// The URL of a file for `architecture` (Debian's name).
    ///
    /// # Errors
    /// The name of an unknown placeholder.
    pub(crate) fn url(template: &str, recipe: &Recipe, architecture: &str) -> Result<String, String> {
        let kubernetes = recipe.kubernetes.to_string();
        let mut versions: BTreeMap<&str, String> = [
            ("kubernetes", kubernetes.trim_start_matches('v').to_owned()),
            ("arch", architecture.to_owned()),
        ]
        .into();
        let components = recipe.components.iter();
        versions.extend(components.map(|(name, version)| (name.as_str(), version.to_string())));
        let (mut url, mut rest) = (String::new(), template);
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(after)?;
            url.push_str(before);
            url.push_str(versions.get(name).ok_or(name)?);
            rest = after;
        }
        url.push_str(rest);
        Ok(url)
    }
}

impl TryFrom<String> for Published {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl FromStr for Published {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some((image, path)) = text.strip_prefix(IN_IMAGE).and_then(|rest| rest.split_once(':'))
            && path.starts_with('/')
            && !path.split('/').any(|part| part == "..")
        {
            let (image, path) = (image.to_owned(), path.to_owned());
            return Ok(Self::InImage { image, path });
        }
        let host = text
            .strip_prefix("https://")
            .and_then(|rest| rest.split_once('/'));
        match host {
            Some((host, path)) if !host.is_empty() && !host.contains('@') && !path.is_empty() => {
                Ok(Self::File(text.to_owned()))
            }
            _ => Err(format!(
                "`{text}` is not the location of a published binary: use `https://HOST/PATH` or `image/NAME:/PATH`"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::Published;
    use crate::provider::Provider;

    #[test]
    fn locations_are_urls_or_paths_in_images() {
        let parsed = |text: &str| text.parse::<Published>();
        assert_eq!(
            parsed("image/etcd:/usr/local/bin/etcdctl"),
            Ok(Published::InImage {
                image: "etcd".into(),
                path: "/usr/local/bin/etcdctl".into()
            })
        );
        assert!(matches!(parsed("https://h/a"), Ok(Published::File(_))));
        for bad in [
            "",
            "h/a",
            "http://h/a",
            "https://h",
            "https:///a",
            "https://me@h/a",
            "image/etcd:bin",
            "image/etcd:/a/../b",
        ] {
            assert!(parsed(bad).unwrap_err().contains("use `https://"), "{bad}");
        }
    }

    #[test]
    fn placeholders_in_urls_are_replaced() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../providers/k8s-1.34");
        let recipe = Provider::load(&dir).unwrap().recipe;
        let url = |text: &str| Published::url(text, &recipe, "arm64");
        assert_eq!(
            url("https://h/v{kubernetes}/{arch}/x-{etcd}"),
            Ok("https://h/v1.34.4/arm64/x-3.6.5".into())
        );
        assert_eq!(url("https://h/{cri}"), Err("cri".into()));
        assert_eq!(url("https://h/{cri"), Err("cri".into()));
    }
}
