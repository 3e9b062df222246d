//! Signals that ask this process to end.

use std::future::poll_fn;
use std::sync::atomic::{AtomicI32, Ordering};
use std::task::Poll;

use parbake_machine::process::is_ignored;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The number of the first signal that [`interrupted`] saw, or 0.
static RECEIVED: AtomicI32 = AtomicI32::new(0);

/// The signal that asked this process to end, if a command of this crate was interrupted by one.
pub fn received() -> Option<i32> {
    Some(RECEIVED.load(Ordering::Relaxed)).filter(|number| *number != 0)
}

/// Catches SIGHUP, SIGINT and SIGTERM from now on; the future resolves when one arrives. A SIGHUP that the caller ignores,
/// as nohup(1) does, stays ignored. To be called in a runtime.
pub(crate) fn interrupted() -> impl Future<Output = ()> {
    let hangup = Some(SignalKind::hangup()).filter(|kind| !is_ignored(kind.as_raw_value()));
    let kinds = [SignalKind::interrupt(), SignalKind::terminate()];
    let caught = kinds.into_iter().chain(hangup);
    let mut streams: Vec<(SignalKind, Signal)> = caught
        .filter_map(|kind| Some((kind, signal(kind).ok()?)))
        .collect();
    async move {
        let arrived = poll_fn(|context| {
            let arrived = streams
                .iter_mut()
                .find_map(|(kind, stream)| stream.poll_recv(context).is_ready().then_some(*kind));
            arrived.map_or(Poll::Pending, Poll::Ready)
        });
        let kind = arrived.await;
        RECEIVED.store(kind.as_raw_value(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{BufRead, BufReader};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use super::{interrupted, received};

    const CHILD: &str = "PARBAKE_TEST_SIGNALS";

    /// Signals belong to the whole process, so the check runs in a child.
    #[expect(clippy::exit, reason = "the test harness must not decide the exit code")]
    fn child() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let interrupted = interrupted();
            println!("\nready");
            // Synchronous work, in which a signal must not end the process.
            std::thread::sleep(Duration::from_millis(300));
            interrupted.await;
        });
        std::process::exit(128 + received().unwrap());
    }

    fn exit_code(prefix: &str, signals: &[&str]) -> Option<i32> {
        let mut child = Command::new("sh")
            .args(["-c", &format!("{prefix} exec \"$0\" --exact signals::tests::signals_are_caught_unless_hangup_is_ignored --nocapture")])
            .arg(env::current_exe().unwrap())
            .env(CHILD, "1")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = lines.map_while(Result::ok).find(|line| line == "ready");
        assert!(ready.is_some());
        for signal in signals {
            let sent = Command::new("kill")
                .args([&format!("-{signal}"), &child.id().to_string()])
                .status();
            assert!(sent.unwrap().success());
        }
        child.wait().unwrap().code()
    }

    #[test]
    fn signals_are_caught_unless_hangup_is_ignored() {
        if env::var_os(CHILD).is_some() {
            child();
        }
        for (signal, code) in [("HUP", 129), ("INT", 130), ("TERM", 143)] {
            assert_eq!(exit_code("", &[signal]), Some(code), "{signal}");
        }
        assert_eq!(exit_code("trap '' HUP;", &["HUP", "TERM"]), Some(143));
    }
}
