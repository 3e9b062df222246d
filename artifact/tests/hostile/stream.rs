//! Hand-made layer streams, which may be invalid.

use parbake_artifact::{Digest, Layer};
use tar::{EntryType, Header};

const BLOCK: usize = 512;

/// A tar stream without its end mark.
#[derive(Clone, Default)]
pub(crate) struct Stream(pub(crate) Vec<u8>);

/// A stream with the entry of the root, which every layer begins with.
pub(crate) fn stream() -> Stream {
    Stream::default().dir("./")
}

impl Stream {
    /// Appends an entry whose header is changed by `change`, with a correct checksum.
    pub(crate) fn raw(
        mut self,
        kind: EntryType,
        path: &str,
        data: &[u8],
        change: impl Fn(&mut Header),
    ) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
        self
    }

    pub(crate) fn entry(self, kind: EntryType, path: &str, data: &[u8]) -> Self {
        self.raw(kind, path, data, |_| {})
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, b"")
    }

    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, data)
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, path, target)
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Link, path, target)
    }

    fn link(self, kind: EntryType, path: &str, target: &str) -> Self {
        // Long targets go into a record.
        let long = target.len() > 100;
        let stream = if long {
            self.records(&[("linkpath", target.as_bytes())])
        } else {
            self
        };
        stream.raw(kind, path, b"", |header| {
            if !long {
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            }
        })
    }

    pub(crate) fn device(self, kind: EntryType, path: &str, (major, minor): (u32, u32)) -> Self {
        self.raw(kind, path, b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    /// Appends an extended header with these records.
    pub(crate) fn records(self, records: &[(&str, &[u8])]) -> Self {
        let mut bytes = Vec::new();
        for (key, value) in records {
            // The length includes its own digits.
            let rest = key.len() + value.len() + 3;
            let digits = (1..20)
                .find(|digits| (rest + digits).to_string().len() == *digits)
                .unwrap();
            bytes.extend_from_slice(format!("{} {key}=", rest + digits).as_bytes());
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        self.entry(EntryType::XHeader, "PaxHeader", &bytes)
    }

    pub(crate) fn plain(mut self) -> Vec<u8> {
        self.0.extend_from_slice(&[0; 2 * BLOCK]);
        self.0
    }

    /// The compressed stream, and its layer with correct digests.
    pub(crate) fn blob(self) -> (Vec<u8>, Layer) {
        let plain = self.plain();
        let blob = zstd::encode_all(&plain[..], 1).unwrap();
        let layer = describe(&blob, &plain);
        (blob, layer)
    }
}

/// The layer of a blob that unpacks to `plain`, with correct digests.
pub(crate) fn describe(blob: &[u8], plain: &[u8]) -> Layer {
    Layer {
        title: "hostile".to_owned(),
        digest: Digest::of(blob),
        diff_id: Digest::of(plain),
        size: blob.len() as u64,
        unpacked_size: plain.len() as u64,
    }
}
