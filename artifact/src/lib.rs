//! The frozen cluster as an OCI artifact: format, layers, the local store and registries. Knows
//! nothing of Kubernetes.
//!
//! # The artifact
//! An artifact is an OCI image manifest (OCI image-spec 1.1, manifest.md) whose config says what the cluster
//! is and whose layers are the file trees its machines are stacked from:
//!
//! ```text
//! manifest                     application/vnd.oci.image.manifest.v1+json
//! ├── annotations              dev.parbake.secrets: how many secrets of its users are in it, if they were counted
//! ├── config                   application/vnd.parbake.cluster.config.v1+json, see [`Config`]
//! └── layers[]                 application/vnd.oci.image.layer.v1.tar+zstd, see [`layer`]
//!     └── annotations
//!         ├── dev.parbake.layer.title           what is in it: `os`, `machine/node01`
//!         └── dev.parbake.layer.unpacked-size   length of the tar stream in bytes
//! ```
//!
//! # The store
//! An OCI image layout (OCI image-spec 1.1, image-layout.md) with three names of our own beside it:
//!
//! ```text
//! STORE/                       mode 0700: layers hold set-user-id programs and whatever the cluster keeps
//! ├── oci-layout               {"imageLayoutVersion":"1.0.0"}
//! ├── index.json               tag -> manifest, in the annotation org.opencontainers.image.ref.name;
//! │                            dev.parbake.origin: the reference it was pulled from
//! ├── blobs/sha256/HEX         manifests, configs, layers
//! ├── unpacked/HEX32/          one layer in overlayfs form; HEX32: first 32 digits of its digest
//! ├── tmp/                     what is being written; swept when nobody uses the store
//! ├── index.lock               flock, exclusive while index.json changes
//! └── lock                     flock, shared by everyone who uses the store, exclusive for a sweep
//! ```

pub mod config;
pub mod digest;
pub mod layer;
mod manifest;
pub mod reference;
pub mod registry;
pub mod store;
pub mod tag;

pub use config::{Config, ConfigError, MachineLayers};
pub use digest::{Digest, DigestError};
pub use layer::{Layer, Pack, PackError, Packed, Unpack, UnpackError};
pub use manifest::{
    CONFIG_MEDIA_TYPE, LAYER_MEDIA_TYPE, ManifestError, SECRETS_ANNOTATION, TITLE_ANNOTATION,
    UNPACKED_SIZE_ANNOTATION,
};
pub use reference::{Reference, ReferenceError};
pub use registry::RegistryError;
pub use store::{Artifact, BlobWriter, Draft, Listed, Store, StoreError, Swept, Verified, disk_usage};
pub use tag::{Tag, TagError};
