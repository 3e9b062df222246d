//! Layer streams for tests.

use tar::{EntryType, Header};

use super::Layer;
use super::entry::{pad, write_end};
use crate::digest::Digest;

/// A hand-made tar stream, which may be invalid.
#[derive(Default, Clone)]
pub(crate) struct Stream(pub(crate) Vec<u8>);

impl Stream {
    pub(crate) fn entry(mut self, kind: EntryType, path: &str, link: &str, data: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        if kind == EntryType::Char || kind == EntryType::Block {
            let (major, minor) = link.split_once(',').unwrap();
            header.set_device_major(major.parse().unwrap()).unwrap();
            header.set_device_minor(minor.parse().unwrap()).unwrap();
        }
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        pad(&mut self.0, data.len() as u64).unwrap();
        self
    }

    pub(crate) fn dir(self, path: &str) -> Self {
        self.entry(EntryType::Directory, path, "", b"")
    }

    pub(crate) fn file(self, path: &str, data: &[u8]) -> Self {
        self.entry(EntryType::Regular, path, "", data)
    }

    pub(crate) fn link(self, kind: EntryType, path: &str, target: &str) -> Self {
        self.entry(kind, path, target, b"")
    }

    pub(crate) fn pax(self, records: &[u8]) -> Self {
        self.entry(EntryType::XHeader, "PaxHeader", "", records)
    }

    /// The compressed stream, and its layer with correct digests.
    pub(crate) fn blob(mut self) -> (Vec<u8>, Layer) {
        write_end(&mut self.0).unwrap();
        let blob = zstd::encode_all(&self.0[..], 1).unwrap();
        let layer = Layer {
            title: "test".to_owned(),
            digest: Digest::of(&blob),
            diff_id: Digest::of(&self.0),
            size: blob.len() as u64,
            unpacked_size: self.0.len() as u64,
        };
        (blob, layer)
    }
}
