//! Source `release`: published binaries and the image registry, or mirrors of both.
//!
//! ```text
//! CACHE/partial/HEX          a file that is on its way, HEX.part; whole and checked without the ending
//! CACHE/partial/HEX.image/   the same for an image: a layout that is not whole before it has its index
//! CACHE/released/KEY/        a binary
//! CACHE/images/KEY/          an image
//! ```
//!
//! All are fetched side by side; what broke off goes on where it was, also in the next bake.

mod download;
mod error;
mod fetch;
mod http;
mod mirrors;
mod pin;
mod plan;
mod reach;
#[cfg(test)]
mod tests;

pub use self::download::Download;
pub(super) use self::download::{Downloads, download};
pub use self::error::ReleaseError;
pub use self::mirrors::{BinaryMirror, ImageMirror, InvalidMirror, ReleaseMirrors};
pub(super) use self::pin::{kept, pin};
pub(super) use self::plan::Plan;
pub(super) use self::reach::{can_pin, can_reach, published_digest};
