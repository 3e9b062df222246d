//! A client for a cluster's API, made from a kubeconfig.

use std::path::Path;
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::error::Error;

/// The API server is on this host.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Creates a client from the text of a kubeconfig. Does not connect yet.
///
/// The client retries nothing, and uses no proxy whatever the environment says.
///
/// # Errors
/// [`Error::Kubeconfig`] or [`Error::Client`].
pub async fn connect(kubeconfig: &str) -> Result<Client, Error> {
    let config = config(kubeconfig).await?;
    Client::try_from(config).map_err(|error| Error::Client(Box::new(error)))
}

/// Creates a client from a kubeconfig file, see [`connect`].
///
/// # Errors
/// The file cannot be read, or see [`connect`].
pub async fn connect_file(path: &Path) -> Result<Client, Error> {
    // A few kilobytes of a local file do not need a thread.
    let text = std::fs::read_to_string(path).map_err(|source| Error::ReadKubeconfig {
        path: path.to_owned(),
        source,
    })?;
    connect(&text).await
}

async fn config(kubeconfig: &str) -> Result<Config, Error> {
    let invalid = |error| Error::Kubeconfig(Box::new(error));
    let parsed = Kubeconfig::from_yaml(kubeconfig).map_err(invalid)?;
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(invalid)?;
    // kube takes one from `HTTPS_PROXY` and the like.
    config.proxy_url = None;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{config, connect, connect_file};
    use crate::error::Error;

    #[tokio::test]
    async fn unusable_kubeconfigs_are_reported() {
        assert!(matches!(connect("][").await, Err(Error::Kubeconfig(_))));
        assert!(matches!(
            connect("apiVersion: v1\nkind: Config\n").await,
            Err(Error::Kubeconfig(_))
        ));
        let error = connect_file(Path::new("/nonexistent/admin.conf"))
            .await
            .err()
            .unwrap();
        assert_eq!(
            error.to_string(),
            "could not read the kubeconfig `/nonexistent/admin.conf`"
        );
    }

    /// kube reads the proxy from the environment only where the kubeconfig names none.
    #[tokio::test]
    async fn no_proxy_is_used() {
        let config = config(
            "{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], \
             users: [{name: u, user: {}}], \
             clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1', proxy-url: 'http://127.0.0.1:3128'}}]}",
        );
        assert_eq!(config.await.unwrap().proxy_url, None);
    }
}
