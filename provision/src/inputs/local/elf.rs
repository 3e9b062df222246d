//! Whether nodes can run a file: the first bytes of an executable (System V ABI, "ELF Header" and "Program Header").

use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::LocalError;

const MAGIC: [u8; 4] = [0x7f, b'E', b'L', b'F'];
/// `EI_CLASS`, `EI_DATA`: 64 bits, the lowest byte first.
const CLASS: [u8; 2] = [2, 1];
/// `e_machine`, by Debian's name.
const MACHINES: [(&str, u16); 2] = [("amd64", 62), ("arm64", 183)];
/// `p_type` of the part that names a loader.
const PT_INTERP: u32 = 3;
/// Where program headers end in any sane file, in bytes.
const HEAD: u64 = 64 << 10;

/// Whether `path` is an executable for `architecture`; where it is `alone`, in an image without libraries, also that it
/// needs none.
pub(super) fn check(path: &Path, architecture: &str, alone: bool) -> Result<(), LocalError> {
    let mut head = Vec::new();
    let read = File::open(path).and_then(|file| file.take(HEAD).read_to_end(&mut head));
    read.map_err(|source| LocalError::Read {
        path: path.to_owned(),
        source,
    })?;
    problem(&head, architecture, alone).map_or(Ok(()), |why| {
        Err(LocalError::NotRunnable {
            path: path.to_owned(),
            why,
        })
    })
}

/// Why the nodes cannot run a file that begins so.
pub(super) fn problem(head: &[u8], architecture: &str, alone: bool) -> Option<String> {
    let kind = head.get(4..6).filter(|_| head.starts_with(&MAGIC));
    let Some(machine) = u16_at(head, 18).filter(|_| kind == Some(&CLASS[..])) else {
        return Some("it is no executable".to_owned());
    };
    let wanted = MACHINES.iter().find(|(name, _)| *name == architecture);
    if wanted.is_some_and(|(_, wanted)| *wanted != machine) {
        let found = MACHINES.iter().find(|(_, number)| *number == machine);
        let found = found.map_or_else(|| format!("machine {machine}"), |(name, _)| (*name).to_owned());
        return Some(format!("it is for {found}, they are {architecture}"));
    }
    (alone && has_loader(head)).then(|| {
        "it needs a dynamic loader, and its image has none; build it with `CGO_ENABLED=0` or \
         `KUBE_STATIC_OVERRIDES`"
            .to_owned()
    })
}

fn has_loader(head: &[u8]) -> bool {
    let (start, size, count) = (u64_at(head, 32), u16_at(head, 54), u16_at(head, 56));
    let (Some(start), Some(size), Some(count)) = (start, size, count) else {
        return false;
    };
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let kinds = (0..usize::from(count)).map(|number| number * usize::from(size));
    kinds
        .filter_map(|offset| bytes(head, start.checked_add(offset)?).map(u32::from_le_bytes))
        .any(|kind| kind == PT_INTERP)
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
