//! A machine's root: overlay, plain directories, bind mounts, seeded files, directories in memory.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, fchmod, fstat, mkdirat, openat, openat2};
use rustix::io::Errno;

use super::mount::{self, HostRun};
use super::overlay::Overlay;
use super::{Dirs, files, tmpfs};
use crate::error::{Error, failed};
use crate::plan::{Bind, MachinePlan, Plan, SeedContent, SeedFile};
use crate::process::Cmd;

/// A machine's root, mounted.
#[derive(Debug)]
pub(crate) struct Root {
    overlay: Overlay,
    /// The directory that the machine owns.
    dir: PathBuf,
    /// The paths of its directories in memory.
    in_memory: Vec<PathBuf>,
}

/// Mounts the machine's root and writes its files.
///
/// # Errors
/// The first step that failed; everything is unmounted.
pub(crate) fn make(plan: &MachinePlan, host_run: &HostRun) -> Result<Root, Error> {
    let dirs = Dirs(&plan.dir);
    let path = dirs.root();
    let overlay = Overlay::mount(&plan.layers, &dirs.upper(), &dirs.work(), &path)?;
    let root: OwnedFd = File::open(&path).map_err(files::failed("open", &path))?.into();
    for path in &plan.plain {
        let plain = dirs.plain(path);
        fill_plain(&plain, &plan.layers, path)?;
        mount_inside(&root, &open(&plain)?, path, false)?;
    }
    for Bind { from, to, read_only } in &plan.binds {
        let source = host_run.open(from).map_err(files::failed("open", from))?;
        mount_inside(&root, &source, to, *read_only)?;
    }
    for file in &plan.files {
        seed(&root, file).map_err(in_root("write", &file.path))?;
    }
    for dir in &plan.in_memory {
        let from = create_dirs(&root, &dir.path).map_err(in_root("create", &dir.path))?;
        let memory = tmpfs::fill(&from, &dirs, dir)?;
        mount_inside(&root, &open(&memory)?, &dir.path, false)?;
    }
    Ok(Root {
        overlay,
        dir: plan.dir.clone(),
        in_memory: plan.in_memory.iter().map(|dir| dir.path.clone()).collect(),
    })
}

impl Root {
    /// Unmounts the root of a machine that has ended, and writes its directories in memory back to disk.
    ///
    /// # Errors
    /// The first directory that could not be written back; on disk it is as before the boot.
    pub(crate) fn write_back(self) -> Result<(), Error> {
        drop(self.overlay);
        let dirs = Dirs(&self.dir);
        self.in_memory
            .iter()
            .try_for_each(|path| tmpfs::write_back(&dirs.memory(path), &dirs, path))
    }
}

/// Syncs the seeded files of the plan's machines to disk.
///
/// # Errors
/// A file could not be synced.
pub fn sync(plan: &Plan) -> Result<(), Error> {
    for machine in &plan.machines {
        let upper = Dirs(&machine.dir).upper();
        let files = machine.files.iter();
        for file in files.filter(|file| matches!(file.content, SeedContent::File { .. })) {
            match File::open(upper.join(&file.path)).and_then(|file| file.sync_all()) {
                // The machine may have removed it already.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(in_root("sync", &file.path)(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Makes an error of the reason why `act` failed at `path` of a machine.
fn in_root<E: Into<io::Error>>(act: &str, path: &Path) -> impl FnOnce(E) -> Error + use<E> {
    let act = format!("{act} `{}` in the machine's root", path.display());
    move |error| failed(act)(error.into())
}

fn open(path: &Path) -> Result<OwnedFd, Error> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    openat(rustix::fs::CWD, path, flags, Mode::empty()).map_err(files::failed("open", path))
}

/// Mounts the open directory or file `source` at `to` of `root`. The mount point of a directory is a directory, that of
/// anything else, such as a socket, a regular file.
fn mount_inside(root: &OwnedFd, source: &OwnedFd, to: &Path, read_only: bool) -> Result<(), Error> {
    let mount_point = || {
        let is_dir = FileType::from_raw_mode(fstat(source)?.st_mode) == FileType::Directory;
        if is_dir {
            create_dirs(root, to)
        } else {
            create_file(root, to)
        }
    };
    let mount_point = mount_point().map_err(in_root("create the mount point", to))?;
    mount::bind(source, &mount_point, read_only)
}

/// Fills a plain directory on the machine's first boot from the topmost layer that has it. Plain directories are small:
/// large content is in shared layers, behind symbolic links.
fn fill_plain(plain: &Path, layers: &[PathBuf], path: &Path) -> Result<(), Error> {
    let filled = try_fill_plain(plain, layers, path);
    filled.map_err(failed(format!("fill the plain directory `{}`", plain.display())))
}

fn try_fill_plain(
    plain: &Path,
    layers: &[PathBuf],
    path: &Path,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if plain.exists() {
        return Ok(());
    }
    if let Some(parent) = plain.parent() {
        fs::create_dir_all(parent)?;
    }
    let sources = layers.iter().rev().map(|layer| layer.join(path));
    let Some(source) = sources.into_iter().find(|source| source.is_dir()) else {
        return Ok(fs::create_dir(plain)?);
    };
    // Renamed when it is complete.
    let partial = plain.with_extension("partial");
    if partial.exists() {
        fs::remove_dir_all(&partial)?;
    }
    let copy = Cmd::new("cp").args(["-a", "--"]).arg(&source).arg(&partial);
    copy.run()?;
    Ok(fs::rename(partial, plain)?)
}

/// Writes or removes one file. Symbolic links are resolved inside `root`, so that a link in a layer cannot lead out of it.
fn seed(root: &OwnedFd, file: &SeedFile) -> io::Result<()> {
    let (parent, name) = split(&file.path)?;
    let parent = create_dirs(root, parent)?;
    match rustix::fs::unlinkat(&parent, name, AtFlags::empty()) {
        Err(error) if error != Errno::NOENT => return Err(error.into()),
        _ => {}
    }
    match &file.content {
        SeedContent::Absent => Ok(()),
        SeedContent::Link { target } => Ok(rustix::fs::symlinkat(target, &parent, name)?),
        SeedContent::File { mode, text } => {
            // Only root can read it until it is complete.
            let mut opened = create_new(&parent, name, 0o600)?;
            opened.write_all(text.as_bytes())?;
            opened.set_permissions(fs::Permissions::from_mode(*mode))
        }
    }
}

fn split(path: &Path) -> io::Result<(&Path, &std::ffi::OsStr)> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    Ok((path.parent().unwrap_or(Path::new("")), name))
}

fn create_new(dir: impl AsFd, name: &std::ffi::OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    Ok(openat(dir, name, flags, Mode::from_raw_mode(mode))?.into())
}

/// Opens the directory `path` of `root`. Missing directories are created with mode 0755, whatever the umask.
fn create_dirs(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let mut dir = open_dir(root, Path::new("."))?;
    let mut current = PathBuf::new();
    for part in path {
        current.push(part);
        dir = match open_dir(root, &current) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mode = Mode::from_raw_mode(0o755);
                mkdirat(&dir, part, mode)?;
                let new = open_dir(root, &current)?;
                fchmod(&new, mode)?;
                new
            }
            opened => opened?,
        };
    }
    Ok(dir)
}

/// Opens the file `path` of `root`. A missing file is created empty, with mode 0644, whatever the umask.
fn create_file(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let (parent, name) = split(path)?;
    let parent = create_dirs(root, parent)?;
    let open = || {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)
    };
    match open() {
        Err(Errno::NOENT) => {
            let new = create_new(&parent, name, 0o644)?;
            fchmod(&new, Mode::from_raw_mode(0o644))?;
            Ok(open()?)
        }
        opened => Ok(opened?),
    }
}

fn open_dir(root: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
    use std::os::unix::net::UnixListener;
    use std::path::Path;
    use std::thread;

    use rustix::fs::Mode;
    use rustix::thread::UnshareFlags;

    use super::{fill_plain, mount_inside, seed};
    use crate::fs::mount::private_mounts;
    use crate::namespace::unshare;
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

    fn opened(dir: &tempfile::TempDir) -> OwnedFd {
        File::open(dir.path()).unwrap().into()
    }

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn link_in_a_layer_does_not_lead_out_of_the_root() {
        let (root, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        symlink(outside.path(), root.path().join("etc")).unwrap();
        assert!(seed(&opened(&root), &file("etc/hosts")).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn seeded_file_replaces_the_existing_one() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        symlink("elsewhere", root.path().join("etc/machine-id")).unwrap();
        let fd = opened(&root);
        seed(&fd, &file("etc/machine-id")).unwrap();
        seed(&fd, &file("a/new/place")).unwrap();
        let path = root.path().join("etc/machine-id");
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(
            fs::read_to_string(root.path().join("a/new/place")).unwrap(),
            "new"
        );
        let absent = SeedFile {
            content: SeedContent::Absent,
            ..file("etc/machine-id")
        };
        for _ in ["a file", "nothing"] {
            seed(&fd, &absent).unwrap();
            assert!(!path.exists());
        }
    }

    #[test]
    fn umask_does_not_change_modes() {
        let root = tempfile::tempdir().unwrap();
        let wanted = SeedFile {
            path: "etc/dir/file".into(),
            content: SeedContent::File {
                mode: 0o644,
                text: String::new(),
            },
        };
        thread::scope(|scope| {
            scope.spawn(|| {
                // An umask of the thread's own.
                unshare(UnshareFlags::FS).unwrap();
                rustix::process::umask(Mode::RWXG | Mode::RWXO);
                seed(&opened(&root), &wanted).unwrap();
                super::create_file(&opened(&root), Path::new("run/socket")).unwrap();
            });
        });
        for (path, expected) in [
            ("etc", 0o755),
            ("etc/dir", 0o755),
            ("etc/dir/file", 0o644),
            ("run", 0o755),
            ("run/socket", 0o644),
        ] {
            assert_eq!(mode(&root.path().join(path)), expected, "{path}");
        }
    }

    #[test]
    fn plain_directory_is_filled_once_from_the_topmost_layer() {
        let dir = tempfile::tempdir().unwrap();
        let layer = |name: &str| {
            let data = dir.path().join(name).join("var/lib/runtime");
            fs::create_dir_all(&data).unwrap();
            fs::write(data.join("who"), name).unwrap();
            dir.path().join(name)
        };
        let layers = [layer("bottom"), layer("top")];
        let plain = dir.path().join("plain/var/lib/runtime");
        fill_plain(&plain, &layers, "var/lib/runtime".as_ref()).unwrap();
        assert_eq!(fs::read_to_string(plain.join("who")).unwrap(), "top");
        fs::write(plain.join("who"), "own").unwrap();
        fill_plain(&plain, &layers, "var/lib/runtime".as_ref()).unwrap();
        assert_eq!(fs::read_to_string(plain.join("who")).unwrap(), "own");
    }

    #[test]
    fn host_paths_below_run_are_mounted_with_a_fitting_mount_point() {
        let root = tempfile::tempdir().unwrap();
        let run = tempfile::Builder::new()
            .prefix("parbake-test-")
            .tempdir_in("/run")
            .unwrap();
        let host = |name: &str| run.path().join(name);
        fs::create_dir(host("dir")).unwrap();
        fs::write(host("dir/file"), "content").unwrap();
        let _socket = UnixListener::bind(host("socket")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            host("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RWXU,
            0,
        )
        .unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                unshare(UnshareFlags::FS).unwrap();
                let host_run = private_mounts().unwrap();
                assert!(!run.path().exists());
                for name in ["dir", "socket", "pipe"] {
                    let source = host_run.open(&host(name)).unwrap();
                    mount_inside(&opened(&root), &source, &Path::new("mnt").join(name), false).unwrap();
                }
                let null = host_run.open(Path::new("/dev/null")).unwrap();
                mount_inside(&opened(&root), &null, Path::new("null"), false).unwrap();
                let inside = |name: &str| root.path().join(name);
                assert_eq!(fs::read_to_string(inside("mnt/dir/file")).unwrap(), "content");
                let kind = |name| fs::metadata(inside(name)).unwrap().file_type();
                assert!(kind("mnt/socket").is_socket() && kind("mnt/pipe").is_fifo());
                assert!(kind("null").is_char_device());
            });
        });
        // The mount points, without the mounts.
        for name in ["mnt/socket", "mnt/pipe", "null"] {
            assert!(root.path().join(name).is_file(), "{name}");
        }
    }
}
