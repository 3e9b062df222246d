//! How to reach registries and mirrors.

use std::path::PathBuf;

use parbake_artifact::Policy;
use parbake_artifact::registry::Options;
use parbake_provision::inputs::{BinaryMirror, ImageMirror, ReleaseMirrors};

use super::{GlobalArgs, path};

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct RegistryArgs {
    /// Use HTTP without TLS
    #[arg(long)]
    plain_http: bool,
    /// Also trust the certificate authorities in this PEM file
    #[arg(long, value_name = "FILE", value_parser = path())]
    ca_file: Option<PathBuf>,
}

impl RegistryArgs {
    /// The options of a pull, which obeys the host's signature policy.
    pub(crate) fn pull(self, global: &GlobalArgs, deltas: bool) -> anyhow::Result<Options> {
        Ok(Options {
            policy: Policy::load(&global.dir)?,
            deltas,
            ..self.into()
        })
    }
}

impl From<RegistryArgs> for Options {
    fn from(args: RegistryArgs) -> Self {
        Self {
            plain_http: args.plain_http,
            ca_file: args.ca_file,
            ..Self::default()
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Registry")]
pub(crate) struct DeltaArgs {
    /// Download missing layers in full, even where the registry has deltas
    #[arg(long)]
    no_deltas: bool,
}

impl DeltaArgs {
    pub(crate) fn enabled(&self) -> bool {
        !self.no_deltas
    }
}

/// Mirrors of what Kubernetes publishes.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Mirrors")]
pub(crate) struct MirrorArgs {
    /// Download published binaries from this web server, under the same paths as on dl.k8s.io
    #[arg(long, value_name = "URL")]
    binary_mirror: Option<BinaryMirror>,
    /// Download published images from this registry, HOST[:PORT][/PATH], instead of registry.k8s.io
    #[arg(long, value_name = "PREFIX")]
    image_mirror: Option<ImageMirror>,
}

impl From<MirrorArgs> for ReleaseMirrors {
    fn from(args: MirrorArgs) -> Self {
        Self {
            binaries: args.binary_mirror,
            images: args.image_mirror,
        }
    }
}
