//! Stand-ins for public web servers and registries: any host name, with TLS, through an HTTP proxy.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::spawn;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Docker Hub's registry, which wants a token from its token server.
pub const DOCKER_HUB: &str = "registry-1.docker.io";
const TOKEN: &str = "auth.docker.io/token";
const CHALLENGE: &str =
    "WWW-Authenticate: Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\"\r\n";

/// What a site answers.
#[derive(Debug, Clone)]
pub enum Answer {
    File(PathBuf),
    /// With this media type.
    Document(String, Vec<u8>),
    /// To another URL.
    Redirect(String),
}

/// Answers by `HOST/PATH`.
pub type Content = BTreeMap<String, Answer>;

/// Running sites, until the tests end.
#[derive(Debug)]
pub struct PublicSites {
    proxy: String,
    authority: PathBuf,
}

impl PublicSites {
    /// Starts the sites that `content` names. The certificate of their authority is written to `dir`.
    ///
    /// # Errors
    /// A file or socket cannot be created.
    pub fn start(dir: &Path, content: Content) -> Result<Self, String> {
        let hosts = content
            .keys()
            .map(|name| name.split('/').next().unwrap_or(name).to_owned());
        let hosts: Vec<String> = hosts.chain(["auth.docker.io".to_owned()]).collect();
        let (authority, tls) = certificates(&hosts).map_err(|error| error.to_string())?;
        let path = dir.join("authority.pem");
        fs::write(&path, authority).map_err(|error| error.to_string())?;
        let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let address = listener.local_addr().map_err(|error| error.to_string())?;
        let (content, tls) = (Arc::new(content), Arc::new(tls));
        spawn(move || {
            for client in listener.incoming().flatten() {
                let (content, tls) = (Arc::clone(&content), Arc::clone(&tls));
                // A client may close the connection.
                spawn(move || drop(serve(client, tls, &content)));
            }
        });
        Ok(Self {
            proxy: format!("http://{address}"),
            authority: path,
        })
    }

    /// The option of parbake that trusts the sites.
    pub fn option(&self) -> [String; 2] {
        ["--ca-file".to_owned(), self.authority.display().to_string()]
    }

    /// Lets `command` reach nothing but these sites.
    pub fn only_for(&self, command: &mut Command) {
        command
            .env("HTTPS_PROXY", &self.proxy)
            .env("HTTP_PROXY", &self.proxy);
        for other in ["https_proxy", "http_proxy", "NO_PROXY", "no_proxy"] {
            command.env_remove(other);
        }
    }
}

/// The certificate of an authority, and one for `hosts`.
fn certificates(hosts: &[String]) -> Result<(String, ServerConfig), Box<dyn std::error::Error>> {
    let mut params = CertificateParams::new([])?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new(hosts)?.signed_by(&key, &authority)?;
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok((authority.pem(), config))
}

/// Serves one request of a client of the proxy (RFC 9110, section 9.3.6).
fn serve(mut client: TcpStream, tls: Arc<ServerConfig>, content: &Content) -> io::Result<()> {
    let head = head(&mut BufReader::new(&client))?;
    let Some(host) = head
        .strip_prefix("connect ")
        .and_then(|rest| rest.split(':').next())
    else {
        return client.write_all(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let host = host.to_owned();
    client.write_all(b"HTTP/1.1 200 OK\r\n\r\n")?;
    let connection = ServerConnection::new(tls).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, client);
    let request = self::head(&mut BufReader::new(&mut stream))?;
    answer(&host, &request, content, &mut stream)?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// The request line and the headers, in lower case.
fn head(from: &mut impl BufRead) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if from.read_line(&mut head)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head.to_lowercase())
}

fn answer(host: &str, request: &str, content: &Content, to: &mut impl Write) -> io::Result<()> {
    let path = request.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or(path);
    let name = format!("{host}{path}");
    let empty = |status: &str, headers: &str| {
        format!("HTTP/1.1 {status}\r\n{headers}Content-Length: 0\r\nConnection: close\r\n\r\n")
    };
    if name == TOKEN {
        return document(to, "application/json", br#"{"token": "anyone"}"#);
    }
    if host == DOCKER_HUB && !request.contains("\r\nauthorization: bearer anyone\r\n") {
        return to.write_all(empty("401 Unauthorized", CHALLENGE).as_bytes());
    }
    // Names are compared in lower case.
    let mut all = content.iter();
    match all
        .find(|(known, _)| known.to_lowercase() == name)
        .map(|(_, answer)| answer)
    {
        None => to.write_all(empty("404 Not Found", "").as_bytes()),
        Some(Answer::Redirect(url)) => {
            to.write_all(empty("307 Temporary Redirect", &format!("Location: {url}\r\n")).as_bytes())
        }
        Some(Answer::Document(media_type, bytes)) => document(to, media_type, bytes),
        Some(Answer::File(path)) => file(to, path, request),
    }
}

fn document(to: &mut impl Write, media_type: &str, bytes: &[u8]) -> io::Result<()> {
    let length = bytes.len();
    write!(
        to,
        "HTTP/1.1 200 OK\r\nContent-Type: {media_type}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    to.write_all(bytes)
}

/// Sends a file, or the range of it that is asked for.
fn file(to: &mut impl Write, path: &Path, request: &str) -> io::Result<()> {
    let mut file = File::open(path)?;
    let size = file.metadata()?.len();
    let range = request
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="));
    let (first, last) = range.and_then(|range| range.split_once('-')).unwrap_or_default();
    let first = first.parse().unwrap_or(0).min(size);
    let end = last.parse().map_or(size, |last: u64| size.min(last + 1));
    let (status, length) = (if range.is_some() { "206 Part" } else { "200 OK" }, end - first);
    write!(
        to,
        "HTTP/1.1 {status}\r\nContent-Range: bytes {first}-{}/{size}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        end.saturating_sub(1)
    )?;
    file.seek(SeekFrom::Start(first))?;
    io::copy(&mut file.take(length), to).map(drop)
}
