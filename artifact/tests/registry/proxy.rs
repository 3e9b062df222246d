//! A proxy in front of a registry that injects faults. HTTP/1.1, one request per connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

use flate2::Compression;
use flate2::write::GzEncoder;

/// How much is forwarded at once, in bytes.
const PIECE: usize = 4096;

/// A fault that is injected into a request or its answer.
#[derive(Clone)]
pub(crate) enum Fault {
    None,
    /// The connection is closed without an answer.
    HangUp,
    /// An answer with this status and additional headers, each followed by `\r\n`.
    Status(u16, &'static str),
    /// A redirect to this URL.
    Redirect(String),
    /// The answer is cut after this many bytes of its body.
    Cut(u64),
    /// The answer is cut where the meter says.
    Metered(Arc<Meter>),
    /// The answer stalls after this many bytes of its body.
    Stall(u64),
    /// One bit of this byte of the body is flipped.
    Flip(u64),
    /// The body is cut to this length, which the answer announces.
    Truncate(u64),
    /// The answer announces this many bytes more than it has.
    Overstate(u64),
    /// The body is compressed although the request does not accept that.
    Gzip,
    /// An additional header.
    Header(&'static str),
    /// The answer lacks these headers, in lower case.
    WithoutHeaders(&'static [&'static str]),
    /// The `Location` of the answer is relative.
    RelativeLocation,
    /// The connection is closed after this many bytes of the request's body.
    CutUpload(u64),
    /// No more is read after this many bytes of the request's body.
    StallUpload(u64),
}

/// A request.
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    /// Request line and headers, in lower case.
    pub(crate) head: String,
    /// How many requests of the same kind came before.
    pub(crate) number: usize,
}

impl Request {
    pub(crate) fn kind(&self) -> &'static str {
        match (self.method.as_str(), &self.path) {
            (_, path) if path.contains("/uploads/") => "upload",
            ("PUT", _) => "publish",
            ("GET", path) if path.contains("/manifests/") => "manifest",
            ("GET", path) if path.contains("/blobs/") => "blob",
            _ => "other",
        }
    }
}

/// Counts forwarded bytes and decides where to cut.
pub(crate) struct Meter {
    moved: Mutex<u64>,
    /// Cut at every multiple of this, in bytes.
    step: u64,
    /// Forward nothing after the first cut.
    is_final: bool,
}

impl Meter {
    pub(crate) fn new(step: u64, is_final: bool) -> Arc<Self> {
        let moved = Mutex::new(0);
        Arc::new(Self {
            moved,
            step,
            is_final,
        })
    }

    /// How many of `length` bytes to forward; if fewer, the connection is closed.
    fn pass(&self, length: u64) -> u64 {
        let mut moved = self.moved.lock().unwrap();
        if self.is_final && *moved >= self.step {
            return 0;
        }
        let next = (*moved / self.step + 1) * self.step;
        let allowed = length.min(next - *moved);
        *moved += allowed;
        // A piece that ends exactly there must be cut, too.
        if *moved == next {
            allowed.min(length.saturating_sub(1))
        } else {
            allowed
        }
    }

    pub(crate) fn cuts(&self) -> u64 {
        *self.moved.lock().unwrap() / self.step
    }
}

type Plan = Box<dyn Fn(&Request) -> Fault + Send + Sync>;

struct State {
    upstream: String,
    plan: Plan,
    healed: AtomicBool,
    ended: AtomicBool,
    seen: Mutex<Vec<Request>>,
}

/// A running proxy, until it is dropped.
pub(crate) struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    /// Starts a proxy in front of `upstream`; `plan` chooses the fault for each request.
    pub(crate) fn start(upstream: &str, plan: impl Fn(&Request) -> Fault + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", upstream, plan)
    }

    pub(crate) fn start_on(
        listen: &str,
        upstream: &str,
        plan: impl Fn(&Request) -> Fault + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(listen).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            upstream: upstream.to_owned(),
            plan: Box::new(plan),
            healed: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            seen: Mutex::default(),
        });
        let serving = Arc::clone(&state);
        spawn(move || {
            for client in listener.incoming().flatten() {
                if serving.ended.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&serving);
                // Errors are injected faults, or a client that has closed the connection.
                spawn(move || drop(state.serve(client)));
            }
        });
        Self { address, state }
    }

    /// A repository behind the proxy.
    pub(crate) fn reference(&self, repository: &str) -> parbake_artifact::Reference {
        format!("{}/{repository}", self.address).parse().unwrap()
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Injects no more faults.
    pub(crate) fn heal(&self) {
        self.state.healed.store(true, Ordering::SeqCst);
    }

    /// All requests so far.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.state.seen.lock().unwrap().clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        // Wakes the listener up.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn serve(&self, client: TcpStream) -> io::Result<()> {
        let mut from = BufReader::new(client.try_clone()?);
        let head = read_head(&mut from)?;
        let request = self.note(&head);
        let fault = if self.healed.load(Ordering::SeqCst) {
            Fault::None
        } else {
            (self.plan)(&request)
        };
        let outcome = self.answer(&mut from, &client, &head, &request, &fault);
        client.shutdown(Shutdown::Both)?;
        outcome
    }

    fn note(&self, head: &str) -> Request {
        let mut arguments = head.split(' ').map(str::to_owned);
        let mut request = Request {
            method: arguments.next().unwrap_or_default(),
            path: arguments.next().unwrap_or_default(),
            head: head.to_lowercase(),
            number: 0,
        };
        let mut seen = self.seen.lock().unwrap();
        request.number = seen.iter().filter(|other| other.kind() == request.kind()).count();
        seen.push(request.clone());
        request
    }

    fn answer(
        &self,
        from: &mut BufReader<TcpStream>,
        mut client: &TcpStream,
        head: &str,
        request: &Request,
        fault: &Fault,
    ) -> io::Result<()> {
        let length = length(head).unwrap_or(0);
        match fault {
            Fault::HangUp => return Ok(()),
            Fault::Status(code, headers) => {
                io::copy(&mut from.take(length), &mut io::sink())?;
                return write!(
                    client,
                    "HTTP/1.1 {code} No\r\n{headers}Content-Length: 2\r\nConnection: close\r\n\r\nno"
                );
            }
            Fault::Redirect(url) => {
                io::copy(&mut from.take(length), &mut io::sink())?;
                return write!(
                    client,
                    "HTTP/1.1 307 There\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
            }
            _ => {}
        }
        let mut server = TcpStream::connect(&self.upstream)?;
        server.write_all(closing(head).as_bytes())?;
        match fault {
            Fault::CutUpload(bytes) if *bytes < length => {
                io::copy(&mut from.take(*bytes), &mut server)?;
                return Ok(());
            }
            Fault::StallUpload(bytes) if *bytes < length => {
                io::copy(&mut from.take(*bytes), &mut server)?;
                return self.wait();
            }
            _ => io::copy(&mut from.take(length), &mut server)?,
        };
        let mut server = BufReader::new(server);
        let head = read_head(&mut server)?;
        if matches!(fault, Fault::Gzip) && request.method != "HEAD" {
            return gzip(&head, &mut server, client);
        }
        client.write_all(changed(&head, fault).as_bytes())?;
        if request.method == "HEAD" {
            return Ok(());
        }
        self.body(&mut server, client, fault)
    }

    fn body(&self, server: &mut impl Read, mut client: &TcpStream, fault: &Fault) -> io::Result<()> {
        let mut buffer = vec![0; PIECE];
        let mut done = 0;
        loop {
            let length = server.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            let piece = &mut buffer[..length];
            let end = done + length as u64;
            let allowed = match fault {
                Fault::Cut(limit) | Fault::Stall(limit) | Fault::Truncate(limit) => {
                    limit.saturating_sub(done)
                }
                Fault::Metered(meter) => meter.pass(length as u64),
                _ => u64::MAX,
            };
            if let Fault::Flip(at) = fault
                && (done..end).contains(at)
            {
                piece[(at - done) as usize] ^= 1;
            }
            done = end;
            if allowed < length as u64 {
                client.write_all(&piece[..allowed as usize])?;
                return if matches!(fault, Fault::Stall(_)) {
                    self.wait()
                } else {
                    Ok(())
                };
            }
            client.write_all(piece)?;
        }
    }

    /// Waits until the test or the fault ends.
    fn wait(&self) -> io::Result<()> {
        while !self.ended.load(Ordering::SeqCst) && !self.healed.load(Ordering::SeqCst) {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        Ok(())
    }
}

/// Sends an answer with its body compressed.
fn gzip(head: &str, body: &mut impl Read, mut client: &TcpStream) -> io::Result<()> {
    let mut plain = Vec::new();
    body.take(length(head).unwrap_or(u64::MAX))
        .read_to_end(&mut plain)?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&plain)?;
    let packed = packed.finish()?;
    let lines = head.trim_end().lines();
    let kept: Vec<_> = lines
        .filter(|line| !line.to_lowercase().starts_with("content-length:"))
        .collect();
    let (head, length) = (kept.join("\r\n"), packed.len());
    let head = closing(&format!(
        "{head}\r\nContent-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n"
    ));
    client.write_all(head.as_bytes())?;
    client.write_all(&packed)
}

/// The first line and the headers, with the empty line.
pub(crate) fn read_head(from: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

pub(crate) fn length(head: &str) -> Option<u64> {
    let head = head.to_lowercase();
    let (_, rest) = head.split_once("\r\ncontent-length:")?;
    rest.lines().next()?.trim().parse().ok()
}

/// `head` with `Connection: close`.
fn closing(head: &str) -> String {
    let lines = head.trim_end().lines();
    let kept: Vec<_> = lines
        .filter(|line| !line.to_lowercase().starts_with("connection:"))
        .collect();
    format!("{}\r\nConnection: close\r\n\r\n", kept.join("\r\n"))
}

fn changed(head: &str, fault: &Fault) -> String {
    let with = |length: u64| {
        let lines = head.trim_end().lines();
        let kept: Vec<_> = lines
            .filter(|line| !line.to_lowercase().starts_with("content-length:"))
            .collect();
        closing(&format!(
            "{}\r\nContent-Length: {length}\r\n\r\n",
            kept.join("\r\n")
        ))
    };
    let real = length(head).unwrap_or(0);
    match fault {
        Fault::Truncate(limit) => with(real.min(*limit)),
        Fault::Overstate(more) => with(real + more),
        Fault::Header(line) => closing(&format!("{}\r\n{line}\r\n\r\n", head.trim_end())),
        Fault::WithoutHeaders(names) => {
            let lines = head.trim_end().lines();
            let name = |line: &str| line.split(':').next().unwrap_or_default().to_lowercase();
            let kept: Vec<_> = lines
                .filter(|line| !names.contains(&name(line).as_str()))
                .collect();
            closing(&format!("{}\r\n\r\n", kept.join("\r\n")))
        }
        Fault::RelativeLocation => {
            let lines = head.trim_end().lines();
            let relative = |line: &str| match line.split_once("http://") {
                Some((name, url)) if name.eq_ignore_ascii_case("location: ") => {
                    format!("{name}/{}", url.split_once('/').unwrap_or_default().1)
                }
                _ => line.to_owned(),
            };
            let lines: Vec<_> = lines.map(relative).collect();
            closing(&format!("{}\r\n\r\n", lines.join("\r\n")))
        }
        _ => closing(head),
    }
}
