//! Adapts an installed system for machines, independent of Kubernetes.
//!
//! A machine is a container that gets its addresses, host name and devices from outside, so most boot services are turned
//! off. That makes it start fast.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;

use parbake_machine::fs::files::failed;

use super::super::error::Error;

/// The directory for overrides of units.
const UNITS: &str = "etc/systemd/system";

/// Units that machines do not need.
const MASKED: [&str; 46] = [
    // Hardware, disks and boot.
    "cryptsetup.target",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "integritysetup.target",
    "kmod-static-nodes.service",
    "modprobe@.service",
    "systemd-modules-load.service",
    "systemd-pcrphase-sysinit.service",
    "systemd-pcrphase.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-remount-fs.service",
    "systemd-repart.service",
    "systemd-rfkill.socket",
    "systemd-tmpfiles-setup-dev.service",
    "systemd-udev-trigger.service",
    "systemd-udevd.service",
    "veritysetup.target",
    // File systems that the host owns.
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "proc-sys-fs-binfmt_misc.automount",
    "sys-fs-fuse-connections.mount",
    "sys-kernel-config.mount",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "systemd-binfmt.service",
    // Network and clock, which are managed from outside.
    "remote-fs.target",
    "systemd-networkd.service",
    "systemd-resolved.service",
    "systemd-timesyncd.service",
    // Logins and password prompts.
    "console-getty.service",
    "getty.target",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "systemd-logind.service",
    "systemd-update-utmp-runlevel.service",
    "systemd-update-utmp.service",
    "systemd-user-sessions.service",
    // First boot and maintenance.
    "dpkg-db-backup.timer",
    "systemd-firstboot.service",
    "systemd-journal-flush.service",
    "systemd-journald-audit.socket",
    "systemd-machine-id-commit.service",
    "systemd-sysusers.service",
    "systemd-tmpfiles-clean.timer",
];

/// Links that start units at boot which are started on demand or not needed.
const NOT_AT_BOOT: [&str; 4] = [
    "etc/systemd/system/getty.target.wants",
    "etc/systemd/system/sysinit.target.wants",
    "etc/systemd/system/timers.target.wants",
    "usr/lib/systemd/system/multi-user.target.wants/dbus.service",
];

/// Files, by path below the root.
const FILES: [(&str, &str); 3] = [
    // Empty: each machine gets its own.
    ("etc/machine-id", ""),
    (
        "etc/systemd/journald.conf.d/parbake.conf",
        "[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\nAudit=no\n",
    ),
    (
        "etc/systemd/system.conf.d/parbake.conf",
        "[Manager]\nShowStatus=no\nDefaultTimeoutStopSec=15s\n",
    ),
];

/// A text that changes with the result of [`apply`].
pub(in crate::inputs) fn fingerprint() -> String {
    format!("1 {MASKED:?} {NOT_AT_BOOT:?} {FILES:?}")
}

/// Adapts the system below `root`.
pub(in crate::inputs) fn apply(root: &Path) -> Result<(), Error> {
    for path in NOT_AT_BOOT.map(|path| root.join(path)) {
        let removed = if path.is_symlink() {
            fs::remove_file(&path)
        } else {
            fs::remove_dir_all(&path)
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &path)(error).into());
            }
            _ => {}
        }
    }
    let units = root.join(UNITS);
    fs::create_dir_all(&units).map_err(failed("create", &units))?;
    for unit in MASKED {
        link("/dev/null", &units.join(unit))?;
    }
    link(
        "/lib/systemd/system/multi-user.target",
        &units.join("default.target"),
    )?;
    for (path, text) in FILES {
        let path = root.join(path);
        let parent = path.parent().unwrap_or(root);
        fs::create_dir_all(parent).map_err(failed("create", parent))?;
        // Writing through a link could change files outside the tree.
        if path.is_symlink() {
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        fs::write(&path, text).map_err(failed("write", &path))?;
    }
    Ok(())
}

fn link(target: &str, path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(failed("remove", path)(error).into());
        }
        _ => {}
    }
    Ok(symlink(target, path).map_err(failed("link", path))?)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::apply;

    #[test]
    fn applying_twice_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let wants = root.join("usr/lib/systemd/system/multi-user.target.wants");
        fs::create_dir_all(&wants).unwrap();
        fs::create_dir_all(root.join("etc/systemd/system/timers.target.wants")).unwrap();
        symlink("../dbus.service", wants.join("dbus.service")).unwrap();
        fs::write(root.join("etc/machine-id"), "0123").unwrap();
        for _ in 0..2 {
            apply(root).unwrap();
            let units = root.join("etc/systemd/system");
            assert_eq!(
                fs::read_link(units.join("getty.target")).unwrap(),
                Path::new("/dev/null")
            );
            assert!(!wants.join("dbus.service").is_symlink());
            assert!(!units.join("timers.target.wants").exists());
            assert_eq!(fs::read_to_string(root.join("etc/machine-id")).unwrap(), "");
        }
    }
}
