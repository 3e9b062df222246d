//! A tree with every feature.

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::operations::{CAPABILITY, XATTRS, default_acl, names};

/// The lower tree.
pub(crate) fn below(root: &Path) {
    for dir in ["etc", "usr/bin", "var/lib/data", "var/log"] {
        fs::create_dir_all(root.join(dir)).unwrap();
        fs::write(root.join(dir).join("one"), "one").unwrap();
        fs::write(root.join(dir).join("two"), "two").unwrap();
    }
}

/// The changes to the lower tree.
pub(crate) fn above(root: &Path) {
    let at = |name: &str| root.join(name);
    // Deletions: a file, a directory, and a directory that is replaced.
    fs::remove_file(at("etc/one")).unwrap();
    fs::remove_dir_all(at("var/log")).unwrap();
    fs::remove_dir_all(at("var/lib/data")).unwrap();
    fs::create_dir(at("var/lib/data")).unwrap();
    fs::write(at("var/lib/data/two"), "new").unwrap();
    fs::rename(at("etc/two"), at("etc/three")).unwrap();

    // Hard links, of a file and of other things.
    fs::write(at("linked"), "linked").unwrap();
    fs::hard_link(at("linked"), at("var/lib/data/linked")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    fs::hard_link(at("dangling"), at("etc/dangling")).unwrap();
    symlink("t".repeat(300), at("long-link")).unwrap();

    mknodat(CWD, at("pipe").as_path(), FileType::Fifo, Mode::RUSR, 0).unwrap();

    // Names.
    for name in names() {
        fs::write(root.join("usr").join(name), "named").unwrap();
    }
    let mut deep = at("usr");
    for _ in 0..30 {
        deep = deep.join("a-name-of-which-many-make-a-long-path");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("bottom"), "bottom").unwrap();
    fs::hard_link(deep.join("bottom"), deep.join("bottom2")).unwrap();

    // Attributes, and a default ACL that unpacked children must not inherit.
    fs::create_dir(at("acl")).unwrap();
    fs::write(at("acl/file"), "before the ACL").unwrap();
    fs::create_dir(at("acl/dir")).unwrap();
    xattr::set(at("acl"), "system.posix_acl_default", &default_acl()).unwrap();
    for name in XATTRS
        .iter()
        .filter(|name| !name.starts_with("system.") && !name.starts_with("security."))
    {
        xattr::set(at("linked"), name, b"line\nfeed = 100%\0").unwrap();
    }
    xattr::set(at("dangling"), "trusted.own", b"of a link").unwrap();
    xattr::set(at("pipe"), "trusted.own", b"of a pipe").unwrap();
    fs::write(at("usr/bin/ping"), "#!").unwrap();

    // Owners and modes, then capabilities, which a change of owner clears.
    chown(at("usr/bin/ping"), Some(4_000_000_000), Some(3_000_000)).unwrap();
    fs::set_permissions(at("usr/bin/ping"), fs::Permissions::from_mode(0o6755)).unwrap();
    xattr::set(at("usr/bin/ping"), "security.capability", &CAPABILITY).unwrap();
    fs::set_permissions(at("var"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(at("acl"), fs::Permissions::from_mode(0o2000)).unwrap();
    fs::set_permissions(at("pipe"), fs::Permissions::from_mode(0o666)).unwrap();

    // Holes: before, between and after data.
    let sparse = File::create(at("sparse")).unwrap();
    sparse.write_all_at(&[7; 5000], 1 << 20).unwrap();
    sparse.write_all_at(&[7; 5], (5 << 20) + 1).unwrap();
    sparse.set_len((9 << 20) + 3).unwrap();
    File::create(at("all-hole")).unwrap().set_len(4 << 20).unwrap();

    // Times: with a fraction, before 1970, and of directories last.
    let times = [
        ("sparse", 1_700_000_000_123_456_789),
        ("acl", 1_000_000_007),
        ("etc", 1_000_000_000),
    ];
    for (name, nanoseconds) in times {
        let time = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanoseconds);
        File::open(at(name)).unwrap().set_modified(time).unwrap();
    }
    let before_1970 = SystemTime::UNIX_EPOCH - Duration::from_millis(1500);
    File::open(at("linked"))
        .unwrap()
        .set_modified(before_1970)
        .unwrap();
}
