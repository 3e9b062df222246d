//! `parbake ports`

use std::net::{Ipv4Addr, SocketAddr};

use parbake_cluster::services::{self, ServicePort, Wanted};
use parbake_up::{Cluster, port_forward};
use serde::Serialize;

use crate::cli::Global;
use crate::output::{self, table};

const EXAMPLES: &str = "\
Examples:
  parbake ports                                  what there is
  parbake ports web                              the service `web` of the namespace `default`
  parbake ports shop/web:http --listen 8080      a port of it by name, at 127.0.0.1:8080
  parbake ports 30080                            by the port that it has on every node

The address answers until the command is interrupted. TCP only.";

/// List services, or reach one from this host as long as the command runs
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The service as [NAMESPACE/]SERVICE[:PORT], or a node port [default: list all]
    service: Option<Wanted>,
    /// The port of 127.0.0.1 to listen on, or an address with a port [default: any free port]
    #[arg(long, value_name = "PORT", value_parser = listen_address, requires = "service")]
    listen: Option<SocketAddr>,
}

/// What is printed of a service that is reached.
#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    service: &'a ServicePort,
    /// Where this host reaches it.
    host: SocketAddr,
}

impl Args {
    pub(crate) fn run(self, global: &Global) -> anyhow::Result<()> {
        let cluster = Cluster::find(&global.dir, &global.name)?;
        super::block_on(async {
            let all = services::fetch(&cluster.client().await?).await?;
            let Some(wanted) = self.service else {
                return output::print(global.output, &all, |all| listed(all));
            };
            let listen = self.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
            let service = wanted.find(&all)?;
            let forward = port_forward::open(&cluster, service, listen)?;
            let report = Report {
                service,
                host: forward.address(),
            };
            output::print(global.output, &report, |report| format!("{}\n", report.host))?;
            Ok(forward.until_interrupted(&global.name).await?)
        })?
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text
        .parse::<u16>()
        .map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port.or_else(|_| text.parse())
        .map_err(|_| "write a port, such as 8080, or an address with one, such as 0.0.0.0:8080".to_owned())
}

fn listed(all: &[ServicePort]) -> String {
    let rows = all.iter().map(|port| {
        [
            port.namespace.clone(),
            port.service.clone(),
            port.port_name.clone().unwrap_or_default(),
            port.address.to_string(),
            port.node_port.map(|port| port.to_string()).unwrap_or_default(),
        ]
    });
    table(["NAMESPACE", "SERVICE", "PORT", "ADDRESS", "NODE PORT"], rows)
}
