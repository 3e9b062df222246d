//! Trying again: what may pass, and how long to wait for it.

use std::time::Duration;

use super::RegistryError;

/// How often in a row something may fail before that is the answer.
const TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait that a registry may ask for; who asks for more is not asked again.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// There was progress: the next failure counts as the first.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }

    /// There is another way, to be tried at once.
    ///
    /// # Errors
    /// The failure itself, when it was one too many.
    pub(super) fn at_once(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.failures += 1;
        if self.failures < TRIES { Ok(()) } else { Err(error) }
    }

    /// Waits before the next try.
    ///
    /// # Errors
    /// The failure itself, when it will not pass or was one too many.
    pub(super) async fn wait(&mut self, error: RegistryError) -> Result<(), RegistryError> {
        self.failures += 1;
        let worth_it = |asked: &Option<Duration>| {
            self.failures < TRIES && asked.is_none_or(|asked| asked <= LONGEST_WAIT)
        };
        let Some(asked) = error.passes().filter(worth_it) else {
            return Err(error);
        };
        let mut random = [0];
        // Without randomness it waits as long as anybody else: no harm.
        let _ = getrandom::fill(&mut random);
        let wait = wait(self.failures, asked, random[0]);
        tracing::warn!(
            "{}; trying again in {:.1} s",
            in_a_line(&error),
            wait.as_secs_f64()
        );
        tokio::time::sleep(wait).await;
        Ok(())
    }
}

/// Does it until it succeeds or there is no hope.
pub(super) async fn retrying<T, F>(mut act: impl FnMut() -> F) -> Result<T, RegistryError>
where
    F: Future<Output = Result<T, RegistryError>>,
{
    let mut backoff = Backoff::default();
    loop {
        match act().await {
            Ok(value) => return Ok(value),
            Err(error) => backoff.wait(error).await?,
        }
    }
}

/// Twice as long after each failure, and up to half of that more, so that many machines do not come back at once; never
/// shorter than the registry asked for.
fn wait(failures: u32, asked: Option<Duration>, random: u8) -> Duration {
    let base = FIRST_WAIT * 2_u32.saturating_pow(failures.saturating_sub(1));
    let wait = base + base.mul_f64(f64::from(random) / 512.0);
    wait.max(asked.unwrap_or_default())
}

/// An error and its causes.
pub(super) fn in_a_line(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::wait;

    #[test]
    fn waits_grow_and_differ() {
        let waits: Vec<_> = (1..5).map(|failures| wait(failures, None, 0)).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000].map(Duration::from_millis));
        assert!(wait(1, None, 255) > Duration::from_millis(740));
        assert!(wait(1, None, 255) < Duration::from_millis(750));
    }

    #[test]
    fn the_registry_may_ask_for_patience() {
        let asked = |seconds| wait(1, Some(Duration::from_secs(seconds)), 0);
        assert_eq!(asked(7), Duration::from_secs(7));
        assert_eq!(asked(0), Duration::from_millis(500));
    }
}
