//! Where binaries and images come from.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use super::error::Error;

/// Where binaries and images come from: `auto`, `release`, `modules` or a folder with a Kubernetes build output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The best of those that are supported.
    Auto,
    /// Published binaries and the image registry.
    Release,
    /// Built from Go modules.
    Modules,
    /// A Kubernetes build output.
    Dir(PathBuf),
}

impl FromStr for Source {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "auto" => Self::Auto,
            "release" => Self::Release,
            "modules" => Self::Modules,
            dir => Self::Dir(dir.into()),
        })
    }
}

/// A source that is supported, chosen before the first side effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Chosen {
    Modules,
}

impl Source {
    pub(super) fn choose(&self) -> Result<Chosen, Error> {
        match self {
            Self::Modules => Ok(Chosen::Modules),
            Self::Auto => {
                tracing::info!("source `auto`: taking `modules`, the only one that is supported yet");
                Ok(Chosen::Modules)
            }
            Self::Release => Err(Error::Source {
                name: "release".into(),
            }),
            Self::Dir(dir) => Err(Error::Source {
                name: dir.display().to_string(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Chosen, Source};

    fn choose(text: &str) -> Result<Chosen, String> {
        text.parse::<Source>()
            .unwrap()
            .choose()
            .map_err(|error| error.to_string())
    }

    #[test]
    fn only_modules_is_supported() {
        assert_eq!(choose("auto"), Ok(Chosen::Modules));
        assert_eq!(choose("modules"), Ok(Chosen::Modules));
        assert_eq!(
            choose("release").unwrap_err(),
            "source `release` is not supported yet, use `modules`"
        );
        assert_eq!(
            choose("/k8s/_output").unwrap_err(),
            "source `/k8s/_output` is not supported yet, use `modules`"
        );
    }
}
