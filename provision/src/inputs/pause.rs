//! `pause`, the program that holds a pod's namespaces. Its C source is in the Kubernetes module.

use std::fs;
use std::path::PathBuf;

use parbake_machine::fs::files::failed;
use parbake_machine::process::Cmd;
use serde::Deserialize;

use super::Binary;
use super::cache::{KeyBuilder, Locked};
use super::error::Error;
use crate::provider::Provider;

/// The name of the binary, the component and the image.
pub(super) const NAME: &str = "pause";
/// Changes whenever this file would build something else from the same inputs.
const RECIPE: u32 = 1;
/// The module with the source.
const MODULE: &str = "k8s.io/kubernetes";
/// The source in the module: the current path, and the one of old versions.
const SOURCES: [&str; 2] = ["build/pause/linux/pause.c", "build/pause/pause.c"];

/// The relevant fields of `go mod download -json` (`go help mod download`).
#[derive(Deserialize)]
struct Download {
    #[serde(rename = "Dir")]
    dir: PathBuf,
}

pub(super) fn build(provider: &Provider, cache: &Locked) -> Result<Binary, Error> {
    let recipe = &provider.recipe;
    let version = recipe
        .components
        .get(NAME)
        .ok_or(Error::Incomplete("`components.pause`"))?;
    let kubernetes = recipe
        .modules
        .get("kubernetes")
        .ok_or(Error::Incomplete("`modules.kubernetes`"))?;
    let dir = provider.dir.join("modules/kubernetes");
    let sums = dir.join("go.sum");
    let compiler = Cmd::new("cc").arg("--version").run()?.stdout;
    let flags = flags(&version.to_string());
    let key = KeyBuilder::new(NAME, RECIPE)
        .field("go.sum", fs::read(&sums).map_err(failed("read", &sums))?)
        .field("kubernetes", recipe.kubernetes.to_string())
        .field("flags", flags.join(" "))
        .field("compiler", compiler);
    let entry = cache.entry(NAME, &key.finish(), "build pause", |out| {
        // Downloads and verifies the module unless a build of Kubernetes did so before.
        let module = Cmd::new("go")
            .args(["mod", "download", "-json", MODULE])
            .env("GOFLAGS", "-mod=readonly")
            .env("GOTOOLCHAIN", format!("go{}", kubernetes.go))
            .env("GOWORK", "off")
            .current_dir(&dir)
            .run()?
            .parse(|text| serde_json::from_str::<Download>(text))?;
        let sources = SOURCES.map(|source| module.dir.join(source));
        let source = sources.iter().find(|source| source.is_file());
        Cmd::new("cc")
            .args(&flags)
            .arg("-o")
            .arg(out.join(NAME))
            .arg(source.unwrap_or(&sources[0]))
            .run()?;
        Ok(())
    })?;
    Ok(Binary {
        path: entry.path.join(NAME),
        sha256: entry.sha256(NAME)?,
    })
}

fn flags(version: &str) -> [String; 5] {
    [
        "-Os".into(),
        "-static".into(),
        "-s".into(),
        "-Wl,--build-id=none".into(),
        format!("-DVERSION=v{version}"),
    ]
}
