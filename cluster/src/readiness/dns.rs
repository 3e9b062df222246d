//! Asking the cluster's DNS from inside the nodes.

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

use super::missing::Missing;
use crate::description::{Description, Node};
use crate::name::NodeName;

/// How long an answer may take before the question is asked anew.
const ANSWER: Duration = Duration::from_millis(200);
/// The pause before that.
const PAUSE: Duration = Duration::from_millis(50);
const PORT: u16 = 53;
/// More than any answer to a single question for an address.
const BUFFER: usize = 1500;

type MakeSocket = Box<dyn Fn(IpAddr) -> io::Result<UdpSocket> + Send + Sync>;

/// A node to ask from.
///
/// Every question goes out through a new socket: a question that was sent before the service address led
/// anywhere leaves an entry in the node's connection tracking, and later ones from the same port would follow
/// it into nowhere.
pub struct DnsProbe {
    node: NodeName,
    socket: MakeSocket,
}

impl DnsProbe {
    /// The vantage of `node`; `socket` makes an unconnected socket inside its network namespace, bound to the address that
    /// it is given: the unspecified one of the family that is needed.
    pub fn new(
        node: NodeName,
        socket: impl Fn(IpAddr) -> io::Result<UdpSocket> + Send + Sync + 'static,
    ) -> Self {
        Self {
            node,
            socket: Box::new(socket),
        }
    }

    /// The vantages of all nodes of `cluster`: their own network namespaces.
    ///
    /// # Errors
    /// A node's machine does not run.
    pub fn of_machines(
        running: &Running,
        cluster: &Description,
    ) -> Result<Vec<Self>, parbake_machine::Error> {
        Self::of_nodes(running, cluster.nodes())
    }

    /// The same of some nodes.
    ///
    /// # Errors
    /// A node's machine does not run.
    pub fn of_nodes(running: &Running, nodes: &[Node]) -> Result<Vec<Self>, parbake_machine::Error> {
        let vantage = |node: &Node| {
            let network = running.network(node.name.as_str())?;
            let socket = move |any| network.run(|| UdpSocket::bind((any, 0)));
            Ok(Self::new(node.name.clone(), socket))
        };
        nodes.iter().map(vantage).collect()
    }
}

impl DnsProbe {
    /// Vantages inside pods: on each node of `cluster` any pod with a network of its own, as soon as there is one.
    ///
    /// # Errors
    /// A node's machine does not run.
    pub fn of_pods(running: &Running, cluster: &Description) -> Result<Vec<Self>, parbake_machine::Error> {
        let vantage = |node: &Node| {
            let machine = running.init(node.name.as_str())?;
            let socket = move |any| {
                let networks = NetNs::of_pods(&machine)?;
                let none = || io::Error::other("no pod has a network yet");
                let pod = networks.first().ok_or_else(none)?;
                pod.run(|| UdpSocket::bind((any, 0)))
            };
            Ok(Self::new(node.name.clone(), socket))
        };
        cluster.nodes().iter().map(vantage).collect()
    }
}

impl fmt::Debug for DnsProbe {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Vantage")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

/// What is asked for, and what must be answered.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    /// Who is asked.
    pub(crate) server: SocketAddr,
    /// The name, with a dot at its end.
    pub(crate) name: String,
    /// The address it must have.
    pub(crate) answer: IpAddr,
}

impl Question {
    /// Asks once. The error says what came instead of the answer.
    pub(crate) async fn ask(&self, vantage: &DnsProbe) -> Result<(), String> {
        let socket = || {
            let socket = (vantage.socket)(unspecified(self.server))?;
            socket.set_nonblocking(true)?;
            tokio::net::UdpSocket::from_std(socket)
        };
        let socket = socket().map_err(|error| format!("could not make a socket: {error}"))?;
        let (id, query) =
            encode(&self.name, self.answer).map_err(|error| format!("could not ask: {error}"))?;
        let exchange = async {
            // Connected, so that only this server is heard and a refusal by ICMP shows at once.
            socket.connect(self.server).await?;
            socket.send(&query).await?;
            let mut buffer = vec![0; BUFFER];
            let length = socket.recv(&mut buffer).await?;
            buffer.truncate(length);
            io::Result::Ok(buffer)
        };
        match timeout(ANSWER, exchange).await {
            Err(_) => Err(format!(
                "no answer from {} within {} ms",
                self.server,
                ANSWER.as_millis()
            )),
            Ok(Err(error)) => Err(format!("asking {}: {error}", self.server)),
            Ok(Ok(answer)) => check(&answer, id, self),
        }
    }
}

/// Asks from every node in the background until each got its answer. Ends when dropped.
pub(super) struct DnsWatch {
    /// What came last for each node; `None` once it was the right answer.
    last: Vec<(NodeName, Arc<Mutex<Option<String>>>)>,
    _tasks: JoinSet<()>,
}

impl DnsWatch {
    /// Starts asking for the API's name, from the vantage of every node of the cluster.
    pub(super) fn start(cluster: &Description, vantages: Vec<DnsProbe>) -> Self {
        Self::start_on(cluster, cluster.nodes(), vantages)
    }

    /// The same on some of its nodes.
    pub(super) fn start_on(cluster: &Description, nodes: &[Node], vantages: Vec<DnsProbe>) -> Self {
        let networks = cluster.networks();
        let question = Question {
            server: SocketAddr::from((networks.dns, PORT)),
            name: format!("kubernetes.default.svc.{}.", cluster.domain()),
            answer: networks.api,
        };
        Self::ask_all(
            nodes.iter().map(|node| node.name.clone()).collect(),
            vantages,
            &question,
        )
    }

    fn ask_all(nodes: Vec<NodeName>, vantages: Vec<DnsProbe>, question: &Question) -> Self {
        let mut tasks = JoinSet::new();
        let last: Vec<_> = nodes
            .into_iter()
            .map(|node| {
                (
                    node,
                    Arc::new(Mutex::new(Some("no place to ask from".to_owned()))),
                )
            })
            .collect();
        for vantage in vantages {
            if let Some((_, last)) = last.iter().find(|(node, _)| *node == vantage.node) {
                tasks.spawn(ask_until_answered(vantage, question.clone(), Arc::clone(last)));
            }
        }
        Self { last, _tasks: tasks }
    }

    /// The nodes without an answer so far.
    pub(super) fn missing(&self) -> Vec<Missing> {
        let missing = |(node, last): &(NodeName, Arc<Mutex<Option<String>>>)| {
            let last = last.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
            Some(Missing::Dns {
                node: node.clone(),
                last,
            })
        };
        self.last.iter().filter_map(missing).collect()
    }
}

async fn ask_until_answered(vantage: DnsProbe, question: Question, last: Arc<Mutex<Option<String>>>) {
    loop {
        let result = question.ask(&vantage).await;
        let done = result.is_ok();
        *last.lock().unwrap_or_else(PoisonError::into_inner) = result.err();
        if done {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// The address that a socket is bound to which is to reach `server`, whatever the addresses of the host are.
fn unspecified(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

/// A question for the addresses of the family of `answer` that `name` has.
fn encode(name: &str, answer: IpAddr) -> Result<(u16, Vec<u8>), hickory_proto::ProtoError> {
    let kind = match answer {
        IpAddr::V4(_) => RecordType::A,
        IpAddr::V6(_) => RecordType::AAAA,
    };
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name)?, kind));
    Ok((message.metadata.id, message.to_vec()?))
}

fn check(answer: &[u8], id: u16, question: &Question) -> Result<(), String> {
    let message = Message::from_vec(answer).map_err(|error| format!("an answer that is no DNS: {error}"))?;
    if message.metadata.id != id || message.metadata.message_type != MessageType::Response {
        return Err("an answer to another question".to_owned());
    }
    if message.metadata.response_code != ResponseCode::NoError {
        return Err(format!("`{}`: {}", question.name, message.metadata.response_code));
    }
    let found: Vec<IpAddr> = message
        .answers
        .iter()
        .filter_map(|record| RData::ip_addr(&record.data))
        .collect();
    if found.contains(&question.answer) {
        return Ok(());
    }
    Err(format!(
        "`{}` is {found:?} instead of {}",
        question.name, question.answer
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

    use super::{DnsProbe, DnsWatch, Question, check};
    use crate::name::NodeName;

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

    fn question(server: &UdpSocket) -> Question {
        Question {
            server: server.local_addr().unwrap(),
            name: "kubernetes.default.svc.cluster.local.".to_owned(),
            answer: API.into(),
        }
    }

    fn vantage(number: usize) -> DnsProbe {
        DnsProbe::new(NodeName::numbered(number), |_| UdpSocket::bind("127.0.0.1:0"))
    }

    #[tokio::test]
    async fn asks_from_every_node_until_the_answer_is_right() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let question = question(&server);
        // Two nodes: their first questions are not answered, the next answered wrongly, the rest rightly.
        // Serves until the test's process ends.
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
        let watch = DnsWatch::ask_all(nodes, vec![vantage(1), vantage(2)], &question);
        assert_eq!(watch.missing().len(), 2);
        let answered = async {
            while !watch.missing().is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), answered).await.unwrap();
    }

    #[tokio::test]
    async fn a_node_without_a_vantage_stays_missing() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let watch = DnsWatch::ask_all(vec![NodeName::numbered(1)], vec![vantage(2)], &question(&server));
        let missing: Vec<String> = watch.missing().iter().map(ToString::to_string).collect();
        assert_eq!(missing, ["DNS on node `node01`: no place to ask from"]);
    }

    #[test]
    fn answers_are_checked() {
        let question = question(&UdpSocket::bind("127.0.0.1:0").unwrap());
        let (id, query) = super::encode(&question.name, question.answer).unwrap();
        let verdict = |bytes: &[u8], id: u16| check(bytes, id, &question).err().unwrap_or_default();
        assert_eq!(verdict(&answer(&query, Ok(API)), id), "");
        assert_eq!(
            verdict(&answer(&query, Ok(API)), !id),
            "an answer to another question"
        );
        assert_eq!(verdict(&query, id), "an answer to another question");
        assert!(verdict(&answer(&query, Err(ResponseCode::NXDomain)), id).contains("Non-Existent Domain"));
        let wrong = verdict(&answer(&query, Ok(Ipv4Addr::LOCALHOST)), id);
        assert!(wrong.ends_with("is [127.0.0.1] instead of 10.96.0.1"), "{wrong}");
        // Who expects an address of IPv6 asks for one.
        let six: IpAddr = "fd00:10:96::1".parse().unwrap();
        let asked = Message::from_vec(&super::encode(&question.name, six).unwrap().1).unwrap();
        assert_eq!(asked.queries[0].query_type(), RecordType::AAAA);
        assert!(verdict(b"no dns", id).starts_with("an answer that is no DNS"));
    }
}
