//! `parbake completion`

use clap_complete::Shell;

use crate::output;

/// Print a shell's completion script
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  parbake completion bash > /etc/bash_completion.d/parbake")]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

impl Args {
    pub(crate) fn run(self, mut command: clap::Command) -> anyhow::Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, "parbake", &mut script);
        output::write(&script).map(drop)
    }
}
