//! `parbake ports`

use std::net::{Ipv4Addr, SocketAddr};

use parbake_cluster::api::services::{self, ServicePort, ServiceSelector};
use parbake_up::{Cluster, port_forward};
use serde::Serialize;

use crate::args::{ClusterArgs, GlobalArgs};
use crate::output::{self, table};

const EXAMPLES: &str = "\
Examples:
  parbake ports                                  list services
  parbake ports web                              service `web` in namespace `default`
  parbake ports shop/web:http --listen 8080      a port by name, on 127.0.0.1:8080
  parbake ports 30080                            a node port

The command forwards TCP until it is interrupted.";

/// List services, or forward a local port to one
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The service as [NAMESPACE/]SERVICE[:PORT], or a node port [default: list all]
    service: Option<ServiceSelector>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Listen on this port of 127.0.0.1, or on ADDRESS:PORT [default: any free port]
    #[arg(long, value_name = "PORT", value_parser = listen_address, requires = "service")]
    listen: Option<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    #[serde(flatten)]
    service: &'a ServicePort,
    /// The local address.
    host: SocketAddr,
}

impl Args {
    pub(crate) fn run(self, global: &GlobalArgs) -> anyhow::Result<()> {
        let name = &self.cluster.name;
        let cluster = Cluster::find(&global.dir, name)?;
        super::block_on(async {
            let all = services::list_ports(&cluster.client().await?).await?;
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
            Ok(forward.until_interrupted(name).await?)
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
