//! Kubeconfigs, as kubeadm writes them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::certificate::Pair;

/// A kubeconfig without credentials. No value needs escaping in YAML.
pub(super) struct Kubeconfig<'a> {
    /// The URL of the API.
    pub(super) server: &'a str,
    /// The CA's certificate, as PEM.
    pub(super) ca: &'a str,
    pub(super) user: &'a str,
}

impl Kubeconfig<'_> {
    /// Renders it with the user's certificate and key inline.
    pub(super) fn with_pair(&self, pair: &Pair) -> String {
        let [certificate, key] = [&pair.certificate, &pair.key].map(|pem| STANDARD.encode(pem));
        self.render(format_args!(
            "    client-certificate-data: {certificate}\n    client-key-data: {key}\n"
        ))
    }

    /// Renders it with the path of a file that holds the user's certificate and key.
    pub(super) fn with_file(&self, path: &str) -> String {
        self.render(format_args!(
            "    client-certificate: {path}\n    client-key: {path}\n"
        ))
    }

    fn render(&self, credentials: fmt::Arguments<'_>) -> String {
        let Self { server, user, ca } = self;
        let ca = STANDARD.encode(ca);
        format!(
            "apiVersion: v1\n\
             clusters:\n\
             - cluster:\n    certificate-authority-data: {ca}\n    server: \"{server}\"\n  name: kubernetes\n\
             contexts:\n\
             - context:\n    cluster: kubernetes\n    user: \"{user}\"\n  name: \"{user}@kubernetes\"\n\
             current-context: \"{user}@kubernetes\"\n\
             kind: Config\n\
             users:\n\
             - name: \"{user}\"\n  user:\n{credentials}"
        )
    }
}

/// Replaces the server of a kubeconfig that parbake wrote.
pub(crate) fn with_server(kubeconfig: &str, server: &str) -> String {
    let line = |line: &str| match line.split_once("server: ") {
        Some((indent, _)) if indent.trim().is_empty() => format!("{indent}server: \"{server}\"\n"),
        _ => format!("{line}\n"),
    };
    kubeconfig.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::{Kubeconfig, Pair, with_server};

    #[test]
    fn with_server_changes_only_the_server() {
        let pair = Pair {
            certificate: "server: x".to_owned(),
            key: "K".to_owned(),
        };
        let at = |server| {
            Kubeconfig {
                server,
                ca: "CA",
                user: "server: me",
            }
            .with_pair(&pair)
        };
        let moved = with_server(&at("https://127.0.0.1:1"), "https://127.0.0.1:22");
        assert_eq!(moved, at("https://127.0.0.1:22"));
    }
}
