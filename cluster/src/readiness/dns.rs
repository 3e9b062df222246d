//! Querying the cluster's DNS from inside the nodes.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use parbake_machine::net::NetNs;
use parbake_machine::supervisor::Running;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::not_ready::NotReady;
use crate::model::description::{Description, Node};
use crate::model::name::NodeName;
use crate::wait::{Poll, TimedOut, Wait};

/// The time for an answer, after which the query is repeated.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(200);
/// The pause between two queries.
const QUERY_INTERVAL: Duration = Duration::from_millis(50);
const PORT: u16 = 53;
/// More than any answer to a query for one address.
const BUFFER_SIZE: usize = 1500;

type MakeSocket = Box<dyn Fn(IpAddr) -> io::Result<UdpSocket> + Send + Sync>;

/// A node, or a pod on it, that sends DNS queries.
///
/// Every query uses a new socket: a query sent before the service address is reachable leaves an entry in the node's
/// connection tracking, which would misroute later ones from the same port.
pub struct DnsProbe {
    node: NodeName,
    socket: MakeSocket,
}

impl DnsProbe {
    /// A probe of `node`. `socket` creates an unconnected socket in its network namespace, bound to the unspecified address
    /// that it is given.
    pub fn new(
        node: NodeName,
        socket: impl Fn(IpAddr) -> io::Result<UdpSocket> + Send + Sync + 'static,
    ) -> Self {
        Self {
            node,
            socket: Box::new(socket),
        }
    }

    /// Probes in the network namespaces of all nodes of `cluster`.
    ///
    /// # Errors
    /// A machine does not run.
    pub fn for_cluster(
        running: &Running,
        cluster: &Description,
    ) -> Result<Vec<Self>, parbake_machine::Error> {
        Self::for_nodes(running, cluster.nodes())
    }

    /// Probes in the network namespaces of `nodes`.
    ///
    /// # Errors
    /// A machine does not run.
    pub fn for_nodes(running: &Running, nodes: &[Node]) -> Result<Vec<Self>, parbake_machine::Error> {
        let probe = |node: &Node| {
            let network = running.network(node.name.as_str())?;
            let socket = move |unspecified| network.run(|| UdpSocket::bind((unspecified, 0)));
            Ok(Self::new(node.name.clone(), socket))
        };
        nodes.iter().map(probe).collect()
    }

    /// Probes inside pods: on each node of `cluster` any pod with its own network, as soon as there is one.
    ///
    /// # Errors
    /// A machine does not run.
    pub fn for_pods(running: &Running, cluster: &Description) -> Result<Vec<Self>, parbake_machine::Error> {
        let probe = |node: &Node| {
            let machine = running.init(node.name.as_str())?;
            let socket = move |unspecified| {
                let networks = NetNs::of_pods(&machine)?;
                let none = || io::Error::other("no pod has a network yet");
                let pod = networks.first().ok_or_else(none)?;
                pod.run(|| UdpSocket::bind((unspecified, 0)))
            };
            Ok(Self::new(node.name.clone(), socket))
        };
        cluster.nodes().iter().map(probe).collect()
    }
}

impl fmt::Debug for DnsProbe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("DnsProbe")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// A query for an address, and the answer that it must get.
#[derive(Debug, Clone)]
pub(crate) struct DnsQuery {
    pub(crate) server: SocketAddr,
    /// The name, with a trailing dot.
    pub(crate) name: String,
    pub(crate) expected: IpAddr,
}

impl DnsQuery {
    /// Sends the query once. The error says what came instead of the expected answer.
    pub(crate) async fn send(&self, probe: &DnsProbe) -> Result<(), String> {
        let socket = || {
            let socket = (probe.socket)(unspecified(self.server))?;
            socket.set_nonblocking(true)?;
            tokio::net::UdpSocket::from_std(socket)
        };
        let socket = socket().map_err(|error| format!("could not create a socket: {error}"))?;
        let (id, message) = encode(&self.name, self.expected)
            .map_err(|error| format!("could not encode the query: {error}"))?;
        let exchange = async {
            // Connected, so that only this server is heard and an ICMP rejection is reported at once.
            socket.connect(self.server).await?;
            socket.send(&message).await?;
            let mut buffer = vec![0; BUFFER_SIZE];
            let length = socket.recv(&mut buffer).await?;
            buffer.truncate(length);
            io::Result::Ok(buffer)
        };
        match timeout(ANSWER_TIMEOUT, exchange).await {
            Err(_) => Err(format!(
                "no answer from {} within {} ms",
                self.server,
                ANSWER_TIMEOUT.as_millis()
            )),
            Ok(Err(error)) => Err(format!("query to {}: {error}", self.server)),
            Ok(Ok(answer)) => check(&answer, id, self),
        }
    }
}

/// Queries from every node in the background until each has its answer. Stops when dropped.
pub(super) struct DnsWatch {
    /// The last failure on each node; `None` after the right answer.
    last: Vec<(NodeName, Arc<Mutex<Option<String>>>)>,
    _tasks: JoinSet<()>,
}

impl DnsWatch {
    /// Queries the API's name from the probes of `nodes`.
    pub(super) fn start(cluster: &Description, nodes: &[Node], probes: Vec<DnsProbe>) -> Self {
        let networks = cluster.networks();
        let query = DnsQuery {
            server: SocketAddr::from((networks.dns, PORT)),
            name: format!("kubernetes.default.svc.{}.", cluster.domain()),
            expected: networks.api,
        };
        Self::query_all(
            nodes.iter().map(|node| node.name.clone()).collect(),
            probes,
            &query,
        )
    }

    fn query_all(nodes: Vec<NodeName>, probes: Vec<DnsProbe>, query: &DnsQuery) -> Self {
        let mut tasks = JoinSet::new();
        let last: Vec<_> = nodes
            .into_iter()
            .map(|node| (node, Arc::new(Mutex::new(Some("no probe".to_owned())))))
            .collect();
        for probe in probes {
            if let Some((_, last)) = last.iter().find(|(node, _)| *node == probe.node) {
                tasks.spawn(query_until_answered(probe, query.clone(), Arc::clone(last)));
            }
        }
        Self { last, _tasks: tasks }
    }

    /// The nodes without an answer so far.
    pub(super) fn unanswered(&self) -> Vec<NotReady> {
        let unanswered = |(node, last): &(NodeName, Arc<Mutex<Option<String>>>)| {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
            Some(NotReady::Dns {
                node: node.clone(),
                last,
            })
        };
        self.last.iter().filter_map(unanswered).collect()
    }
}

async fn query_until_answered(probe: DnsProbe, query: DnsQuery, last: Arc<Mutex<Option<String>>>) {
    loop {
        let result = query.send(&probe).await;
        let is_answered = result.is_ok();
        *last.lock().unwrap_or_else(PoisonError::into_inner) = result.err();
        if is_answered {
            return;
        }
        sleep(QUERY_INTERVAL).await;
    }
}

/// Waits until the nodes' DNS server, if there is one, has answered every one of `probes` with the first node's address.
///
/// # Errors
/// [`TimedOut`] with the last failure.
pub async fn wait_until_node_dns(
    cluster: &Description,
    probes: &[DnsProbe],
    limit: Duration,
) -> Result<(), TimedOut> {
    let Some(server) = cluster.name_server() else {
        return Ok(());
    };
    let query = DnsQuery {
        server: SocketAddr::from((server, PORT)),
        name: format!("{}.", cluster.nodes()[0].name),
        expected: cluster.nodes()[0].address,
    };
    let wait = Wait::new("the DNS server of the nodes", limit);
    wait.until(|| async {
        for probe in probes {
            if let Err(failure) = query.send(probe).await {
                return Poll::Pending(failure);
            }
        }
        Poll::Ready(())
    })
    .await
}

/// The unspecified address of the server's family, for a socket that reaches it.
fn unspecified(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A query for the addresses of `name` in the family of `expected`, with its id.
fn encode(name: &str, expected: IpAddr) -> Result<(u16, Vec<u8>), hickory_proto::ProtoError> {
    let kind = match expected {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::AAAA,
    };
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name)?, kind));
    Ok((message.metadata.id, message.to_vec()?))
}

fn check(answer: &[u8], id: u16, query: &DnsQuery) -> Result<(), String> {
    let message = Message::from_vec(answer).map_err(|error| format!("an invalid answer: {error}"))?;
    if message.metadata.id != id || message.metadata.message_type != MessageType::Response {
        return Err("an answer to another query".to_owned());
    }
    if message.metadata.response_code != ResponseCode::NoError {
        return Err(format!("`{}`: {}", query.name, message.metadata.response_code));
    }
    let found: Vec<IpAddr> = message
        .answers
        .iter()
        .filter_map(|record| RData::ip_addr(&record.data))
        .collect();
    if found.contains(&query.expected) {
        return Ok(());
    }
    Err(format!(
        "`{}` is {found:?} instead of {}",
        query.name, query.expected
    ))
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, UdpSocket};
    use std::thread;
    use std::time::Duration;

    use hickory_proto::op::{Message, OpCode, ResponseCode};
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{RData, Record, RecordType};
    use tokio::time::{sleep, timeout};

    use super::{DnsProbe, DnsQuery, DnsWatch, check};
    use crate::model::name::NodeName;

    const API: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);

    /// The answer to `query`, with an address or an error code.
    fn answer(query: &[u8], result: Result<Ipv4Addr, ResponseCode>) -> Vec<u8> {
        let query = Message::from_vec(query).unwrap();
        let mut message = Message::response(query.metadata.id, OpCode::Query);
        match result {
            Ok(address) => {
                let name = query.queries[0].name().clone();
                message.add_answer(Record::from_rdata(name, 5, RData::A(A(address))));
            }
            Err(code) => message.metadata.response_code = code,
        }
        message.to_vec().unwrap()
    }

    fn query(server: &UdpSocket) -> DnsQuery {
        DnsQuery {
            server: server.local_addr().unwrap(),
            name: "kubernetes.default.svc.cluster.local.".to_owned(),
            expected: API.into(),
        }
    }

    fn probe(number: usize) -> DnsProbe {
        DnsProbe::new(NodeName::numbered(number), |_| UdpSocket::bind("127.0.0.1:0"))
    }

    #[tokio::test]
    async fn every_node_queries_until_the_answer_is_right() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let query = query(&server);
        // Two nodes: their first queries are not answered, the next wrongly, the rest correctly. Serves until the process
        // ends.
        thread::spawn(move || {
            for turn in 0.. {
                let mut buffer = [0; 512];
                let (length, client) = server.recv_from(&mut buffer).unwrap();
                let result = match turn {
                    0 | 1 => continue,
                    2 | 3 => Err(ResponseCode::ServFail),
                    4 | 5 => Ok(Ipv4Addr::LOCALHOST),
                    _ => Ok(API),
                };
                server
                    .send_to(&answer(&buffer[..length], result), client)
                    .unwrap();
            }
        });
        let nodes = vec![NodeName::numbered(1), NodeName::numbered(2)];
        let watch = DnsWatch::query_all(nodes, vec![probe(1), probe(2)], &query);
        assert_eq!(watch.unanswered().len(), 2);
        let answered = async {
            while !watch.unanswered().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), answered).await.unwrap();
    }

    #[tokio::test]
    async fn node_without_a_probe_stays_unanswered() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let watch = DnsWatch::query_all(vec![NodeName::numbered(1)], vec![probe(2)], &query(&server));
        let unanswered: Vec<String> = watch.unanswered().iter().map(ToString::to_string).collect();
        assert_eq!(unanswered, ["DNS on node `node01`: no probe"]);
    }

    #[test]
    fn wrong_answers_are_rejected() {
        let query = query(&UdpSocket::bind("127.0.0.1:0").unwrap());
        let (id, message) = super::encode(&query.name, query.expected).unwrap();
        let failure = |bytes: &[u8], id: u16| check(bytes, id, &query).err().unwrap_or_default();
        assert_eq!(failure(&answer(&message, Ok(API)), id), "");
        assert_eq!(
            failure(&answer(&message, Ok(API)), !id),
            "an answer to another query"
        );
        assert_eq!(failure(&message, id), "an answer to another query");
        assert!(failure(&answer(&message, Err(ResponseCode::NXDomain)), id).contains("Non-Existent Domain"));
        let wrong = failure(&answer(&message, Ok(Ipv4Addr::LOCALHOST)), id);
        assert!(wrong.ends_with("is [127.0.0.1] instead of 10.96.0.1"), "{wrong}");
        // An IPv6 address is queried as AAAA.
        let six: IpAddr = "fd00:10:96::1".parse().unwrap();
        let asked = Message::from_vec(&super::encode(&query.name, six).unwrap().1).unwrap();
        assert_eq!(asked.queries[0].query_type(), RecordType::AAAA);
        assert!(failure(b"no dns", id).starts_with("an invalid answer"));
    }
}
