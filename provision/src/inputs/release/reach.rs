//! Checking within a few seconds which published files and images can be reached.

use std::collections::BTreeMap;
use std::time::Duration;

use parbake_artifact::http::{ClientOptions, WebClient, host_and_port};
use parbake_artifact::registry::{Options, check_image, manifest_digest};
use parbake_artifact::{Digest, Reference};
use parbake_machine::fs::files::failed;
use reqwest::Url;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::cache::Cache;
use super::super::error::Error;
use super::fetch::{Failure, HINTS};
use super::plan::{Plan, is_wrong_digest};
use super::{ReleaseError, ReleaseMirrors};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For all hosts together, which are asked in parallel.
const TIMEOUT: Duration = Duration::from_secs(3);

/// The first file or image of a host.
enum Sample {
    File(Url),
    Image {
        from: Reference,
        /// Its full name.
        name: String,
        architecture: String,
    },
}

/// Removes from `plan` what is on hosts that cannot be reached, and returns why not, by host. Every host is asked for one file
/// or image that is not in the cache, with the redirects to other hosts.
///
/// # Errors
/// A host sends other content than is pinned, or HTTP cannot be set up.
pub(in crate::inputs) fn remove_unreachable(
    plan: &mut Plan,
    mirrors: &ReleaseMirrors,
    options: &Options,
    cache: &Cache,
) -> Result<BTreeMap<String, Error>, Error> {
    let mut samples = BTreeMap::new();
    for file in plan.missing_files(cache) {
        let url = mirrors.file(&file.url)?;
        samples.entry(host_and_port(&url)).or_insert(Sample::File(url));
    }
    for (reference, digest) in plan.missing_images(cache) {
        let from = mirrors.image(reference, Some(digest))?;
        let (name, architecture) = (reference.clone(), plan.architecture.clone());
        samples
            .entry(from.registry().to_owned())
            .or_insert(Sample::Image {
                from,
                name,
                architecture,
            });
    }
    let unreachable = check(samples, options).map_err(|failure| plan.explained(*failure))?;
    let reachable = |host: &str| !unreachable.contains_key(host);
    plan.retain(
        |file| {
            mirrors
                .file(&file.url)
                .is_ok_and(|url| reachable(&host_and_port(&url)))
        },
        |(name, _)| {
            mirrors
                .image(name, None)
                .is_ok_and(|image| reachable(image.registry()))
        },
    );
    Ok(unreachable)
}

/// Returns the hosts that cannot be reached.
///
/// # Errors
/// Other content than is pinned, and its name.
fn check(samples: BTreeMap<String, Sample>, options: &Options) -> Result<BTreeMap<String, Error>, Failure> {
    let unnamed = |error| Box::new((String::new(), error));
    let web = web_client(options).map_err(|error| unnamed(error.into()))?;
    let outcomes = run(async {
        let mut checks = JoinSet::new();
        for (host, sample) in samples {
            let (web, options) = (web.clone(), options.clone());
            checks.spawn(async move {
                let outcome = within_timeout(&host, async {
                    match &sample {
                        Sample::File(url) => Ok(web.check_exists(url).await.map_err(ReleaseError::from)?),
                        Sample::Image {
                            from, architecture, ..
                        } => Ok(check_image(from, architecture, &options).await?),
                    }
                });
                let outcome = outcome.await;
                (host, sample, outcome)
            });
        }
        checks.join_all().await
    });
    let mut unreachable = BTreeMap::new();
    for (host, sample, outcome) in outcomes.map_err(unnamed)? {
        match (outcome, sample) {
            (Ok(()), _) => {}
            (Err(error), Sample::Image { name, .. }) if is_wrong_digest(&error) => {
                return Err(Box::new((name, error)));
            }
            (Err(error), _) => {
                unreachable.insert(host, error);
            }
        }
    }
    Ok(unreachable)
}

/// The hosts of `urls` that cannot be reached, and why.
pub(in crate::inputs) fn unreachable(
    urls: impl IntoIterator<Item = Url>,
    options: &Options,
) -> Result<BTreeMap<String, Error>, Error> {
    let samples = urls
        .into_iter()
        .map(|url| (host_and_port(&url), Sample::File(url)));
    check(samples.collect(), options).map_err(|failure| failure.1)
}

/// The digest of `reference` in its registry.
///
/// # Errors
/// [`ReleaseError::Timeout`], or what the registry reports.
pub(in crate::inputs) fn published_digest(reference: &Reference, options: &Options) -> Result<Digest, Error> {
    run(within_timeout(reference.registry(), async {
        Ok(manifest_digest(reference, options).await?)
    }))?
}

fn web_client(options: &Options) -> Result<WebClient, ReleaseError> {
    let http = ClientOptions {
        connect_timeout: CONNECT_TIMEOUT,
        ..options.http()
    };
    Ok(WebClient::new(http, HINTS)?)
}

fn run<T>(work: impl Future<Output = T>) -> Result<T, Error> {
    let runtime = Runtime::new().map_err(failed("start threads for", "/".as_ref()))?;
    let outcome = runtime.block_on(work);
    // Do not wait for a name lookup that is still running.
    runtime.shutdown_background();
    Ok(outcome)
}

async fn within_timeout<T>(host: &str, check: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let timed_out = |_| ReleaseError::Timeout {
        host: host.to_owned(),
        seconds: TIMEOUT.as_secs(),
    };
    timeout(TIMEOUT, check).await.map_err(timed_out)?
}
