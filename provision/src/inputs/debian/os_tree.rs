//! The node OS: the locked packages, installed and adapted for machines.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;

use super::super::OsTree;
use super::super::cache::KeyBuilder;
use super::super::error::Error;
use super::prune::{self, For};
use super::{Debian, OS_SET, repository, setup};

/// Changes whenever this file would build something else from the same inputs.
const RECIPE: u32 = 1;
/// The time for package scripts, in seconds since 1970. It is not 0, which some tools treat as unknown.
const EPOCH: &str = "86400";
/// Creates the links of a merged `/usr` before the first package is unpacked.
const MERGE: &str =
    "for dir in bin sbin lib lib64; do mkdir -p \"$1/usr/$dir\"; ln -s \"usr/$dir\" \"$1/$dir\"; done";

pub(super) fn build(debian: &Debian<'_>) -> Result<OsTree, Error> {
    let key = KeyBuilder::new(OS_SET, RECIPE)
        .field("suite", &debian.lock.suite)
        .field("architecture", debian.architecture())
        .field("packages", debian.fingerprint(OS_SET))
        .field("prune", prune::FINGERPRINT)
        .field("setup", setup::fingerprint())
        .finish();
    let entry = debian.cache.entry(OS_SET, &key, "build the node OS", |root| {
        let debs = debian.fetch(OS_SET)?;
        let from = debian.cache.temp_dir()?;
        repository::write(&debs, from.path())?;
        let names: Vec<&str> = debs.iter().map(|deb| deb.package.name.as_str()).collect();
        install(debian, &names, from.path(), root)?;
        prune::prune(root, For::Machine)?;
        setup::apply(root)?;
        Ok(fs::set_permissions(root, Permissions::from_mode(0o755))
            .map_err(failed("set the mode of", root))?)
    })?;
    Ok(OsTree {
        key: key.to_string(),
        path: entry.path,
        custom: None,
    })
}

fn install(debian: &Debian<'_>, names: &[&str], repository: &Path, root: &Path) -> Result<(), Error> {
    Cmd::new("mmdebstrap")
        .args(["--variant=custom", "--mode=root", "--format=directory"])
        .arg(format!("--architectures={}", debian.architecture()))
        .arg(format!("--include={}", names.join(",")))
        .arg(format!("--setup-hook={MERGE}"))
        .args([
            "--aptopt=APT::Sandbox::User \"root\"",
            "--dpkgopt=force-unsafe-io",
        ])
        .arg(&debian.lock.suite)
        .arg(root)
        // The repository is trusted, since every file has its locked digest.
        .arg(format!("deb [trusted=yes] copy:{} ./", repository.display()))
        .env("SOURCE_DATE_EPOCH", EPOCH)
        .env("LC_ALL", "C.UTF-8")
        .run()?;
    Ok(())
}
