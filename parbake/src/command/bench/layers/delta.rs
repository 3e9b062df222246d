//! A layer as what makes it out of an older one.

use std::io::{self, Write};

use zstd::stream::write::Encoder;

/// As layers are compressed.
const LEVEL: i32 = 3;

/// The size of `new` when `old` is at hand: `zstd --patch-from`, in bytes.
pub(super) fn size(old: &[u8], new: &[u8]) -> io::Result<u64> {
    let mut encoder = Encoder::with_ref_prefix(Counted(0), LEVEL, old)?;
    encoder.long_distance_matching(true)?;
    encoder.window_log(window_log(old.len().max(new.len())))?;
    encoder.write_all(new)?;
    Ok(encoder.finish()?.0)
}

/// The smallest window that reaches all of so many bytes, as an exponent of two.
fn window_log(bytes: usize) -> u32 {
    bytes.next_power_of_two().trailing_zeros().clamp(10, 31)
}

struct Counted(u64);

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{size, window_log};

    #[test]
    fn what_is_old_costs_next_to_nothing() {
        let old: Vec<u8> = (0..100_000_u32)
            .flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes())
            .collect();
        let new = [b"new".as_slice(), &old, b"newer"].concat();
        assert!(size(&old, &new).unwrap() < 500);
        assert!(size(&[], &new).unwrap() > 300_000);
    }

    #[test]
    fn windows_reach_everything() {
        for (bytes, log) in [(0, 10), (1 << 20, 20), ((1 << 20) + 1, 21), (250_000_000, 28)] {
            assert_eq!(window_log(bytes), log, "{bytes}");
        }
    }
}
