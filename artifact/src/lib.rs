//! The frozen cluster as an OCI artifact: format, layers, the local store and registries. Knows
//! nothing of Kubernetes. Container images in files ([`images`]) and in registries are read here, too, and root file
//! systems that somebody brings ([`rootfs`]).
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
//! An OCI image layout (OCI image-spec 1.1, image-layout.md) with names of our own beside it:
//!
//! ```text
//! STORE/                       mode 0700: layers hold set-user-id programs and whatever the cluster keeps
//! ├── oci-layout               {"imageLayoutVersion":"1.0.0"}
//! ├── index.json               tag -> manifest, in the annotation org.opencontainers.image.ref.name;
//! │                            dev.parbake.origin: the reference it was pulled from;
//! │                            without a tag: documents and signatures, with the digest of
//! │                            the manifest that they belong to in dev.parbake.subject
//! ├── blobs/sha256/HEX         manifests, configs, layers
//! ├── unpacked/HEX32/          one layer in overlayfs form; HEX32: first 32 digits of its digest
//! ├── used/TAG                 empty; changed when the artifact was last made, pulled or started
//! ├── tmp/                     what is being written; swept when nobody uses the store
//! ├── index.lock               flock, exclusive while index.json changes
//! └── lock                     flock, shared by everyone who uses the store, exclusive for who takes something away
//! ```

pub mod config;
mod deltas;
pub mod diff;
pub mod digest;
#[cfg(any(fuzzing, test))]
pub mod fuzzing;
pub mod http;
pub mod images;
pub mod layer;
mod manifest;
pub mod pin;
mod policy;
mod printable;
pub mod reference;
mod referrers;
pub mod registry;
pub mod rootfs;
mod signature;
pub mod store;
pub mod tag;

pub use config::{Config, ConfigError, MachineLayers};
pub use diff::Difference;
pub use digest::{Digest, DigestError, HashingStream};
pub use layer::{Layer, Mismatch, MismatchKind, PackError, PackOptions, Packed, UnpackError, Verification};
pub use manifest::{
    CONFIG_MEDIA_TYPE, LAYER_MEDIA_TYPE, ManifestError, SECRETS_ANNOTATION, TITLE_ANNOTATION,
    UNPACKED_SIZE_ANNOTATION,
};
pub use pin::{Pin, PinError};
pub use policy::{Policy, PolicyError};
pub use printable::{JsonError, printable};
pub use reference::{Reference, ReferenceError};
pub use referrers::{Document, DocumentKind, Referrer};
pub use registry::RegistryError;
pub use signature::{KeyError, PrivateKey, PublicKey, VerifiedSignature};
pub use store::{
    Artifact, ArtifactUsage, BlobProblem, BlobWriter, Examination, ExclusiveStore, Inventory, ListEntry,
    MACHINE_LAYER, NewArtifact, Problem, ProblemKind, PruneCandidate, Removed, Retention, Store, StoreError,
    SweepStats, Usage, VerifyStats, disk_usage,
};
pub use tag::{Tag, TagError};
