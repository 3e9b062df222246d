//! Getting everything that the cache lacks, side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parbake_artifact::registry::{Options, pull_image};
use parbake_artifact::{Digest, Reference};
use parbake_machine::fs::files::failed;
use reqwest::Url;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::super::error::Error;
use super::http::{WebClient, digest_of_file};

/// How many are fetched side by side.
const SIDE_BY_SIDE: usize = 4;
/// The file of a layout that is written last (OCI image specification, 'Image Layout Specification').
const INDEX: &str = "index.json";

/// One thing to fetch.
#[derive(Debug, Clone)]
pub(super) enum Wanted {
    /// A file.
    File {
        /// The binary, for people.
        name: String,
        /// Where to fetch it.
        from: Url,
        /// What it must be.
        digest: Digest,
    },
    /// An image.
    Image {
        /// Where to fetch it, pinned.
        from: Reference,
        /// What it is to be called.
        name: String,
        /// Go's name of the architecture.
        architecture: String,
        /// What it must be.
        digest: Digest,
    },
}

impl Wanted {
    /// Where it is, below `dir`, when it has come.
    pub(super) fn path(&self, dir: &Path) -> PathBuf {
        match self {
            Self::File { digest, .. } => dir.join(digest.hex()),
            Self::Image { digest, .. } => dir.join(format!("{}.image", digest.hex())),
        }
    }

    async fn fetch(&self, http: &WebClient, options: &Options, dir: &Path) -> Result<(), Error> {
        let to = self.path(dir);
        match self {
            Self::File { name, from, digest } => {
                if to.exists() && digest_of_file(&to)? == *digest {
                    return Ok(());
                }
                http.fetch(&format!("get `{name}` from {from}"), from, digest, &to)
                    .await
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

/// Fetches all into `dir`. What has come stays there, also when something else fails.
///
/// # Errors
/// The first failure; the others are not waited for.
pub(super) async fn fetch_all(wanted: Vec<Wanted>, options: &Options, dir: &Path) -> Result<(), Error> {
    let http = WebClient::new(options)?;
    let room = Arc::new(Semaphore::new(SIDE_BY_SIDE));
    let mut running = JoinSet::new();
    for wanted in wanted {
        let (http, options, dir) = (http.clone(), options.clone(), dir.to_owned());
        let room = Arc::clone(&room);
        running.spawn(async move {
            // It is never closed.
            let _place = room.acquire().await;
            wanted.fetch(&http, &options, &dir).await
        });
    }
    while let Some(outcome) = running.join_next().await {
        outcome.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?;
    }
    Ok(())
}
