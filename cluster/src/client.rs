//! A client for a cluster's API, made from a kubeconfig.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use thiserror::Error;

/// How long a connection may take: the other end is on this host.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the API may think before it answers.
const ANSWER: Duration = Duration::from_secs(30);

/// A kubeconfig that makes no client.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The file could not be read.
    #[error("could not read the kubeconfig `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// It is no kubeconfig, or lacks something.
    #[error("the kubeconfig is of no use")]
    Kubeconfig(#[source] Box<KubeconfigError>),
    /// Its certificates or keys were refused.
    #[error("could not make a client from the kubeconfig")]
    Client(#[source] Box<kube::Error>),
}

/// Makes a client from the text of a kubeconfig. Makes no connection yet.
///
/// The client retries nothing: whoever waits for the API to come up has its own pace.
///
/// # Errors
/// When the kubeconfig is not usable.
pub async fn connect(kubeconfig: &str) -> Result<Client, ClientError> {
    let refused = |error| ClientError::Kubeconfig(Box::new(error));
    let parsed = Kubeconfig::from_yaml(kubeconfig).map_err(refused)?;
    let mut config = Config::from_custom_kubeconfig(parsed, &KubeConfigOptions::default())
        .await
        .map_err(refused)?;
    config.connect_timeout = Some(CONNECT);
    config.read_timeout = Some(ANSWER);
    config.reset_reader_on_write = true;
    config.default_retry = false;
    Client::try_from(config).map_err(|error| ClientError::Client(Box::new(error)))
}

/// Makes a client from a kubeconfig file. See [`connect`].
///
/// # Errors
/// When the file cannot be read or is not usable.
pub async fn connect_file(path: &Path) -> Result<Client, ClientError> {
    // A few kilobytes of a local file: not worth a thread of its own.
    let text = std::fs::read_to_string(path).map_err(|source| ClientError::Read {
        path: path.to_owned(),
        source,
    })?;
    connect(&text).await
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ClientError, connect, connect_file};

    #[tokio::test]
    async fn says_what_is_wrong() {
        assert!(matches!(connect("][").await, Err(ClientError::Kubeconfig(_))));
        assert!(matches!(
            connect("apiVersion: v1\nkind: Config\n").await,
            Err(ClientError::Kubeconfig(_))
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
}
