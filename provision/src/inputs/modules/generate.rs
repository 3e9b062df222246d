//! Generates source files that a published module lacks, with a generator from the same modules. The build gets them in an
//! overlay (`go help build`, `-overlay`), since the sources that `go` has checked stay unchanged.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;
use tempfile::TempDir;

use parbake_machine::fs::files::failed;

use super::super::cache::{KeyBuilder, Locked};
use super::super::error::Error;
use super::{Go, sources_of};
use crate::provider::{GeneratedFile, ModuleFile, Modules};

/// The output format of `go list`: import path, directory and files, separated by tabs.
const PACKAGE: &str = "{{if not .Standard}}{{.ImportPath}}\t{{.Dir}}{{range .GoFiles}}\t{{.}}{{end}}{{end}}";

/// An overlay with generated files.
pub(super) struct Overlay {
    file: PathBuf,
    _dir: TempDir,
}

impl Overlay {
    /// The flag for `go build`.
    pub(super) fn flag(&self) -> String {
        format!("-overlay={}", self.file.display())
    }
}

/// Adds everything that determines generated files to a key.
pub(super) fn key(mut key: KeyBuilder, modules: &Modules) -> KeyBuilder {
    for (ModuleFile { module, path }, generated) in &modules.generated {
        key = key.field("generated", module).field(path, &generated.by);
        key = key.field("marker", generated.marker.as_deref().unwrap_or_default());
        for argument in &generated.arguments {
            key = key.field("argument", argument);
        }
    }
    key
}

/// Generates the files that `modules` lack; `None` if there are none.
pub(super) fn overlay(modules: &Modules, go: &Go<'_>, cache: &Locked) -> Result<Option<Overlay>, Error> {
    if modules.generated.is_empty() {
        return Ok(None);
    }
    let dir = cache.temp_dir()?;
    let mut replace = BTreeMap::new();
    for (number, (ModuleFile { module, path }, generated)) in modules.generated.iter().enumerate() {
        let made = generate(
            module,
            path,
            modules,
            generated,
            go,
            &dir.path().join(number.to_string()),
        )?;
        replace.insert(sources_of(module, go)?.join(path), made);
    }
    let file = dir.path().join("overlay.json");
    let text = json!({ "Replace": replace }).to_string();
    fs::write(&file, text).map_err(failed("write", &file))?;
    Ok(Some(Overlay { file, _dir: dir }))
}

fn generate(
    module: &str,
    path: &str,
    modules: &Modules,
    generated: &GeneratedFile,
    go: &Go<'_>,
    dir: &Path,
) -> Result<PathBuf, Error> {
    let _step = tracing::debug_span!("step", what = format!("generate {module}/{path}")).entered();
    let (generator, out) = (dir.join("generator"), dir.join("out"));
    fs::create_dir_all(&out).map_err(failed("create", &out))?;
    go.here()
        .args(["build", "-o"])
        .arg(&generator)
        .arg(&generated.by)
        .run()?;
    let packages = match &generated.marker {
        Some(marker) => marked(marker, modules, go)?,
        None => Vec::new(),
    };
    // Generators run `go` themselves, which must be the same version to find the modules.
    let root = go.here().args(["env", "GOROOT"]).run()?.stdout;
    go.here_with(&generator)
        .env("PATH", first_in_path(&Path::new(root.trim()).join("bin")))
        .args(generated.arguments(&out.to_string_lossy(), &packages))
        .run()?;
    let made = out.join(module).join(path);
    // A missing file is reported now instead of after a long build.
    fs::metadata(&made).map_err(failed("find the generated file", &made))?;
    Ok(made)
}

/// `PATH` with `dir` first.
fn first_in_path(dir: &Path) -> OsString {
    let mut path = dir.as_os_str().to_owned();
    if let Some(others) = env::var_os("PATH") {
        path.push(":");
        path.push(others);
    }
    path
}

/// The dependencies of the commands that have `marker` in one of their files, sorted.
fn marked(marker: &str, modules: &Modules, go: &Go<'_>) -> Result<Vec<String>, Error> {
    // `-e` lists packages that lack a file, too.
    let list = go.cmd().args(["list", "-e", "-deps", "-f", PACKAGE]);
    let listed = list.args(modules.commands.values()).run()?.stdout;
    let mut packages = Vec::new();
    for line in listed.lines() {
        let mut words = line.split('\t');
        let (Some(package), Some(dir)) = (words.next(), words.next()) else {
            continue;
        };
        if has(marker, Path::new(dir), words)? {
            packages.push(package.to_owned());
        }
    }
    packages.sort();
    Ok(packages)
}

fn has<'a>(marker: &str, dir: &Path, files: impl Iterator<Item = &'a str>) -> Result<bool, Error> {
    for file in files {
        let path = dir.join(file);
        let text = fs::read(&path).map_err(failed("read", &path))?;
        if text.windows(marker.len()).any(|part| part == marker.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{has, key};
    use crate::inputs::cache::KeyBuilder;
    use crate::provider::{GeneratedFile, Modules};

    fn modules(marker: Option<&str>, arguments: &[&str]) -> Modules {
        let generated = GeneratedFile {
            by: "example/gen".into(),
            arguments: arguments.iter().map(|&word| word.into()).collect(),
            marker: marker.map(str::to_owned),
        };
        Modules {
            go: "1.17.13".parse().unwrap(),
            commands: [].into(),
            tests: [].into(),
            files: [].into(),
            c: [].into(),
            tags: Vec::new(),
            variables: [].into(),
            generated: [("example/a//b/c.go".to_owned().try_into().unwrap(), generated)].into(),
        }
    }

    #[test]
    fn key_covers_all_fields() {
        let of = |modules: &Modules| key(KeyBuilder::new("modules", 1), modules).finish();
        let mut none = modules(None, &[]);
        none.generated.clear();
        assert_eq!(of(&none), KeyBuilder::new("modules", 1).finish());
        let all = [
            of(&none),
            of(&modules(None, &["{out}"])),
            of(&modules(Some("+x"), &["{out}"])),
            of(&modules(Some("+x"), &["{out}", "{packages}"])),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }

    #[test]
    fn placeholders_are_replaced() {
        let modules = modules(Some("+x"), &["--out={out}/a", "-i", "{packages}"]);
        let generated = modules.generated.values().next().unwrap();
        let packages = ["a/b", "c"].map(str::to_owned);
        assert_eq!(
            generated.arguments("/o", &packages),
            ["--out=/o/a", "-i", "a/b,c"]
        );
    }

    #[test]
    fn marker_can_be_in_any_file() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.go"), "package a\n").unwrap();
        fs::write(dir.path().join("b.go"), "// +x:gen=true\npackage a\n").unwrap();
        let marked = |files: &[&str]| has("+x:gen=", dir.path(), files.iter().copied()).unwrap();
        assert!(marked(&["a.go", "b.go"]) && !marked(&["a.go"]) && !marked(&[]));
        assert!(has("+x", dir.path(), ["c.go"].into_iter()).is_err());
    }
}
