//! `parbake registry`

use std::net::SocketAddr;

use parbake_up::Cluster;
use serde::Serialize;

use crate::args::{ClusterArgs, GlobalArgs};
use crate::output;

const EXAMPLES: &str = "\
Examples:
  parbake registry                                    prints, for example, 127.0.0.1:41753
  docker tag app 127.0.0.1:41753/app:1 && docker push 127.0.0.1:41753/app:1
  skopeo copy --dest-tls-verify=false docker-archive:app.tar docker://$(parbake registry)/app:1
  parbake kubectl run app --image registry:5000/app:1

Pushed images are kept until `parbake down`, and are part of what `parbake freeze` makes.";

/// Print the address of the cluster's registry on this host; in the cluster it is `registry:5000`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Debug, Serialize)]
struct Report {
    /// Its address on this host.
    host: SocketAddr,
    /// Its name in the cluster.
    cluster: Option<String>,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let name = &self.cluster.name;
        let cluster = Cluster::find(&global.dir, name)?;
        let report = Report {
            host: cluster.registry(name)?,
            cluster: cluster.record().cluster.registry_name(),
        };
        output::print(global.output, &report, |report| format!("{}\n", report.host))
    }
}
