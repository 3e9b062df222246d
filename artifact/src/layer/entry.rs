//! Entries of a layer's archive: converts file system objects to ustar headers and pax records, and back.

use std::io::{self, Read, Write};

use tar::{EntryType, Header};

use super::path::{LayerPath, PathProblem};
use super::pax::{Mtime, PaxProblem, Records};
use super::xattrs::Xattrs;

const BLOCK: u64 = 512;
/// Length of a name in a ustar header in bytes.
const HEADER_NAME: usize = 100;
/// Maximum size of the pax records of an entry in bytes: a path and a target of 4 KiB each, and extended attributes, of which Linux
/// accepts up to 64 KiB each (xattr(7)), but most file systems 4 KiB per file.
pub(super) const MAX_RECORDS: u64 = 256 << 10;

/// A file system object in the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: LayerPath,
    pub(super) kind: Kind,
    /// Permission, set-id and sticky bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Mtime,
    /// Empty for hard links.
    pub(super) xattrs: Xattrs,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    /// `size` bytes of data follow.
    File {
        size: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of a file earlier in the layer.
    HardLink {
        to: LayerPath,
    },
    Fifo,
}

/// Why an entry is rejected.
#[derive(Debug, thiserror::Error)]
pub(super) enum EntryProblem {
    #[error(transparent)]
    Path(#[from] PathProblem),
    #[error(transparent)]
    Pax(#[from] PaxProblem),
    #[error("a field of its header is malformed")]
    Header(#[source] io::Error),
    #[error("it is a device, which layers cannot have; a deletion is a file `.wh.NAME`")]
    Device,
    #[error("entries of type {0:#04x} are not supported")]
    Type(u8),
    #[error("it has data but is not a file")]
    Data,
    #[error("it is a link without a target")]
    NoTarget,
}

impl Entry {
    /// The header, and the records that precede it.
    pub(super) fn headers(&self) -> (Header, Vec<u8>) {
        let mut header = Header::new_ustar();
        let mut records = Records {
            xattrs: self.xattrs.clone(),
            ..Records::default()
        };
        let mut path = self.path.as_bytes().to_vec();
        if path.is_empty() {
            path.push(b'.');
        }
        if self.kind == Kind::Directory {
            path.push(b'/');
        }
        let fields = header.as_old_mut();
        records.path = fill_name(&mut fields.name, path);
        if let Kind::Symlink { target } = &self.kind {
            records.linkpath = fill_name(&mut fields.linkname, target.clone());
        } else if let Kind::HardLink { to } = &self.kind {
            records.linkpath = fill_name(&mut fields.linkname, to.as_bytes().to_vec());
        }
        let whole_seconds = u64::try_from(self.mtime.seconds);
        if self.mtime.nanoseconds != 0 || whole_seconds.is_err() {
            records.mtime = Some(self.mtime);
        }
        header.set_entry_type(self.kind.entry_type());
        header.set_size(if let Kind::File { size } = self.kind {
            size
        } else {
            0
        });
        header.set_mode(self.mode);
        header.set_uid(self.uid.into());
        header.set_gid(self.gid.into());
        header.set_mtime(whole_seconds.unwrap_or(0));
        header.set_cksum();

        (header, records.encode())
    }

    /// Parses a header and the records that precede it.
    pub(super) fn parse(header: &Header, records: Records) -> Result<Self, EntryProblem> {
        let raw_path = records.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = records
            .linkpath
            .or_else(|| header.link_name_bytes().map(|name| name.into_owned()));
        let number = |field: io::Result<u64>| -> Result<u32, EntryProblem> {
            let value = field.map_err(EntryProblem::Header)?;
            u32::try_from(value).map_err(|_| EntryProblem::Header(io::ErrorKind::InvalidData.into()))
        };
        // The largest number means "do not change" (chown(2)).
        let owner = |field| match number(field)? {
            u32::MAX => Err(EntryProblem::Header(io::ErrorKind::InvalidData.into())),
            owner => Ok(owner),
        };
        let size = header.entry_size().map_err(EntryProblem::Header)?;
        let kind = match header.entry_type() {
            EntryType::Directory => Kind::Directory,
            EntryType::Regular => Kind::File { size },
            EntryType::Symlink => Kind::Symlink {
                target: link
                    .filter(|target| !target.is_empty())
                    .ok_or(EntryProblem::NoTarget)?,
            },
            EntryType::Link => Kind::HardLink {
                to: LayerPath::parse(&link.ok_or(EntryProblem::NoTarget)?)?,
            },
            EntryType::Char | EntryType::Block => return Err(EntryProblem::Device),
            EntryType::Fifo => Kind::Fifo,
            other => return Err(EntryProblem::Type(other.as_byte())),
        };
        if size != 0 && !matches!(kind, Kind::File { .. }) {
            return Err(EntryProblem::Data);
        }
        let seconds = || -> Result<i64, EntryProblem> {
            let value = header.mtime().map_err(EntryProblem::Header)?;
            i64::try_from(value).map_err(|_| EntryProblem::Header(io::ErrorKind::InvalidData.into()))
        };
        Ok(Self {
            path: LayerPath::parse(&raw_path)?,
            kind,
            mode: number(header.mode().map(u64::from))? & 0o7777,
            uid: owner(header.uid())?,
            gid: owner(header.gid())?,
            mtime: match records.mtime {
                Some(mtime) => mtime,
                None => Mtime {
                    seconds: seconds()?,
                    nanoseconds: 0,
                },
            },
            xattrs: records.xattrs,
        })
    }
}

impl Kind {
    fn entry_type(&self) -> EntryType {
        match self {
            Self::Directory => EntryType::Directory,
            Self::File { .. } => EntryType::Regular,
            Self::Symlink { .. } => EntryType::Symlink,
            Self::HardLink { .. } => EntryType::Link,
            Self::Fifo => EntryType::Fifo,
        }
    }
}

/// Reads and parses the records of an extended header.
pub(super) fn read_records(size: u64, data: impl Read) -> Result<Records, EntryProblem> {
    if size > MAX_RECORDS {
        return Err(PaxProblem::TooLong.into());
    }
    let mut bytes = Vec::new();
    data.take(size)
        .read_to_end(&mut bytes)
        .map_err(EntryProblem::Header)?;
    if bytes.len() as u64 != size {
        return Err(PaxProblem::Malformed.into());
    }
    Ok(Records::decode(&bytes)?)
}

/// Writes an entry's records and header. The caller writes the data of a file and [`pad`]s it.
pub(super) fn write_headers(out: &mut impl Write, header: &Header, records: &[u8]) -> io::Result<()> {
    if !records.is_empty() {
        let mut extended = Header::new_ustar();
        fill_name(&mut extended.as_old_mut().name, b"PaxHeader".to_vec());
        extended.set_entry_type(EntryType::XHeader);
        extended.set_mode(0o644);
        extended.set_size(records.len() as u64);
        extended.set_cksum();
        out.write_all(extended.as_bytes())?;
        out.write_all(records)?;
        pad(out, records.len() as u64)?;
    }
    out.write_all(header.as_bytes())
}

/// Pads the last block of `length` bytes of data with zeros.
pub(super) fn pad(out: &mut impl Write, length: u64) -> io::Result<()> {
    let missing = (BLOCK - length % BLOCK) % BLOCK;
    out.write_all(&[0; BLOCK as usize][..missing as usize])
}

/// Two blocks of zeros end an archive.
pub(super) fn write_end(out: &mut impl Write) -> io::Result<()> {
    out.write_all(&[0; 2 * BLOCK as usize])
}

/// Writes `name` into its field; returns it for a pax record if it does not fit.
fn fill_name(field: &mut [u8; HEADER_NAME], name: Vec<u8>) -> Option<Vec<u8>> {
    let fits = name.len().min(HEADER_NAME);
    field[..fits].copy_from_slice(&name[..fits]);
    (name.len() > HEADER_NAME).then_some(name)
}
