//! The commands, one file each: arguments, and the library calls that they become.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitCode, ExitStatus};

pub(crate) mod addon;
pub(crate) mod artifact;
mod attachments;
pub(crate) mod bench;
pub(crate) mod completion;
pub(crate) mod config;
pub(crate) mod conformance;
pub(crate) mod cp;
pub(crate) mod create;
pub(crate) mod dashboard;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod freeze;
pub(crate) mod image;
pub(crate) mod kubeconfig;
pub(crate) mod kubectl;
pub(crate) mod list;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod node;
pub(crate) mod pause;
pub(crate) mod pin;
pub(crate) mod ports;
pub(crate) mod provider;
pub(crate) mod provision;
pub(crate) mod publish;
pub(crate) mod pull;
pub(crate) mod reference;
pub(crate) mod registry;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod stop;
pub(crate) mod supervise;
pub(crate) mod swap;
pub(crate) mod up;

use crate::runtime::block_on;

/// The exit code of a child process; 128 plus the signal's number if it was killed, as in shells.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}
