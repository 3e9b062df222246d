//! Container images in files: what tools such as `docker save` and skopeo write, read before anything is done with it.

mod archive;
mod bundle;
mod docker;
mod error;
mod extract;
mod layers;
mod oci;
#[cfg(test)]
mod tests;

pub use archive::Archive;
pub(crate) use bundle::{open, walk_names};
pub(crate) use docker::MANIFEST as DOCKER_MANIFEST;
pub use error::ImageError;
pub use extract::extract_files;
pub(crate) use layers::{LAYOUT, layers_of, read_layer};
/// What an image is called, made complete as Docker does: `app` is `docker.io/library/app:latest`.
pub use oci_spec::distribution::Reference as ImageName;

/// The name by which a container runtime looks for what a pod calls `name`: complete, and without its tag where there is
/// a digest. What is no name stays as it is.
pub fn runtime_name(name: &str) -> String {
    let Ok(parsed) = name.parse::<ImageName>() else {
        return name.to_owned();
    };
    match parsed.digest() {
        Some(digest) => parsed.clone_with_digest(digest.to_owned()).whole(),
        None => parsed.whole(),
    }
}
