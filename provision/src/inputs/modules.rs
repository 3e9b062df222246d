//! Builds binaries from Go modules.
//!
//! `go` verifies every module against the provider's `go.sum`, and the flags leave nothing of this host in the
//! binaries, so equal inputs give equal bytes.

mod c;
mod generate;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter;
use std::path::{Path, PathBuf};

use parbake_cluster::KubernetesVersion;
use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;
use semver::Version;

use super::Binary;
use super::cache::{KeyBuilder, Locked};
use super::error::Error;
use crate::provider::{ModuleFile, Modules, Provider};
use generate::Overlay;

/// Changes whenever this file would build something else from the same inputs.
const RECIPE: u32 = 1;
/// The first Go with `-buildvcs`.
const BUILDVCS: Version = Version::new(1, 18, 0);
/// The folder with the provider's Kubernetes version.
const KUBERNETES: &str = "kubernetes";

/// Builds the modules of the provider and its add-ons that have any of the `wanted` binaries. By name of the binary.
pub(super) fn build_wanted(
    provider: &Provider,
    wanted: &BTreeSet<String>,
    architecture: &str,
    cache: &Locked,
) -> Result<BTreeMap<String, Binary>, Error> {
    let recipe = &provider.recipe;
    let own = Sources {
        dir: &provider.dir,
        kubernetes: Some(&recipe.kubernetes),
        components: &recipe.components,
    };
    let mut binaries = BTreeMap::new();
    let mut build_all = |sources: &Sources<'_>, modules| {
        for (name, modules) in having(modules, wanted) {
            binaries.extend(build(sources, name, modules, architecture, cache)?);
        }
        Ok::<_, Error>(())
    };
    build_all(&own, &recipe.modules)?;
    for addon in &provider.addons {
        let sources = Sources {
            dir: &addon.dir,
            kubernetes: None,
            components: &addon.recipe.components,
        };
        build_all(&sources, &addon.recipe.modules)?;
    }
    Ok(binaries)
}

/// The folders that have any of the `wanted` binaries, by name.
pub(super) fn having<'m>(
    modules: &'m BTreeMap<String, Modules>,
    wanted: &BTreeSet<String>,
) -> impl Iterator<Item = (&'m String, &'m Modules)> {
    let is_wanted = |modules: &Modules| modules.binaries().any(|binary| wanted.contains(binary));
    modules.iter().filter(move |(_, modules)| is_wanted(modules))
}

/// The folder of modules and their versions.
struct Sources<'a> {
    /// The parent of the folder `modules`.
    dir: &'a Path,
    kubernetes: Option<&'a KubernetesVersion>,
    components: &'a BTreeMap<String, Version>,
}

fn build(
    sources: &Sources<'_>,
    name: &str,
    modules: &Modules,
    architecture: &str,
    cache: &Locked,
) -> Result<BTreeMap<String, Binary>, Error> {
    let dir = sources.dir.join("modules").join(name);
    let arguments = arguments(modules);
    let go = Go {
        dir: &dir,
        environment: environment(modules, architecture),
    };
    let mut key = KeyBuilder::new("modules", RECIPE);
    for file in ["go.mod", "go.sum"] {
        let path = dir.join(file);
        key = key.field(file, fs::read(&path).map_err(failed("read", &path))?);
    }
    for argument in &arguments {
        key = key.field("argument", argument);
    }
    for (variable, value) in &go.environment {
        key = key.field(variable, value);
    }
    for (command, package) in &modules.commands {
        key = key.field(command, package);
    }
    for (binary, package) in &modules.tests {
        key = key.field("test", binary).field(binary, package);
    }
    for (name, ModuleFile { module, path }) in &modules.files {
        key = key.field("file", name).field(module, path);
    }
    for (name, ModuleFile { module, path }) in &modules.c {
        key = key.field("c", name).field(module, path);
        key = key.field("compiler", c::compiler()?);
    }
    let key = generate::key(key, modules).finish();
    let what = format!("build {} from Go modules", summary(name, modules));
    let entry = cache.entry("modules", &key, &what, |out| {
        let overlay = generate::overlay(modules, &go, cache)?;
        let overlay: Vec<String> = overlay.iter().map(Overlay::flag).collect();
        let build = |words: &[String], to: &Path, packages: &mut dyn Iterator<Item = &String>| {
            let go = go.cmd().args(words).args(&overlay).arg("-o").arg(to);
            go.args(packages).run()
        };
        if !modules.commands.is_empty() {
            build(&arguments, out, &mut modules.commands.values())?;
        }
        for (command, package) in &modules.commands {
            let (built, wanted) = (out.join(output_name(package)), out.join(command));
            fs::rename(&built, &wanted).map_err(failed("rename", &built))?;
        }
        for (binary, package) in &modules.tests {
            let compile = ["test".to_owned(), "-c".to_owned()];
            let words = [compile.as_slice(), &arguments[1..]].concat();
            build(&words, &out.join(binary), &mut iter::once(package))?;
        }
        for (name, ModuleFile { module, path }) in &modules.files {
            let from = sources_of(module, &go)?.join(path);
            fs::copy(&from, out.join(name)).map_err(failed("copy", &from))?;
        }
        for (name, ModuleFile { module, path }) in &modules.c {
            c::build(&sources_of(module, &go)?.join(path), &out.join(name))?;
        }
        for binary in modules.commands.keys().chain(modules.tests.keys()) {
            check_version(sources, name, binary, &out.join(binary))?;
        }
        Ok(())
    })?;
    modules
        .binaries()
        .map(|command| {
            let binary = Binary {
                path: entry.path.join(command),
                sha256: entry.sha256(command)?,
            };
            Ok((command.clone(), binary))
        })
        .collect()
}

/// `go` in a folder with a `go.mod`, with the toolchain of the recipe.
struct Go<'a> {
    dir: &'a Path,
    environment: [(&'static str, String); 8],
}

impl Go<'_> {
    /// Builds for the nodes' architecture.
    fn cmd(&self) -> Cmd {
        self.with(Cmd::new("go"), |_| true)
    }

    /// Builds for this host.
    fn here(&self) -> Cmd {
        self.here_with(Path::new("go"))
    }

    /// A program that calls `go` for this host.
    fn here_with(&self, program: &Path) -> Cmd {
        self.with(Cmd::new(program), |variable| variable != "GOARCH")
    }

    fn with(&self, cmd: Cmd, wanted: impl Fn(&str) -> bool) -> Cmd {
        let set = self.environment.iter().filter(|(variable, _)| wanted(variable));
        set.fold(cmd, |cmd, (variable, value)| cmd.env(variable, value))
            .current_dir(self.dir)
    }
}

/// The directory with the sources of a module, which `go` has checked against `go.sum`.
fn sources_of(module: &str, go: &Go<'_>) -> Result<PathBuf, Error> {
    let list = go.cmd().args(["list", "-m", "-f", "{{.Dir}}", module]);
    Ok(PathBuf::from(list.run()?.stdout.trim()))
}

fn summary(name: &str, modules: &Modules) -> String {
    match modules.binaries().count() {
        1 => name.to_owned(),
        count => format!("{name} ({count} commands)"),
    }
}

fn arguments(modules: &Modules) -> Vec<String> {
    let mut linker = "-s -w -buildid=".to_owned();
    for (variable, value) in &modules.variables {
        linker.push_str(&format!(" -X {variable}={value}"));
    }
    let mut arguments = vec!["build", "-trimpath"];
    if modules.go >= BUILDVCS {
        arguments.push("-buildvcs=false");
    }
    let tags = modules.tags.join(",");
    if !tags.is_empty() {
        arguments.extend(["-tags", &tags]);
    }
    arguments.extend(["-ldflags", &linker]);
    arguments.into_iter().map(str::to_owned).collect()
}

fn environment(modules: &Modules, architecture: &str) -> [(&'static str, String); 8] {
    [
        ("CGO_ENABLED", "0".into()),
        ("GOARCH", architecture.into()),
        ("GOAMD64", "v1".into()),
        ("GOEXPERIMENT", String::new()),
        ("GOFLAGS", "-mod=readonly".into()),
        ("GOOS", "linux".into()),
        ("GOTOOLCHAIN", format!("go{}", modules.go)),
        ("GOWORK", "off".into()),
    ]
}

/// The name that `go build` gives to a package's binary: the last part of its path that is not a major version.
fn output_name(package: &str) -> &str {
    let is_major = |part: &str| {
        part.strip_prefix('v')
            .is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    match package.rsplit_once('/') {
        Some((rest, last)) if is_major(last) => rest.rsplit_once('/').map_or(rest, |(_, name)| name),
        Some((_, last)) => last,
        None => package,
    }
}

fn check_version(sources: &Sources<'_>, module: &str, command: &str, path: &Path) -> Result<(), Error> {
    let kubernetes = sources.kubernetes.filter(|_| module == KUBERNETES);
    let expected = match (sources.components.get(module), kubernetes) {
        (Some(version), _) => format!("v{version}"),
        (None, Some(version)) => version.to_string(),
        (None, None) => return Err(Error::Incomplete("version of every folder of modules")),
    };
    let found = Cmd::new("go")
        .args(["version", "-m"])
        .arg(path)
        .run()?
        .parse(main_version)?;
    if found == expected {
        Ok(())
    } else {
        Err(Error::BinaryVersion {
            command: command.into(),
            module: module.into(),
            expected,
            found,
        })
    }
}

/// The version of the main package's module in the output of `go version -m`.
fn main_version(text: &str) -> Result<String, &'static str> {
    text.lines()
        .find_map(|line| line.strip_prefix("\tmod\t"))
        .and_then(|module| module.split('\t').nth(1))
        .map(str::to_owned)
        .ok_or("it names no main module")
}

#[cfg(test)]
mod tests {
    use super::{arguments, main_version, output_name};
    use crate::provider::Modules;

    #[test]
    fn output_names_match_those_of_go() {
        for (package, name) in [
            ("k8s.io/kubernetes/cmd/kubelet", "kubelet"),
            ("go.etcd.io/etcd/server/v3", "server"),
            ("github.com/coredns/coredns", "coredns"),
            ("example/value", "value"),
            ("example/v", "v"),
            ("plain", "plain"),
        ] {
            assert_eq!(output_name(package), name);
        }
    }

    #[test]
    fn variables_are_linker_flags() {
        let modules = |go: &str, tags: &[&str]| Modules {
            go: go.parse().unwrap(),
            tests: [].into(),
            files: [].into(),
            c: [].into(),
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            generated: [].into(),
            commands: [("a".into(), "example/a".into())].into(),
            variables: [
                ("x/version.a".into(), "1".into()),
                ("x/version.b".into(), "2".into()),
            ]
            .into(),
        };
        let flags = "-s -w -buildid= -X x/version.a=1 -X x/version.b=2";
        let [new, old] = ["1.26.8", "1.17.13"].map(|go| arguments(&modules(go, &[])));
        assert_eq!(new, ["build", "-trimpath", "-buildvcs=false", "-ldflags", flags]);
        assert_eq!(old, ["build", "-trimpath", "-ldflags", flags]);
        let tagged = arguments(&modules("1.26.8", &["small", "static"]));
        assert_eq!(tagged[3..5], ["-tags", "small,static"]);
    }

    #[test]
    fn version_is_read_from_the_binary() {
        let text = "/b/kubelet: go1.26.8\n\tpath\tk8s.io/kubernetes/cmd/kubelet\n\
                    \tmod\tk8s.io/kubernetes\tv1.34.4\th1:Yy6R\n\tdep\tcel.dev/expr\tv0.24.0\th1:56\n";
        assert_eq!(main_version(text).unwrap(), "v1.34.4");
        assert!(main_version("/b/sh: no Go").is_err());
    }
}
