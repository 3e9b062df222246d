//! Mirrors of published Kubernetes files with the original layout: a web server and distribution's registry, filled with
//! what source `modules` built.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread::spawn;

use parbake_test_support::place::Place;
use parbake_test_support::published::{archives, binary, cache, packed, run};
use parbake_test_support::registry::{Registry, skopeo};

/// The version in the provider.
const KUBERNETES: &str = "1.34.4";
const CRICTL: &str = "1.30.0";
const REGISTRY: &str = "3.1.2";
const ADDON: &str = "docker.io/rancher/local-path-provisioner:v0.0.30";
/// What a bake from mirrors may find in the cache: the node OS and add-ons, nothing of Kubernetes.
const SHARED: [&str; 3] = ["modules", "os", "debs"];

/// Both mirrors, and providers whose lock pins their content.
pub(crate) struct Mirror {
    dir: PathBuf,
    address: String,
    registry: Registry,
}

impl Mirror {
    /// Creates and fills the mirrors.
    pub(crate) fn start(place: &Place) -> Result<Self, String> {
        let dir = place.dir().join("mirror");
        let cache = cache(place);
        fs::create_dir_all(dir.join("cache")).map_err(text)?;
        for kind in SHARED {
            let link = dir.join("cache").join(kind);
            symlink(fs::canonicalize(cache.join(kind)).map_err(text)?, link).map_err(text)?;
        }
        let repository = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .ok_or("no repository")?;
        for folder in ["providers", "manifests"] {
            run(Command::new("cp")
                .arg("-rL")
                .arg(repository.join(folder))
                .arg(&dir))?;
        }
        let files = Arc::new(files(place, &dir)?);
        let registry = Registry::start(place, None)?;
        for (name, archive) in images(place)? {
            let (_, rest) = name.split_once('/').ok_or("an image without a registry")?;
            let to = format!("docker://{}", registry.reference(rest));
            let from = format!("oci-archive:{}", archive.display());
            skopeo(&["copy", "--quiet", "--dest-tls-verify=false", &from, &to])?;
        }
        let listener = TcpListener::bind("127.0.0.1:0").map_err(text)?;
        let address = listener.local_addr().map_err(text)?.to_string();
        spawn(move || {
            for client in listener.incoming().flatten() {
                let files = Arc::clone(&files);
                // A client may close the connection.
                spawn(move || drop(serve(&files, &client)));
            }
        });
        Ok(Self {
            dir,
            address,
            registry,
        })
    }

    /// The options that select the mirrors.
    pub(crate) fn options(&self) -> Vec<String> {
        let binaries = format!("http://{}/k8s", self.address);
        let images = self.registry.reference("");
        let words = [
            "--binary-mirror",
            &binaries,
            "--image-mirror",
            &images,
            "--plain-http",
        ];
        words.map(str::to_owned).to_vec()
    }

    /// Runs parbake with these providers and an empty cache.
    pub(crate) fn run(&self, place: &Place, words: &[&str]) -> Result<String, String> {
        let mut command = place.command(words);
        command.env("PARBAKE_PROVIDERS", self.dir.join("providers"));
        command.env("PARBAKE_CACHE", self.dir.join("cache"));
        run(&mut command)
    }
}

fn text(error: io::Error) -> String {
    error.to_string()
}

/// The web server's content by path: files, and their digests.
fn files(place: &Place, dir: &Path) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut files = BTreeMap::new();
    for name in ["kubeadm", "kubectl", "kubelet"] {
        let path = format!("release/v{KUBERNETES}/bin/linux/amd64/{name}");
        files.insert(path, binary(place, name)?);
    }
    let releases = "releases/download";
    for (name, path) in [
        (
            "crictl",
            format!("kubernetes-sigs/cri-tools/{releases}/v{CRICTL}/crictl-v{CRICTL}-linux-amd64.tar.gz"),
        ),
        (
            "registry",
            format!(
                "distribution/distribution/{releases}/v{REGISTRY}/registry_{REGISTRY}_linux_amd64.tar.gz"
            ),
        ),
    ] {
        let archive = packed(dir, name, &binary(place, name)?)?;
        files.insert(path, archive);
    }
    let mut digests = BTreeMap::new();
    for (number, (path, file)) in files.iter().enumerate() {
        let beside = dir.join(format!("{number}.sha256"));
        fs::write(&beside, run(Command::new("sha256sum").arg(file))?).map_err(text)?;
        digests.insert(format!("{path}.sha256"), beside);
    }
    files.extend(digests);
    Ok(files)
}

/// The images that kubeadm expects and that of the add-on, as imported by the bake from modules.
fn images(place: &Place) -> Result<BTreeMap<String, PathBuf>, String> {
    let mut kubeadm = Command::new(binary(place, "kubeadm")?);
    let listed = run(kubeadm.args([
        "config",
        "images",
        "list",
        "--kubernetes-version",
        &format!("v{KUBERNETES}"),
    ]))?;
    let mut archives = archives(place, "modules")?;
    let names = listed.split_whitespace().chain([ADDON]);
    let found = names.map(|name| {
        let archive = archives.remove_entry(name);
        archive.ok_or_else(|| format!("the bake had no image `{name}`"))
    });
    found.collect()
}

fn serve(files: &BTreeMap<String, PathBuf>, mut client: &TcpStream) -> io::Result<()> {
    let mut lines = BufReader::new(client).lines();
    let request = lines.next().unwrap_or(Ok(String::new()))?;
    while !lines.next().unwrap_or(Ok(String::new()))?.is_empty() {}
    let path = request
        .split(' ')
        .nth(1)
        .and_then(|path| path.strip_prefix("/k8s/"));
    let Some(file) = path.and_then(|path| files.get(path)) else {
        return client.write_all(b"HTTP/1.1 404 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    };
    let mut file = fs::File::open(file)?;
    let length = file.metadata()?.len();
    write!(
        client,
        "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
    )?;
    io::copy(&mut file, &mut client).map(drop)
}
