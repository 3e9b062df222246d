//! The modules of Go binaries, from the list that the linker embeds (Go, `runtime/debug.BuildInfo`).

use std::collections::BTreeMap;
use std::fs;

use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;

use super::Binary;
use super::cache::{KeyBuilder, Locked};
use super::error::Error;

/// Changes whenever this file would produce another list for the same binaries.
const RECIPE: u32 = 1;

/// What a Go binary was built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoBuild {
    /// Version of the toolchain, for example `1.26.8`.
    pub go: String,
    /// The module of its `main` package.
    pub main: GoModule,
    /// All other modules, after replacements.
    pub modules: Vec<GoModule>,
}

/// A Go module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoModule {
    pub path: String,
    /// For example `v1.34.4`.
    pub version: String,
    /// Checksum as in `go.sum`, `h1:` and base64; may be empty.
    pub sum: String,
}

/// Lists the modules of `binaries`. With `built_here`, every binary must have a list; otherwise binaries without one are
/// skipped, and all of them if this host has no `go`.
pub(super) fn read(
    binaries: &BTreeMap<String, Binary>,
    built_here: bool,
    cache: &Locked,
) -> Result<BTreeMap<String, GoBuild>, Error> {
    let key = binaries
        .iter()
        .fold(KeyBuilder::new("buildinfo", RECIPE), |key, (name, binary)| {
            key.field(name, &binary.sha256)
        });
    let what = "list the modules in the binaries";
    let made = cache.entry("buildinfo", &key.finish(), what, |out| {
        for (name, binary) in binaries {
            let output = Cmd::new("go").args(["version", "-m"]).arg(&binary.path).run();
            let output = match output {
                Err(parbake_machine::Error::Failed { .. }) if !built_here => continue,
                output => output?,
            };
            // Only valid output is cached.
            if let Err(error) = output.parse(parse) {
                if built_here {
                    return Err(error.into());
                }
                continue;
            }
            let path = out.join(name);
            fs::write(&path, output.stdout).map_err(failed("write", &path))?;
        }
        Ok(())
    });
    let entry = match made {
        Err(Error::Machine(parbake_machine::Error::Start { .. })) if !built_here => {
            tracing::info!("the modules of binaries are not listed: this host has no `go`");
            return Ok(BTreeMap::new());
        }
        made => made?,
    };
    let read = |name: &String| {
        let path = entry.path.join(name);
        let text = fs::read_to_string(&path).map_err(failed("read", &path))?;
        let parsed = parse(&text).map_err(std::io::Error::other);
        Ok((name.clone(), parsed.map_err(failed("parse", &path))?))
    };
    let listed = binaries.keys().filter(|name| entry.path.join(name).exists());
    listed.map(read).collect()
}

/// Parses the output of `go version -m`.
fn parse(text: &str) -> Result<GoBuild, &'static str> {
    let mut lines = text.lines();
    let go = lines.next().and_then(|line| line.rsplit_once(": go"));
    let (_, go) = go.ok_or("its first line has no version of Go")?;
    let (mut main, mut modules) = (None, Vec::new());
    for line in lines {
        let mut fields = line.trim_start_matches('\t').split('\t');
        let kind = fields.next().unwrap_or_default();
        let mut field = || fields.next().unwrap_or_default().to_owned();
        let module = GoModule {
            path: field(),
            version: field(),
            sum: field(),
        };
        match kind {
            "mod" => main = Some(module),
            "dep" => modules.push(module),
            // Replaces the module of the previous line.
            "=>" => match modules.last_mut().or(main.as_mut()) {
                Some(replaced) => *replaced = module,
                None => return Err("it replaces a module that it does not list"),
            },
            _ => {}
        }
    }
    Ok(GoBuild {
        go: go.split(' ').next().unwrap_or(go).to_owned(),
        main: main.ok_or("it has no main module")?,
        modules,
    })
}

#[cfg(test)]
mod tests {
    use super::{GoModule, parse};

    fn module(path: &str, version: &str, sum: &str) -> GoModule {
        GoModule {
            path: path.into(),
            version: version.into(),
            sum: sum.into(),
        }
    }

    #[test]
    fn modules_are_parsed_with_replacements() {
        let text = "/b/kubelet: go1.26.8 X:nodwarf5\n\tpath\tk8s.io/kubernetes/cmd/kubelet\n\
                    \tmod\tk8s.io/kubernetes\tv1.34.4\th1:Yy6R\n\tdep\tcel.dev/expr\tv0.24.0\th1:56\n\
                    \tdep\tk8s.io/api\tv0.0.0\n\t=>\tk8s.io/api\tv0.34.4\th1:aa=\n\
                    \tbuild\t-buildmode=exe\n";
        let build = parse(text).unwrap();
        assert_eq!(build.go, "1.26.8");
        assert_eq!(build.main, module("k8s.io/kubernetes", "v1.34.4", "h1:Yy6R"));
        assert_eq!(
            build.modules,
            [
                module("cel.dev/expr", "v0.24.0", "h1:56"),
                module("k8s.io/api", "v0.34.4", "h1:aa=")
            ]
        );
    }

    #[test]
    fn output_without_modules_is_rejected() {
        for text in [
            "",
            "/b/sh: no Go",
            "/b/x: go1.26.8\n\tpath\tx\n",
            "/b/x: go1\n\t=>\ta\tb\tc\n",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
