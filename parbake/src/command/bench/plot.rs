//! A report as a picture: for each measure a bar for each case, as long as the median, with a line from the smallest to
//! the largest value.

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Style, Text, Title};

use super::case::Side;
use super::measure::Measure;
use super::report::{Report, Values};

const WIDTH: f64 = 900.0;
/// Where the names of the cases end.
const LEFT: f64 = 250.0;
/// Where the bars end at the latest; behind it stand the values.
const RIGHT: f64 = 760.0;
const TOP: f64 = 30.0;
const ROW: f64 = 20.0;
const STYLE: &str = "text { font: 12px sans-serif; fill: #222 } .measure { font-weight: bold } \
                     .thaw { fill: #4477aa } .init { fill: #ccbb44 } .floor { fill: #bbbbbb } \
                     .whisker { stroke: #222 }";

/// Draws `report`.
pub(super) fn svg(report: &Report) -> String {
    let mut picture = Document::new().add(Style::new(STYLE));
    let mut y = TOP;
    for measure in Measure::ALL {
        let bars: Vec<_> = report
            .cases
            .iter()
            .filter_map(|measured| Some((measured.case, measured.of(measure)?)))
            .collect();
        let longest = bars.iter().map(|(_, values)| values.spread.maximum);
        let longest = longest.fold(0.0, f64::max);
        if longest <= 0.0 {
            continue;
        }
        picture = picture.add(text(8.0, y, "start", &measure.to_string()).set("class", "measure"));
        y += ROW;
        for (case, values) in bars {
            let label = text(LEFT - 8.0, y, "end", &case.to_string());
            picture = picture.add(label).add(bar(values, case.side, longest, y));
            y += ROW;
        }
        y += ROW / 2.0;
    }
    format!("{}\n", picture.set("viewBox", (0.0, 0.0, WIDTH, y)))
}

/// A bar whose text stands on `y`.
fn bar(values: &Values, side: Side, longest: f64, y: f64) -> Group {
    let spread = values.spread;
    // Tenths of a pixel are seen by nobody, and more make the file hard to read.
    let x = |value: f64| (10.0 * (LEFT + value / longest * (RIGHT - LEFT))).round() / 10.0;
    let [minimum, median, maximum] = [spread.minimum, spread.median, spread.maximum].map(x);
    let shown = |value| values.unit.show(value);
    let title = format!("{} to {}", shown(spread.minimum), shown(spread.maximum));
    let (top, height) = (y - ROW * 0.65, ROW * 0.8);
    let middle = top + height / 2.0;
    let line = |from: (f64, f64), to: (f64, f64)| {
        Line::new()
            .set("class", "whisker")
            .set("x1", from.0)
            .set("y1", from.1)
            .set("x2", to.0)
            .set("y2", to.1)
    };
    let end = |x: f64| line((x, middle - 4.0), (x, middle + 4.0));
    let bar = Rectangle::new()
        .set("class", side.to_string())
        .set("x", LEFT)
        .set("y", top)
        .set("width", median - LEFT)
        .set("height", height)
        .add(Title::new(title));
    Group::new()
        .add(bar)
        .add(line((minimum, middle), (maximum, middle)))
        .add(end(minimum))
        .add(end(maximum))
        .add(text(maximum + 8.0, y, "start", &shown(spread.median)))
}

fn text(x: f64, y: f64, anchor: &str, content: &str) -> Text {
    Text::new(content)
        .set("x", x)
        .set("y", y)
        .set("text-anchor", anchor)
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;
    use super::svg;

    #[test]
    fn every_measured_case_is_a_bar() {
        let picture = svg(&example());
        // Two of the thaw's three measures are others' as well: /readyz the floor's, DNS init's and that of two clusters.
        assert_eq!(picture.matches("<rect").count(), 3 + 1 + 1 + 1);
        assert_eq!(picture.matches("class=\"whisker\"").count(), 6 * 3);
        // The longest value of a measure reaches all the way to the right.
        assert!(picture.contains("x2=\"760\""), "{picture}");
        for part in ["38.00 s", "800.00 MB", "init, 1 node", "/readyz"] {
            assert!(
                picture.contains(&format!("\n{part}\n")),
                "{part} is missing from {picture}"
            );
        }
        assert!(!picture.contains("\ndisk\n"));
    }
}
