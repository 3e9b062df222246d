//! Module commands of `go` (`go help mod edit`, `go help mod download`).

use std::path::{Path, PathBuf};

use parbake_machine::executable::ARCHITECTURE;
use parbake_machine::process::Cmd;
use semver::Version;
use serde::Deserialize;

use super::UpgradeError;

/// The host's `go` with a toolchain.
#[derive(Debug, Clone)]
pub(super) struct Go {
    toolchain: String,
    /// Overrides the environment of this process.
    environment: Vec<(String, String)>,
}

/// A downloaded module.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Downloaded {
    /// Path of the sources.
    pub(super) dir: PathBuf,
    /// Path of the `go.mod`.
    pub(super) go_mod: PathBuf,
}

/// The relevant fields of a `go.mod`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GoMod {
    pub(super) go: Option<String>,
    pub(super) go_debug: Option<Vec<Debug>>,
    #[serde(default)]
    pub(super) require: Option<Vec<Module>>,
    #[serde(default)]
    pub(super) replace: Option<Vec<Replace>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Debug {
    pub(super) key: String,
    pub(super) value: String,
}

/// A module, possibly without a version.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Module {
    pub(super) path: String,
    #[serde(default)]
    pub(super) version: String,
}

/// A `replace` directive.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Replace {
    pub(super) old: Module,
    pub(super) new: Module,
}

impl Replace {
    /// True if the replacement is a folder.
    pub(super) fn is_local(&self) -> bool {
        self.new.version.is_empty()
    }
}

impl Module {
    /// In the notation of `go mod edit`.
    pub(super) fn argument(&self) -> String {
        match self.version.as_str() {
            "" => self.path.clone(),
            version => format!("{}@{version}", self.path),
        }
    }
}

impl GoMod {
    pub(super) fn requires(&self) -> &[Module] {
        self.require.as_deref().unwrap_or_default()
    }

    pub(super) fn replaces(&self) -> &[Replace] {
        self.replace.as_deref().unwrap_or_default()
    }
}

impl Go {
    /// The toolchain that the host's `go` selects.
    pub(super) fn new(environment: &[(String, String)]) -> Self {
        Self {
            toolchain: "auto".to_owned(),
            environment: environment.to_vec(),
        }
    }

    /// Uses another toolchain.
    pub(super) fn with_toolchain(&self, toolchain: Option<&Version>) -> Self {
        Self {
            toolchain: toolchain.map_or_else(|| "auto".to_owned(), |version| format!("go{version}")),
            ..self.clone()
        }
    }

    /// `go` with these arguments; with `readonly` it must not change a `go.mod`.
    pub(super) fn command(&self, arguments: &[&str], readonly: bool) -> Cmd {
        let mode = if readonly { "readonly" } else { "mod" };
        let go = Cmd::new("go")
            .args(arguments)
            .env("GOFLAGS", format!("-mod={mode}"))
            .env("GOTOOLCHAIN", &self.toolchain)
            .env("GOWORK", "off")
            .env("GOOS", "linux")
            .env("GOARCH", ARCHITECTURE)
            .env("CGO_ENABLED", "0");
        let all = self.environment.iter();
        all.fold(go, |go, (name, value)| go.env(name, value))
    }

    /// True if the module mirror lists this version. A download can still fail.
    pub(super) fn has(&self, module: &str, version: &str) -> bool {
        let name = format!("{module}@{version}");
        self.command(&["list", "-m", &name], false)
            .current_dir("/")
            .run()
            .is_ok()
    }

    /// Downloads a module and checks it against the checksum database.
    pub(super) fn download(&self, module: &str, version: &str) -> Result<Downloaded, UpgradeError> {
        let name = format!("{module}@{version}");
        let command = self
            .command(&["mod", "download", "-json", &name], false)
            .current_dir("/");
        let output = command.run().map_err(|source| UpgradeError::Module {
            module: module.to_owned(),
            version: version.to_owned(),
            source,
        })?;
        Ok(output.parse(|text| serde_json::from_str(text))?)
    }

    /// Parses the `go.mod` at `path`.
    pub(super) fn read(&self, path: &Path) -> Result<GoMod, parbake_machine::Error> {
        let path = path.to_string_lossy();
        let output = self
            .command(&["mod", "edit", "-json", &path], true)
            .current_dir("/")
            .run()?;
        output.parse(|text| serde_json::from_str(text))
    }
}
