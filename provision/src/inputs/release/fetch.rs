//! Downloading everything that the cache lacks, in parallel.

use std::fs;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use parbake_artifact::http::{Hints, Observer, WebClient};
use parbake_artifact::registry::{Options, pull_image};
use parbake_artifact::{Digest, Reference};
use parbake_machine::fs::files::failed;
use reqwest::Url;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::{Span, info_span};

use super::super::cache::sha256_of_file;
use super::super::error::Error;
use super::ReleaseError;

const PARALLEL_DOWNLOADS: usize = 4;
/// Limit for a binary or an archive, in bytes.
const MAX_FILE: u64 = 4 << 30;
/// The file of a layout that is written last (OCI image specification, "Image Layout Specification").
const INDEX: &str = "index.json";
/// Advice in errors about web servers.
pub(super) const HINTS: Hints = Hints {
    unreachable: "; `--binary-mirror` names another server",
    expired: " over TLS; its certificate has expired, or the clock of this host is wrong",
    tls: " over TLS; `--ca-file` names certificate authorities to trust, `--binary-mirror` another server",
    not_found: "check that the version is published, and that the mirror has it",
};

/// Something to download.
#[derive(Debug, Clone)]
pub(super) enum Item {
    File {
        /// Of the binary.
        name: String,
        /// Its original URL.
        published: String,
        url: Url,
        digest: Digest,
    },
    Image {
        /// With a digest.
        from: Reference,
        /// The name of the image in the layout.
        name: String,
        /// As Go names it.
        architecture: String,
        digest: Digest,
    },
}

impl Item {
    /// Where it is below `dir` once it is complete.
    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        match self {
            Self::File { digest, .. } => dir.join(digest.hex()),
            Self::Image { digest, .. } => dir.join(format!("{}.image", digest.hex())),
        }
    }

    /// The URL of the file or the full name of the image.
    fn published_name(&self) -> &str {
        match self {
            Self::File { published, .. } => published,
            Self::Image { name, .. } => name,
        }
    }

    async fn fetch(&self, web: &WebClient, options: &Options, dir: &Path) -> Result<(), Error> {
        let to = self.path(dir);
        match self {
            Self::File {
                name, url, digest, ..
            } => {
                if to.exists() && sha256_of_file(&to).map_err(failed("read", &to))? == digest.hex() {
                    return Ok(());
                }
                let progress = Progress::new(format!("get `{name}` from {url}"));
                let downloaded = web.download(url, digest, MAX_FILE, &to, &progress).await;
                Ok(downloaded.map_err(ReleaseError::from)?)
            }
            Self::Image {
                from,
                name,
                architecture,
                ..
            } => {
                if to.join(INDEX).exists() {
                    return Ok(());
                }
                fs::create_dir_all(&to).map_err(failed("create", &to))?;
                let names = [name.clone()];
                Ok(pull_image(from, &names, architecture, options, &to).await?)
            }
        }
    }
}

/// The name of what failed, empty if it is nothing in particular, and why.
pub(super) type Failure = Box<(String, Error)>;

/// Downloads all of `items` into `dir`. Complete and partial downloads stay there, also after a failure.
///
/// # Errors
/// The first failure, and what could not be downloaded; the other downloads are aborted.
pub(super) async fn fetch_all(items: Vec<Item>, options: &Options, dir: &Path) -> Result<(), Failure> {
    let web = web_client(options).map_err(|error| Box::new((String::new(), error.into())))?;
    let permits = Arc::new(Semaphore::new(PARALLEL_DOWNLOADS));
    let mut tasks = JoinSet::new();
    for item in items {
        let (web, options, dir) = (web.clone(), options.clone(), dir.to_owned());
        let permits = Arc::clone(&permits);
        tasks.spawn(async move {
            let _permit = permits.acquire().await;
            let fetched = item.fetch(&web, &options, &dir).await;
            fetched.map_err(|error| Box::new((item.published_name().to_owned(), error)))
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap_or_else(|error| resume_unwind(error.into_panic()))?;
    }
    Ok(())
}

pub(super) fn web_client(options: &Options) -> Result<WebClient, ReleaseError> {
    Ok(WebClient::new(options.http(), HINTS)?)
}

/// Shows a download as a step with `total_bytes` and `done_bytes`, a new one for each answer of the server.
struct Progress {
    what: String,
    step: Mutex<(Span, u64)>,
}

impl Progress {
    fn new(what: String) -> Self {
        Self {
            what,
            step: Mutex::new((Span::none(), 0)),
        }
    }
}

impl Observer for Progress {
    fn started(&self, start: u64, length: Option<u64>) {
        let (what, total) = (&self.what, start + length.unwrap_or_default());
        let span = info_span!("step", what, total_bytes = total, done_bytes = start);
        *self.step.lock().unwrap_or_else(PoisonError::into_inner) = (span, start);
    }

    fn received(&self, bytes: u64) {
        let mut step = self.step.lock().unwrap_or_else(PoisonError::into_inner);
        step.1 += bytes;
        step.0.record("done_bytes", step.1);
    }
}
