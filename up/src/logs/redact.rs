//! Blotting out what opens a cluster, wherever it was logged: private keys and tokens.
//!
//! Known are private keys as PEM (RFC 7468) and that in base64 once more, as kubeconfigs have it; signed JSON web tokens
//! (RFC 7515, 7.1), as service accounts have; tokens that let a node join (Kubernetes documentation, 'Authenticating with
//! Bootstrap Tokens'); and what follows `Bearer`, or a field that is named like a key or a token.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Read, Write};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use regex::bytes::{Captures, Regex};

/// What stands in the place of a secret.
const BLOT: &[u8] = b"[redacted]";
/// A line is looked at in pieces of this size, in bytes: longer than any that a container runtime writes.
const PIECE: u64 = 1 << 20;
/// No private key has more lines: a stray beginning does not hide a whole log.
const KEY_LINES: u32 = 100;

/// Recognises secrets.
#[derive(Debug)]
pub(super) struct Redactor {
    begins: Regex,
    ends: Regex,
    key: Regex,
    encoded: Regex,
    token: Regex,
    bootstrap: Regex,
    field: Regex,
}

impl Redactor {
    pub(super) fn new() -> Self {
        let regex =
            |pattern| Regex::new(pattern).expect("the pattern is a constant that every test compiles");
        Self {
            begins: regex("-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----"),
            ends: regex("-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----"),
            // In one line, with its ends of lines written out.
            key: regex(
                "-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY-----.*?-----END (?:[A-Z0-9]+ )*PRIVATE KEY-----",
            ),
            encoded: regex("LS0tLS1CRUdJTi[A-Za-z0-9+/]*={0,2}"),
            token: regex(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
            bootstrap: regex(r"(^|[^a-z0-9./-])[a-z0-9]{6}\.[a-z0-9]{16}($|[^a-z0-9.-])"),
            field: regex(
                r#"(?i)((?:\bbearer +|client-key-data\\?"?: *\\?"?|(?:^|[^a-z])(?:token|certificate-key)\\?"?[:=] *\\?"?))([A-Za-z0-9+/=._-]{16,})"#,
            ),
        }
    }

    /// Copies text from `from` to `to` without its secrets; gives the number of bytes written.
    ///
    /// # Errors
    /// What reading and writing say.
    pub(super) fn copy(&self, from: impl Read, to: &mut dyn Write) -> io::Result<u64> {
        let mut from = BufReader::with_capacity(1 << 16, from);
        let (mut line, mut written, mut in_key) = (Vec::new(), 0, 0_u32);
        loop {
            line.clear();
            if (&mut from).take(PIECE).read_until(b'\n', &mut line)? == 0 {
                return Ok(written);
            }
            let clean = self.line(&line, &mut in_key);
            to.write_all(&clean)?;
            written += clean.len() as u64;
        }
    }

    fn line<'a>(&self, line: &'a [u8], in_key: &mut u32) -> Cow<'a, [u8]> {
        let line = self.text(line);
        if *in_key > 0 {
            let end = self.ends.find(&line).map(|end| end.end());
            *in_key = if end.is_some() { 0 } else { *in_key - 1 };
            let rest = &line[end.unwrap_or(line.len())..];
            return match rest.is_empty() {
                true => Cow::Borrowed(b""),
                false => Cow::Owned(rest.to_owned()),
            };
        }
        let Some(begin) = self.begins.find(&line) else {
            return line;
        };
        *in_key = KEY_LINES;
        Cow::Owned([&line[..begin.start()], BLOT, b"\n"].concat())
    }

    /// Without the secrets that are in one line as a whole.
    fn text<'a>(&self, line: &'a [u8]) -> Cow<'a, [u8]> {
        let mut line = Cow::Borrowed(line);
        let blot = |_: &Captures<'_>| BLOT.to_vec();
        let around = |found: &Captures<'_>| [&found[1], BLOT, &found[2]].concat();
        let after = |found: &Captures<'_>| [&found[1], BLOT].concat();
        let encoded = |found: &Captures<'_>| match holds_key(&found[0]) {
            true => BLOT.to_vec(),
            false => found[0].to_vec(),
        };
        replace(&mut line, &self.key, blot);
        replace(&mut line, &self.encoded, encoded);
        replace(&mut line, &self.token, blot);
        replace(&mut line, &self.bootstrap, around);
        replace(&mut line, &self.field, after);
        line
    }
}

fn replace(line: &mut Cow<'_, [u8]>, pattern: &Regex, with: impl Fn(&Captures<'_>) -> Vec<u8>) {
    if let Cow::Owned(changed) = pattern.replace_all(line, with) {
        *line = Cow::Owned(changed);
    }
}

/// Certificates begin in the same way, and are for all to see; unless their keys follow.
fn holds_key(encoded: &[u8]) -> bool {
    let text = encoded.strip_suffix(b"=").unwrap_or(encoded);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    // What cannot be read is not to be shown.
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
    fn secrets_are_blotted_out() {
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
    fn a_key_among_other_lines_is_blotted_out_too() {
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
    fn all_else_stays() {
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
        // A beginning without an end costs some lines only.
        let log = format!("-----BEGIN PRIVATE KEY-----\n{}", "line\n".repeat(500));
        assert_eq!(clean(&log).matches("line").count(), 400);
    }
}
