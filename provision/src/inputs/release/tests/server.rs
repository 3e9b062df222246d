//! A web server with ranges and interruptions, and distribution's registry with small images.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

use serde_json::json;
use tempfile::TempDir;

use crate::inputs::oci_image::{self, Image};

#[derive(Default)]
pub(super) struct ServerState {
    /// Content by path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// How many bytes an interrupted answer has.
    pub(super) interrupted_length: usize,
    /// How many answers are still interrupted.
    pub(super) interruptions: usize,
    /// Path and first byte of each request.
    pub(super) requests: Vec<(String, usize)>,
}

/// A web server that runs until the test ends.
pub(super) struct WebServer {
    pub(super) address: String,
    pub(super) state: Arc<Mutex<ServerState>>,
}

impl WebServer {
    pub(super) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::new(Mutex::new(ServerState::default()));
        let serving = Arc::clone(&state);
        spawn(move || {
            for client in listener.incoming().flatten() {
                let state = Arc::clone(&serving);
                // An error means that the client has closed the connection.
                spawn(move || drop(serve(&state, &client)));
            }
        });
        Self { address, state }
    }

    pub(super) fn put(&self, path: &str, bytes: &[u8]) {
        self.state
            .lock()
            .unwrap()
            .files
            .insert(path.to_owned(), bytes.to_vec());
    }

    /// Interrupts the next `times` answers after `length` bytes.
    pub(super) fn interrupt(&self, length: usize, times: usize) {
        let mut state = self.state.lock().unwrap();
        (state.interrupted_length, state.interruptions) = (length, times);
    }

    /// The first byte of each request for `path`.
    pub(super) fn starts(&self, path: &str) -> Vec<usize> {
        let state = self.state.lock().unwrap();
        let requests = state.requests.iter().filter(|(requests, _)| requests == path);
        requests.map(|(_, start)| *start).collect()
    }
}

fn serve(state: &Mutex<ServerState>, mut client: &TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(client).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut range = None;
    for line in lines {
        let line = line?.to_lowercase();
        if line.is_empty() {
            break;
        }
        range = line.strip_prefix("range: bytes=").map(str::to_owned).or(range);
    }
    let (first, last) = range
        .as_deref()
        .and_then(|range| range.split_once('-'))
        .unwrap_or_default();
    let start: usize = first.parse().unwrap_or(0);
    let (answer, body) = {
        let mut state = state.lock().unwrap();
        state.requests.push((path.clone(), start));
        let Some(bytes) = state.files.get(&path).cloned() else {
            return client.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        };
        if start > 0 && start >= bytes.len() {
            return client.write_all(b"HTTP/1.1 416 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
        let end = last
            .parse()
            .map_or(bytes.len(), |last: usize| bytes.len().min(last + 1));
        let mut body = bytes[start..end].to_vec();
        let (code, length) = (if range.is_some() { "206 Part" } else { "200 OK" }, body.len());
        let answer = format!(
            "HTTP/1.1 {code}\r\nContent-Range: bytes {start}-{}/{}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
            end.saturating_sub(1),
            bytes.len()
        );
        if state.interruptions > 0 && body.len() > state.interrupted_length {
            body.truncate(state.interrupted_length);
            state.interruptions -= 1;
        }
        (answer, body)
    };
    client.write_all(answer.as_bytes())?;
    client.write_all(&body)
}

/// A running registry, until it is dropped.
pub(super) struct Registry {
    child: Child,
    pub(super) address: String,
    dir: TempDir,
}

impl Registry {
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let address = free.to_string();
        // JSON is YAML.
        let config = json!({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": dir.path().join("storage")}},
            "http": {"addr": address},
        });
        let path = dir.path().join("config.yml");
        fs::write(&path, config.to_string()).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&path);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&address).is_err() {
            assert!(Instant::now() < deadline, "the registry did not start");
            sleep(Duration::from_millis(20));
        }
        Self { child, address, dir }
    }

    /// Publishes an image with one file under the path of `reference`, and returns its digest.
    pub(super) fn put(&self, reference: &str, inside: &str, bytes: &[u8]) -> parbake_artifact::Digest {
        let (file, tree) = (self.dir.path().join("file"), self.dir.path().join("tree"));
        let (archive, digest) = (self.dir.path().join("image.tar"), self.dir.path().join("digest"));
        fs::write(&file, bytes).unwrap();
        fs::create_dir_all(&tree).unwrap();
        let image = Image {
            reference,
            architecture: "amd64",
            tree: &tree,
            files: &[(inside.to_owned(), file)].into(),
            setuid: &[],
            links: &BTreeMap::new(),
            directories: &[],
            entrypoint: &[],
            arguments: &[],
            user: "",
        };
        oci_image::write(&image, &archive).unwrap();
        let (_, name) = reference.split_once('/').unwrap();
        let output = Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false", "--digestfile"])
            .arg(&digest)
            .arg(prefixed("oci-archive:", &archive))
            .arg(format!("docker://{}/{name}", self.address))
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        fs::read_to_string(digest).unwrap().trim().parse().unwrap()
    }
}

fn prefixed(prefix: &str, path: &Path) -> String {
    format!("{prefix}{}", path.display())
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
