//! Credentials of one cluster are rejected by every other cluster of the same artifact.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use parbake_machine::supervisor::Running;

use crate::identity::PRINT;
use crate::place::{Outcome, Place, check};
use crate::secrets::{Kind, secrets};

/// A certificate and its key, as files.
struct Pair {
    name: String,
    certificate: String,
    key: String,
}

/// An endpoint of a cluster that needs a credential.
struct Endpoint {
    name: &'static str,
    url: &'static str,
    more: &'static [&'static str],
    /// A credential that it accepts.
    key: &'static str,
}

/// A service account with all permissions.
const ACCOUNT: &str = "clusterrole-aggregation-controller";

const ENDPOINTS: [Endpoint; 4] = [
    Endpoint {
        name: "API",
        url: "https://10.89.0.11:6443/api/v1/secrets",
        more: &[],
        key: "node01/etc/kubernetes/admin.conf",
    },
    Endpoint {
        name: "API, in the name of another",
        url: "https://10.89.0.11:6443/api/v1/secrets",
        more: &[
            "--header",
            "X-Remote-User: kubernetes-admin",
            "--header",
            "X-Remote-Group: system:masters",
        ],
        key: "node01/etc/kubernetes/pki/front-proxy-client.crt",
    },
    Endpoint {
        name: "etcd",
        url: "https://127.0.0.1:2379/v3/maintenance/status",
        more: &["--data", "{}"],
        key: "node01/etc/kubernetes/pki/apiserver-etcd-client.crt",
    },
    Endpoint {
        name: "kubelet",
        url: "https://10.89.0.11:10250/pods",
        more: &[],
        key: "node01/etc/kubernetes/pki/apiserver-kubelet-client.crt",
    },
];

/// Every certificate and token of the cluster `ours` is rejected by every endpoint of the cluster `theirs`, which accepts its own.
pub fn refused(place: &Place, ours: &str, theirs: &str) -> Outcome {
    let work = tempfile::tempdir().map_err(|error| error.to_string())?;
    let server = ControlPlane::find(place, theirs)?;
    let own = pairs(place, theirs, &work.path().join("theirs"))?;
    for endpoint in &ENDPOINTS {
        let key = own.iter().find(|pair| pair.name == endpoint.key);
        let key = key.ok_or_else(|| format!("no {} of {theirs}", endpoint.key))?;
        let answer = server.request(endpoint, &key.words())?;
        check(answer == "200", || {
            format!("{}: {} gave {answer}", endpoint.name, key.name)
        })?;
    }
    let foreign = pairs(place, ours, &work.path().join("ours"))?;
    // Clusters before 1.29 have no `super-admin.conf`.
    check(foreign.len() >= 15, || {
        format!("only {} credentials were found", foreign.len())
    })?;
    for (pair, endpoint) in foreign
        .iter()
        .flat_map(|pair| ENDPOINTS.iter().map(move |endpoint| (pair, endpoint)))
    {
        let answer = server.request(endpoint, &pair.words())?;
        // 'Forbidden' would mean that the credential was authenticated.
        check(matches!(answer.as_str(), "401" | "TLS"), || {
            format!("{} of {ours} at {}: {answer}", pair.name, endpoint.name)
        })?;
    }
    tokens(place, ours, theirs, &server)
}

/// A token of an account with all permissions: a new one, or the one in the account's secret if there is one.
fn new_token(place: &Place, name: &str) -> Result<String, String> {
    let token_secret = token_secret(place, name)?;
    if token_secret.is_empty() {
        return Ok(kubectl(place, name, &["create", "token", ACCOUNT])?
            .trim()
            .to_owned());
    }
    let secret = ["get", "secret", &token_secret, "-o", "jsonpath={.data.token}"];
    let token = STANDARD.decode(kubectl(place, name, &secret)?);
    String::from_utf8(token.map_err(|error| error.to_string())?).map_err(|error| error.to_string())
}

/// The secret with the account's token, in versions that keep tokens in secrets; otherwise empty.
fn token_secret(place: &Place, name: &str) -> Result<String, String> {
    let query = "jsonpath={.secrets[0].name}";
    kubectl(place, name, &["get", "serviceaccount", ACCOUNT, "-o", query])
}

fn kubectl(place: &Place, name: &str, words: &[&str]) -> Result<String, String> {
    let to = ["--name", name, "kubectl", "--namespace=kube-system"];
    place.run(&[to.as_slice(), words].concat())
}

/// Tokens of pods and a new token are rejected. Both clusters have the same accounts with the same UIDs, so only the
/// signature tells them apart.
fn tokens(place: &Place, ours: &str, theirs: &str, server: &ControlPlane) -> Outcome {
    let mut all = BTreeSet::new();
    for node in running(place, ours)?.machines().keys() {
        let printed = place.run(&["--name", ours, "exec", node, "--", "sh", "-c", PRINT])?;
        all.extend(secrets(printed.as_bytes()));
    }
    all.retain(|secret| secret.kind == Kind::Token);
    // Where tokens are kept in secrets, all pods of a daemon set share one.
    check(all.len() >= 2, || format!("only {} tokens were found", all.len()))?;
    let new_token = |name: &str| new_token(place, name);
    let foreign: Vec<String> = all
        .into_iter()
        .map(|secret| secret.text)
        .chain([new_token(ours)?])
        .collect();
    let api = Endpoint {
        url: "https://10.89.0.11:6443/api",
        ..ENDPOINTS[0]
    };
    let header = |token: &str| ["--header".to_owned(), format!("Authorization: Bearer {token}")];
    let (home, own) = (ControlPlane::find(place, ours)?, new_token(theirs)?);
    let answer = server.request(&api, &header(&own))?;
    check(answer == "200", || {
        format!("a token of {theirs} itself: {answer}")
    })?;
    for token in &foreign {
        let answer = home.request(&api, &header(token))?;
        check(answer == "200", || format!("a token of {ours} at home: {answer}"))?;
        for endpoint in [&api, &ENDPOINTS[3]] {
            let answer = server.request(endpoint, &header(token))?;
            check(answer == "401", || {
                format!("a token of {ours} at {}: {answer}", endpoint.name)
            })?;
        }
    }
    let key = |name: &str| {
        place.run(&[
            "--name",
            name,
            "exec",
            "node01",
            "--",
            "cat",
            "/etc/kubernetes/pki/sa.pub",
        ])
    };
    check(key(ours)? != key(theirs)?, || "one key signs for both".to_owned())?;
    if !token_secret(place, ours)?.is_empty() {
        return publishes_no_keys(place, ours);
    }
    let keys = |name: &str| place.json(&["--name", name, "kubectl", "get", "--raw=/openid/v1/jwks"]);
    let (one, other) = (keys(ours)?, keys(theirs)?);
    check(
        one["keys"][0]["x"].is_string() && one["keys"][0]["x"] != other["keys"][0]["x"],
        || format!("{one} and {other}"),
    )
}

/// Versions that keep tokens in secrets do not publish their signing keys.
fn publishes_no_keys(place: &Place, name: &str) -> Outcome {
    let words = ["--name", name, "kubectl", "get", "--raw=/openid/v1/jwks"];
    let output = place
        .command(&words)
        .output()
        .map_err(|error| error.to_string())?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    check(!output.status.success() && message.contains("NotFound"), || {
        format!("signing keys are published, or the API did not answer: {message}")
    })
}

impl Pair {
    /// Arguments for curl.
    fn words(&self) -> [&str; 4] {
        ["--cert", &self.certificate, "--key", &self.key]
    }
}

/// The machines of a running cluster.
pub fn running(place: &Place, name: &str) -> Result<Running, String> {
    let dir = place.dir().join("clusters").join(name);
    let running = Running::find(&dir).map_err(|error| error.to_string())?;
    running.ok_or_else(|| format!("{name} does not run"))
}

/// The control plane of a cluster, where its endpoints are.
struct ControlPlane {
    init: u32,
}

impl ControlPlane {
    fn find(place: &Place, name: &str) -> Result<Self, String> {
        let running = running(place, name)?;
        let init = running.machines().get("node01").ok_or("no node01")?;
        Ok(Self { init: init.pid })
    }

    /// The HTTP status of a request; `TLS` if the server rejected the certificate.
    fn request(&self, endpoint: &Endpoint, words: &[impl AsRef<str>]) -> Result<String, String> {
        let output = Command::new("nsenter")
            .arg(format!("--target={}", self.init))
            .args([
                "--net",
                "curl",
                "--silent",
                "--show-error",
                "--insecure",
                "--http1.1",
            ])
            .args(["--max-time", "10", "--output", "/dev/null"])
            .args(["--write-out", "%{http_code}"])
            .args(endpoint.more)
            .args(words.iter().map(AsRef::as_ref))
            .arg(endpoint.url)
            .output()
            .map_err(|error| error.to_string())?;
        let message = String::from_utf8_lossy(&output.stderr);
        match (
            String::from_utf8_lossy(&output.stdout).as_ref(),
            output.status.code(),
        ) {
            // curl's exit codes for a connection that the server closed during the handshake or afterwards.
            ("000", Some(35 | 55 | 56)) => Ok("TLS".to_owned()),
            ("000" | "", _) => Err(format!("{}: {message}", endpoint.name)),
            (status, _) => Ok(status.to_owned()),
        }
    }
}

/// All certificates of a cluster that have a key, as `NODE/PATH`. Those in kubeconfigs are written to `work`.
fn pairs(place: &Place, name: &str, work: &Path) -> Result<Vec<Pair>, String> {
    let machines = place.dir().join("clusters").join(name).join("machines");
    let output = Command::new("find")
        .arg(&machines)
        .args([
            "-path",
            "*/upper/*",
            "(",
            "-path",
            "*/etc/kubernetes/*",
            "-o",
            "-path",
            "*/var/lib/kubelet/pki/*",
            ")",
        ])
        .args(["-type", "f", "-print"])
        .output()
        .map_err(|error| error.to_string())?;
    fs::create_dir_all(work).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let files: BTreeMap<PathBuf, ()> = text.lines().map(|line| (line.into(), ())).collect();
    let mut pairs = Vec::new();
    for path in files.keys() {
        let name = path.strip_prefix(&machines).map_err(|error| error.to_string())?;
        let name = name.display().to_string().replacen("/upper/", "/", 1);
        let key = path.with_extension("key");
        let (certificate, key) = match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") if files.contains_key(&key) => (path.clone(), key),
            Some("pem") => (path.clone(), path.clone()),
            Some("conf") => match unpack(path, &work.join(format!("{}.pem", pairs.len())))? {
                Some(file) => (file.clone(), file),
                None => continue,
            },
            _ => continue,
        };
        pairs.push(Pair {
            name,
            certificate: certificate.display().to_string(),
            key: key.display().to_string(),
        });
    }
    Ok(pairs)
}

/// Writes the certificate and key in a kubeconfig to `file`; `None` if it has none.
fn unpack(kubeconfig: &Path, file: &Path) -> Result<Option<PathBuf>, String> {
    let text = fs::read_to_string(kubeconfig).map_err(|error| error.to_string())?;
    let field = |name: &str| {
        let (_, value) = text.split_once(&format!(" {name}: "))?;
        STANDARD.decode(value.lines().next()?).ok()
    };
    let (Some(certificate), Some(key)) = (field("client-certificate-data"), field("client-key-data")) else {
        return Ok(None);
    };
    fs::write(file, [certificate, key].concat()).map_err(|error| error.to_string())?;
    Ok(Some(file.to_owned()))
}
