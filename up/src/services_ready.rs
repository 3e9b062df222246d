//! Readiness of the services that parbake adds to a cluster: name resolution and the registry.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use parbake_cluster::Description;
use parbake_cluster::readiness::DnsProbe;
use parbake_cluster::readiness::wait_until_node_dns;
use parbake_cluster::wait::{Poll, TimedOut, Wait};
use parbake_machine::supervisor::Running;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::host_ports;

/// Waits until the services of `cluster` answer: names from every probe, the registry on its port of the host.
pub(crate) async fn wait_until_ready(
    running: &Running,
    cluster: &Description,
    probes: &[DnsProbe],
    limit: Duration,
) -> Result<(), TimedOut> {
    let names = wait_until_node_dns(cluster, probes, limit);
    let (names, registry) = tokio::join!(names, registry_answers(running, cluster, limit));
    names.and(registry)
}

async fn registry_answers(running: &Running, cluster: &Description, limit: Duration) -> Result<(), TimedOut> {
    let Some(port) = host_ports::registry(cluster, running.ports()) else {
        return Ok(());
    };
    Wait::new("the cluster's registry", limit)
        .until(|| async {
            match status_line(port).await {
                Ok(line) if line.contains(" 200 ") => Poll::Ready(()),
                Ok(line) if line.is_empty() => Poll::Pending("it does not listen yet".to_owned()),
                Ok(line) => Poll::Pending(line),
                Err(error) => Poll::Pending(error.to_string()),
            }
        })
        .await
}

/// The status line of the response to the version check of a registry (OCI distribution specification, end-1).
async fn status_line(port: SocketAddr) -> io::Result<String> {
    let mut connection = TcpStream::connect(port).await?;
    connection.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").await?;
    let mut response = Vec::new();
    connection.read_to_end(&mut response).await?;
    let text = String::from_utf8_lossy(&response);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
