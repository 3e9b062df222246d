//! A proxy for Go modules in a folder (`go help goproxy`; Go modules reference, "GOPROXY protocol").

use std::fs;
use std::path::PathBuf;

use flate2::Crc;
use tempfile::TempDir;

pub(super) struct Proxy(TempDir);

impl Proxy {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Environment variables that make `go` use only this proxy.
    pub(super) fn environment(&self) -> Vec<(String, String)> {
        let set = |name: &str, value: String| (name.to_owned(), value);
        let proxy = self.0.path().join("proxy");
        let cache = self.0.path().join("cache");
        vec![
            set("GOPROXY", format!("file://{}", proxy.display())),
            set("GOSUMDB", "off".to_owned()),
            set("GOTOOLCHAIN", "local".to_owned()),
            set("GOMODCACHE", cache.display().to_string()),
        ]
    }

    fn dir(&self, module: &str) -> PathBuf {
        let dir = self.0.path().join("proxy").join(module).join("@v");
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    /// Publishes a version of a module.
    pub(super) fn add(&self, module: &str, version: &str, go_mod: &str, files: &[(&str, &str)]) {
        let dir = self.dir(module);
        let info = format!(r#"{{"Version": "{version}", "Time": "2026-01-01T00:00:00Z"}}"#);
        fs::write(dir.join(format!("{version}.info")), info).unwrap();
        fs::write(dir.join(format!("{version}.mod")), go_mod).unwrap();
        let all = [("go.mod", go_mod)].into_iter().chain(files.iter().copied());
        let all: Vec<_> = all
            .map(|(path, text)| (format!("{module}@{version}/{path}"), text))
            .collect();
        fs::write(dir.join(format!("{version}.zip")), zip(&all)).unwrap();
    }

    /// Sets the list of versions of a module.
    pub(super) fn list(&self, module: &str, versions: &[&str]) {
        fs::write(self.dir(module).join("list"), versions.join("\n")).unwrap();
    }
}

/// A zip archive without compression (APPNOTE.TXT 6.3.10, 4.3.7, 4.3.12 and 4.3.16).
fn zip(files: &[(String, &str)]) -> Vec<u8> {
    let (mut archive, mut directory) = (Vec::new(), Vec::new());
    for (path, text) in files {
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        let [size, length] = [text.len(), path.len()].map(|number| u32::try_from(number).unwrap());
        let offset = u32::try_from(archive.len()).unwrap();
        // Version, flags, method, time and date.
        let mut common = vec![20, 0, 0, 0, 0, 0, 0, 0, 0x21, 0];
        for number in [crc.sum(), size, size] {
            common.extend_from_slice(&number.to_le_bytes());
        }
        common.extend_from_slice(&u16::try_from(length).unwrap().to_le_bytes());
        common.extend_from_slice(&[0, 0]);
        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&common);
        archive.extend_from_slice(path.as_bytes());
        archive.extend_from_slice(text.as_bytes());
        directory.extend_from_slice(b"PK\x01\x02\x14\x00");
        directory.extend_from_slice(&common);
        // Comment, disk and attributes.
        directory.extend_from_slice(&[0; 10]);
        directory.extend_from_slice(&offset.to_le_bytes());
        directory.extend_from_slice(path.as_bytes());
    }
    let start = u32::try_from(archive.len()).unwrap();
    let count = u16::try_from(files.len()).unwrap().to_le_bytes();
    let length = u32::try_from(directory.len()).unwrap();
    archive.append(&mut directory);
    archive.extend_from_slice(b"PK\x05\x06\0\0\0\0");
    archive.extend_from_slice(&count);
    archive.extend_from_slice(&count);
    archive.extend_from_slice(&length.to_le_bytes());
    archive.extend_from_slice(&start.to_le_bytes());
    archive.extend_from_slice(&[0, 0]);
    archive
}
