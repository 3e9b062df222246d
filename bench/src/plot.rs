//! The SVG plot of a report: for each metric one bar per case, as long as the median, with a whisker from minimum to
//! maximum.

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Style, Text, Title};

use crate::case::Contender;
use crate::metric::Metric;
use crate::report::{UpReport, Values};

const WIDTH: f64 = 900.0;
/// The right edge of the case labels.
const LEFT: f64 = 250.0;
/// The right edge of the longest bar; values follow.
const RIGHT: f64 = 760.0;
const TOP: f64 = 30.0;
const ROW: f64 = 20.0;
const STYLE: &str = "text { font: 12px sans-serif; fill: #222 } .measure { font-weight: bold } \
                     .thaw { fill: #4477aa } .init { fill: #ccbb44 } .floor { fill: #bbbbbb } \
                     .whisker { stroke: #222 }";

pub(crate) fn svg(report: &UpReport) -> String {
    let mut picture = Document::new().add(Style::new(STYLE));
    let mut y = TOP;
    for metric in Metric::ALL {
        let bars: Vec<_> = report
            .cases
            .iter()
            .filter_map(|result| Some((result.case, result.values(metric)?)))
            .collect();
        let longest = bars.iter().map(|(_, values)| values.summary.maximum);
        let longest = longest.fold(0.0, f64::max);
        if longest <= 0.0 {
            continue;
        }
        picture = picture.add(text(8.0, y, "start", &metric.to_string()).set("class", "measure"));
        y += ROW;
        for (case, values) in bars {
            let label = text(LEFT - 8.0, y, "end", &case.to_string());
            picture = picture.add(label).add(bar(values, case.contender, longest, y));
            y += ROW;
        }
        y += ROW / 2.0;
    }
    format!("{}\n", picture.set("viewBox", (0.0, 0.0, WIDTH, y)))
}

/// A bar whose text baseline is `y`.
fn bar(values: &Values, contender: Contender, longest: f64, y: f64) -> Group {
    let summary = values.summary;
    // Rounded to tenths of a pixel, which keeps the file readable.
    let x = |value: f64| (10.0 * (LEFT + value / longest * (RIGHT - LEFT))).round() / 10.0;
    let [minimum, median, maximum] = [summary.minimum, summary.median, summary.maximum].map(x);
    let shown = |value| values.unit.show(value);
    let title = format!("{} to {}", shown(summary.minimum), shown(summary.maximum));
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
        .set("class", contender.to_string())
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
        .add(text(maximum + 8.0, y, "start", &shown(summary.median)))
}

fn text(x: f64, y: f64, anchor: &str, content: &str) -> Text {
    Text::new(content)
        .set("x", x)
        .set("y", y)
        .set("text-anchor", anchor)
}

#[cfg(test)]
mod tests {
    use super::svg;
    use crate::report::tests::example;

    #[test]
    fn every_measured_case_has_a_bar() {
        let plot = svg(&example());
        // Three metrics of the thaw; init and two clusters have DNS, the floor has /readyz.
        assert_eq!(plot.matches("<rect").count(), 3 + 1 + 1 + 1);
        assert_eq!(plot.matches("class=\"whisker\"").count(), 6 * 3);
        // The largest value of a metric reaches the right edge.
        assert!(plot.contains("x2=\"760\""), "{plot}");
        for part in ["38.00 s", "800.00 MB", "init, 1 node", "/readyz"] {
            assert!(plot.contains(&format!("\n{part}\n")), "no {part} in {plot}");
        }
        assert!(!plot.contains("\ndisk\n"));
    }
}
