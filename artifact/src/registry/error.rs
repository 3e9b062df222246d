//! What can go wrong between a store and a registry.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use oci_client::errors::{OciDistributionError, OciEnvelope, OciErrorCode};

use super::{CredentialError, MirrorError};
use crate::digest::Digest;
use crate::manifest::ManifestError;
use crate::policy::PolicyError;
use crate::reference::Reference;
use crate::store::StoreError;
use crate::tag::{Tag, TagError};

/// What can go wrong between a store and a registry.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store failed, or a blob is not what its digest says.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The credentials cannot be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The host's policy does not let the artifact in.
    #[error(transparent)]
    Policy(#[from] Box<PolicyError>),
    /// Nothing can be signed.
    #[error("cannot sign: this host has no source of randomness")]
    Sign,
    /// A signature of something else than it was.
    #[error(
        "what was signed of `{reference}` is not what it should be: its digest is not {digest}; sign it again"
    )]
    WrongPayload {
        /// The reference.
        reference: String,
        /// The digest announced.
        digest: Digest,
    },
    /// What the host says of registries cannot be used, or it says no.
    #[error(transparent)]
    Mirrors(#[from] MirrorError),
    /// The certificate authorities cannot be used.
    #[error("cannot read the certificates in `{}`", .path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no HTTP client.
    #[error(
        "cannot prepare to speak to registries; look at the certificates of `--ca-file` and of this host"
    )]
    Client(#[source] OciDistributionError),
    /// Nobody answers, or nobody whom this host trusts.
    #[error("cannot reach the registry `{registry}`{hint}")]
    Unreachable {
        /// Its host name and port.
        registry: String,
        /// What to do about it.
        hint: &'static str,
        /// Whether it may pass.
        passes: bool,
        /// Why.
        source: reqwest::Error,
    },
    /// 401 or 403.
    #[error("the registry `{registry}` refuses to {act}: status {status}{}; {credentials}", said(.message))]
    Denied {
        /// Its host name and port.
        registry: String,
        /// What was tried: `read ...`, `write ...`.
        act: String,
        /// 401 or 403.
        status: u16,
        /// What it said.
        message: String,
        /// Which credential was used, or that there was none.
        credentials: String,
    },
    /// 404.
    #[error(
        "the registry `{registry}` has nothing there: could not {act}; is the reference right, and was it published?"
    )]
    NotFound {
        /// Its host name and port.
        registry: String,
        /// What was tried.
        act: String,
    },
    /// Another status that says no.
    #[error("the registry `{registry}` could not {act}: status {status}{}{}", said(.message), timeout(.wait.as_ref()))]
    Status {
        /// Its host name and port.
        registry: String,
        /// What was tried.
        act: String,
        /// The HTTP status.
        status: u16,
        /// How long it asked to wait.
        wait: Option<Duration>,
        /// What it said.
        message: String,
    },
    /// A server of tokens that cannot be used.
    #[error("the registry `{registry}` wants a token of `{realm}`, which cannot be had: {problem}")]
    Token {
        /// Its host name and port.
        registry: String,
        /// The server of tokens.
        realm: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An answer that makes no sense.
    #[error("the registry `{registry}` could not {act}")]
    Protocol {
        /// Its host name and port.
        registry: String,
        /// What was tried.
        act: String,
        /// Why.
        source: OciDistributionError,
    },
    /// A transfer that broke off.
    #[error("the registry `{registry}` broke off: could not {act}")]
    Broken {
        /// Its host name and port.
        registry: String,
        /// What was tried.
        act: String,
        /// Why.
        source: io::Error,
    },
    /// More or fewer bytes than the manifest says.
    #[error(
        "the registry `{registry}` has another length for {what} than the manifest says: {found} bytes, not {size}; publish it again"
    )]
    Length {
        /// Its host name and port.
        registry: String,
        /// The blob.
        what: String,
        /// As the registry has it, in bytes; at least that, when it did not come to an end.
        found: u64,
        /// As the manifest has it, in bytes.
        size: u64,
    },
    /// More than an artifact can have.
    #[error("{what} of `{reference}` is larger than any artifact has: more than {limit} bytes")]
    TooLarge {
        /// The reference.
        reference: String,
        /// `the manifest`, `the config`.
        what: &'static str,
        /// What is allowed, in bytes.
        limit: u64,
    },
    /// A manifest that is not the one that was asked for.
    #[error("the registry has another manifest for `{reference}`: its digest is {found}")]
    WrongManifest {
        /// The reference.
        reference: String,
        /// The digest of what came.
        found: Digest,
    },
    /// Something else than a container image, or one that makes no sense.
    #[error("`{reference}` cannot be used as an image: {why}")]
    NoImage {
        /// The reference.
        reference: String,
        /// What is wrong.
        why: String,
    },
    /// A part of an image that is not what its digest says.
    #[error("the registry `{registry}` sent {found} instead of {digest}")]
    WrongPart {
        /// Its host name and port.
        registry: String,
        /// What was asked for.
        digest: Digest,
        /// The digest of what came.
        found: Digest,
    },
    /// A file that an image is written to.
    #[error("could not {act} `{}`", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else than an artifact, or one that makes no sense.
    #[error("`{reference}` cannot be used")]
    Unusable {
        /// The reference.
        reference: String,
        /// Why.
        source: ManifestError,
    },
    /// The name that the artifact would get by itself is too long.
    #[error("give the artifact a name with `--tag`: `{reference}` makes none")]
    Name {
        /// The reference.
        reference: String,
        /// Why.
        source: TagError,
    },
    /// The name that the artifact would get by itself is that of something else.
    #[error(
        "`{tag}` is the name of another artifact here, {origin}; give this one a name: `parbake pull {reference} --tag NAME`"
    )]
    Taken {
        /// The name.
        tag: Tag,
        /// Where that came from.
        origin: String,
        /// What was to be pulled.
        reference: String,
    },
    /// What is published has a digest of its own.
    #[error("`{reference}` has a digest, but what is published gets its own; give a tag instead")]
    DigestGiven {
        /// The reference.
        reference: String,
    },
}

fn said(message: &str) -> String {
    let line = message.trim().lines().next().unwrap_or_default();
    if line.is_empty() {
        return String::new();
    }
    // Whatever stands in front of the registry may answer with a whole page.
    format!(" ({})", line.chars().take(200).collect::<String>())
}

fn timeout(wait: Option<&Duration>) -> String {
    wait.map(|wait| format!("; it asks to wait {} s", wait.as_secs()))
        .unwrap_or_default()
}

impl RegistryError {
    /// What came from `reference` is no artifact that can be used.
    pub(super) fn unusable(reference: &Reference, source: ManifestError) -> Self {
        Self::Unusable {
            reference: reference.to_string(),
            source,
        }
    }

    /// Whether it may pass, and how long the registry asked to wait then.
    pub(super) fn passes(&self) -> Option<Option<Duration>> {
        match self {
            Self::Unreachable { passes: true, .. } | Self::Broken { .. } => Some(None),
            Self::Status {
                status: 408 | 429 | 500..=599,
                wait,
                ..
            } => Some(*wait),
            _ => None,
        }
    }
}

/// The HTTP status that the client library made an error of, and what the registry said.
pub(super) fn status(error: &OciDistributionError) -> Option<(u16, String)> {
    match error {
        OciDistributionError::ServerError { code, message, .. } => Some((*code, message.clone())),
        OciDistributionError::UnauthorizedError { .. } | OciDistributionError::AuthenticationFailure(_) => {
            Some((401, String::new()))
        }
        OciDistributionError::RegistryError { envelope, .. } => {
            status_of(envelope).map(|status| (status, envelope.to_string()))
        }
        OciDistributionError::RequestError(error) => {
            error.status().map(|status| (status.as_u16(), String::new()))
        }
        _ => None,
    }
}

/// The status that belongs to a registry's error code (OCI distribution-spec 1.1, "Error Codes").
fn status_of(envelope: &OciEnvelope) -> Option<u16> {
    envelope.errors.iter().find_map(|error| match error.code {
        OciErrorCode::Unauthorized => Some(401),
        OciErrorCode::Denied => Some(403),
        OciErrorCode::BlobUnknown
        | OciErrorCode::ManifestUnknown
        | OciErrorCode::NameUnknown
        | OciErrorCode::NotFound => Some(404),
        OciErrorCode::Toomanyrequests => Some(429),
        OciErrorCode::BlobUploadInvalid
        | OciErrorCode::DigestInvalid
        | OciErrorCode::ManifestInvalid
        | OciErrorCode::SizeInvalid => Some(400),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use oci_client::errors::OciDistributionError;

    use super::{RegistryError, said, status};

    fn envelope(code: &str) -> OciDistributionError {
        let text = format!(r#"{{"errors":[{{"code":"{code}","message":"no"}}]}}"#);
        OciDistributionError::RegistryError {
            envelope: serde_json::from_str(&text).unwrap(),
            url: String::new(),
        }
    }

    #[test]
    fn codes_have_statuses() {
        let cases = [
            ("DENIED", Some(403)),
            ("NAME_UNKNOWN", Some(404)),
            ("TOOMANYREQUESTS", Some(429)),
            ("SOMETHING_ELSE", None),
        ];
        for (code, expected) in cases {
            assert_eq!(
                status(&envelope(code)).map(|(status, _)| status),
                expected,
                "{code}"
            );
        }
    }

    #[test]
    fn only_some_failures_pass() {
        let wait = Some(Duration::from_secs(3));
        let error = |status| RegistryError::Status {
            registry: "example.org".to_owned(),
            act: "read it".to_owned(),
            status,
            wait,
            message: String::new(),
        };
        for passing in [408, 429, 500, 503] {
            assert_eq!(error(passing).passes(), Some(wait), "{passing}");
        }
        for lasting in [400, 405, 416] {
            assert_eq!(error(lasting).passes(), None, "{lasting}");
        }
    }

    #[test]
    fn a_page_becomes_a_line() {
        assert_eq!(said(" \n"), "");
        assert_eq!(said("slow down\n<html>"), " (slow down)");
        assert_eq!(said(&"x".repeat(1000)).len(), 203);
    }
}
