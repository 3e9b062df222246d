//! A package repository in a directory, made from downloaded files.
//!
//! ```text
//! DIR/
//! |-- Packages          the index: the description and file of each package
//! `-- NAME.deb          a link to the verified file
//! ```

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;

use super::super::error::Error;
use super::Deb;

/// Creates a repository of `debs` in the empty directory `dir`.
pub(super) fn write(debs: &[Deb<'_>], dir: &Path) -> Result<(), Error> {
    let mut index = String::new();
    for deb in debs {
        let file = format!("{}.deb", deb.package.name);
        let link = dir.join(&file);
        symlink(&deb.path, &link).map_err(failed("link", &link))?;
        let control = Cmd::new("dpkg-deb").arg("--field").arg(&deb.path).run()?.stdout;
        index.push_str(&paragraph(&control, &file, deb.package.size, &deb.package.sha256));
    }
    let path = dir.join("Packages");
    Ok(fs::write(&path, index).map_err(failed("write", &path))?)
}

/// A package's paragraph of the index (Debian wiki, `DebianRepository/Format`, `Packages` indices).
fn paragraph(control: &str, file: &str, size: u64, sha256: &str) -> String {
    format!(
        "{}\nFilename: ./{file}\nSize: {size}\nSHA256: {sha256}\n\n",
        control.trim_end()
    )
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use parbake_machine::process::Cmd;

    use super::super::Deb;
    use super::{paragraph, write};
    use crate::provider::lock::{Archive, Package};

    #[test]
    fn paragraph_has_description_and_file() {
        assert_eq!(
            paragraph("Package: a\nDescription: b\n c\n", "a.deb", 7, "ab"),
            "Package: a\nDescription: b\n c\nFilename: ./a.deb\nSize: 7\nSHA256: ab\n\n"
        );
    }

    fn deb(dir: &Path, name: &str) -> Package {
        let tree = dir.join(name);
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        let control =
            format!("Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: d\n");
        fs::write(tree.join("DEBIAN/control"), control).unwrap();
        Cmd::new("dpkg-deb")
            .arg("--build")
            .arg(&tree)
            .arg(dir.join(format!("{name}-file")))
            .run()
            .unwrap();
        Package {
            name: name.into(),
            version: "1".into(),
            archive: Archive::Main,
            filename: format!("pool/{name}"),
            size: 5,
            sha256: "ab".into(),
        }
    }

    #[test]
    fn repository_has_every_package() {
        let dir = tempfile::tempdir().unwrap();
        let packages = ["one", "two"].map(|name| deb(dir.path(), name));
        let debs: Vec<Deb<'_>> = packages
            .iter()
            .map(|package| Deb {
                package,
                path: dir.path().join(format!("{}-file", package.name)),
            })
            .collect();
        let repository = dir.path().join("repository");
        fs::create_dir(&repository).unwrap();
        write(&debs, &repository).unwrap();
        let index = fs::read_to_string(repository.join("Packages")).unwrap();
        let names: Vec<&str> = index.lines().filter(|line| line.starts_with("Package")).collect();
        assert_eq!(names, ["Package: one", "Package: two"]);
        assert_eq!(
            fs::read(repository.join("two.deb")).unwrap(),
            fs::read(dir.path().join("two-file")).unwrap()
        );
        assert_eq!(index.matches("\n\n").count(), 2);
    }
}
