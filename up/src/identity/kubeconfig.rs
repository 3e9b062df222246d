//! Kubeconfigs, as kubeadm writes them.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::certificate::Pair;

/// Who reaches which cluster where. All of it is text that means nothing to YAML: URLs, PEM and names of users.
pub(super) struct Kubeconfig<'a> {
    /// The URL of the API.
    pub(super) server: &'a str,
    /// The authority's certificate, as PEM.
    pub(super) ca: &'a str,
    /// The user's name.
    pub(super) user: &'a str,
}

impl Kubeconfig<'_> {
    /// With the user's certificate and key inside.
    pub(super) fn with_pair(&self, pair: &Pair) -> String {
        let [certificate, key] = [&pair.certificate, &pair.key].map(|pem| STANDARD.encode(pem));
        self.render(format_args!(
            "    client-certificate-data: {certificate}\n    client-key-data: {key}\n"
        ))
    }

    /// With the path of a file that holds both the user's certificate and the key.
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

/// A kubeconfig of ours that leads to another URL.
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
    fn only_the_server_changes() {
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
