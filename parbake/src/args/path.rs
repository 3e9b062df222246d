//! Paths. The current directory may be deleted or unreadable, which matters only to relative paths.

use std::env;
use std::io;
use std::path::{self, PathBuf};

use clap::builder::{PathBufValueParser, TypedValueParser};

/// Parses a path, which may be relative to the current directory if there is one.
pub(crate) fn path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| match path.is_relative().then(env::current_dir) {
        Some(Err(error)) => Err(unusable(&error)),
        _ => Ok(path),
    })
}

/// Parses a path and makes it absolute.
pub(super) fn absolute_path() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|path| path::absolute(path).map_err(|error| unusable(&error)))
}

fn unusable(error: &io::Error) -> String {
    format!("the path is relative, and the current directory cannot be used: {error}")
}
