//! Executables: can a machine run a file? Reads the ELF header (System V ABI, "ELF Header" and "Program Header").

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::Error;

const MAGIC: [u8; 4] = [0x7f, b'E', b'L', b'F'];
/// `EI_CLASS`, `EI_DATA`: 64 bits, little-endian.
const CLASS: [u8; 2] = [2, 1];
/// `e_machine`, by Debian's name.
const MACHINES: [(&str, u16); 2] = [("amd64", 62), ("arm64", 183)];
/// `p_type` of the segment that names a loader.
const PT_INTERP: u32 = 3;
/// How much of a file is read: program headers are at its start.
const HEAD: u64 = 64 << 10;

/// The architecture of this host and its machines, as Debian and Go name it.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// A program that replaces one of the same name, such as `kubelet=build/kubelet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BinaryOverride {
    pub name: String,
    pub path: PathBuf,
}

impl FromStr for BinaryOverride {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() && !name.contains('/') => Ok(Self {
                name: name.to_owned(),
                path: path.into(),
            }),
            _ => Err(Error::message(format!("`{text}` is not of the form NAME=FILE"))),
        }
    }
}

/// The requirements of an executable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executable {
    /// The dynamic loader; `None` if the executable is static.
    pub loader: Option<PathBuf>,
}

impl Executable {
    /// Reads the file `path`. The inner error is the reason why it does not run on `architecture`.
    ///
    /// # Errors
    /// The file could not be opened or read.
    pub fn read(path: &Path, architecture: &str) -> io::Result<Result<Self, String>> {
        let mut head = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut head)?;
        Ok(Self::parse(&head, architecture))
    }

    /// Parses the first bytes of a file.
    ///
    /// # Errors
    /// The reason why it does not run on `architecture`.
    pub fn parse(head: &[u8], architecture: &str) -> Result<Self, String> {
        let kind = head.get(4..6).filter(|_| head.starts_with(&MAGIC));
        let Some(machine) = u16_at(head, 18).filter(|_| kind == Some(&CLASS[..])) else {
            return Err("it is not an executable".to_owned());
        };
        let wanted = MACHINES.iter().find(|(name, _)| *name == architecture);
        if wanted.is_some_and(|(_, wanted)| *wanted != machine) {
            let found = MACHINES.iter().find(|(_, number)| *number == machine);
            let found = found.map_or_else(|| format!("machine {machine}"), |(name, _)| (*name).to_owned());
            return Err(format!("it is for {found}, not for {architecture}"));
        }
        Ok(Self { loader: loader(head) })
    }
}

/// The path of the loader; `?` if it is not within `head`, so that the executable does not count as static.
fn loader(head: &[u8]) -> Option<PathBuf> {
    let (start, size, count) = (u64_at(head, 32)?, u16_at(head, 54)?, u16_at(head, 56)?);
    let start = usize::try_from(start).ok()?;
    let parts = (0..usize::from(count)).map(|number| number * usize::from(size));
    let mut parts = parts.filter_map(|offset| start.checked_add(offset));
    let part = parts.find(|part| bytes(head, *part).map(u32::from_le_bytes) == Some(PT_INTERP))?;
    // `p_offset` and `p_filesz`.
    let text = part
        .checked_add(8)
        .and_then(|at| u64_at(head, at))
        .zip(part.checked_add(32).and_then(|at| u64_at(head, at)))
        .and_then(|(at, length)| {
            let at = usize::try_from(at).ok()?;
            head.get(at..at.checked_add(usize::try_from(length).ok()?)?)
        })
        .and_then(|text| std::str::from_utf8(text).ok());
    Some(text.unwrap_or("?").trim_end_matches('\0').into())
}

fn bytes<const N: usize>(head: &[u8], at: usize) -> Option<[u8; N]> {
    head.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u16_at(head: &[u8], at: usize) -> Option<u16> {
    bytes(head, at).map(u16::from_le_bytes)
}

fn u64_at(head: &[u8], at: usize) -> Option<u64> {
    bytes(head, at).map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{ARCHITECTURE, BinaryOverride, Executable};

    /// An executable for `machine` with a segment of the type `kind` that contains `text`.
    fn executable(machine: u16, kind: u32, text: &str) -> Vec<u8> {
        let mut head = vec![0; 64];
        head[..6].copy_from_slice(b"\x7fELF\x02\x01");
        head[18..20].copy_from_slice(&machine.to_le_bytes());
        head[32..40].copy_from_slice(&64_u64.to_le_bytes());
        head[54..56].copy_from_slice(&56_u16.to_le_bytes());
        head[56..58].copy_from_slice(&1_u16.to_le_bytes());
        head.extend_from_slice(&kind.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        head.extend_from_slice(&120_u64.to_le_bytes());
        head.extend_from_slice(&[0; 16]);
        head.extend_from_slice(&(text.len() as u64).to_le_bytes());
        head.resize(120, 0);
        head.extend_from_slice(text.as_bytes());
        head
    }

    #[test]
    fn architecture_and_loader_are_read() {
        let parse = |head: &[u8]| Executable::parse(head, "amd64");
        assert_eq!(parse(&executable(62, 1, "")).unwrap().loader, None);
        let dynamic = parse(&executable(62, 3, "/lib64/ld.so\0")).unwrap();
        assert_eq!(dynamic.loader.as_deref(), Some(Path::new("/lib64/ld.so")));
        for (head, why) in [
            (executable(183, 1, ""), "it is for arm64, not for amd64"),
            (executable(8, 1, ""), "it is for machine 8, not for amd64"),
            (b"#!/bin/sh".to_vec(), "it is not an executable"),
        ] {
            assert_eq!(parse(&head).unwrap_err(), why);
        }
    }

    #[test]
    fn truncated_executable_never_counts_as_static() {
        let whole = executable(62, 3, "/lib64/ld.so\0");
        for length in 0..whole.len() {
            let found = Executable::parse(&whole[..length], "amd64");
            // From here the type of the segment is known.
            assert_eq!(found.is_err(), length < 20, "{length}");
            assert!(length < 68 || found.unwrap().loader.is_some(), "{length}");
        }
    }

    #[test]
    fn own_executable_runs_here() {
        let path = std::env::current_exe().unwrap();
        let own = Executable::read(&path, ARCHITECTURE).unwrap().unwrap();
        assert!(own.loader.is_none_or(|loader| loader.is_absolute()));
    }

    #[test]
    fn binary_override_needs_name_and_file() {
        let parsed: BinaryOverride = "kubelet=/a=b".parse().unwrap();
        assert_eq!(
            (parsed.name.as_str(), parsed.path.as_path()),
            ("kubelet", Path::new("/a=b"))
        );
        for bad in ["", "kubelet", "=a", "kubelet=", "a/b=c"] {
            assert!(bad.parse::<BinaryOverride>().is_err(), "{bad}");
        }
    }
}
