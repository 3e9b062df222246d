//! Redacts credentials in logs.
//!
//! Recognised are private keys as PEM (RFC 7468), also encoded in base64 as in kubeconfigs; signed JSON Web Tokens
//! (RFC 7515, 7.1) as of service accounts; bootstrap tokens (Kubernetes documentation, 'Authenticating with Bootstrap
//! Tokens'); and values after `Bearer` or in fields that are named like a key or a token.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use regex::bytes::{Captures, Regex};

const REDACTED: &[u8] = b"[redacted]";
/// Longer lines are examined in chunks of this size, in bytes. Container runtimes write shorter ones.
const MAX_LINE: u64 = 1 << 20;
/// No private key has more lines. Limits what a stray header hides.
const MAX_KEY_LINES: u32 = 100;

#[derive(Debug)]
pub(super) struct Redactor {
    key_header: Regex,
    key_footer: Regex,
    one_line_key: Regex,
    base64_pem: Regex,
    token: Regex,
    bootstrap: Regex,
    field: Regex,
}

impl Redactor {
    pub(super) fn new() -> Self {
        let regex =
            |pattern| Regex::new(pattern).expect("the pattern is a constant that every test compiles");
        Self {
            key_header: regex("-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----"),
            key_footer: regex("-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----"),
            // With escaped line breaks.
            one_line_key: regex(
                "-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----.*?-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----",
            ),
            base64_pem: regex("LS0tLS1CRUdJTi[A-Za-z0-9+/]*={0,2}"),
            token: regex(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
            bootstrap: regex(r"(^|[^a-z0-9./-])[a-z0-9]{6}\.[a-z0-9]{16}($|[^a-z0-9.-])"),
            field: regex(
                r#"(?i)((?:\bbearer +|client-key-data\\?"?: *\\?"?|(?:^|[^a-z])(?:token|certificate-key)\\?"?[:=] *\\?"?))([A-Za-z0-9+/=._-]{16,})"#,
            ),
        }
    }

    /// Copies `from` to `to` without secrets. Returns the number of bytes written.
    ///
    /// # Errors
    /// Reading or writing failed.
    pub(super) fn copy(&self, from: impl Read, to: &mut dyn Write) -> io::Result<u64> {
        let mut from = BufReader::with_capacity(1 << 16, from);
        let (mut line, mut written, mut key_lines_left) = (Vec::new(), 0, 0_u32);
        loop {
            line.clear();
            if (&mut from).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(written);
            }
            let clean = self.line(&line, &mut key_lines_left);
            to.write_all(&clean)?;
            written += clean.len() as u64;
        }
    }

    /// The line without secrets. `key_lines_left` is positive inside of a multi-line key.
    fn line<'a>(&self, line: &'a [u8], key_lines_left: &mut u32) -> Cow<'a, [u8]> {
        let line = self.without_one_line_secrets(line);
        if *key_lines_left > 0 {
            let end = self.key_footer.find(&line).map(|end| end.end());
            *key_lines_left = if end.is_some() { 0 } else { *key_lines_left - 1 };
            let rest = &line[end.unwrap_or(line.len())..];
            return match rest.is_empty() {
                true => Cow::Borrowed(b""),
                false => Cow::Owned(rest.to_owned()),
            };
        }
        let Some(header) = self.key_header.find(&line) else {
            return line;
        };
        *key_lines_left = MAX_KEY_LINES;
        Cow::Owned([&line[..header.start()], REDACTED, b"\n"].concat())
    }

    fn without_one_line_secrets<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let mut line = Cow::Borrowed(line);
        let all = |_: &Captures<'_>| REDACTED.to_vec();
        let between_groups = |found: &Captures<'_>| [&found[1], REDACTED, &found[2]].concat();
        let after_group = |found: &Captures<'_>| [&found[1], REDACTED].concat();
        let keys_only = |found: &Captures<'_>| match holds_key(&found[0]) {
            true => REDACTED.to_vec(),
            false => found[0].to_vec(),
        };
        replace(&mut line, &self.one_line_key, all);
        replace(&mut line, &self.base64_pem, keys_only);
        replace(&mut line, &self.token, all);
        replace(&mut line, &self.bootstrap, between_groups);
        replace(&mut line, &self.field, after_group);
        line
    }
}

fn replace(line: &mut Cow<'_, [u8]>, pattern: &Regex, with: impl Fn(&Captures<'_>) -> Vec<u8>) {
    if let Cow::Owned(changed) = pattern.replace_all(line, with) {
        *line = Cow::Owned(changed);
    }
}

/// False for certificates, which start in the same way and are public, unless a key follows.
fn holds_key(encoded: &[u8]) -> bool {
    let text = encoded.strip_suffix(b"=").unwrap_or(encoded);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    // Redact whatever cannot be decoded.
    STANDARD_NO_PAD.decode(text).map_or(true, |text| {
        let text = String::from_utf8_lossy(&text).into_owned();
        !text.starts_with("-----BEGIN CERTIFICATE-----") || text.contains("PRIVATE KEY")
    })
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::Redactor;

    fn clean(text: &str) -> String {
        let mut clean = Vec::new();
        Redactor::new().copy(text.as_bytes(), &mut clean).unwrap();
        String::from_utf8(clean).unwrap()
    }

    const BODY: &str = "MHcCAQEEIDd1bW15IGtleSBvZiBhIHRlc3QgdGhhdCBvcGVucyBub3RoaW5nIGF0";

    #[test]
    fn secrets_are_redacted() {
        let key = format!("-----BEGIN EC PRIVATE KEY-----\n{BODY}\nAAAA\n-----END EC PRIVATE KEY-----");
        let encoded = STANDARD.encode(&key);
        for (text, expected) in [
            (
                format!("a\nkey: {key}\nb\n"),
                "a\nkey: [redacted]\n\nb\n".to_owned(),
            ),
            (
                format!("{{\"k\":\"{}\"}}\n", key.replace('\n', "\\n")),
                "{\"k\":\"[redacted]\"}\n".into(),
            ),
            (format!("data: {encoded}\n"), "data: [redacted]\n".into()),
            (
                format!("client-key-data: \"{BODY}\"\n"),
                "client-key-data: \"[redacted]\"\n".into(),
            ),
            (
                "x eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJrIn0x.c2lnbmF0dXJl y".into(),
                "x [redacted] y".into(),
            ),
            (
                "join --token abcdef.0123456789abcdef now\n".into(),
                "join --token [redacted] now\n".into(),
            ),
            ("abcdef.0123456789abcdef".into(), "[redacted]".into()),
            (
                "Authorization: Bearer 0123456789abcdef0123\n".into(),
                "Authorization: Bearer [redacted]\n".into(),
            ),
            (
                "\"token\": \"0123456789abcdef0123\"\n".into(),
                "\"token\": \"[redacted]\"\n".into(),
            ),
        ] {
            assert_eq!(clean(&text), expected, "{text}");
        }
    }

    #[test]
    fn key_with_log_prefixes_is_redacted() {
        let line = |text: &str| format!("2026-01-01T00:00:00Z stderr F {text}\n");
        let log: String = [
            "start",
            "-----BEGIN PRIVATE KEY-----",
            BODY,
            "-----END PRIVATE KEY-----",
            "end",
        ]
        .map(line)
        .concat();
        let clean = clean(&log);
        assert!(
            !clean.contains(BODY) && clean.starts_with(&line("start")) && clean.ends_with(&line("end")),
            "{clean}"
        );
    }

    #[test]
    fn other_text_is_kept() {
        let certificate = STANDARD.encode("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
        for text in [
            "plain\r\nlines \u{1b}[1m\n\nwithout end".to_owned(),
            format!("certificate-authority-data: {certificate}\n"),
            "event kube-scheduler-node01.18ea03bec458447a of kube-system\n".into(),
            "\"serviceAccountToken\":{\"expirationSeconds\":3607,\"path\":\"token\"}\n".into(),
            "a token: none\n".into(),
        ] {
            assert_eq!(clean(&text), text);
        }
        // A header without a footer hides 100 lines only.
        let log = format!("-----BEGIN PRIVATE KEY-----\n{}", "line\n".repeat(500));
        assert_eq!(clean(&log).matches("line").count(), 400);
    }
}
