use std::cell::Cell;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use parbake_machine::fs::files::failed;

use super::super::error::Error;
use super::{Cache, Key, KeyBuilder};

fn key() -> Key {
    KeyBuilder::new("test", 1).finish()
}

/// Takes a result from the cache in `dir`; returns its path, and true if it was built.
fn take(dir: &Path) -> (PathBuf, bool) {
    let made = Cell::new(false);
    let cache = Cache::new(dir).lock().unwrap();
    let entry = cache
        .entry("things", &key(), "make a thing", |content| {
            made.set(true);
            fs::create_dir(content.join("sub")).map_err(failed("create", content))?;
            fs::write(content.join("sub/file"), "text").map_err(failed("write", content))?;
            Ok(symlink("file", content.join("sub/link")).map_err(failed("link", content))?)
        })
        .unwrap();
    assert_eq!(
        entry.sha256("sub/file").unwrap(),
        "982d9e3eb996f559e633f4d194def3761d909f5a3b647d1a851fead67c32c9d1"
    );
    assert!(entry.sha256("sub").is_err());
    (entry.path, made.get())
}

#[test]
fn result_is_built_once() {
    let dir = tempfile::tempdir().unwrap();
    let (path, made) = take(dir.path());
    assert!(made);
    assert_eq!(fs::read_to_string(path.join("sub/link")).unwrap(), "text");
    assert_eq!(take(dir.path()), (path, false));
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn damaged_result_is_rebuilt() {
    type Damage = (&'static str, fn(&Path));
    let damages: [Damage; 8] = [
        ("changed", |path| {
            fs::write(path.join("sub/file"), "taxt").unwrap()
        }),
        ("longer", |path| {
            fs::write(path.join("sub/file"), "text text").unwrap()
        }),
        ("gone", |path| fs::remove_file(path.join("sub/file")).unwrap()),
        ("more", |path| fs::write(path.join("sub/more"), "").unwrap()),
        ("mode", |path| {
            fs::set_permissions(path.join("sub/file"), fs::Permissions::from_mode(0o600)).unwrap()
        }),
        ("link", |path| {
            fs::remove_file(path.join("sub/link")).unwrap();
            symlink("sub", path.join("sub/link")).unwrap();
        }),
        ("no manifest", |path| {
            fs::remove_file(path.parent().unwrap().join("manifest.json")).unwrap()
        }),
        ("no content", |path| fs::remove_dir_all(path).unwrap()),
    ];
    for (what, damage) in damages {
        let dir = tempfile::tempdir().unwrap();
        let (path, _) = take(dir.path());
        damage(&path);
        assert_eq!(take(dir.path()), (path.clone(), true), "{what}");
        assert_eq!(take(dir.path()), (path, false), "{what}");
    }
}

#[test]
fn copied_result_is_valid() {
    let dir = tempfile::tempdir().unwrap();
    let (path, _) = take(dir.path());
    fs::remove_file(path.join("sub/file")).unwrap();
    fs::write(path.join("sub/file"), "text").unwrap();
    assert_eq!(take(dir.path()), (path.clone(), false));
    assert_eq!(take(dir.path()), (path, false));
}

#[test]
fn failed_build_leaves_no_files() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::new(dir.path()).lock().unwrap();
    let failed = cache.entry("things", &key(), "fail", |content| {
        fs::write(content.join("half"), "").unwrap();
        Err(Error::NoMirror)
    });
    assert!(matches!(failed.unwrap_err(), Error::NoMirror));
    assert!(!dir.path().join("things").exists());
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn leftovers_of_a_killed_process_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("tmp/half/content")).unwrap();
    let _cache = Cache::new(dir.path()).lock().unwrap();
    assert_eq!(fs::read_dir(dir.path().join("tmp")).unwrap().count(), 0);
}

#[test]
fn preview_builds_nothing_and_needs_no_lock() {
    let dir = tempfile::tempdir().unwrap();
    let look = || {
        let cache = Cache::new(dir.path()).preview();
        let entry = cache
            .entry("things", &key(), "make a thing", |_| panic!("it was made"))
            .unwrap();
        let sums = ["sub/file", "sub/link"].map(|name| entry.sha256(name).ok());
        (cache.trace()[0].found, sums)
    };
    let (found, [one, other]) = look();
    assert!(
        !found && one.is_some() && one != other,
        "files that are not there have digests of their own"
    );
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    let (path, _) = take(dir.path());
    let _held = Cache::new(dir.path()).lock().unwrap();
    let (found, [one, _]) = look();
    assert!(found && one.unwrap().starts_with("982d9e3eb996"));
    fs::write(path.join("sub/file"), "taxt").unwrap();
    assert!(!look().0, "what is damaged has to be made");
    assert_eq!(fs::read_to_string(path.join("sub/file")).unwrap(), "taxt");
}
