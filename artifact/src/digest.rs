//! Content addresses: `sha256:` and 64 lower-case hexadecimal digits (OCI image-spec 1.1, descriptor.md, "Digests").

use std::fmt;
use std::io::{self, Read, Write};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::printable::printable;

const PREFIX: &str = "sha256:";
const HEX_LENGTH: usize = 64;

/// A SHA-256, written as `sha256:` and 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

/// A text that is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is not a digest; use `sha256:` and 64 lower-case hexadecimal digits",
    printable(text)
)]
pub struct DigestError {
    text: String,
}

impl Digest {
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hasher(Sha256::new_with_prefix(bytes))
    }

    /// The 64 hexadecimal digits.
    pub fn hex(&self) -> &str {
        &self.0[PREFIX.len()..]
    }

    /// The whole text, `sha256:...`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn from_hasher(hasher: Sha256) -> Self {
        Self(format!("{PREFIX}{}", hex::encode(hasher.finalize())))
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        let is_hex = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        match text.strip_prefix(PREFIX) {
            Some(hex) if hex.len() == HEX_LENGTH && hex.bytes().all(is_hex) => Ok(Self(text)),
            _ => Err(DigestError { text }),
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::try_from(text.to_owned())
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hashes and counts the bytes that pass through a reader or a writer.
pub struct HashingStream<S> {
    inner: S,
    hasher: Sha256,
    length: u64,
}

impl<S> HashingStream<S> {
    pub fn new(inner: S) -> Self {
        Self {
            inner,
            hasher: Sha256::new(),
            length: 0,
        }
    }

    /// Returns the reader or writer, the digest of what passed, and its length in bytes.
    pub fn finish(self) -> (S, Digest, u64) {
        (self.inner, Digest::from_hasher(self.hasher), self.length)
    }

    /// Number of bytes that have passed.
    pub fn length(&self) -> u64 {
        self.length
    }

    fn passed(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }
}

impl<R: Read> Read for HashingStream<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.passed(&buffer[..count]);
        Ok(count)
    }
}

impl<W: Write> Write for HashingStream<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.passed(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::{Digest, HashingStream};

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn digest_of_nothing_is_known() {
        assert_eq!(Digest::of(b"").to_string(), EMPTY);
        assert_eq!(Digest::of(b"").hex(), &EMPTY[7..]);
        assert_eq!(EMPTY.parse::<Digest>().unwrap(), Digest::of(b""));
    }

    #[test]
    fn other_texts_are_rejected() {
        let upper = EMPTY.to_uppercase();
        for text in [
            "",
            "sha256:",
            &EMPTY[7..],
            &EMPTY[..70],
            &format!("{EMPTY}0"),
            &upper,
            "sha512:00",
        ] {
            let error = text.parse::<Digest>().unwrap_err();
            assert!(
                error
                    .to_string()
                    .starts_with(&format!("`{text}` is not a digest")),
                "{error}"
            );
            assert!(serde_json::from_value::<Digest>(text.into()).is_err());
        }
    }

    #[test]
    fn readers_and_writers_are_hashed() {
        let mut writer = HashingStream::new(Vec::new());
        writer.write_all(b"abc").unwrap();
        let (written, digest, length) = writer.finish();
        assert_eq!((digest, length), (Digest::of(b"abc"), 3));

        let mut reader = HashingStream::new(&written[..]);
        reader.read_to_end(&mut Vec::new()).unwrap();
        let (_, digest, length) = reader.finish();
        assert_eq!((digest, length), (Digest::of(b"abc"), 3));
    }
}
