//! What a cluster offers beside Kubernetes is part of its being ready.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use parbake_cluster::Description;
use parbake_cluster::builtin_services::names_answer;
use parbake_cluster::readiness::DnsProbe;
use parbake_cluster::wait::{Poll, TimedOut, Wait};
use parbake_machine::supervisor::Running;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::host_ports;

/// Waits until the services of `cluster` answer: names at every vantage, the registry on its port of the host.
///
/// # Errors
/// What was waited for, and what was seen last.
pub(crate) async fn answer(
    running: &Running,
    cluster: &Description,
    vantages: &[DnsProbe],
    limit: Duration,
) -> Result<(), TimedOut> {
    let names = names_answer(cluster, vantages, limit);
    let (names, registry) = tokio::join!(names, registry_answers(running, cluster, limit));
    names.and(registry)
}

async fn registry_answers(running: &Running, cluster: &Description, limit: Duration) -> Result<(), TimedOut> {
    let Some(port) = host_ports::registry(cluster, running.ports()) else {
        return Ok(());
    };
    Wait::new("the cluster's registry", limit)
        .until(|| async {
            match status(port).await {
                Ok(line) if line.contains(" 200 ") => Poll::Seen(()),
                Ok(line) if line.is_empty() => Poll::Pending("it does not listen yet".to_owned()),
                Ok(line) => Poll::Pending(line),
                Err(error) => Poll::Pending(error.to_string()),
            }
        })
        .await
}

/// The status line of the answer to the question whether a registry is there (OCI distribution specification, end-1).
async fn status(port: SocketAddr) -> io::Result<String> {
    let mut connection = TcpStream::connect(port).await?;
    connection.write_all(b"GET /v2/ HTTP/1.0\r\n\r\n").await?;
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
