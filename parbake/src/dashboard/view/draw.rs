//! Bars, curves and quantities as text.

use std::collections::VecDeque;

/// The heights of a curve, lowest first.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The ends of bars, in eighths of a character.
const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];

/// The last `width` values as a curve from 0 to the maximum, or to `top` if that is higher.
pub(super) fn curve(values: &VecDeque<f64>, width: usize, top: f64) -> String {
    let top = values.iter().copied().fold(top, f64::max).max(f64::MIN_POSITIVE);
    let shown = values.iter().skip(values.len().saturating_sub(width));
    let points = shown.map(|value| HEIGHTS[round(value / top * 8.0).saturating_sub(1).min(7)]);
    format!("{:>width$}", points.collect::<String>())
}

/// A bar of `part` of `width` characters.
pub(super) fn bar(part: f64, width: usize) -> String {
    let eighths = round(part.clamp(0.0, 1.0) * to_f64(width) * 8.0);
    format!("{}{}", "█".repeat(eighths / 8), EIGHTHS[eighths % 8])
}

/// A bar of something that has not ended.
pub(super) fn open_bar(part: f64, width: usize) -> String {
    "░".repeat(round(part.clamp(0.0, 1.0) * to_f64(width)))
}

#[expect(clippy::cast_precision_loss, reason = "screens are not that wide")]
fn to_f64(width: usize) -> f64 {
    width as f64
}

/// Rounds; 0 for negative values and NaN, as `as` does.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` saturates"
)]
fn round(value: f64) -> usize {
    value.round() as usize
}

/// An amount of memory in five characters, such as `1.24G`.
pub(super) fn memory(bytes: f64) -> String {
    let (unit, letter) = [(1e12, 'T'), (1e9, 'G'), (1e6, 'M'), (1e3, 'k')]
        .into_iter()
        .find(|(unit, _)| bytes >= unit * 0.9995)
        .unwrap_or((1.0, 'B'));
    let number = bytes / unit;
    let digits = match number {
        _ if letter == 'B' => 0,
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{number:.digits$}{letter}")
}

/// A duration in its largest unit, such as `3m`.
pub(super) fn age(seconds: i64) -> String {
    match seconds.max(0) {
        seconds @ ..60 => format!("{seconds}s"),
        seconds @ ..3_600 => format!("{}m", seconds / 60),
        seconds @ ..86_400 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::{age, bar, curve, memory, open_bar};

    #[test]
    fn curve_shows_the_last_values() {
        let cases = [
            (vec![], 4, 0.0, "    "),
            (vec![0.0, 4.0, 8.0], 3, 0.0, "▁▄█"),
            (vec![8.0, 1.0, 2.0], 2, 0.0, "▁▂"),
            (vec![0.5], 3, 1.0, "  ▄"),
            (vec![0.0, 0.0], 2, 0.0, "▁▁"),
        ];
        for (values, width, top, expected) in cases {
            assert_eq!(curve(&values.into(), width, top), expected);
        }
    }

    #[test]
    fn bars_are_drawn_in_eighths() {
        let cases = [
            (0.0, ""),
            (1.0, "████"),
            (2.0, "████"),
            (0.5, "██"),
            (0.53, "██▏"),
            (f64::NAN, ""),
        ];
        for (part, expected) in cases {
            assert_eq!(bar(part, 4), expected, "{part}");
        }
        assert_eq!(open_bar(0.6, 4), "░░");
    }

    #[test]
    fn quantities_are_short() {
        let cases = [
            (0.0, "0B"),
            (999.0, "999B"),
            (1_000.0, "1.00k"),
            (12_340_000.0, "12.3M"),
            (999_900_000.0, "1.00G"),
            (345_600_000.0, "346M"),
            (1.24e9, "1.24G"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(memory(bytes), expected);
        }
        let ages = [
            (-3, "0s"),
            (59, "59s"),
            (60, "1m"),
            (7_200, "2h"),
            (200_000, "2d"),
        ];
        for (seconds, expected) in ages {
            assert_eq!(age(seconds), expected);
        }
    }
}
