//! Extended header records (POSIX.1-2024, pax, "pax Extended Header"): fields that do not fit a ustar header.
//!
//! The tar crate splits records at line feeds, which binary values (such as `security.capability`) may contain; here the length of a
//! record counts.

use std::collections::BTreeMap;

use super::entry::MAX_RECORDS;
use super::xattrs::Xattrs;

const XATTR_PREFIX: &[u8] = b"SCHILY.xattr.";

/// A modification time: seconds since 1970, and nanoseconds (0 to 999,999,999) after them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Mtime {
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

/// The records of one entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Records {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) mtime: Option<Mtime>,
    pub(super) xattrs: Xattrs,
}

/// Why records are rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum PaxProblem {
    /// Not `LENGTH KEY=VALUE`.
    #[error("a pax record is malformed")]
    Malformed,
    #[error("it has more than {MAX_RECORDS} bytes of pax records")]
    TooLong,
    #[error("the pax record `{0}` occurs twice")]
    Repeated(String),
    /// An unknown key, or an invalid value.
    #[error("the pax record `{0}` is not supported")]
    Unexpected(String),
}

impl Records {
    /// Encodes the records; empty if there are none.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, value) in &self.xattrs {
            encode_record(&mut bytes, &[XATTR_PREFIX, &escape(name)].concat(), value);
        }
        let names = [self.path.as_deref(), self.linkpath.as_deref()];
        if names
            .into_iter()
            .flatten()
            .any(|name| std::str::from_utf8(name).is_err())
        {
            encode_record(&mut bytes, b"hdrcharset", b"BINARY");
        }
        if let Some(linkpath) = &self.linkpath {
            encode_record(&mut bytes, b"linkpath", linkpath);
        }
        if let Some(mtime) = self.mtime {
            encode_record(&mut bytes, b"mtime", mtime.to_decimal().as_bytes());
        }
        if let Some(path) = &self.path {
            encode_record(&mut bytes, b"path", path);
        }
        bytes
    }

    /// Decodes the records that [`Records::encode`] writes, in any order.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, PaxProblem> {
        let mut all = BTreeMap::new();
        while !bytes.is_empty() {
            let (key, value, rest) = split_record(bytes).ok_or(PaxProblem::Malformed)?;
            if all.insert(key, value).is_some() {
                return Err(PaxProblem::Repeated(lossy(key)));
            }
            bytes = rest;
        }
        let mut records = Self::default();
        for (key, value) in all {
            let unexpected = || PaxProblem::Unexpected(lossy(key));
            match key {
                b"path" => records.path = Some(value.to_vec()),
                b"linkpath" => records.linkpath = Some(value.to_vec()),
                b"mtime" => records.mtime = Some(Mtime::from_decimal(value).ok_or_else(unexpected)?),
                b"hdrcharset" if value == b"BINARY" => {}
                _ => {
                    let name = key.strip_prefix(XATTR_PREFIX).ok_or_else(unexpected)?;
                    let name = unescape(name).ok_or_else(unexpected)?;
                    records.xattrs.insert(name, value.to_vec());
                }
            }
        }
        Ok(records)
    }
}

impl Mtime {
    /// Decimal without trailing zeros: `12`, `0.5`, `-1.25`.
    fn to_decimal(self) -> String {
        // Half a second before 1970 is -1 s + 0.5 s here, but `-0.5` in a record.
        let total = i128::from(self.seconds) * 1_000_000_000 + i128::from(self.nanoseconds);
        let sign = if total < 0 { "-" } else { "" };
        let (seconds, nanoseconds) = (total.abs() / 1_000_000_000, total.abs() % 1_000_000_000);
        let text = format!("{sign}{seconds}.{nanoseconds:09}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    fn from_decimal(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let (negative, digits) = text
            .strip_prefix('-')
            .map_or((false, text), |digits| (true, digits));
        let (seconds, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
        let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !plain(seconds) || !plain(fraction) || seconds.len() > 18 || fraction.len() > 9 {
            return None;
        }
        let nanoseconds: i128 = format!("{fraction:0<9}").parse().ok()?;
        let total = seconds.parse::<i128>().ok()? * 1_000_000_000 + nanoseconds;
        let total = if negative { -total } else { total };
        Some(Self {
            seconds: total.div_euclid(1_000_000_000).try_into().ok()?,
            nanoseconds: total.rem_euclid(1_000_000_000).try_into().ok()?,
        })
    }
}

fn encode_record(bytes: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    // The length counts its own digits.
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    bytes.extend_from_slice(format!("{length} ").as_bytes());
    bytes.extend_from_slice(key);
    bytes.push(b'=');
    bytes.extend_from_slice(value);
    bytes.push(b'\n');
}

/// Key and value of the first record, and the rest.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
    let digits = &bytes[..space];
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let length: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
    let equals = record.iter().position(|byte| *byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

/// Keys end at their first `=`, so GNU tar escapes it, and `%`.
fn escape(name: &[u8]) -> Vec<u8> {
    let mut escaped = Vec::with_capacity(name.len());
    for byte in name {
        match byte {
            b'%' => escaped.extend_from_slice(b"%25"),
            b'=' => escaped.extend_from_slice(b"%3D"),
            other => escaped.push(*other),
        }
    }
    escaped
}

fn unescape(mut escaped: &[u8]) -> Option<Vec<u8>> {
    let mut name = Vec::with_capacity(escaped.len());
    while let Some((first, rest)) = escaped.split_first() {
        if *first != b'%' {
            name.push(*first);
            escaped = rest;
        } else if let Some(after) = rest.strip_prefix(b"25") {
            name.push(b'%');
            escaped = after;
        } else {
            name.push(b'=');
            escaped = rest.strip_prefix(b"3D")?;
        }
    }
    Some(name)
}

fn lossy(key: &[u8]) -> String {
    String::from_utf8_lossy(key).into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::{btree_map, vec};
    use proptest::option::of;
    use proptest::prelude::{any, proptest};

    use super::{Mtime, PaxProblem, Records};

    #[test]
    fn times_are_decimal() {
        for (seconds, nanoseconds, text) in [
            (12, 0, "12"),
            (0, 500_000_000, "0.5"),
            (-1, 500_000_000, "-0.5"),
            (-2, 750_000_000, "-1.25"),
            (1, 1, "1.000000001"),
        ] {
            let mtime = Mtime { seconds, nanoseconds };
            assert_eq!(mtime.to_decimal(), text);
            assert_eq!(Mtime::from_decimal(text.as_bytes()), Some(mtime));
        }
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "x",
            "1e3",
            "--1",
            "1.0000000001",
            "9999999999999999999",
        ] {
            assert_eq!(Mtime::from_decimal(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn values_may_contain_line_feeds() {
        let xattrs = BTreeMap::from([(b"security.capability".to_vec(), b"\n9 a=b\n\0".to_vec())]);
        let records = Records {
            xattrs,
            ..Records::default()
        };
        assert_eq!(
            records.encode(),
            b"45 SCHILY.xattr.security.capability=\n9 a=b\n\0\n"
        );
        assert_eq!(Records::decode(&records.encode()).unwrap(), records);
    }

    #[test]
    fn lengths_include_their_own_digits() {
        for size in 80..120 {
            let records = Records {
                path: Some(vec![b'x'; size]),
                ..Records::default()
            };
            assert_eq!(Records::decode(&records.encode()).unwrap(), records);
        }
    }

    #[test]
    fn unsupported_records_are_rejected() {
        let decode = |bytes: &[u8]| Records::decode(bytes).unwrap_err();
        for bytes in [
            &b"x"[..],
            b"6 a=b",
            b"99 a=b\n",
            b"0 a=b\n",
            b"-6 a=b\n",
            b"+6 a=b\n",
            b"6 abb\n",
            b"1 \n",
        ] {
            assert_eq!(decode(bytes), PaxProblem::Malformed);
        }
        assert_eq!(decode(b"10 size=1\n"), PaxProblem::Unexpected("size".into()));
        assert_eq!(decode(b"11 mtime=x\n"), PaxProblem::Unexpected("mtime".into()));
        assert_eq!(
            decode(b"22 GNU.sparse.major=1\n"),
            PaxProblem::Unexpected("GNU.sparse.major".into())
        );
        assert_eq!(
            decode(b"10 path=a\n10 path=b\n"),
            PaxProblem::Repeated("path".into())
        );
        assert!(matches!(
            decode(b"20 SCHILY.xattr.%4=\n"),
            PaxProblem::Unexpected(_)
        ));
    }

    proptest! {
        #[test]
        fn any_records_round_trip(
            path in of(vec(any::<u8>(), 0..200)),
            linkpath in of(vec(any::<u8>(), 0..200)),
            mtime in of((-1_000_000_000_000i64..1_000_000_000_000, 0u32..1_000_000_000)),
            xattrs in btree_map(vec(any::<u8>(), 1..20), vec(any::<u8>(), 0..200), 0..4),
        ) {
            let mtime = mtime.map(|(seconds, nanoseconds)| Mtime { seconds, nanoseconds });
            let records = Records { path, linkpath, mtime, xattrs };
            assert_eq!(Records::decode(&records.encode()).unwrap(), records);
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes in vec(any::<u8>(), 0..100)) {
            let _ = Records::decode(&bytes);
        }
    }
}
