//! Changes the age of an artifact. A test cannot change the clock of the host or of a machine, so it moves the recorded
//! times instead.
//!
//! Times are in the artifact's config, in the files of machine layers, and in every object in etcd's database, where Kubernetes
//! stores a time as a protobuf message (`k8s.io/apimachinery`, `meta/v1/generated.proto`, `Timestamp`): field 1 is the
//! seconds since 1970, field 2 the nanoseconds. Present-day seconds take five bytes, also some years earlier or later, and
//! times in JSON have a fixed length. Database pages have no checksums. So times can be
//! changed in place.

use std::fs::{self, File, FileTimes};
use std::path::Path;
use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};

use parbake_test_support::place::{Outcome, check};
use parbake_test_support::variant::Variant;

/// etcd's database in the layer of the control plane.
const DATABASE: &str = "var/lib/etcd/member/snap/db";
/// The bytes before and after the seconds of a time: the tags of field 1 and field 2, both varints.
const BEFORE: u8 = 0x08;
const AFTER: u8 = 0x10;
/// The length of the seconds in bytes.
const BYTES: usize = 5;
/// The length of a formatted time without fractions, in bytes.
const TEXT: usize = 19;
/// The oldest time in an artifact is at most this much older than the artifact: longer than any bake takes.
const BAKE: SignedDuration = SignedDuration::from_hours(2);
/// Every cluster's database has more objects than this, each with its own times.
const FEWEST: usize = 200;

/// Makes the variant older by `by`, or newer if it is negative.
pub(crate) fn age(variant: &mut Variant, by: SignedDuration) -> Outcome {
    let baked = variant.draft.created;
    let titles: Vec<String> = variant
        .draft
        .layers
        .iter()
        .map(|layer| layer.title.clone())
        .filter(|title| title.starts_with("machine/"))
        .collect();
    for title in titles {
        variant.change(&title, |tree| {
            let database = tree.join(DATABASE);
            if database.exists() {
                let mut bytes = fs::read(&database).map_err(|error| error.to_string())?;
                let moved = move_times(&mut bytes, baked - BAKE, baked + BAKE, by);
                let moved = moved + move_texts(&mut bytes, baked - BAKE, baked + BAKE, by);
                check(moved > FEWEST, || {
                    format!("only {moved} times are in the database")
                })?;
                fs::write(&database, bytes).map_err(|error| error.to_string())?;
            }
            move_files(tree, by)
        })?;
    }
    variant.draft.created = baked - by;
    Ok(())
}

/// Moves the times between `from` and `to` in a database back by `by`. Returns their number.
fn move_times(database: &mut [u8], from: Timestamp, to: Timestamp, by: SignedDuration) -> usize {
    let mut moved = 0;
    for at in 0..database.len().saturating_sub(BYTES + 1) {
        if (database[at], database[at + BYTES + 1]) != (BEFORE, AFTER) {
            continue;
        }
        let seconds = &mut database[at + 1..=at + BYTES];
        let Some(time) = read(seconds) else { continue };
        if (from.as_second()..to.as_second()).contains(&time) {
            write(time - by.as_secs(), seconds);
            moved += 1;
        }
    }
    moved
}

/// Moves formatted times, such as `2026-01-31T12:00:00`, in UTC.
fn move_texts(database: &mut [u8], from: Timestamp, to: Timestamp, by: SignedDuration) -> usize {
    let mut moved = 0;
    for at in 0..database.len().saturating_sub(TEXT) {
        let text = &mut database[at..at + TEXT];
        if (text[4], text[7], text[10]) != (b'-', b'-', b'T') {
            continue;
        }
        let time = str::from_utf8(text)
            .ok()
            .and_then(|text| format!("{text}Z").parse().ok());
        if let Some(time) = time.filter(|time: &Timestamp| (from..to).contains(time)) {
            text.copy_from_slice(&(time - by).to_string().as_bytes()[..TEXT]);
            moved += 1;
        }
    }
    moved
}

/// Reads a protobuf varint that takes all of `bytes`: seven bits in each, lowest first, the highest bit set in all
/// but the last.
fn read(bytes: &[u8]) -> Option<i64> {
    let (last, others) = bytes.split_last()?;
    let whole = last & 0x80 == 0 && others.iter().all(|byte| byte & 0x80 != 0);
    whole.then(|| {
        let bits = |number: i64, byte: &u8| number << 7 | i64::from(byte & 0x7f);
        bytes.iter().rev().fold(0, bits)
    })
}

/// Writes a varint of exactly this length.
fn write(number: i64, bytes: &mut [u8]) {
    let last = bytes.len() - 1;
    for (place, byte) in bytes.iter_mut().enumerate() {
        let more = if place < last { 0x80 } else { 0 };
        *byte = (number >> (7 * place)) as u8 & 0x7f | more;
    }
}

/// Moves the modification times of all files and directories below `tree`.
fn move_files(tree: &Path, by: SignedDuration) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", tree.display());
    for entry in fs::read_dir(tree).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            move_files(&entry.path(), by)?;
        } else if kind.is_file() {
            move_file(&entry.path(), by).map_err(failed)?;
        }
    }
    move_file(tree, by).map_err(failed)
}

fn move_file(path: &Path, by: SignedDuration) -> std::io::Result<()> {
    let file = File::open(path)?;
    let moved = |time: SystemTime| {
        let distance = Duration::from_secs(by.as_secs().unsigned_abs());
        if by.is_negative() {
            time + distance
        } else {
            time - distance
        }
    };
    let metadata = file.metadata()?;
    file.set_times(FileTimes::new().set_modified(moved(metadata.modified()?)))
}
