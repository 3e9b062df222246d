//! Picks the relevant lines out of a component's log.

/// How many lines are shown of one component.
const MAX_LINES: usize = 5;
/// Longer lines are cut, in characters.
const MAX_LENGTH: usize = 300;

/// Prefixes of plain error lines, as Go programs print them.
const PLAIN: [&str; 5] = ["Error", "error:", "panic:", "fatal error:", "exec "];
/// Marks of errors in structured logs: logfmt (containerd) and JSON (etcd).
const STRUCTURED: [&str; 6] = [
    "level=error",
    "level=fatal",
    "level=panic",
    "\"level\":\"error\"",
    "\"level\":\"fatal\"",
    "\"level\":\"panic\"",
];

/// The last error lines of `log`, or its last lines if none reports an error.
///
/// A failing component often prints much after the reason: its usage, stack traces, or the messages of its next start.
pub(super) fn error_lines(log: &str) -> Vec<String> {
    let lines = lines(log);
    let errors: Vec<&String> = lines.iter().filter(|line| is_error(line)).collect();
    let chosen = if errors.is_empty() {
        lines.iter().collect()
    } else {
        errors
    };
    let mut excerpt: Vec<String> = Vec::new();
    for line in chosen.into_iter().rev() {
        let line = printable(line);
        // A component in a restart loop repeats its messages.
        let differs = |other: &String| without_time(other) != without_time(&line);
        if excerpt.iter().all(differs) {
            excerpt.push(line);
        }
        if excerpt.len() == MAX_LINES {
            break;
        }
    }
    excerpt.reverse();
    excerpt
}

/// The non-empty lines of `log`, with multi-line values joined: Kubernetes components write `err=<`, then each line
/// after a tab, then ` >`.
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

/// The lines of `log` that contain `name`.
pub(super) fn mentioning(log: &str, name: &str) -> String {
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(name)).collect();
    lines.join("\n")
}

fn is_error(line: &str) -> bool {
    is_klog_error(line)
        || PLAIN.iter().any(|start| line.starts_with(start))
        || STRUCTURED.iter().any(|part| line.contains(part))
}

/// True for errors and fatal errors in klog's format: `E1121 09:02:40.844116 244 file.go:7] ...`.
fn is_klog_error(line: &str) -> bool {
    let bytes = line.as_bytes();
    matches!(bytes.first(), Some(b'E' | b'F'))
        && bytes
            .get(1..5)
            .is_some_and(|date| date.iter().all(u8::is_ascii_digit))
}

/// The line without klog's header.
fn without_time(line: &str) -> &str {
    if !is_klog_error(line) {
        return line;
    }
    line.split_once("] ").map_or(line, |(_, rest)| rest)
}

/// The line cut to [`MAX_LENGTH`], without escape sequences and control characters.
fn printable(line: &str) -> String {
    let mut rest = line.chars();
    let mut text = String::new();
    let mut length = 0;
    while let Some(c) = rest.next() {
        // A control sequence: escape, bracket, parameters and one letter (ECMA-48, 5.4).
        if c == '\u{1b}' {
            let _ = rest.find(|c| ('@'..='~').contains(c) && *c != '[');
            continue;
        }
        if length == MAX_LENGTH {
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
    use super::{MAX_LENGTH, error_lines, mentioning};

    #[test]
    fn error_lines_are_preferred() {
        let log = "I1121 09:02:40.1 1 server.go:1] \"Starting\"\nE1121 09:02:40.2 1 run.go:72] \"command failed\" err=\"x\"\n\
                   Usage:\n  --a\n  --b\n  --c\n  --d\n  --e\n  --f\n";
        assert_eq!(
            error_lines(log),
            ["E1121 09:02:40.2 1 run.go:72] \"command failed\" err=\"x\""]
        );
        let etcd = "{\"level\":\"info\",\"msg\":\"a\"}\n{\"level\":\"fatal\",\"msg\":\"b\"}\n{\"level\":\"info\",\"msg\":\"c\"}";
        assert_eq!(error_lines(etcd), ["{\"level\":\"fatal\",\"msg\":\"b\"}"]);
        assert_eq!(
            error_lines("panic: no\n\ngoroutine 1 [running]:\nmain.main()"),
            ["panic: no"]
        );
    }

    #[test]
    fn last_lines_are_taken_without_errors() {
        assert_eq!(error_lines("a\nb\n\nc\nd\ne\nf\n"), ["b", "c", "d", "e", "f"]);
        assert_eq!(error_lines("\n \n"), [""; 0]);
    }

    #[test]
    fn repeated_errors_are_shown_once() {
        let log = "E1121 09:02:40.2 1 run.go:72] \"no\"\nE1121 09:02:41.2 8 run.go:72] \"no\"\nE1121 09:02:42.2 9 run.go:72] \"yes\"";
        assert_eq!(
            error_lines(log),
            [
                "E1121 09:02:41.2 8 run.go:72] \"no\"",
                "E1121 09:02:42.2 9 run.go:72] \"yes\""
            ]
        );
    }

    #[test]
    fn lines_are_cut_and_without_control_characters() {
        assert_eq!(error_lines("\u{1b}[0;1;31mred\u{1b}[0m"), ["red"]);
        assert_eq!(error_lines("a\u{1b}[2Jb\tc"), ["ab c"]);
        let long = "x".repeat(MAX_LENGTH + 1);
        assert_eq!(error_lines(&long), [format!("{} ...", "x".repeat(MAX_LENGTH))]);
    }

    #[test]
    fn multi_line_values_are_joined() {
        let log = "E1121 09:28:35.7 232 run.go:72] \"command failed\" err=<\n\tfailed to load\n\tno kind\n >\nI1121 x\n";
        assert_eq!(
            error_lines(log),
            ["E1121 09:28:35.7 232 run.go:72] \"command failed\" err=< failed to load no kind >"]
        );
    }

    #[test]
    fn lines_are_filtered_by_name() {
        assert_eq!(mentioning("a x\nb y\nc x\n", "x"), "a x\nc x");
    }
}
