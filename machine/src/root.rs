//! A machine's root made ready: overlay, plain directories, seeded files.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, ResolveFlags};

use crate::dirs::Dirs;
use crate::files;
use crate::overlay::{self, Overlay};
use crate::plan::{Bind, MachinePlan, Plan, SeedContent, SeedFile};
use crate::process::Cmd;
use crate::tmpfs;

/// A root that could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The overlay or a bind mount failed.
    #[error(transparent)]
    Mount(#[from] files::Error),
    /// A plain directory could not be filled.
    #[error("could not fill the plain directory `{}`", path.display())]
    Plain {
        /// The directory in the cluster's state.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A directory could not be moved into memory.
    #[error(transparent)]
    Memory(#[from] tmpfs::Error),
    /// A seeded file could not be written.
    #[error("could not write `{}` into the machine's root", path.display())]
    Seed {
        /// Path below the root.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A machine's root, mounted.
#[derive(Debug)]
pub(crate) struct Root {
    overlay: Overlay,
    /// The directory that the machine owns.
    dir: PathBuf,
    /// What of it is in memory, by its path.
    in_memory: Vec<PathBuf>,
}

/// Mounts the machine's root and writes its files.
///
/// # Errors
/// The first step that failed; what was mounted is unmounted.
pub(crate) fn make(plan: &MachinePlan) -> Result<Root, Error> {
    let dirs = Dirs(&plan.dir);
    let root = dirs.root();
    let overlay = Overlay::mount(&plan.layers, &dirs.upper(), &dirs.work(), &root)?;
    let opened = File::open(&root)
        .map_err(|source| Error::Seed {
            path: PathBuf::new(),
            source,
        })?
        .into();
    for path in &plan.plain {
        let plain = dirs.plain(path);
        fill(&plain, &plan.layers, path).map_err(|source| Error::Plain {
            path: plain.clone(),
            source,
        })?;
        let bind = Bind {
            from: plain,
            to: path.clone(),
            read_only: false,
        };
        mount_inside(&opened, &bind)?;
    }
    for bind in &plan.binds {
        mount_inside(&opened, bind)?;
    }
    for file in &plan.files {
        seed(&opened, file).map_err(|source| Error::Seed {
            path: file.path.clone(),
            source,
        })?;
    }
    for dir in &plan.in_memory {
        let from = make_parents(&opened, &dir.path).map_err(|source| Error::Seed {
            path: dir.path.clone(),
            source,
        })?;
        let bind = Bind {
            from: tmpfs::fill(&from, &dirs, dir)?,
            to: dir.path.clone(),
            read_only: false,
        };
        mount_inside(&opened, &bind)?;
    }
    Ok(Root {
        overlay,
        dir: plan.dir.clone(),
        in_memory: plan.in_memory.iter().map(|dir| dir.path.clone()).collect(),
    })
}

impl Root {
    /// Unmounts the root of a machine that has ended, and puts what it had in memory back among its files.
    ///
    /// # Errors
    /// The first directory that could not be put back; it is as it was before the boot.
    pub(crate) fn keep(self) -> Result<(), Error> {
        drop(self.overlay);
        let dirs = Dirs(&self.dir);
        self.in_memory
            .iter()
            .try_for_each(|path| Ok(tmpfs::put(&dirs.memory(path), &dirs, path)?))
    }
}

/// Makes sure that the files that were written into the machines' roots outlive a power cut.
///
/// # Errors
/// The file that could not be synced.
pub fn sync(plan: &Plan) -> Result<(), Error> {
    for machine in &plan.machines {
        let upper = Dirs(&machine.dir).upper();
        let files = machine.files.iter();
        for file in files.filter(|file| matches!(file.content, SeedContent::File { .. })) {
            // The machine may have removed it already.
            match File::open(upper.join(&file.path)).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    let path = file.path.clone();
                    return Err(Error::Seed { path, source: error });
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Mounts a directory or a file of the host inside `root`.
fn mount_inside(root: &OwnedFd, bind: &Bind) -> Result<(), Error> {
    let target = if bind.from.is_file() {
        make_file(root, &bind.to)
    } else {
        make_parents(root, &bind.to)
    };
    let target = target.map_err(|source| Error::Seed {
        path: bind.to.clone(),
        source,
    })?;
    Ok(overlay::bind(&bind.from, &target, bind.read_only)?)
}

/// Fills a plain directory on the machine's first boot with what the topmost layer that has one holds. Such a
/// directory is small: what is large in it lives in shared layers, behind symbolic links.
fn fill(
    plain: &Path,
    layers: &[PathBuf],
    path: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if plain.exists() {
        return Ok(());
    }
    let parent = plain
        .parent()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    fs::create_dir_all(parent)?;
    let Some(source) = layers
        .iter()
        .rev()
        .map(|layer| layer.join(path))
        .find(|source| source.is_dir())
    else {
        return Ok(fs::create_dir(plain)?);
    };
    // Whole or not at all: a copy that was cut off must not pass for the real one.
    let partial = plain.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    Cmd::new("cp")
        .args(["-a", "--"])
        .arg(&source)
        .arg(&partial)
        .run()?;
    Ok(fs::rename(partial, plain)?)
}

/// Writes one file, with every path looked up as if `root` were the root: a link in a layer cannot lead out.
fn seed(root: &OwnedFd, file: &SeedFile) -> io::Result<()> {
    let name = file
        .path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let parent = make_parents(root, file.path.parent().unwrap_or(Path::new("")))?;
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Err(error) if error != rustix::io::Errno::NOENT => return Err(error.into()),
        _ => {}
    }
    match &file.content {
        SeedContent::Absent => Ok(()),
        SeedContent::Link { target } => Ok(rustix::fs::symlinkat(target, &parent, name)?),
        SeedContent::File { mode, text } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let mut opened = File::from(rustix::fs::openat(
                &parent,
                name,
                flags,
                Mode::from_raw_mode(0o600),
            )?);
            opened.write_all(text.as_bytes())?;
            opened.set_permissions(fs::Permissions::from_mode(*mode))
        }
    }
}

fn make_parents(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut dir = open_in_root(root, Path::new("."))?;
    let mut walked = PathBuf::new();
    for part in path {
        walked.push(part);
        dir = match open_in_root(root, &walked) {
            Ok(next) => next,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                rustix::fs::mkdirat(&dir, part, Mode::from_raw_mode(0o755))?;
                open_in_root(root, &walked)?
            }
            Err(error) => return Err(error),
        };
    }
    Ok(dir)
}

/// Opens the file at `path`, which is made empty where it is missing.
fn make_file(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let invalid = || io::Error::from(io::ErrorKind::InvalidInput);
    let name = path.file_name().ok_or_else(invalid)?;
    let parent = make_parents(root, path.parent().unwrap_or(Path::new("")))?;
    let open = || {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        rustix::fs::openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    };
    match open() {
        Err(rustix::io::Errno::NOENT) => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644))?;
            Ok(open()?)
        }
        opened => Ok(opened?),
    }
}

fn open_in_root(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat2(
        root,
        path,
        flags,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    )?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::{fill, seed};
    use crate::plan::{SeedContent, SeedFile};

    fn file(path: &str) -> SeedFile {
        SeedFile {
            path: path.into(),
            content: SeedContent::File {
                mode: 0o600,
                text: "new".into(),
            },
        }
    }

    #[test]
    fn a_link_in_a_layer_cannot_lead_out_of_the_root() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), root.path().join("etc")).unwrap();
        let opened = File::open(root.path()).unwrap().into();
        assert!(
            seed(&opened, &file("etc/hosts")).is_err(),
            "the link's target is not inside of the root"
        );
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_seeded_file_replaces_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        symlink("elsewhere", root.path().join("etc/machine-id")).unwrap();
        let opened = File::open(root.path()).unwrap().into();
        seed(&opened, &file("etc/machine-id")).unwrap();
        seed(&opened, &file("a/new/place")).unwrap();
        let path = root.path().join("etc/machine-id");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(
            fs::symlink_metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(
            fs::read_to_string(root.path().join("a/new/place")).unwrap(),
            "new"
        );
        let gone = SeedFile {
            content: SeedContent::Absent,
            ..file("etc/machine-id")
        };
        for _ in ["a file", "nothing"] {
            seed(&opened, &gone).unwrap();
            assert!(!path.exists());
        }
    }

    #[test]
    fn a_plain_directory_comes_from_the_topmost_layer_and_is_filled_once() {
        let dir = tempfile::tempdir().unwrap();
        let layer = |name: &str| {
            let data = dir.path().join(name).join("var/lib/runtime");
            fs::create_dir_all(&data).unwrap();
            fs::write(data.join("who"), name).unwrap();
            dir.path().join(name)
        };
        let layers = [layer("bottom"), layer("top")];
        let plain = dir.path().join("plain/var/lib/runtime");
        fill(&plain, &layers, "var/lib/runtime".as_ref()).unwrap();
        assert_eq!(fs::read_to_string(plain.join("who")).unwrap(), "top");
        fs::write(plain.join("who"), "own").unwrap();
        fill(&plain, &layers, "var/lib/runtime".as_ref()).unwrap();
        assert_eq!(fs::read_to_string(plain.join("who")).unwrap(), "own");
    }
}
