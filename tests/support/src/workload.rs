//! Deployments, services, exec, logs and port forwarding.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::place::{Outcome, PROVIDER, Place, check, eventually, record_tested};

/// A web server on each worker and a job on the control plane that calls it by name. The only images in the cluster are
/// those of the control plane, so the programs come from the nodes.
const MANIFEST: &str = include_str!("workload.yaml");

/// The name of etcd's image, which every cluster has; pods can run it with programs of the nodes.
pub fn etcd_image(place: &Place, cluster: &str) -> Result<String, String> {
    let image = "jsonpath={.spec.containers[0].image}";
    place.run(&[
        "--name",
        cluster,
        "kubectl",
        "get",
        "pod",
        "-n",
        "kube-system",
        "etcd-node01",
        "-o",
        image,
    ])
}

pub fn service(place: &Place) -> Outcome {
    let image = etcd_image(place, "default")?;
    place.feed(
        &["kubectl", "apply", "-f", "-"],
        &MANIFEST.replace("@IMAGE@", &image),
    )?;
    place.run(&["kubectl", "rollout", "status", "deployment/web", "--timeout=60s"])?;
    let query = "jsonpath={range .items[*]}{.spec.nodeName}{\"\\n\"}{end}";
    let nodes = place.run(&["kubectl", "get", "pods", "-l", "app=web", "-o", query])?;
    let mut nodes: Vec<&str> = nodes.lines().collect();
    nodes.sort_unstable();
    check(nodes == ["node02", "node03"], || format!("{nodes:?}"))?;
    place.run(&[
        "kubectl",
        "wait",
        "--for=condition=complete",
        "job/client",
        "--timeout=90s",
    ])?;
    let answer = place.run(&["kubectl", "logs", "job/client"])?;
    check(answer.contains("served by web-"), || answer.clone())
}

pub fn access(place: &Place) -> Outcome {
    let name = place.run(&["kubectl", "exec", "deployment/web", "--", "cat", "/etc/hostname"])?;
    check(name.starts_with("web-"), || name.clone())?;
    let mut forward = place.spawn(&["kubectl", "port-forward", "service/web", ":80"])?;
    let outcome = forwarded(&mut forward);
    forward
        .kill()
        .and_then(|()| forward.wait())
        .map_err(|error| error.to_string())?;
    outcome?;
    record_tested(
        place,
        PROVIDER,
        &["deployment, service and DNS", "logs, exec and port-forward"],
    )
}

fn forwarded(forward: &mut std::process::Child) -> Outcome {
    let mut line = String::new();
    // Keep the pipe open: kubectl exits when nobody reads its output.
    let mut output = BufReader::new(forward.stdout.take().ok_or("no output of port-forward")?);
    output.read_line(&mut line).map_err(|error| error.to_string())?;
    let port = line
        .split("127.0.0.1:")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let address = format!(
        "127.0.0.1:{}",
        port.ok_or_else(|| format!("no port in `{line}`"))?
    );
    eventually(
        "an answer through the forwarded port",
        Duration::from_secs(10),
        || {
            let mut stream = TcpStream::connect(&address).map_err(|error| error.to_string())?;
            let mut answer = String::new();
            stream
                .write_all(b"GET / HTTP/1.0\r\n\r\n")
                .map_err(|error| error.to_string())?;
            stream
                .read_to_string(&mut answer)
                .map_err(|error| error.to_string())?;
            check(answer.contains("served by web-"), || answer.clone())
        },
    )
}
