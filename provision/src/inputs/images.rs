//! The container images that kubeadm and add-ons need, assembled from binaries and Debian packages.

use std::collections::{BTreeMap, BTreeSet};

use parbake_machine::process::Cmd;

use super::cache::{KeyBuilder, Locked};
use super::debian::{self, Debian};
use super::error::Error;
use super::oci_image::{self, Image};
use super::{Binary, ImageArchive};
use crate::provider::{ImageRecipe, Provider};

/// Changes whenever this file or [`oci_image`] would make something else from the same inputs.
const RECIPE: u32 = 1;
/// The name of the archive in a cache entry.
const ARCHIVE: &str = "image.tar";

/// Archives of all images of the provider and its add-ons. An image for which `ready` returns an archive is not assembled.
pub(super) fn assemble(
    provider: &Provider,
    binaries: &BTreeMap<String, Binary>,
    ready: impl Fn(&str, &str) -> Result<Option<ImageArchive>, Error>,
    debian: &Debian<'_>,
    cache: &Locked,
) -> Result<Vec<ImageArchive>, Error> {
    let recipe = &provider.recipe;
    let kubeadm = binaries
        .get("kubeadm")
        .ok_or(Error::Incomplete("command `kubeadm`"))?;
    let assemble =
        |name: &String, image, reference| assemble_one(name, image, reference, binaries, debian, cache);
    let mut archives = Vec::new();
    // A preview may have no kubeadm to run.
    let can_list = !cache.is_preview() || kubeadm.path.exists();
    let references = if can_list {
        references(provider, kubeadm)?
    } else {
        BTreeMap::new()
    };
    for (name, reference) in references {
        archives.push(match (ready(&name, &reference)?, recipe.images.get(&name)) {
            (Some(archive), _) => archive,
            (None, Some(image)) => assemble(&name, image, reference)?,
            (None, None) => continue,
        });
    }
    for (name, image) in provider.addons.iter().flat_map(|addon| &addon.recipe.images) {
        archives.push(match ready(name, &image.reference)? {
            Some(archive) => archive,
            None => assemble(name, &image.recipe, image.reference.clone())?,
        });
    }
    Ok(archives)
}

/// The full names of the images that `kubeadm` needs, by short name.
pub(super) fn references(provider: &Provider, kubeadm: &Binary) -> Result<BTreeMap<String, String>, Error> {
    let recipe = &provider.recipe;
    let version = recipe.kubernetes.to_string();
    let listed = Cmd::new(&kubeadm.path)
        .args(["config", "images", "list", "--kubernetes-version", &version])
        .run()?
        .stdout;
    let references = named(&listed, &recipe.images)?;
    Ok(recipe.images.keys().cloned().zip(references).collect())
}

fn assemble_one(
    name: &str,
    image: &ImageRecipe,
    reference: String,
    binaries: &BTreeMap<String, Binary>,
    debian: &Debian<'_>,
    cache: &Locked,
) -> Result<ImageArchive, Error> {
    let set = format!("image/{name}");
    let mut key = KeyBuilder::new("image", RECIPE)
        .field("reference", &reference)
        .field("architecture", debian.architecture())
        .field("packages", debian.fingerprint(&set))
        .field("prune", debian::prune::FINGERPRINT);
    let mut files = BTreeMap::new();
    for (path, binary) in &image.files {
        let binary = binaries
            .get(binary)
            .ok_or(Error::Incomplete("build of a binary in an image"))?;
        key = key.field(path, &binary.sha256);
        files.insert(path.clone(), binary.path.clone());
    }
    for (path, target) in &image.links {
        key = key.field(path, target);
    }
    for path in &image.directories {
        key = key.field("directory", path);
    }
    for word in &image.entrypoint {
        key = key.field("entrypoint", word);
    }
    for word in &image.arguments {
        key = key.field("argument", word);
    }
    for path in &image.setuid {
        key = key.field("setuid", path);
    }
    if !image.user.is_empty() {
        key = key.field("user", &image.user);
    }
    let key = key.finish();
    let entry = cache.entry("images", &key, &format!("assemble the image {name}"), |out| {
        let tree = cache.temp_dir()?;
        debian.unpack(&set, tree.path())?;
        oci_image::write(
            &Image {
                reference: &reference,
                architecture: debian.architecture(),
                tree: tree.path(),
                files: &files,
                setuid: &image.setuid,
                links: &image.links,
                directories: &image.directories,
                entrypoint: &image.entrypoint,
                arguments: &image.arguments,
                user: &image.user,
            },
            &out.join(ARCHIVE),
        )
    })?;
    Ok(ImageArchive {
        short_name: name.to_owned(),
        names: vec![reference.clone()],
        reference,
        path: entry.path.join(ARCHIVE),
        key: key.to_string(),
    })
}

/// The full name of each of `images`, in their order. `list` has one full name per line.
fn named(list: &str, images: &BTreeMap<String, ImageRecipe>) -> Result<Vec<String>, Error> {
    let references: BTreeMap<&str, &str> = list
        .split_whitespace()
        .map(|reference| (short_name(reference), reference))
        .collect();
    let described: BTreeSet<&str> = images.keys().map(String::as_str).collect();
    if let Some((short_name, reference)) = references.iter().find(|(name, _)| !described.contains(*name)) {
        let (reference, short_name) = ((*reference).to_owned(), (*short_name).to_owned());
        return Err(Error::NoImage {
            reference,
            short_name,
        });
    }
    described
        .iter()
        .map(|name| match references.get(name) {
            Some(reference) => Ok((*reference).to_owned()),
            None => Err(Error::ExtraImage {
                short_name: (*name).to_owned(),
            }),
        })
        .collect()
}

/// The last part of an image's name, without its tag.
pub(super) fn short_name(reference: &str) -> &str {
    let last = reference.rsplit_once('/').map_or(reference, |(_, last)| last);
    last.split_once(':').map_or(last, |(name, _)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::named;
    use crate::provider::ImageRecipe;

    const LIST: &str =
        "registry.example:5000/kube-apiserver:v1.34.4\nregistry.example:5000/coredns/coredns:v1.12.1\n";

    fn named_for(names: &[&str]) -> Result<Vec<String>, String> {
        let image = || ImageRecipe {
            files: BTreeMap::new(),
            setuid: Vec::new(),
            links: BTreeMap::new(),
            directories: Vec::new(),
            packages: Vec::new(),
            entrypoint: Vec::new(),
            arguments: Vec::new(),
            user: String::new(),
        };
        let images = names.iter().map(|name| ((*name).to_owned(), image())).collect();
        named(LIST, &images).map_err(|error| error.to_string())
    }

    #[test]
    fn images_are_matched_by_the_last_part_of_their_name() {
        let references = named_for(&["kube-apiserver", "coredns"]).unwrap();
        assert_eq!(
            references,
            [
                "registry.example:5000/coredns/coredns:v1.12.1",
                "registry.example:5000/kube-apiserver:v1.34.4"
            ]
        );
    }

    #[test]
    fn images_of_kubeadm_and_provider_must_match() {
        assert_eq!(
            named_for(&["kube-apiserver"]).unwrap_err(),
            "kubeadm needs the image `registry.example:5000/coredns/coredns:v1.12.1`; add `images.coredns` to the provider \
             file"
        );
        assert_eq!(
            named_for(&["kube-apiserver", "coredns", "etcd"]).unwrap_err(),
            "kubeadm does not need the image `etcd` of the provider file"
        );
    }
}
