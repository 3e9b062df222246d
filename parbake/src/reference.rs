//! The reference of the command line in Markdown, generated from its own help.

use clap::{Arg, Command};

/// A topic of the command line and its commands.
pub(crate) type Topic = (&'static str, &'static [&'static str]);

/// The first line of every page.
const NOTICE: &str =
    "<!-- Generated: run `cargo run -p parbake -- reference docs/reference` after a change. -->\n\n";

/// The pages by file name: an index, and one page per topic.
pub(crate) fn pages(mut command: Command, topics: &[Topic]) -> Vec<(String, String)> {
    command.build();
    let mut index = format!("{NOTICE}# Command reference\n\n");
    index += &format!("{}\n\n", about(&command));
    let mut pages = Vec::new();
    for (topic, names) in topics {
        let file = format!("{}.md", slug(topic));
        let mut page = format!("{NOTICE}# {topic}\n");
        index += &format!("## {topic}\n\n| command | |\n|---|---|\n");
        for command in names.iter().filter_map(|name| command.find_subcommand(name)) {
            let title = display_name(command);
            index += &format!(
                "| [`{title}`]({file}#{}) | {} |\n",
                slug(&title),
                escape(&about(command))
            );
            section(command, 2, &mut page);
        }
        index.push('\n');
        pages.push((file, page));
    }
    index += "## Global options\n\nEvery command accepts these, before or after its name.\n\n";
    index += &options(
        command
            .get_arguments()
            .filter(|argument| argument.is_global_set()),
    );
    index += &format!("\n{}", after_help(&command));
    pages.push(("README.md".to_owned(), index));
    pages
}

/// The section of a command, and those of its subcommands.
fn section(command: &Command, level: usize, page: &mut String) {
    let title = display_name(command);
    *page += &format!("\n{} `{title}`\n\n{}.\n", "#".repeat(level), about(command));
    let aliases: Vec<String> = command
        .get_visible_aliases()
        .map(|alias| format!("`{alias}`"))
        .collect();
    if !aliases.is_empty() {
        *page += &format!("\nAlias: {}.\n", aliases.join(", "));
    }
    *page += &format!("\n```\n{}\n```\n", usage(command));
    let arguments = || {
        let all = command
            .get_arguments()
            .filter(|argument| !argument.is_global_set());
        all.filter(|argument| !argument.is_hide_set() && argument.get_id() != "help")
    };
    let positional = arguments().filter(|argument| argument.is_positional());
    *page += &titled("Arguments", options(positional));
    let mut headings: Vec<Option<&str>> = Vec::new();
    for argument in arguments().filter(|argument| !argument.is_positional()) {
        if !headings.contains(&argument.get_help_heading()) {
            headings.push(argument.get_help_heading());
        }
    }
    headings.sort_by_key(Option::is_some);
    for heading in headings {
        let below = arguments().filter(|argument| !argument.is_positional());
        let below = below.filter(|argument| argument.get_help_heading() == heading);
        *page += &titled(heading.unwrap_or("Options"), options(below));
    }
    let more = after_help(command);
    if !more.is_empty() {
        *page += &format!("\n{more}");
    }
    let subcommands = command.get_subcommands();
    for subcommand in subcommands.filter(|subcommand| !subcommand.is_hide_set()) {
        section(subcommand, level + 1, page);
    }
}

fn titled(title: &str, table: String) -> String {
    match table.is_empty() {
        true => table,
        false => format!("\n**{title}**\n\n{table}"),
    }
}

/// A table of arguments; empty if there are none.
fn options<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let rows: String = arguments
        .map(|argument| {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            format!(
                "| `{}` | {} |\n",
                spelling(argument),
                escape(&(help + &notes(argument)))
            )
        })
        .collect();
    match rows.is_empty() {
        true => rows,
        false => format!("| | |\n|---|---|\n{rows}"),
    }
}

/// How to write an argument, such as `-f, --follow` or `--lines <N>`.
fn spelling(argument: &Arg) -> String {
    let text = argument.to_string().replace('|', "\\|");
    match argument.get_short() {
        Some(short) if argument.get_long().is_some() => format!("-{short}, {text}"),
        _ => text,
    }
}

/// The default, the possible values and the environment variable of an argument.
fn notes(argument: &Arg) -> String {
    let mut notes = Vec::new();
    let takes_value = argument.get_action().takes_values();
    let defaults = argument.get_default_values().iter();
    let defaults: Vec<String> = defaults
        .map(|value| value.to_string_lossy().into_owned())
        .collect();
    if takes_value && !defaults.is_empty() {
        notes.push(format!("default: `{}`", defaults.join(" ")));
    }
    let values = argument.get_possible_values();
    let values: Vec<&str> = values
        .iter()
        .map(clap::builder::PossibleValue::get_name)
        .collect();
    if takes_value && !values.is_empty() {
        notes.push(format!("one of `{}`", values.join("`, `")));
    }
    if let Some(variable) = argument.get_env() {
        notes.push(format!("environment: `{}`", variable.to_string_lossy()));
    }
    match notes.is_empty() {
        true => String::new(),
        false => format!(" ({})", notes.join("; ")),
    }
}

/// Text after the options, as a block: it is aligned with spaces.
fn after_help(command: &Command) -> String {
    match command.get_after_help() {
        Some(text) => format!("```\n{text}\n```\n"),
        None => String::new(),
    }
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// The command with those above it, such as `parbake node add`.
fn display_name(command: &Command) -> String {
    command.get_bin_name().unwrap_or(command.get_name()).to_owned()
}

fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage: ").to_owned()
}

fn slug(text: &str) -> String {
    text.to_lowercase().replace(' ', "-")
}

/// Makes text safe in a cell of a Markdown table.
fn escape(text: &str) -> String {
    text.replace('|', "\\|")
        .replace('<', "&lt;")
        .replace('*', "\\*")
        .replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::pages;
    use crate::cli;

    #[test]
    fn every_visible_command_has_a_section() {
        let pages = pages(cli::command(), &cli::TOPICS);
        let text: String = pages.iter().map(|(_, text)| text.as_str()).collect();
        for title in ["## `parbake up`", "### `parbake node add`", "## Global options"] {
            assert!(text.contains(&format!("\n{title}\n")), "{title}");
        }
        assert!(!text.contains("parbake supervise"));
    }
}
