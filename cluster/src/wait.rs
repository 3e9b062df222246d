//! Polling for a named condition, with a deadline.

use std::error::Error;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// The outcome of one attempt.
#[derive(Debug)]
pub enum Poll<T> {
    /// The condition holds.
    Ready(T),
    /// It does not hold yet. The text says why, for [`TimedOut::last`].
    Pending(String),
}

/// A condition did not hold before the deadline.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("gave up after {:.1} s waiting for {what}; last seen: {last}", limit.as_secs_f64())]
pub struct TimedOut {
    /// The condition, as a noun: 'the API to answer'.
    pub what: String,
    pub limit: Duration,
    /// The outcome of the last finished attempt.
    pub last: String,
}

/// A condition to wait for, with its timeout and poll interval.
#[derive(Debug)]
pub struct Wait {
    what: String,
    limit: Duration,
    interval: Duration,
    attempt_timeout: Duration,
}

impl Wait {
    /// A wait for `what` (a noun: 'the API to answer') of at most `limit`, with an attempt every 100 ms, each of at most 3 s.
    pub fn new(what: impl Into<String>, limit: Duration) -> Self {
        Self {
            what: what.into(),
            limit,
            interval: Duration::from_millis(100),
            attempt_timeout: Duration::from_secs(3),
        }
    }

    /// Sets the pause between two attempts.
    #[must_use]
    pub fn interval(self, interval: Duration) -> Self {
        Self { interval, ..self }
    }

    /// Sets the time after which an attempt is abandoned and repeated: a packet that was sent to a machine before it was up
    /// may never be answered.
    #[must_use]
    pub fn attempt_timeout(self, attempt_timeout: Duration) -> Self {
        Self {
            attempt_timeout,
            ..self
        }
    }

    /// Polls until the condition holds, at least once.
    ///
    /// # Errors
    /// [`TimedOut`] with the outcome of the last finished attempt.
    pub async fn until<T, L, F>(self, mut attempt: L) -> Result<T, TimedOut>
    where
        L: FnMut() -> F,
        F: Future<Output = Poll<T>>,
    {
        let deadline = Instant::now() + self.limit;
        let mut last = None;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(self.attempt_timeout.min(left), attempt()).await {
                Ok(Poll::Ready(value)) => return Ok(value),
                Ok(Poll::Pending(reason)) => last = Some(reason),
                Err(_) => {}
            }
            if Instant::now() + self.interval >= deadline {
                return Err(TimedOut {
                    what: self.what,
                    limit: self.limit,
                    last: last.unwrap_or_else(|| "no answer".to_owned()),
                });
            }
            sleep(self.interval).await;
        }
    }

    /// Retries until an attempt succeeds.
    ///
    /// # Errors
    /// [`TimedOut`] with the last error.
    pub async fn until_ok<T, E, L, F>(self, mut attempt: L) -> Result<T, TimedOut>
    where
        E: Error,
        L: FnMut() -> F,
        F: Future<Output = Result<T, E>>,
    {
        self.until(|| {
            let outcome = attempt();
            async {
                match outcome.await {
                    Ok(value) => Poll::Ready(value),
                    Err(error) => Poll::Pending(one_line(&error)),
                }
            }
        })
        .await
    }
}

/// An error and its sources in one line.
pub(crate) fn one_line(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        line += &format!(": {cause}");
        source = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::{Poll, TimedOut, Wait};

    #[tokio::test(start_paused = true)]
    async fn value_of_the_first_ready_poll_is_returned() {
        let mut attempts = 0;
        let outcome = Wait::new("three", Duration::from_secs(9))
            .until(|| {
                attempts += 1;
                ready(if attempts == 3 {
                    Poll::Ready("three")
                } else {
                    Poll::Pending(attempts.to_string())
                })
            })
            .await;
        assert_eq!((outcome, attempts), (Ok("three"), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn timeout_reports_the_last_observation() {
        let mut attempts = 0;
        let wait = Wait::new("the moon", Duration::from_millis(1500)).interval(Duration::from_millis(500));
        let error: TimedOut = wait
            .until(|| {
                attempts += 1;
                ready(Poll::<()>::Pending(format!("cloud {attempts}")))
            })
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "gave up after 1.5 s waiting for the moon; last seen: cloud 3"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn hanging_attempts_are_repeated() {
        let mut attempts = 0;
        let outcome = Wait::new("an answer", Duration::from_secs(9))
            .until(|| {
                attempts += 1;
                let attempt = attempts;
                async move {
                    if attempt == 1 {
                        pending::<()>().await;
                    }
                    Poll::Ready(attempt)
                }
            })
            .await;
        assert_eq!(outcome, Ok(2));
        let error = Wait::new("an answer", Duration::from_secs(9))
            .until(pending::<Poll<()>>)
            .await
            .unwrap_err();
        assert_eq!(error.last, "no answer");
    }
}
