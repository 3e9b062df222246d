//! Features of the kernel.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Support for a feature of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KernelSupport {
    /// Built in or loaded.
    Present,
    /// A module that modprobe(8) can load.
    Loadable,
    Missing,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Selinux {
    /// Missing or disabled.
    Off,
    Permissive,
    Enforcing,
}

/// The module files of one kernel, at `/lib/modules/RELEASE` (modules.dep(5), modules.builtin: kernel documentation, kbuild).
pub(super) struct Modules(PathBuf);

impl Modules {
    pub(super) fn of_kernel(release: &str) -> Self {
        Self(Path::new("/lib/modules").join(release))
    }

    /// The support by the module `name`; `used` means that it is known to be in use.
    pub(super) fn support(&self, name: &str, used: bool) -> KernelSupport {
        if used || self.lists("modules.builtin", name) {
            KernelSupport::Present
        } else if self.lists("modules.dep", name) {
            KernelSupport::Loadable
        } else {
            KernelSupport::Missing
        }
    }

    fn lists(&self, index: &str, name: &str) -> bool {
        let index = fs::read_to_string(self.0.join(index)).unwrap_or_default();
        index.lines().any(|line| {
            // kernel/fs/overlayfs/overlay.ko.xz: kernel/lib/...
            let path = line.split(':').next().unwrap_or_default();
            let file = path.rsplit('/').next().unwrap_or_default();
            file.split_once(".ko")
                .is_some_and(|(module, _)| module.replace('-', "_") == name)
        })
    }
}

/// Reads `/sys/fs/selinux/enforce` (selinux(8)).
pub(super) fn selinux() -> Selinux {
    match fs::read_to_string("/sys/fs/selinux/enforce")
        .as_deref()
        .map(str::trim)
    {
        Ok("1") => Selinux::Enforcing,
        Ok(_) => Selinux::Permissive,
        Err(_) => Selinux::Off,
    }
}

/// True if AppArmor is enabled (apparmor(7)).
pub(super) fn apparmor() -> bool {
    fs::read_to_string("/sys/module/apparmor/parameters/enabled").is_ok_and(|enabled| enabled.trim() == "Y")
}

/// True if the kernel currently supports a file system (`/proc/filesystems`, proc(5)).
pub(super) fn has_filesystem(name: &str) -> bool {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    known
        .lines()
        .any(|line| line.split_whitespace().last() == Some(name))
}

/// The value of a kernel parameter, by its name for sysctl(8).
pub(super) fn limit(name: &str) -> Option<u64> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/"));
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{KernelSupport, Modules};

    #[test]
    fn modules_are_found_by_name_in_every_format() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("modules.builtin"),
            "kernel/net/netfilter/nf_conntrack.ko\n",
        )
        .unwrap();
        let dep = "kernel/fs/overlayfs/overlay.ko.xz:\nkernel/net/bridge/br-netfilter.ko: kernel/net/bridge/bridge.ko\n";
        fs::write(dir.path().join("modules.dep"), dep).unwrap();
        let modules = Modules(dir.path().to_owned());
        let cases = [
            ("overlay", false, KernelSupport::Loadable),
            ("overlay", true, KernelSupport::Present),
            ("nf_conntrack", false, KernelSupport::Present),
            ("br_netfilter", false, KernelSupport::Loadable),
            ("bridge", false, KernelSupport::Missing),
        ];
        for (name, used, support) in cases {
            assert_eq!(modules.support(name, used), support, "{name}, used: {used}");
        }
    }

    #[test]
    fn without_module_files_only_features_in_use_are_present() {
        let modules = Modules::of_kernel("no-such-release");
        assert_eq!(modules.support("overlay", false), KernelSupport::Missing);
        assert_eq!(modules.support("overlay", true), KernelSupport::Present);
    }
}
