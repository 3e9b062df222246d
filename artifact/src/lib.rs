//! The frozen cluster as an OCI artifact: format, layers, local store and registries. Knows nothing of Kubernetes. Also reads
//! container images in files ([`images`]) and registries, and root file systems ([`rootfs`]).
//!
//! # The artifact
//! An artifact is an OCI image manifest (OCI image-spec 1.1, manifest.md) whose config describes the cluster, and whose
//! layers are the file trees of its machines:
//!
//! ```text
//! manifest                     application/vnd.oci.image.manifest.v1+json
//! ├── annotations              dev.parbake.secrets: number of its users' secrets, if counted
//! ├── config                   application/vnd.parbake.cluster.config.v1+json, see [`Config`]
//! └── layers[]                 application/vnd.oci.image.layer.v1.tar+zstd, see [`layer`]
//!     └── annotations
//!         ├── dev.parbake.layer.title           `os`, `machine/node01`
//!         └── dev.parbake.layer.unpacked-size   length of the tar stream in bytes
//! ```
//!
//! # The store
//! An OCI image layout (OCI image-spec 1.1, image-layout.md) with more files:
//!
//! ```text
//! STORE/                       mode 0700: layers have set-user-ID programs and the cluster's data
//! ├── oci-layout               {"imageLayoutVersion":"1.0.0"}
//! ├── index.json               tag -> manifest, in the annotation org.opencontainers.image.ref.name;
//! │                            dev.parbake.origin: the reference it was pulled from;
//! │                            without a tag: documents and signatures, with the digest of
//! │                            their artifact's manifest in dev.parbake.subject
//! ├── blobs/sha256/HEX         manifests, configs, layers
//! ├── unpacked/HEX32/          one layer in overlayfs form; HEX32: first 32 digits of its digest
//! ├── used/TAG                 empty; modified when the artifact is made, pulled or started
//! ├── tmp/                     files being written; swept while the store is not in use
//! ├── index.lock               flock, exclusive while index.json changes
//! └── lock                     flock, shared while the store is in use, exclusive while files are removed
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
mod sparse;
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
