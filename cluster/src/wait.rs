//! Waiting for a named condition, with a deadline.

use std::time::Duration;

use thiserror::Error;
use tokio::time::{Instant, sleep, timeout};

/// What one look at the world showed.
#[derive(Debug)]
pub enum Poll<T> {
    /// The condition holds.
    Seen(T),
    /// It does not hold yet; what was seen instead, for the error.
    Pending(String),
}

/// A wait that ended without its condition.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("gave up after {:.1} s waiting for {what}; last seen: {last}", limit.as_secs_f64())]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// How long.
    pub limit: Duration,
    /// What the last look showed.
    pub last: String,
}

/// A wait: what for, how long, and how often to look.
#[derive(Debug)]
pub struct Wait {
    what: String,
    limit: Duration,
    pause: Duration,
    attempt: Duration,
}

impl Wait {
    /// A wait for `what` (a noun: 'the API to answer') of at most `limit`, with a look every 100 ms, none of
    /// which may take longer than 3 s.
    pub fn new(what: impl Into<String>, limit: Duration) -> Self {
        let (pause, attempt) = (Duration::from_millis(100), Duration::from_secs(3));
        Self {
            what: what.into(),
            limit,
            pause,
            attempt,
        }
    }

    /// Sets the pause between two looks.
    #[must_use]
    pub fn pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// Sets how long a single look may take before it is dropped and made anew: what was sent into a machine
    /// that was not there yet may never be answered.
    #[must_use]
    pub fn attempt(self, attempt: Duration) -> Self {
        Self { attempt, ..self }
    }

    /// Looks until the condition holds. There is always at least one look.
    ///
    /// # Errors
    /// [`TimedOut`] with what the last finished look showed.
    pub async fn until<T, L, F>(self, mut look: L) -> Result<T, TimedOut>
    where
        L: FnMut() -> F,
        F: Future<Output = Poll<T>>,
    {
        let deadline = Instant::now() + self.limit;
        let mut last = "nothing".to_owned();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(self.attempt.min(left), look()).await {
                Ok(Poll::Seen(value)) => return Ok(value),
                Ok(Poll::Pending(seen)) => last = seen,
                Err(_) if last == "nothing" => "no answer".clone_into(&mut last),
                Err(_) => {}
            }
            if Instant::now() + self.pause >= deadline {
                return Err(TimedOut {
                    what: self.what,
                    limit: self.limit,
                    last,
                });
            }
            sleep(self.pause).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::time::Duration;

    use super::{Poll, TimedOut, Wait};

    #[tokio::test(start_paused = true)]
    async fn returns_what_was_seen() {
        let mut looks = 0;
        let seen = Wait::new("three", Duration::from_secs(9))
            .until(|| {
                looks += 1;
                ready(if looks == 3 {
                    Poll::Seen("three")
                } else {
                    Poll::Pending(looks.to_string())
                })
            })
            .await;
        assert_eq!((seen, looks), (Ok("three"), 3));
    }

    #[tokio::test(start_paused = true)]
    async fn tells_the_last_thing_seen() {
        let mut looks = 0;
        let wait = Wait::new("the moon", Duration::from_millis(1500)).pause(Duration::from_millis(500));
        let error: TimedOut = wait
            .until(|| {
                looks += 1;
                ready(Poll::<()>::Pending(format!("cloud {looks}")))
            })
            .await
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "gave up after 1.5 s waiting for the moon; last seen: cloud 3"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_look_that_hangs_is_made_anew() {
        let mut looks = 0;
        let seen = Wait::new("an answer", Duration::from_secs(9))
            .until(|| {
                looks += 1;
                let look = looks;
                async move {
                    if look == 1 {
                        pending::<()>().await;
                    }
                    Poll::Seen(look)
                }
            })
            .await;
        assert_eq!(seen, Ok(2));
        let error = Wait::new("an answer", Duration::from_secs(9))
            .until(pending::<Poll<()>>)
            .await
            .unwrap_err();
        assert_eq!(error.last, "no answer");
    }
}
