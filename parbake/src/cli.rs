//! The command line: global options and the list of commands.

use std::env;
use std::ffi::OsString;
use std::process::ExitCode;

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};
use parbake_up::ClusterName;

use crate::args::GlobalArgs;
use crate::command::{
    addon, artifact, bench, completion, config, conformance, cp, create, dashboard, doctor, down, events,
    exec, freeze, image, kubeconfig, kubectl, list, logs, man, node, pause, pin, ports, provider, provision,
    publish, pull, reference, registry, start, status, stop, supervise, swap, up,
};
use crate::reference::Topic;

const EXAMPLES: &str = "\
Examples:
  parbake provision k8s-1.34        bake a cluster, once
  parbake up k8s-1.34               start it, as often as you like
  parbake kubectl get pods -A       use it
  parbake down                      remove it

Exit codes: 0 success, 1 failure, 2 wrong usage, 128 + N interrupted by signal N.";

/// Commands by topic, in the order in which help and reference list them.
pub(crate) const TOPICS: [Topic; 4] = [
    (
        "Clusters",
        &[
            "up",
            "down",
            "create",
            "start",
            "stop",
            "restart",
            "pause",
            "unpause",
            "list",
            "status",
            "dashboard",
            "events",
            "node",
            "config",
            "swap",
            "freeze",
        ],
    ),
    (
        "Working with a cluster",
        &[
            "kubectl",
            "kubeconfig",
            "exec",
            "shell",
            "ssh",
            "cp",
            "logs",
            "ports",
            "image",
            "registry",
            "conformance",
        ],
    ),
    (
        "Artifacts and providers",
        &[
            "provision",
            "publish",
            "pull",
            "pin",
            "artifact",
            "provider",
            "addon",
        ],
    ),
    ("Host", &["doctor", "bench", "completion"]),
];

/// Kubernetes clusters, frozen while they run and thawed in seconds.
#[derive(Debug, Parser)]
#[command(name = "parbake", version, max_term_width = 100, after_help = EXAMPLES)]
#[command(arg_required_else_help = true, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// The cluster's name, for commands on a cluster
    #[arg(long = CLUSTER, value_name = "NAME")]
    name: Option<ClusterName>,
    #[command(flatten)]
    pub(crate) global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// The option that selects a cluster, of the commands that take one.
const CLUSTER: &str = "name";

#[derive(Debug, Subcommand)]
enum Command {
    Up(up::Args),
    #[command(visible_alias = "destroy")]
    Down(down::Args),
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
    #[command(subcommand)]
    Node(node::Command),
    #[command(subcommand)]
    Config(config::Command),
    Swap(swap::Args),
    Freeze(freeze::Args),
    Kubectl(kubectl::Args),
    Kubeconfig(kubeconfig::Args),
    Exec(exec::Args),
    Shell(exec::ShellArgs),
    /// Like `shell`; needs neither an SSH daemon nor a key
    Ssh(exec::ShellArgs),
    Cp(cp::Args),
    Logs(logs::Args),
    Ports(ports::Args),
    #[command(subcommand)]
    Image(image::Command),
    Registry(registry::Args),
    Conformance(conformance::Args),
    Provision(Box<provision::Args>),
    Publish(publish::Args),
    Pull(pull::Args),
    Pin(pin::Args),
    #[command(subcommand)]
    Artifact(artifact::Command),
    #[command(subcommand)]
    Provider(provider::Command),
    #[command(subcommand)]
    Addon(addon::Command),
    Doctor(doctor::Args),
    #[command(subcommand)]
    Bench(bench::Command),
    Completion(completion::Args),
    Man(man::Args),
    Reference(reference::Args),
    Supervise(supervise::Args),
}

/// Parses the process's arguments.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    parse_from(env::args_os())
}

fn parse_from(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Cli, clap::Error> {
    let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
    let mut command = ignore_empty_variables(command());
    let mut matches = command.try_get_matches_from_mut(&words)?;
    if let Some(name) = matches.get_one::<ClusterName>(CLUSTER) {
        let leaf = leaf(&command, &matches);
        if leaf.get_arguments().all(|argument| argument.get_id() != CLUSTER) {
            let text = format!("`{}` does not take `--{CLUSTER}`", leaf.get_name());
            return Err(command.error(ErrorKind::UnknownArgument, text));
        }
        command = with_default_cluster(command, name);
        matches = command.try_get_matches_from_mut(&words)?;
    }
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The subcommand that `matches` selects.
fn leaf<'a>(command: &'a clap::Command, matches: &ArgMatches) -> &'a clap::Command {
    let subcommand = matches.subcommand();
    let found = subcommand.and_then(|(name, below)| Some((command.find_subcommand(name)?, below)));
    found.map_or(command, |(subcommand, below)| leaf(subcommand, below))
}

/// Makes `parbake --name NAME COMMAND` mean `parbake COMMAND --name NAME`.
fn with_default_cluster(command: clap::Command, name: &ClusterName) -> clap::Command {
    command.mut_subcommands(|subcommand| {
        let subcommand = subcommand.mut_args(|argument| match argument.get_id() == CLUSTER {
            true => argument.default_value(name.to_string()),
            false => argument,
        });
        with_default_cluster(subcommand, name)
    })
}

/// The command line with commands listed by topic.
pub(crate) fn command() -> clap::Command {
    let command = Cli::command();
    let template = format!(
        "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{}Options:\n{{options}}{{after-help}}",
        topics(&command)
    );
    command.help_template(template)
}

fn topics(command: &clap::Command) -> String {
    let mut text = String::new();
    for (topic, names) in TOPICS {
        text += &format!("{topic}:\n");
        for command in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            text += &format!("  {:<12} {about}\n", command.get_name());
        }
        text.push('\n');
    }
    text
}

/// Treats environment variables that are set but empty as unset.
fn ignore_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|argument| {
        let value = argument.get_env().and_then(env::var_os);
        match value.is_some_and(|value| value.is_empty()) {
            true => argument.env(Resettable::Reset),
            false => argument,
        }
    });
    command.mut_subcommands(ignore_empty_variables)
}

impl Cli {
    /// Runs the command. Those that run other programs or report a verdict return an exit code of their own.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let global = &self.global;
        match self.command {
            Command::Artifact(command) => return command.run(global),
            Command::Conformance(args) => return args.run(global),
            Command::Cp(args) => return args.run(global),
            Command::Dashboard(args) => return args.run(global),
            Command::Doctor(args) => return args.run(global),
            Command::Exec(args) => return args.run(global),
            Command::Kubectl(args) => return args.run(global),
            Command::Shell(args) | Command::Ssh(args) => return args.run(global),
            Command::Addon(command) => command.run(global),
            Command::Bench(command) => command.run(global),
            Command::Completion(args) => args.run(command()),
            Command::Config(command) => command.run(global),
            Command::Create(args) => args.run(global),
            Command::Down(args) => args.run(global),
            Command::Events(args) => args.run(global),
            Command::Freeze(args) => args.run(global),
            Command::Image(command) => command.run(global),
            Command::Kubeconfig(args) => args.run(global),
            Command::List(args) => args.run(global),
            Command::Logs(args) => args.run(global),
            Command::Man(args) => args.run(command()),
            Command::Node(command) => command.run(global),
            Command::Pause(args) => args.run(global),
            Command::Pin(args) => args.run(global),
            Command::Ports(args) => args.run(global),
            Command::Provider(command) => command.run(global),
            Command::Provision(args) => args.run(global),
            Command::Publish(args) => args.run(global),
            Command::Pull(args) => args.run(global),
            Command::Reference(args) => args.run(command(), &TOPICS),
            Command::Registry(args) => args.run(global),
            Command::Restart(args) => args.run(global),
            Command::Start(args) => args.run(global),
            Command::Status(args) => args.run(global),
            Command::Stop(args) => args.run(global),
            Command::Supervise(args) => args.run(),
            Command::Swap(args) => args.run(global),
            Command::Unpause(args) => args.run(global),
            Command::Up(args) => args.run(global),
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Command, TOPICS, command, node, parse_from};

    #[test]
    fn command_line_is_consistent() {
        command().debug_assert();
    }

    /// Calls `visit` for a command and, recursively, its subcommands.
    fn walk(command: &clap::Command, visit: &mut impl FnMut(&clap::Command)) {
        visit(command);
        command.get_subcommands().for_each(|command| walk(command, visit));
    }

    #[test]
    fn every_command_and_argument_has_help() {
        walk(&command(), &mut |command| {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{name} {}", argument.get_id());
            }
        });
    }

    #[test]
    fn every_visible_command_has_one_topic() {
        let command = command();
        let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
        let visible: BTreeSet<&str> = visible.map(clap::Command::get_name).collect();
        let listed: Vec<&str> = TOPICS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        assert_eq!(listed.len(), visible.len());
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), visible);
    }

    #[test]
    fn global_options_are_accepted_before_and_after_the_command() {
        for words in [
            ["parbake", "--dir", "/srv", "list"],
            ["parbake", "list", "--dir", "/srv"],
        ] {
            let cli = parse_from(words).unwrap();
            assert_eq!(cli.global.dir.to_str(), Some("/srv"));
            assert!(matches!(cli.command, Command::List(_)));
        }
    }

    #[test]
    fn cluster_is_named_before_or_after_the_command() {
        for (words, expected) in [
            (["--name", "ci", "node", "add"], "ci"),
            (["node", "add", "--name", "ci"], "ci"),
            (["node", "add", "--count", "2"], "default"),
        ] {
            let cli = parse_from(["parbake"].into_iter().chain(words)).unwrap();
            let Command::Node(node::Command::Add(args)) = cli.command else {
                panic!("{words:?}");
            };
            assert_eq!(args.cluster.name.as_str(), expected, "{words:?}");
        }
    }

    #[test]
    fn cluster_name_is_rejected_where_it_means_nothing() {
        for command in ["list", "doctor"] {
            for words in [
                ["parbake", "--name", "ci", command],
                ["parbake", command, "--name", "ci"],
            ] {
                assert_eq!(parse_from(words).unwrap_err().exit_code(), 2, "{words:?}");
            }
        }
    }
}
