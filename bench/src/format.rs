//! Tables, counts and sizes as text.

use comfy_table::{Table, TableStyle};

/// A table of left-aligned columns without lines.
pub fn table<const COLUMNS: usize>(
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new())
        .set_header(header)
        .add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt() + "\n"
}

/// A row of a Markdown table.
pub(crate) fn markdown_row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// A number with its noun, such as `1 node` or `3 nodes`.
pub fn count(number: usize, noun: &str) -> String {
    let stem = noun
        .strip_suffix('y')
        .filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']));
    match (number, stem) {
        (1, _) => format!("1 {noun}"),
        (_, Some(stem)) => format!("{number} {stem}ies"),
        _ => format!("{number} {noun}s"),
    }
}

/// A size in powers of ten, such as `305.20 MB`.
pub fn size(bytes: u64) -> String {
    indicatif::DecimalBytes(bytes).to_string()
}

#[cfg(test)]
mod tests {
    use super::{count, size, table};

    #[test]
    fn columns_fit_their_widest_cell() {
        let rows = [
            ["a".to_owned(), "long one".to_owned()],
            ["wide".to_owned(), String::new()],
        ];
        assert_eq!(table(["NAME", "B"], rows), "NAME  B\na     long one\nwide\n");
        assert_eq!(table(["NAME", "B"], []), "NAME  B\n");
    }

    #[test]
    fn nouns_agree_with_their_number() {
        let nodes = [0, 1, 3].map(|number| count(number, "node"));
        assert_eq!(nodes, ["0 nodes", "1 node", "3 nodes"]);
        let entries = [1, 2].map(|number| count(number, "entry"));
        assert_eq!(entries, ["1 entry", "2 entries"]);
    }

    #[test]
    fn sizes_are_decimal() {
        assert_eq!(
            (size(305_200_000), size(999)),
            ("305.20 MB".to_owned(), "999 B".to_owned())
        );
    }
}
