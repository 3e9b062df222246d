//! Services with an address of their own, and how users select them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU16;
use std::str::FromStr;

use k8s_openapi::api::core::v1::Service;
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use serde::Serialize;

use super::response::request_failed;
use crate::error::Error;
use crate::model::invalid_value::InvalidValue;

/// A TCP port of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServicePort {
    pub namespace: String,
    pub service: String,
    pub port_name: Option<String>,
    /// The service's address and port, which nodes and pods reach.
    pub address: SocketAddr,
    /// The same port on every node's own address.
    pub node_port: Option<u16>,
}

/// A user's choice of a service: `[NAMESPACE/]SERVICE[:PORT]`, or a node port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceSelector {
    Named {
        /// `default` unless given.
        namespace: String,
        service: String,
        /// The port's number or name; optional if the service has a single port.
        port: Option<String>,
    },
    NodePort(u16),
}

impl FromStr for ServiceSelector {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        if let Ok(port) = text.parse::<NonZeroU16>() {
            return Ok(Self::NodePort(port.get()));
        }
        let (name, port) = match text.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (text, None),
        };
        let (namespace, service) = name.split_once('/').unwrap_or(("default", name));
        // The API server accepts RFC 1123 labels.
        let is_label = |label: &str| {
            let is_allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
            !label.is_empty() && label.bytes().all(is_allowed) && !label.starts_with('-')
        };
        // A number that is not a valid port is not meant as a name.
        let is_number = service.bytes().all(|byte| byte.is_ascii_digit());
        let mut labels = [namespace, service, port.unwrap_or("x")].into_iter();
        if is_number || !labels.all(is_label) {
            return Err(InvalidValue::new(
                text,
                "a service; write `[NAMESPACE/]SERVICE[:PORT]`, or a node port such as `30080`",
            ));
        }
        Ok(Self::Named {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
            port: port.map(str::to_owned),
        })
    }
}

impl fmt::Display for ServiceSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
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

impl ServiceSelector {
    /// The selected port.
    ///
    /// # Errors
    /// [`Error::UnknownService`] or [`Error::AmbiguousService`].
    pub fn find<'a>(&self, all: &'a [ServicePort]) -> Result<&'a ServicePort, Error> {
        let found: Vec<&ServicePort> = all.iter().filter(|port| self.selects(port)).collect();
        match found[..] {
            [] => Err(Error::UnknownService {
                service: self.to_string(),
            }),
            [port] => Ok(port),
            _ => Err(Error::AmbiguousService {
                service: self.to_string(),
                ports: found.iter().map(|port| port.address.port().to_string()).collect(),
            }),
        }
    }

    fn selects(&self, candidate: &ServicePort) -> bool {
        match self {
            Self::NodePort(port) => candidate.node_port == Some(*port),
            Self::Named {
                namespace,
                service,
                port,
            } => {
                let has_port = |port: &String| {
                    candidate.port_name.as_ref() == Some(port)
                        || candidate.address.port().to_string() == *port
                };
                candidate.namespace == *namespace
                    && candidate.service == *service
                    && port.as_ref().is_none_or(has_port)
            }
        }
    }
}

/// Lists the TCP ports of all services with an address, by namespace and name.
///
/// # Errors
/// The request failed.
pub async fn list_ports(client: &Client) -> Result<Vec<ServicePort>, Error> {
    let services: Api<Service> = Api::all(client.clone());
    let listed = services.list(&ListParams::default()).await;
    let listed = listed.map_err(request_failed("list services"))?;
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
    // Headless and `ExternalName` services have no address.
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

    use super::{ServicePort, ServiceSelector, ports_of};

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
    fn services_are_found_by_every_form_of_selector() {
        let find = |text: &str| {
            text.parse::<ServiceSelector>()
                .unwrap()
                .find(&ports())
                .cloned()
                .map(|port| port.address.to_string())
        };
        assert_eq!(ports().len(), 2);
        for text in ["shop/web:80", "shop/web:http", "30080"] {
            assert_eq!(find(text).unwrap(), "10.96.0.7:80", "{text}");
        }
        for (text, selector) in [
            ("web", "default/web"),
            ("shop/web:dns", "shop/web:dns"),
            ("30081", "30081"),
            ("shop/db", "shop/db"),
        ] {
            let error = find(text).unwrap_err().to_string();
            assert!(
                error.starts_with(&format!("there is no service `{selector}`")),
                "{error}"
            );
        }
        let several = find("shop/web").unwrap_err();
        assert_eq!(
            several.to_string(),
            "`shop/web` has several ports; choose one of 80, 81"
        );
    }

    #[test]
    fn invalid_selectors_are_rejected() {
        for text in [
            "", "0", "a/b/c", "Web", "web:", "/web", "web:8 0", "-web", "65536", "x:",
        ] {
            assert!(text.parse::<ServiceSelector>().is_err(), "{text}");
        }
    }
}
