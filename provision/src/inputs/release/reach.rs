//! Whether what is published can be reached, found out quickly.

use std::time::Duration;

use parbake_artifact::registry::{Options, check_exists, manifest_digest};
use parbake_artifact::{Digest, Reference};
use parbake_machine::fs::files::failed;
use reqwest::Url;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::super::error::Error;
use super::http::{WebClient, host};
use super::plan::Plan;
use super::{ReleaseError, ReleaseMirrors};

/// How long it may take until somebody answers, and until all have.
const CONNECT: Duration = Duration::from_secs(2);
const ALL: Duration = Duration::from_secs(4);

/// Whether one of the files and one of the images can be had.
///
/// # Errors
/// Why not.
pub(in crate::inputs) fn can_reach(
    plan: &Plan,
    mirrors: &ReleaseMirrors,
    options: &Options,
) -> Result<(), Error> {
    let file = plan.files.values().next().map(|file| mirrors.file(&file.url));
    let image = plan.images.values().next();
    let image = image.map(|(reference, digest)| mirrors.image(reference, Some(digest)));
    let (file, image) = (file.transpose()?, image.transpose()?);
    let asked = [
        file.as_ref().map(host),
        image.as_ref().map(|image| image.registry().to_owned()),
    ];
    let asked: Vec<String> = asked.into_iter().flatten().collect();
    quickly(&asked.join("` or `"), async {
        let file = async {
            match &file {
                Some(url) => WebClient::hasty(options, CONNECT)?.has(url).await,
                None => Ok(()),
            }
        };
        let image = async {
            match &image {
                Some(image) => Ok(check_exists(image, options).await?),
                None => Ok(()),
            }
        };
        tokio::try_join!(file, image).map(drop)
    })
}

/// Whether `url` is there.
///
/// # Errors
/// Why not.
pub(in crate::inputs) fn can_pin(url: &Url, options: &Options) -> Result<(), Error> {
    quickly(&host(url), async {
        WebClient::hasty(options, CONNECT)?.has(url).await
    })
}

/// The digest of `reference`, as its registry has it.
///
/// # Errors
/// Why it cannot be told.
pub(in crate::inputs) fn published_digest(reference: &Reference, options: &Options) -> Result<Digest, Error> {
    quickly(reference.registry(), async {
        Ok(manifest_digest(reference, options).await?)
    })
}

fn quickly<T>(asked: &str, look: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let threads = Runtime::new().map_err(failed("start threads for", "/".as_ref()))?;
    let outcome = threads.block_on(async { timeout(ALL, look).await });
    // A name that is still being looked up is not waited for.
    threads.shutdown_background();
    let silent = |_| ReleaseError::Silent {
        host: asked.to_owned(),
        seconds: ALL.as_secs(),
    };
    outcome.map_err(silent)?
}
