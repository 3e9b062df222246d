//! Whether a machine can run a file: the first bytes of an executable (System V ABI, "ELF Header" and "Program Header").

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

const MAGIC: [u8; 4] = [0x7f, b'E', b'L', b'F'];
/// `EI_CLASS`, `EI_DATA`: 64 bits, the lowest byte first.
const CLASS: [u8; 2] = [2, 1];
/// `e_machine`, by Debian's name.
const MACHINES: [(&str, u16); 2] = [("amd64", 62), ("arm64", 183)];
/// `p_type` of the part that names a loader.
const PT_INTERP: u32 = 3;
/// Where program headers end in any sane file, in bytes.
const HEAD: u64 = 64 << 10;

/// Debian's (and Go's) name of this host's architecture, which is its machines' too.
pub const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    "amd64"
};

/// A program in a file, by name: `kubelet=build/kubelet`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenBinary {
    /// Its name, such as `kubelet`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
}

/// A text that gives no binary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` gives no binary; write NAME=FILE")]
pub struct InvalidBinary(String);

impl FromStr for GivenBinary {
    type Err = InvalidBinary;

    fn from_str(text: &str) -> Result<Self, InvalidBinary> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() && !name.contains('/') => Ok(Self {
                name: name.to_owned(),
                path: path.into(),
            }),
            _ => Err(InvalidBinary(text.to_owned())),
        }
    }
}

/// What the head of an executable says of where it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executable {
    /// The path of the loader that it needs; none where it is static.
    pub loader: Option<PathBuf>,
}

impl Executable {
    /// Reads the head of the file `path`; `Err` within says why it does not run on `architecture`.
    ///
    /// # Errors
    /// What opening and reading say.
    pub fn read(path: &Path, architecture: &str) -> io::Result<Result<Self, String>> {
        let mut head = Vec::new();
        File::open(path)?.take(HEAD).read_to_end(&mut head)?;
        Ok(Self::parse(&head, architecture))
    }

    /// The same for a file that begins with `head`.
    ///
    /// # Errors
    /// Why it does not run on `architecture`.
    pub fn parse(head: &[u8], architecture: &str) -> Result<Self, String> {
        let kind = head.get(4..6).filter(|_| head.starts_with(&MAGIC));
        let Some(machine) = u16_at(head, 18).filter(|_| kind == Some(&CLASS[..])) else {
            return Err("it is no executable".to_owned());
        };
        let wanted = MACHINES.iter().find(|(name, _)| *name == architecture);
        if wanted.is_some_and(|(_, wanted)| *wanted != machine) {
            let found = MACHINES.iter().find(|(_, number)| *number == machine);
            let found = found.map_or_else(|| format!("machine {machine}"), |(name, _)| (*name).to_owned());
            return Err(format!("it is for {found}, they are {architecture}"));
        }
        Ok(Self { loader: loader(head) })
    }
}

/// The text of the part that names a loader; one whose text is not there is called `?`, so that it is not taken for none.
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

    use super::{ARCHITECTURE, Executable, GivenBinary};

    /// An executable for a machine, with a part of the type `kind` that has `text`.
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
    fn the_head_says_where_a_file_runs() {
        let parse = |head: &[u8]| Executable::parse(head, "amd64");
        assert_eq!(parse(&executable(62, 1, "")).unwrap().loader, None);
        let dynamic = parse(&executable(62, 3, "/lib64/ld.so\0")).unwrap();
        assert_eq!(dynamic.loader.as_deref(), Some(Path::new("/lib64/ld.so")));
        for (head, why) in [
            (executable(183, 1, ""), "it is for arm64, they are amd64"),
            (executable(8, 1, ""), "it is for machine 8, they are amd64"),
            (b"#!/bin/sh".to_vec(), "it is no executable"),
        ] {
            assert_eq!(parse(&head).unwrap_err(), why);
        }
    }

    #[test]
    fn a_short_head_is_read_as_far_as_it_goes() {
        let whole = executable(62, 3, "/lib64/ld.so\0");
        for length in 0..whole.len() {
            let found = Executable::parse(&whole[..length], "amd64");
            // What has a loader is never taken for static once its part is there.
            assert_eq!(found.is_err(), length < 20, "{length}");
            assert!(length < 68 || found.unwrap().loader.is_some(), "{length}");
        }
    }

    #[test]
    fn this_very_program_runs_here() {
        let path = std::env::current_exe().unwrap();
        let own = Executable::read(&path, ARCHITECTURE).unwrap().unwrap();
        assert!(own.loader.is_none_or(|loader| loader.is_absolute()));
    }

    #[test]
    fn binaries_have_names() {
        let parsed: GivenBinary = "kubelet=/a=b".parse().unwrap();
        assert_eq!(
            (parsed.name.as_str(), parsed.path.as_path()),
            ("kubelet", Path::new("/a=b"))
        );
        for bad in ["", "kubelet", "=a", "kubelet=", "a/b=c"] {
            assert!(bad.parse::<GivenBinary>().is_err(), "{bad}");
        }
    }
}
