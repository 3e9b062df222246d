//! Sparse files in pax archives (GNU tar manual, "Storing Sparse Files", PAX Format versions 0.0, 0.1 and 1.0), which the tar
//! reader does not expand. It expands those of the older GNU format itself.

use std::collections::VecDeque;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What the names of all records of a sparse file begin with.
const PREFIX: &[u8] = b"GNU.sparse.";
/// The map of version 1.0 precedes the content, and is padded to a multiple of this.
const BLOCK: usize = 512;
/// The longest number in a map, in digits.
const MAX_DIGITS: usize = 20;

/// A sparse file as its records describe it.
#[derive(Debug, Default)]
pub(crate) struct Sparse {
    /// The file's name, if that in the header is made up.
    pub(crate) name: Option<PathBuf>,
    /// Length in bytes with all holes.
    pub(crate) size: u64,
    /// Offsets and lengths of the data, in turn.
    numbers: Vec<u64>,
    is_map_in_content: bool,
}

impl Sparse {
    /// Reads the records of an entry; `None` if it is not sparse, or in a format that the tar reader expands.
    pub(crate) fn of(entry: &mut tar::Entry<'_, impl Read>) -> io::Result<Option<Self>> {
        let mut found = None;
        for record in entry.pax_extensions()?.into_iter().flatten() {
            let record = record?;
            let Some(key) = record.key_bytes().strip_prefix(PREFIX) else {
                continue;
            };
            let (sparse, value) = (found.get_or_insert_with(Self::default), record.value_bytes());
            match key {
                b"name" => sparse.name = Some(PathBuf::from(OsStr::from_bytes(value))),
                b"size" | b"realsize" => sparse.size = number(value)?,
                b"major" => sparse.is_map_in_content = value == b"1",
                b"offset" | b"numbytes" => sparse.numbers.push(number(value)?),
                b"map" => {
                    let numbers = value.split(|byte| *byte == b',').map(number);
                    sparse.numbers = numbers.collect::<io::Result<_>>()?;
                }
                _ => {}
            }
        }
        Ok(found)
    }

    /// The content with zeros for holes. `stored` is that of the entry.
    pub(crate) fn expand<R: Read>(mut self, mut stored: R) -> io::Result<Expanded<R>> {
        if self.is_map_in_content {
            self.numbers = read_map(&mut stored)?;
        }
        let mut data = VecDeque::new();
        let mut end = 0;
        for pair in self.numbers.chunks(2) {
            let &[offset, length] = pair else {
                return Err(invalid());
            };
            let next = offset.checked_add(length).filter(|next| *next <= self.size);
            end = next.filter(|_| offset >= end).ok_or_else(invalid)?;
            data.push_back((offset, end));
        }
        Ok(Expanded {
            stored,
            data,
            position: 0,
            size: self.size,
        })
    }
}

/// The content of a sparse file, with its holes.
pub(crate) struct Expanded<R> {
    stored: R,
    /// Where data begins and ends, in bytes.
    data: VecDeque<(u64, u64)>,
    position: u64,
    size: u64,
}

impl<R: Read> Read for Expanded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.data.front().is_some_and(|(_, end)| *end <= self.position) {
            self.data.pop_front();
        }
        let (is_data, end) = match self.data.front() {
            Some((start, end)) if *start <= self.position => (true, *end),
            Some((start, _)) => (false, *start),
            None => (false, self.size),
        };
        let length = usize::try_from(end - self.position).unwrap_or(usize::MAX);
        let length = length.min(buffer.len());
        let buffer = &mut buffer[..length];
        let length = match is_data {
            true => self.stored.read(buffer)?,
            false => {
                buffer.fill(0);
                length
            }
        };
        if is_data && length == 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += length as u64;
        Ok(length)
    }
}

/// Reads the map of version 1.0: decimal numbers, each followed by a newline, the first of which counts the pairs.
fn read_map(stored: &mut impl Read) -> io::Result<Vec<u64>> {
    let (mut numbers, mut digits, mut left) = (Vec::new(), Vec::new(), None);
    while left != Some(0) {
        let mut block = [0; BLOCK];
        stored.read_exact(&mut block)?;
        for byte in block {
            if left == Some(0) {
                break;
            }
            if byte != b'\n' {
                digits.push(byte);
                if digits.len() > MAX_DIGITS {
                    return Err(invalid());
                }
                continue;
            }
            let value = number(&digits)?;
            digits.clear();
            match &mut left {
                None => left = Some(value.checked_mul(2).ok_or_else(invalid)?),
                Some(left) => {
                    numbers.push(value);
                    *left -= 1;
                }
            }
        }
    }
    Ok(numbers)
}

fn number(text: &[u8]) -> io::Result<u64> {
    let text = str::from_utf8(text).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(invalid)
}

fn invalid() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the map of a sparse file is not valid",
    )
}

#[cfg(test)]
mod tests {
    use std::io::{self, Read};

    use tar::{Builder, EntryType, Header};

    use super::Sparse;

    /// An archive of one entry with these records.
    fn archive(records: &[(&str, &str)], stored: &[u8]) -> Vec<u8> {
        let mut archive = Builder::new(Vec::new());
        let records = records.iter().map(|(key, value)| (*key, value.as_bytes()));
        archive.append_pax_extensions(records).unwrap();
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_size(stored.len() as u64);
        archive
            .append_data(&mut header, "GNUSparseFile.7/f", stored)
            .unwrap();
        archive.into_inner().unwrap()
    }

    fn expand(records: &[(&str, &str)], stored: &[u8]) -> io::Result<(Option<String>, Vec<u8>)> {
        let bytes = archive(records, stored);
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut entry = archive.entries()?.next().unwrap()?;
        let sparse = Sparse::of(&mut entry)?.unwrap();
        let name = sparse.name.as_ref().map(|name| name.to_str().unwrap().to_owned());
        let mut content = Vec::new();
        sparse.expand(&mut entry)?.read_to_end(&mut content)?;
        Ok((name, content))
    }

    #[test]
    fn holes_are_filled_in_every_version() {
        let expected = b"\0\0ab\0\0\0c\0";
        let version_0_0 = [
            ("GNU.sparse.size", "9"),
            ("GNU.sparse.numblocks", "2"),
            ("GNU.sparse.offset", "2"),
            ("GNU.sparse.numbytes", "2"),
            ("GNU.sparse.offset", "7"),
            ("GNU.sparse.numbytes", "1"),
        ];
        assert_eq!(expand(&version_0_0, b"abc").unwrap(), (None, expected.to_vec()));
        let version_0_1 = [
            ("GNU.sparse.size", "9"),
            ("GNU.sparse.name", "dir/f"),
            ("GNU.sparse.map", "2,2,7,1"),
        ];
        let name = Some("dir/f".to_owned());
        assert_eq!(
            expand(&version_0_1, b"abc").unwrap(),
            (name.clone(), expected.to_vec())
        );
        let version_1_0 = [
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.minor", "0"),
            ("GNU.sparse.name", "dir/f"),
            ("GNU.sparse.realsize", "9"),
        ];
        let mut stored = b"2\n2\n2\n7\n1\n".to_vec();
        stored.resize(512, 0);
        stored.extend(b"abc");
        assert_eq!(expand(&version_1_0, &stored).unwrap(), (name, expected.to_vec()));
    }

    #[test]
    fn invalid_maps_are_errors() {
        let map = |size, map| expand(&[("GNU.sparse.size", size), ("GNU.sparse.map", map)], b"abc");
        map("9", "2,2,7,1").unwrap();
        for (size, numbers) in [
            ("9", "2,2,7"),
            ("9", "2,x"),
            ("9", ""),
            ("3", "2,2"),
            ("9", "4,2,2,1"),
            ("9", "18446744073709551615,2"),
            ("9", "2,6"),
        ] {
            assert!(map(size, numbers).is_err(), "{size} {numbers}");
        }
    }
}
