//! Retries with exponential back-off.

use std::time::Duration;

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::HttpError;
use super::error::one_line;

/// Failures in a row after which the last one is reported.
const MAX_FAILURES: u32 = 5;
const FIRST_DELAY: Duration = Duration::from_millis(500);
/// The longest `Retry-After` that is honoured; a longer one fails at once.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(60);

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Progress was made: the next failure counts as the first.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Allows another attempt without delay.
    ///
    /// # Errors
    /// `error`, after too many failures.
    pub(crate) fn retry_now(&mut self, error: HttpError) -> Result<(), HttpError> {
        self.failures += 1;
        if self.failures < MAX_FAILURES {
            Ok(())
        } else {
            Err(error)
        }
    }

    /// Waits before another attempt.
    ///
    /// # Errors
    /// `error`, if it is permanent, after too many failures, or if the server asks for too long a delay.
    pub(crate) async fn wait(&mut self, error: HttpError) -> Result<(), HttpError> {
        self.failures += 1;
        let requested = error.retry_after();
        let is_permanent = !error.is_transient() || requested.is_some_and(|delay| delay > MAX_RETRY_AFTER);
        if is_permanent || self.failures >= MAX_FAILURES {
            return Err(error);
        }
        let mut random = [0];
        // Without randomness the delay has no jitter, which is harmless.
        let _ = getrandom::fill(&mut random);
        let delay = delay(self.failures, requested, random[0]);
        tracing::warn!("{}; retrying in {:.1} s", one_line(&error), delay.as_secs_f64());
        tokio::time::sleep(delay).await;
        Ok(())
    }
}

/// Repeats `attempt` until it succeeds or fails for good.
pub(crate) async fn retry<T, F>(mut attempt: impl FnMut() -> F) -> Result<T, HttpError>
where
    F: Future<Output = Result<T, HttpError>>,
{
    let mut backoff = Backoff::default();
    loop {
        match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => backoff.wait(error).await?,
        }
    }
}

/// Doubles with each failure, plus up to half of it as jitter, so that many machines do not return at the same moment; at
/// least as long as the server asked for.
fn delay(failures: u32, requested: Option<Duration>, random: u8) -> Duration {
    let base = FIRST_DELAY * 2_u32.saturating_pow(failures.saturating_sub(1));
    let delay = base + base.mul_f64(f64::from(random) / 512.0);
    delay.max(requested.unwrap_or_default())
}

/// The delay that `Retry-After` names, in seconds or as a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = rfc2822::parse(text).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER};

    use super::{delay, retry_after};

    #[test]
    fn delays_grow_and_have_jitter() {
        let delays: Vec<_> = (1..5).map(|failures| delay(failures, None, 0)).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000].map(Duration::from_millis));
        assert!(delay(1, None, 255) > Duration::from_millis(740));
        assert!(delay(1, None, 255) < Duration::from_millis(750));
    }

    #[test]
    fn requested_delay_is_a_minimum() {
        let requested = |seconds| delay(1, Some(Duration::from_secs(seconds)), 0);
        assert_eq!(requested(7), Duration::from_secs(7));
        assert_eq!(requested(0), Duration::from_millis(500));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = "2015-10-21T07:28:00Z".parse().unwrap();
        let cases = [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Wed, 21 Oct 2015 07:28:30 GMT", Some(30)),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ];
        for (text, seconds) in cases {
            let headers: HeaderMap = [(RETRY_AFTER, HeaderValue::from_static(text))]
                .into_iter()
                .collect();
            assert_eq!(
                retry_after(&headers, now),
                seconds.map(Duration::from_secs),
                "{text}"
            );
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }
}
