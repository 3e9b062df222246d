//! What all commands that speak to a registry have in common.

use std::path::PathBuf;

use parbake_artifact::registry::Options;
use parbake_provision::inputs::{BinaryMirror, ImageMirror, ReleaseMirrors};

/// How to speak to the registry.
#[derive(Debug, clap::Args)]
pub(crate) struct RegistryArgs {
    /// Speak HTTP without TLS to the registry
    #[arg(long)]
    plain_http: bool,
    /// Trust the certificate authorities in this PEM file too
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

/// Where to fetch what is published for Kubernetes.
#[derive(Debug, clap::Args)]
pub(crate) struct MirrorArgs {
    /// Fetch published binaries from this web server, which has them under the same paths as dl.k8s.io and others
    #[arg(long, value_name = "URL")]
    binary_mirror: Option<BinaryMirror>,
    /// Fetch published images from this registry, HOST[:PORT][/PATH], instead of registry.k8s.io
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

/// How layers may come.
#[derive(Debug, clap::Args)]
pub(crate) struct DeltaArgs {
    /// Fetch every layer that is missing in full, even if the registry has a delta from one that is here
    #[arg(long)]
    no_deltas: bool,
}

impl DeltaArgs {
    pub(crate) fn wanted(&self) -> bool {
        !self.no_deltas
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
