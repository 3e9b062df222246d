//! Checking within a few seconds that published files and images can be reached.

use std::time::Duration;

use parbake_artifact::http::{ClientOptions, WebClient, host_and_port};
use parbake_artifact::registry::{Options, check_exists, manifest_digest};
use parbake_artifact::{Digest, Reference};
use parbake_machine::fs::files::failed;
use reqwest::Url;
use tokio::runtime::Runtime;
use tokio::time::timeout;

use super::super::error::Error;
use super::fetch::HINTS;
use super::plan::Plan;
use super::{ReleaseError, ReleaseMirrors};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For all requests of a check.
const TIMEOUT: Duration = Duration::from_secs(4);

/// Checks that one of the files and one of the images can be downloaded.
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
    let hosts = [
        file.as_ref().map(host_and_port),
        image.as_ref().map(|image| image.registry().to_owned()),
    ];
    let hosts: Vec<String> = hosts.into_iter().flatten().collect();
    within_timeout(&hosts.join("` or `"), async {
        let file = async {
            match &file {
                Some(url) => check_file(url, options).await,
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

/// Checks that there is something at `url`.
///
/// # Errors
/// Why not.
pub(in crate::inputs) fn can_pin(url: &Url, options: &Options) -> Result<(), Error> {
    within_timeout(&host_and_port(url), check_file(url, options))
}

/// The digest of `reference` in its registry.
///
/// # Errors
/// [`ReleaseError::Timeout`], or what the registry reports.
pub(in crate::inputs) fn published_digest(reference: &Reference, options: &Options) -> Result<Digest, Error> {
    within_timeout(reference.registry(), async {
        Ok(manifest_digest(reference, options).await?)
    })
}

async fn check_file(url: &Url, options: &Options) -> Result<(), Error> {
    let http = ClientOptions {
        connect_timeout: CONNECT_TIMEOUT,
        ..options.http()
    };
    let web = WebClient::new(http, HINTS).map_err(ReleaseError::from)?;
    Ok(web.check_exists(url).await.map_err(ReleaseError::from)?)
}

fn within_timeout<T>(host: &str, check: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let runtime = Runtime::new().map_err(failed("start threads for", "/".as_ref()))?;
    let outcome = runtime.block_on(async { timeout(TIMEOUT, check).await });
    // Do not wait for a name lookup that is still running.
    runtime.shutdown_background();
    let timed_out = |_| ReleaseError::Timeout {
        host: host.to_owned(),
        seconds: TIMEOUT.as_secs(),
    };
    outcome.map_err(timed_out)?
}
