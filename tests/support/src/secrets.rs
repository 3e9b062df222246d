//! Recognises private keys and tokens in arbitrary bytes.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use regex::bytes::Regex;

/// Where a secret may begin, for `grep -E`: every match of [`secrets`] begins with one of these.
pub const CANDIDATES: &str = concat!(
    "-----BEGIN |LS0tLS1CRUdJTi|client-key-data|eyJ|token\"?: |",
    "(^|[^a-z0-9./-])[a-z0-9]{6}\\.[a-z0-9]{16}($|[^a-z0-9.-])"
);

/// The kind of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A private key in PEM (RFC 7468), or base64 of it, as in kubeconfigs.
    Key,
    /// A signed JSON web token (RFC 7515, section 7.1) of a service account.
    Token,
    /// A bootstrap token (Kubernetes documentation, 'Authenticating with Bootstrap Tokens').
    Bootstrap,
    /// A kubeconfig field that contains a key or token.
    Field,
}

/// A secret that was found.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret {
    pub kind: Kind,
    pub text: String,
}

/// The marker alone is not a key: programs that parse keys contain it.
static KEY: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----(?:\s|\\n)+([A-Za-z0-9+/=][A-Za-z0-9+/=\s]{15,})")
});
static ENCODED: LazyLock<Regex> = LazyLock::new(|| regex("LS0tLS1CRUdJTi[A-Za-z0-9+/]*={0,2}"));
static TOKEN: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(eyJ[A-Za-z0-9_-]{8,})\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"));
/// Event names are similar: `kube-scheduler-node01.18ea03bec458447a`. So are adjacent strings in programs.
static BOOTSTRAP: LazyLock<Regex> =
    LazyLock::new(|| regex(r"(?:^|[^a-z0-9./-])([a-z0-9]{6}\.[a-z0-9]{16})(?:$|[^a-z0-9.-])"));
/// Programs that parse kubeconfigs contain the field names, but not as a line with a value.
static FIELD: LazyLock<Regex> = LazyLock::new(|| {
    regex(
        r#"client-key-data"?: *"?([A-Za-z0-9+/=]{20,})|(?m:^[ -]*"?token"?: *"?([A-Za-z0-9._-]{16,})"?,?[ \r]*$)"#,
    )
});

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("the pattern is a constant that every test run compiles")
}

/// All secrets in `bytes`.
pub fn secrets(bytes: &[u8]) -> BTreeSet<Secret> {
    let mut found = BTreeSet::new();
    let mut add = |kind, text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        found.insert(Secret { kind, text });
    };
    let mut keys = |bytes: &[u8]| {
        for key in KEY.captures_iter(bytes) {
            add(Kind::Key, &key[1]);
        }
    };
    keys(bytes);
    for encoded in ENCODED.find_iter(bytes) {
        // A key that is cut off at the end of `bytes` still contains its first lines.
        let whole = encoded.as_bytes();
        let whole = whole.strip_suffix(b"=").unwrap_or(whole);
        let whole = whole.strip_suffix(b"=").unwrap_or(whole);
        if let Ok(text) = STANDARD.decode(&whole[..whole.len() / 4 * 4]) {
            keys(&text);
        }
    }
    for token in TOKEN.captures_iter(bytes) {
        let head = URL_SAFE_NO_PAD.decode(&token[1]).unwrap_or_default();
        if String::from_utf8_lossy(&head).contains("\"alg\"") {
            add(Kind::Token, &token[0]);
        }
    }
    for token in BOOTSTRAP.captures_iter(bytes) {
        add(Kind::Bootstrap, &token[1]);
    }
    for field in FIELD.captures_iter(bytes) {
        if let Some(value) = field.get(1).or(field.get(2)) {
            add(Kind::Field, value.as_bytes());
        }
    }
    found
}

impl Secret {
    /// Texts that each identify the secret: the lines of a key's body, the second half of a bootstrap token.
    pub fn needles(&self) -> Vec<&str> {
        match self.kind {
            Kind::Key => self
                .text
                .split_whitespace()
                .filter(|line| line.len() > 30)
                .collect(),
            Kind::Bootstrap => self.text.split('.').skip(1).collect(),
            Kind::Token | Kind::Field => vec![&self.text],
        }
    }
}
