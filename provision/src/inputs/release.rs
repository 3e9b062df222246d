//! Source `release`: published binaries and the image registry, or mirrors of both.
//!
//! ```text
//! CACHE/partial/HEX          a downloaded and verified file; HEX.part while it is incomplete
//! CACHE/partial/HEX.image/   an OCI image layout, incomplete until it has its index
//! CACHE/released/KEY/        a binary
//! CACHE/images/KEY/          an image
//! ```
//!
//! Downloads run in parallel. Interrupted ones resume, also in the next bake.

mod download;
mod error;
mod fetch;
mod mirrors;
mod pin;
mod plan;
mod reach;

pub use self::download::Download;
pub(super) use self::download::{Downloads, download};
pub use self::error::ReleaseError;
pub use self::mirrors::{BinaryMirror, ImageMirror, InvalidMirror, ReleaseMirrors};
pub(super) use self::pin::{kept, pin};
pub(super) use self::plan::{KUBEADM, Plan, urls};
pub(super) use self::reach::{published_digest, remove_unreachable, unreachable};

#[cfg(test)]
mod tests;
