//! Services that have an address of their own, and how people name them.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;
use thiserror::Error;

use crate::api_error::ApiError;

/// A TCP port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServicePort {
    /// The service's namespace.
    pub namespace: String,
    /// The service's name.
    pub service: String,
    /// What the port is called, if it is.
    pub port_name: Option<String>,
    /// Where nodes and pods reach it.
    pub address: SocketAddr,
    /// The port at which every node's own address answers, too.
    pub node_port: Option<u16>,
}

/// A service as people name it: `[NAMESPACE/]SERVICE[:PORT]`, or a node port alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// By its name.
    Named {
        /// `default` unless it is given.
        namespace: String,
        /// The service.
        service: String,
        /// The port's number or name; not needed where there is only one.
        port: Option<String>,
    },
    /// By the port that it has on every node.
    NodePort(u16),
}

/// A text that names no service.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` names no service; write `[NAMESPACE/]SERVICE[:PORT]`, or a node port such as `30080`")]
pub struct InvalidWanted(String);

/// There is no such service, or more than one port of it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum NoService {
    /// Nothing is called so.
    #[error(
        "no service with an address and a TCP port is called `{0}`; `parbake ports` lists those there are"
    )]
    None(String),
    /// The service has several ports.
    #[error("`{wanted}` has several ports; name one of {}", ports.join(", "))]
    Several {
        /// What was asked for.
        wanted: String,
        /// The ports as they can be named.
        ports: Vec<String>,
    },
}

impl FromStr for Wanted {
    type Err = InvalidWanted;

    fn from_str(text: &str) -> Result<Self, InvalidWanted> {
        if let Ok(port) = text.parse::<NonZeroU16>() {
            return Ok(Self::NodePort(port.get()));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let (namespace, service) = name.split_once('/').unwrap_or(("default", name));
        // RFC 1123 labels, which is what the API takes.
        let is_label = |label: &str| {
            let inner = label
                .bytes()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-');
            inner && !label.is_empty() && !label.starts_with('-')
        };
        // A number that is no port is not meant as a name.
        let is_number = service.bytes().all(|c| c.is_ascii_digit());
        let mut labels = [namespace, service, port.unwrap_or("x")].into_iter();
        if is_number || !labels.all(is_label) {
            return Err(InvalidWanted(text.to_owned()));
        }
        Ok(Self::Named {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: port.map(str::to_owned),
        })
    }
}

impl std::fmt::Display for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NodePort(port) => write!(f, "{port}"),
            Self::Named {
                namespace,
                service,
                port,
            } => {
                write!(f, "{namespace}/{service}")?;
                port.iter().try_for_each(|port| write!(f, ":{port}"))
            }
        }
    }
}

impl Wanted {
    /// The port that is meant.
    ///
    /// # Errors
    /// There is none, or more than one.
    pub fn find<'a>(&self, all: &'a [ServicePort]) -> Result<&'a ServicePort, NoService> {
        let mut found = all.iter().filter(|port| self.means(port));
        let first = found.next().ok_or_else(|| NoService::None(self.to_string()))?;
        let mut more: Vec<&ServicePort> = found.collect();
        if more.is_empty() {
            return Ok(first);
        }
        more.insert(0, first);
        let named = |port: &&ServicePort| port.address.port().to_string();
        Err(NoService::Several {
            wanted: self.to_string(),
            ports: more.iter().map(named).collect(),
        })
    }

    fn means(&self, one: &ServicePort) -> bool {
        match self {
            Self::NodePort(port) => one.node_port == Some(*port),
            Self::Named {
                namespace,
                service,
                port,
            } => {
                let is = |port: &String| {
                    one.port_name.as_ref() == Some(port) || one.address.port().to_string() == *port
                };
                one.namespace == *namespace && one.service == *service && port.as_ref().is_none_or(is)
            }
        }
    }
}

/// Asks the API for all TCP ports of services with an address, by namespace and name.
///
/// # Errors
/// When the API does not answer.
pub async fn fetch(client: &Client) -> Result<Vec<ServicePort>, ApiError> {
    let services: Api<Service> = Api::all(client.clone());
    let listed = services.list(&ListParams::default()).await;
    let listed = listed.map_err(ApiError::new("list services"))?;
    let mut ports: Vec<ServicePort> = listed.items.iter().flat_map(ports_of).collect();
    ports.sort_by(|one, other| {
        let key = |port: &ServicePort| (port.namespace.clone(), port.service.clone(), port.address);
        key(one).cmp(&key(other))
    });
    Ok(ports)
}

fn ports_of(service: &Service) -> Vec<ServicePort> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    // Headless services and names of hosts outside have none.
    let address = spec
        .cluster_ip
        .as_deref()
        .and_then(|text| text.parse::<IpAddr>().ok());
    let Some(address) = address else {
        return Vec::new();
    };
    let number = |port: i32| u16::try_from(port).ok().filter(|port| *port > 0);
    let ports = spec.ports.iter().flatten();
    let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
    tcp.filter_map(|port| {
        Some(ServicePort {
            namespace: service.namespace().unwrap_or_default(),
            service: service.name_any(),
            port_name: port.name.clone(),
            address: SocketAddr::new(address, number(port.port)?),
            node_port: port.node_port.and_then(number),
        })
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{NoService, ServicePort, Wanted, ports_of};

    fn ports() -> Vec<ServicePort> {
        let service = json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"clusterIP": "10.96.0.7", "ports": [
                {"name": "http", "port": 80, "nodePort": 30080}, {"name": "admin", "port": 81, "protocol": "TCP"},
                {"name": "dns", "port": 53, "protocol": "UDP"},
            ]},
        });
        let headless =
            json!({"metadata": {"name": "db"}, "spec": {"clusterIP": "None", "ports": [{"port": 1}]}});
        let all = [service, headless].map(|service| serde_json::from_value(service).unwrap());
        all.iter().flat_map(ports_of).collect()
    }

    #[test]
    fn services_are_found_by_all_their_names() {
        let find = |text: &str| {
            text.parse::<Wanted>()
                .unwrap()
                .find(&ports())
                .cloned()
                .map(|port| port.address.to_string())
        };
        assert_eq!(ports().len(), 2);
        for text in ["shop/web:80", "shop/web:http", "30080"] {
            assert_eq!(find(text).unwrap(), "10.96.0.7:80", "{text}");
        }
        for (text, wanted) in [
            ("web", "default/web"),
            ("shop/web:dns", "shop/web:dns"),
            ("30081", "30081"),
            ("shop/db", "shop/db"),
        ] {
            assert_eq!(find(text).unwrap_err(), NoService::None(wanted.to_owned()));
        }
        let several = find("shop/web").unwrap_err();
        assert_eq!(
            several.to_string(),
            "`shop/web` has several ports; name one of 80, 81"
        );
    }

    #[test]
    fn not_every_text_names_a_service() {
        for text in [
            "", "0", "a/b/c", "Web", "web:", "/web", "web:8 0", "-web", "65536", "x:",
        ] {
            assert!(text.parse::<Wanted>().is_err(), "{text}");
        }
    }
}
