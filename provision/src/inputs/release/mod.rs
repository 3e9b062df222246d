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

mod error;
mod fetch;
mod obtain;
mod pin;
mod plan;
mod reach;
mod sites;
#[cfg(test)]
mod tests;
mod web;

pub use self::error::ReleaseError;
pub use self::obtain::Download;
pub(super) use self::obtain::{Obtained, obtain};
pub(super) use self::pin::{kept, pin};
pub(super) use self::plan::Plan;
pub(super) use self::reach::{can_pin, can_reach, published_digest};
pub use self::sites::{BinaryMirror, ImageMirror, InvalidMirror, Sites};
