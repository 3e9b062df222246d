//! The last words of a component: few lines out of many.

/// How many lines are shown of one component.
const LINES: usize = 5;
/// How long a line may be, in characters.
const LENGTH: usize = 300;

/// How lines begin in which a component says what is wrong: the usual ways of Go programs.
const PLAIN: [&str; 5] = ["Error", "error:", "panic:", "fatal error:", "exec "];
/// What lines of structured logs hold then: logfmt, as containerd writes it, and JSON, as etcd does.
const STRUCTURED: [&str; 6] = [
    "level=error",
    "level=fatal",
    "level=panic",
    "\"level\":\"error\"",
    "\"level\":\"fatal\"",
    "\"level\":\"panic\"",
];

/// The last lines of `log` that speak of errors, or just the last ones where none does.
///
/// A component that fails prints the reason, and then often much else: how it is used, a stack of each thread, or, as it
/// is started again, how it starts.
pub(super) fn last_words(log: &str) -> Vec<String> {
    let lines = lines(log);
    let telling: Vec<&String> = lines.iter().filter(|line| is_telling(line)).collect();
    let chosen = if telling.is_empty() {
        lines.iter().collect()
    } else {
        telling
    };
    let mut words: Vec<String> = Vec::new();
    for line in chosen.into_iter().rev() {
        let line = shown(line);
        // A component that is started again and again says the same each time.
        let news = |known: &String| without_time(known) != without_time(&line);
        if words.iter().all(news) {
            words.push(line);
        }
        if words.len() == LINES {
            break;
        }
    }
    words.reverse();
    words
}

/// The lines of `log` that are not empty, each value of several lines joined to one: Kubernetes' components write it as
/// `err=<`, the lines behind a tab each, and ` >`.
fn lines(log: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in log.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
        let open = lines
            .last_mut()
            .filter(|last| is_klog_error(last) && last.contains("=<") && !last.ends_with(" >"));
        match open {
            Some(last) if line.starts_with(['\t', ' ']) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

/// The lines of `log` that hold `name`.
pub(super) fn mentioning(log: &str, name: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(name)).collect();
    lines.join("\n")
}

fn is_telling(line: &str) -> bool {
    is_klog_error(line)
        || PLAIN.iter().any(|start| line.starts_with(start))
        || STRUCTURED.iter().any(|part| line.contains(part))
}

/// Whether it is an error or worse in the format of Kubernetes' components: `E1121 09:02:40.844116 244 file.go:7] ...`.
fn is_klog_error(line: &str) -> bool {
    let bytes = line.as_bytes();
    matches!(bytes.first(), Some(b'E' | b'F'))
        && bytes
            .get(1..5)
            .is_some_and(|date| date.iter().all(u8::is_ascii_digit))
}

/// What follows the head of a line in Kubernetes' format, the whole line otherwise.
fn without_time(line: &str) -> &str {
    if !is_klog_error(line) {
        return line;
    }
    line.split_once("] ").map_or(line, |(_, rest)| rest)
}

/// The line as it may go to a terminal: not too long, and without what terminals obey.
fn shown(line: &str) -> String {
    let mut rest = line.chars();
    let mut text = String::new();
    let mut length = 0;
    while let Some(c) = rest.next() {
        // Colours and the like: an escape, a bracket, parameters, and one letter (ECMA-48, 5.4).
        if c == '\u{1b}' {
            let _ = rest.find(|c| ('@'..='~').contains(c) && *c != '[');
            continue;
        }
        if length == LENGTH {
            text.push_str(" ...");
            break;
        }
        text.push(if c.is_control() { ' ' } else { c });
        length += 1;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{LENGTH, last_words, mentioning};

    #[test]
    fn errors_are_chosen_among_other_lines() {
        let log = "I1121 09:02:40.1 1 server.go:1] \"Starting\"\nE1121 09:02:40.2 1 run.go:72] \"command failed\" err=\"x\"\n\
                   Usage:\n  --a\n  --b\n  --c\n  --d\n  --e\n  --f\n";
        assert_eq!(
            last_words(log),
            ["E1121 09:02:40.2 1 run.go:72] \"command failed\" err=\"x\""]
        );
        let etcd = "{\"level\":\"info\",\"msg\":\"a\"}\n{\"level\":\"fatal\",\"msg\":\"b\"}\n{\"level\":\"info\",\"msg\":\"c\"}";
        assert_eq!(last_words(etcd), ["{\"level\":\"fatal\",\"msg\":\"b\"}"]);
        assert_eq!(
            last_words("panic: no\n\ngoroutine 1 [running]:\nmain.main()"),
            ["panic: no"]
        );
    }

    #[test]
    fn the_last_lines_are_taken_where_none_is_an_error() {
        assert_eq!(last_words("a\nb\n\nc\nd\ne\nf\n"), ["b", "c", "d", "e", "f"]);
        assert_eq!(last_words("\n \n"), [""; 0]);
    }

    #[test]
    fn what_is_said_at_every_start_is_shown_once() {
        let log = "E1121 09:02:40.2 1 run.go:72] \"no\"\nE1121 09:02:41.2 8 run.go:72] \"no\"\nE1121 09:02:42.2 9 run.go:72] \"yes\"";
        assert_eq!(
            last_words(log),
            [
                "E1121 09:02:41.2 8 run.go:72] \"no\"",
                "E1121 09:02:42.2 9 run.go:72] \"yes\""
            ]
        );
    }

    #[test]
    fn lines_are_fit_for_a_terminal() {
        assert_eq!(last_words("\u{1b}[0;1;31mred\u{1b}[0m"), ["red"]);
        assert_eq!(last_words("a\u{1b}[2Jb\tc"), ["ab c"]);
        let long = "x".repeat(LENGTH + 1);
        assert_eq!(last_words(&long), [format!("{} ...", "x".repeat(LENGTH))]);
    }

    #[test]
    fn a_value_of_several_lines_is_one() {
        let log = "E1121 09:28:35.7 232 run.go:72] \"command failed\" err=<\n\tfailed to load\n\tno kind\n >\nI1121 x\n";
        assert_eq!(
            last_words(log),
            ["E1121 09:28:35.7 232 run.go:72] \"command failed\" err=< failed to load no kind >"]
        );
    }

    #[test]
    fn lines_are_found_by_a_name() {
        assert_eq!(mentioning("a x\nb y\nc x\n", "x"), "a x\nc x");
    }
}
