//! Distribution's registry, from Debian's package, on a free port.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A running registry, until it is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: String,
    _dir: TempDir,
}

impl Server {
    /// Starts a registry without TLS and without authentication.
    pub(crate) fn start() -> Self {
        Self::with(&json!({}))
    }

    /// Starts a registry with `more` in its configuration.
    pub(crate) fn with(more: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let given = more["http"]["addr"].as_str().map(str::to_owned);
        let address = given.unwrap_or_else(free_address);
        let mut config = json!({
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": true}},
            "storage": {"filesystem": {"rootdirectory": dir.path().join("storage")}},
            "http": {"addr": address},
        });
        merge(&mut config, more);
        // JSON is YAML.
        let path = dir.path().join("config.yml");
        fs::write(&path, config.to_string()).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            child,
            address,
            _dir: dir,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(&server.address).is_err() {
            assert!(Instant::now() < deadline, "the registry did not start");
            sleep(Duration::from_millis(20));
        }
        server
    }

    /// A repository in the registry.
    pub(crate) fn reference(&self, repository: &str) -> parbake_artifact::Reference {
        format!("{}/{repository}", self.address).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address on which nothing listens.
pub(crate) fn free_address() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn merge(config: &mut Value, more: &Value) {
    match (config, more) {
        (Value::Object(config), Value::Object(more)) => {
            for (key, value) in more {
                merge(config.entry(key).or_insert(Value::Null), value);
            }
        }
        (config, more) => *config = more.clone(),
    }
}
