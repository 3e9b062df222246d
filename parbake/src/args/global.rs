//! The state directory, the output format, and the options that select a cluster, a cache or the providers.

use std::path::{Path, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};
use parbake_up::{ClusterName, resolve_state_dir};

use super::path::{absolute_path, path};
use crate::output::Format;

/// Options that every command takes, before or after its name.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Directory of all state
    #[arg(
        long,
        global = true,
        env = "PARBAKE_DIR",
        hide_env_values = true,
        default_value = "/var/lib/parbake",
        value_parser = PathBufValueParser::new().try_map(|dir| state_dir(&dir))
    )]
    pub(crate) dir: PathBuf,
    /// Format of results
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Show details: each step's parts, and every program that is run
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

/// The absolute path of the state directory. clap prints only the outermost error, so this is the whole chain.
fn state_dir(dir: &Path) -> Result<PathBuf, String> {
    resolve_state_dir(dir).map_err(|error| format!("{:#}", anyhow::Error::from(error)))
}

impl GlobalArgs {
    /// The directory of the artifact store.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }
}

/// Selects a cluster.
#[derive(Debug, clap::Args)]
pub(crate) struct ClusterArgs {
    /// The cluster's name
    #[arg(long, default_value_t)]
    pub(crate) name: ClusterName,
}

/// Selects the directory of downloads and builds.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheArgs {
    /// Directory of downloads and builds [default: DIR/cache]
    #[arg(
        long,
        env = "PARBAKE_CACHE",
        hide_env_values = true,
        value_name = "DIR",
        value_parser = absolute_path()
    )]
    cache: Option<PathBuf>,
}

impl CacheArgs {
    pub(crate) fn dir(&self, global: &GlobalArgs) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| global.dir.join("cache"))
    }
}

/// Where the providers are, relative to the current directory.
const PROVIDERS: &str = "providers";
/// Where a package installs them, relative to the directory above the program's.
const INSTALLED: &str = "share/parbake/providers";

/// Selects the directory of providers.
#[derive(Debug, clap::Args)]
pub(crate) struct ProvidersArgs {
    /// Directory of providers [default: ./providers, or else the installed ones]
    #[arg(
        long,
        env = "PARBAKE_PROVIDERS",
        hide_env_values = true,
        value_name = "DIR",
        value_parser = path()
    )]
    providers: Option<PathBuf>,
}

impl ProvidersArgs {
    pub(crate) fn dir(&self) -> PathBuf {
        let local = Path::new(PROVIDERS);
        let installed = || Some(local).filter(|local| !local.is_dir()).and(installed());
        let given = self.providers.clone();
        given.or_else(installed).unwrap_or_else(|| local.to_owned())
    }

    /// The directory for a command that writes to it.
    ///
    /// # Errors
    /// It would write to files of an installed package.
    pub(crate) fn writable_dir(&self) -> anyhow::Result<PathBuf> {
        let dir = self.dir();
        if self.providers.is_none() && dir != Path::new(PROVIDERS) {
            let package = dir.parent().unwrap_or(&dir).display();
            anyhow::bail!(
                "`{}` belongs to the installed package; copy it with `cp -r {package}/providers {package}/manifests .`, and \
                 run the command again in the same directory",
                dir.display()
            );
        }
        Ok(dir)
    }
}

/// The providers that were installed with this program.
fn installed() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let dir = program.parent()?.parent()?.join(INSTALLED);
    dir.is_dir().then_some(dir)
}
