//! The command line's shape: global options and the list of commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::{PathBufValueParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use parbake_up::{ClusterName, resolve_state_dir};

use crate::command::{
    addon, artifact, bench, completion, config, conformance, cp, create, dashboard, doctor, down, events,
    exec, freeze, image, inner_registry, kubeconfig, kubectl, list, logs, man, node, pause, pin, ports,
    provider, provision, publish, pull, start, status, stop, supervise, swap, up,
};
use crate::output::Format;

const EXAMPLES: &str = "\
Examples:
  parbake provision k8s-1.34        bake a cluster, once
  parbake up k8s-1.34               start it, as often as you like
  parbake kubectl get pods -A       use it
  parbake down                      remove it

Exit codes: 0 done, 1 failed, 2 wrong usage.";

/// Kubernetes clusters, frozen while they run and thawed in seconds.
#[derive(Debug, Parser)]
#[command(name = "parbake", version, max_term_width = 100, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options that every command takes, before or after its name.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// The cluster that is meant
    #[arg(long, global = true, default_value_t)]
    pub(crate) name: ClusterName,
    /// Where all state is kept
    #[arg(
        long,
        global = true,
        env = "PARBAKE_DIR",
        hide_env_values = true,
        default_value = "/var/lib/parbake",
        value_parser = PathBufValueParser::new().try_map(|dir| resolve_state_dir(&dir))
    )]
    pub(crate) dir: PathBuf,
    /// Where inputs are kept [default: DIR/cache]
    #[arg(
        long,
        global = true,
        env = "PARBAKE_CACHE",
        hide_env_values = true,
        value_name = "DIR"
    )]
    pub(crate) cache: Option<PathBuf>,
    /// The folder of providers
    #[arg(
        long,
        global = true,
        env = "PARBAKE_PROVIDERS",
        hide_env_values = true,
        value_name = "DIR",
        default_value = "providers"
    )]
    pub(crate) providers: PathBuf,
    /// How results are printed
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t)]
    pub(crate) output: Format,
    /// Say more: every command that is run and how long it took
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
}

impl Global {
    /// The directory of the store of artifacts.
    pub(crate) fn store(&self) -> PathBuf {
        self.dir.join("store")
    }

    /// The directory of downloads and builds.
    pub(crate) fn cache(&self) -> PathBuf {
        self.cache.clone().unwrap_or_else(|| self.dir.join("cache"))
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    Provision(provision::Args),
    Publish(publish::Args),
    Pull(pull::Args),
    Pin(pin::Args),
    Up(up::Args),
    Create(create::Args),
    Start(start::Args),
    Stop(stop::Args),
    Restart(start::RestartArgs),
    Pause(pause::Args),
    Unpause(pause::UnpauseArgs),
    List(list::Args),
    Status(status::Args),
    Dashboard(dashboard::Args),
    Events(events::Args),
    #[command(visible_alias = "destroy")]
    Down(down::Args),
    Exec(exec::Args),
    Shell(exec::ShellArgs),
    /// The same as `shell`; needs no SSH daemon and no key
    Ssh(exec::ShellArgs),
    Cp(cp::Args),
    Logs(logs::Args),
    Kubectl(kubectl::Args),
    Kubeconfig(kubeconfig::Args),
    Ports(ports::Args),
    Registry(inner_registry::Args),
    Freeze(freeze::Args),
    Swap(swap::Args),
    #[command(subcommand)]
    Config(config::Command),
    #[command(subcommand)]
    Node(node::Command),
    #[command(subcommand)]
    Image(image::Command),
    #[command(subcommand)]
    Artifact(artifact::Command),
    #[command(subcommand)]
    Provider(provider::Command),
    #[command(subcommand)]
    Addon(addon::Command),
    #[command(subcommand)]
    Bench(bench::Command),
    Conformance(conformance::Args),
    Doctor(doctor::Args),
    Completion(completion::Args),
    Man(man::Args),
    Supervise(supervise::Args),
}

impl Cli {
    /// Carries the command out. Only those whose exit code says more than done or failed choose their own.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let global = &self.global;
        let done = |()| ExitCode::SUCCESS;
        match self.command {
            Command::Provision(args) => args.run(global).map(done),
            Command::Publish(args) => args.run(global).map(done),
            Command::Pull(args) => args.run(global).map(done),
            Command::Pin(args) => args.run(global).map(done),
            Command::Up(args) => args.run(global).map(done),
            Command::Create(args) => args.run(global).map(done),
            Command::Start(args) => args.run(global).map(done),
            Command::Stop(args) => args.run(global).map(done),
            Command::Restart(args) => args.run(global).map(done),
            Command::Pause(args) => args.run(global).map(done),
            Command::Unpause(args) => args.run(global).map(done),
            Command::List(args) => args.run(global).map(done),
            Command::Status(args) => args.run(global).map(done),
            Command::Dashboard(args) => args.run(global),
            Command::Events(args) => args.run(global).map(done),
            Command::Down(args) => args.run(global).map(done),
            Command::Exec(args) => args.run(global),
            Command::Shell(args) | Command::Ssh(args) => args.run(global),
            Command::Cp(args) => args.run(global),
            Command::Logs(args) => args.run(global).map(done),
            Command::Kubectl(args) => args.run(global),
            Command::Kubeconfig(args) => args.run(global).map(done),
            Command::Ports(args) => args.run(global).map(done),
            Command::Registry(args) => args.run(global).map(done),
            Command::Freeze(args) => args.run(global).map(done),
            Command::Swap(args) => args.run(global).map(done),
            Command::Config(command) => command.run(global).map(done),
            Command::Node(command) => command.run(global).map(done),
            Command::Image(command) => command.run(global).map(done),
            Command::Artifact(command) => command.run(global),
            Command::Provider(command) => command.run(global).map(done),
            Command::Addon(command) => command.run(global).map(done),
            Command::Bench(command) => command.run(global).map(done),
            Command::Conformance(args) => args.run(global),
            Command::Doctor(args) => args.run(global),
            Command::Completion(args) => args.run().map(done),
            Command::Man(args) => args.run().map(done),
            Command::Supervise(args) => args.run().map(done),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Cli;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Cli::command().debug_assert();
    }

    /// Shows every command's help, the commands below it included, to `look`.
    fn each(command: &clap::Command, look: &mut impl FnMut(&clap::Command)) {
        look(command);
        command.get_subcommands().for_each(|below| each(below, look));
    }

    #[test]
    fn every_command_and_argument_is_explained() {
        each(&Cli::command(), &mut |command| {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name} {}", argument.get_id());
            }
        });
    }

    #[test]
    fn the_cluster_is_named_before_or_after_the_command() {
        for words in [
            ["parbake", "--name", "ci", "doctor"],
            ["parbake", "doctor", "--name", "ci"],
        ] {
            assert_eq!(Cli::try_parse_from(words).unwrap().global.name.as_str(), "ci");
        }
        assert_eq!(
            Cli::try_parse_from(["parbake", "doctor"])
                .unwrap()
                .global
                .name
                .as_str(),
            "default"
        );
    }
}
