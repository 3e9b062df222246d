//! `parbake image`

use std::path::{Path, PathBuf};

use parbake_artifact::images::ImageName;
use parbake_up::Cluster;
use parbake_up::images::{self, Loaded};

use crate::args::{ClusterArgs, GlobalArgs, path};
use crate::output::{self, count, table};

const EXAMPLES: &str = "\
Examples:
  docker save app:v1 | parbake image load -
  skopeo copy docker://example.org/app:v1 oci-archive:app.tar:example.org/app:v1
  parbake image load build/ --as app:v1      a directory with an OCI image layout

Archives may be compressed with gzip, xz, zstd or bzip2. Everything is checked before anything changes.
Pods need `imagePullPolicy: Never` or `IfNotPresent`, which is the default unless the tag is `latest`.";

/// Load container images into a running cluster
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    Load(LoadArgs),
}

/// Load images from a file into all nodes, without a registry
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct LoadArgs {
    /// An image archive, or a directory with an OCI image layout; `-` reads an archive from standard input
    #[arg(value_parser = path())]
    path: PathBuf,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Name of the image, if it has none or should have another
    #[arg(long = "as", value_name = "IMAGE")]
    image: Option<ImageName>,
}

impl Command {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let Self::Load(args) = self;
        let cluster = Cluster::find(&global.dir, &args.cluster.name)?;
        let path = match args.path.as_os_str() == "-" {
            true => Path::new("/dev/stdin"),
            false => &args.path,
        };
        let loaded = images::load(&cluster, path, args.image.as_ref())?;
        output::report(global.output, &loaded, text)
    }
}

fn text(loaded: &Loaded) -> String {
    let rows = loaded
        .images
        .iter()
        .map(|image| [image.name.clone(), image.digest.clone()]);
    format!(
        "{}\nloaded into {}: {}\n",
        table(["IMAGE", "DIGEST"], rows),
        count(loaded.nodes.len(), "node"),
        loaded.nodes.join(", ")
    )
}
