//! `parbake registry`

use std::net::SocketAddr;

use parbake_up::Cluster;
use serde::Serialize;

use crate::cli::Global;
use crate::output;

const EXAMPLES: &str = "\
Examples:
  parbake registry                                    127.0.0.1:41753
  docker tag app 127.0.0.1:41753/app:1 && docker push 127.0.0.1:41753/app:1
  skopeo copy --dest-tls-verify=false docker-archive:app.tar docker://$(parbake registry)/app:1
  parbake kubectl run app --image registry:5000/app:1

What was pushed stays until `parbake down`, and is in what `parbake freeze` makes.";

/// Say where this host pushes to the cluster's own registry, which is `registry:5000` in the cluster
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {}

/// What is printed.
#[derive(Debug, Serialize)]
struct Report {
    /// Where this host reaches it.
    host: SocketAddr,
    /// What nodes and pods call it.
    cluster: Option<String>,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let cluster = Cluster::find(&global.dir, &global.name)?;
        let report = Report {
            host: cluster.registry(&global.name)?,
            cluster: cluster.record().cluster.registry_name(),
        };
        output::print(global.output, &report, |report| format!("{}\n", report.host))
    }
}
