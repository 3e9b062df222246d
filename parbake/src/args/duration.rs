//! Durations such as `90s`, `2m`, `1h30m` or `7d`.

use std::time::Duration;

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Parses a timeout; a number without a unit is seconds.
pub(crate) fn timeout(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().map(Duration::from_secs);
    seconds
        .or_else(|| parse(text)?.try_into().ok())
        .ok_or_else(|| format!("`{text}` is not a duration such as 90s or 2m"))
}

/// Parses an age.
pub(crate) fn age(text: &str) -> Result<SignedDuration, String> {
    parse(text).ok_or_else(|| format!("`{text}` is not an age such as 12h or 30d"))
}

/// Days have 24 hours; months and years, whose length varies, are not durations.
fn parse(text: &str) -> Option<SignedDuration> {
    let span: Span = text.parse().ok()?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    (!duration.is_negative()).then_some(duration)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::SignedDuration;

    use super::{age, timeout};

    #[test]
    fn timeouts_have_a_unit_or_are_seconds() {
        let cases = [("90s", 90), ("90", 90), ("2m", 120), ("1h30m", 5_400)];
        for (text, seconds) in cases {
            assert_eq!(timeout(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1s", "soon", "1mo", "400000000000000000000m"] {
            assert!(timeout(text).is_err(), "{text}");
        }
    }

    #[test]
    fn ages_have_a_unit_of_fixed_length() {
        let cases = [("12h", 12), ("30d", 720), ("2w", 336), ("1d12h", 36), ("0h", 0)];
        for (text, hours) in cases {
            assert_eq!(age(text), Ok(SignedDuration::from_hours(hours)), "{text}");
        }
        assert_eq!(age("90m"), Ok(SignedDuration::from_mins(90)));
        for text in ["", "12", "-1h", "1h ago", "1mo", "1y", "soon", "999999999999999d"] {
            assert!(age(text).is_err(), "{text}");
        }
    }
}
