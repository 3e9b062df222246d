//! A timeline as SVG: a row for each span, time from left to right, milestones as vertical lines.

use svg::Document;
use svg::node::element::{Group, Line, Rectangle, Style, Text, Title};

use super::{Timeline, TimelineSpan};

const WIDTH: f64 = 1200.0;
/// Width of the names of spans.
const LEFT: f64 = 300.0;
const RIGHT: f64 = 40.0;
const TOP: f64 = 60.0;
const ROW: f64 = 18.0;
const STYLE: &str = "text { font: 12px sans-serif; fill: #222 } .lane { font-weight: bold } \
                     .span { fill: #4477aa } .grid { stroke: #ddd } \
                     .milestone { stroke: #cc3311; stroke-dasharray: 4 3 } .passed { fill: #cc3311 }";

pub(super) fn svg(timeline: &Timeline) -> String {
    let ends = timeline.lanes.iter().flat_map(|lane| &lane.spans);
    let ends = ends.map(|span| span.to);
    let milestones = timeline.milestones.iter().map(|milestone| milestone.after);
    let seconds = ends.chain(milestones).fold(1.0, f64::max).ceil();
    let x = |after: f64| LEFT + after.max(0.0) / seconds * (WIDTH - LEFT - RIGHT);
    let rows: usize = timeline.lanes.iter().map(|lane| lane.spans.len() + 1).sum();
    let bottom = TOP + rows as f64 * ROW;
    let mut svg = Document::new()
        .set("viewBox", (0.0, 0.0, WIDTH, bottom + ROW))
        .add(Style::new(STYLE));
    for second in 0..=seconds as u32 {
        let x = x(second.into());
        svg = svg.add(vertical(x, TOP, bottom).set("class", "grid")).add(text(
            x,
            bottom + ROW * 0.8,
            "middle",
            &format!("{second} s"),
        ));
    }
    let mut y = TOP;
    for lane in &timeline.lanes {
        svg = svg.add(text(8.0, y + ROW * 0.75, "start", &lane.name).set("class", "lane"));
        y += ROW;
        for span in &lane.spans {
            svg = svg.add(bar(span, x(span.from), x(span.to), y));
            y += ROW;
        }
    }
    for (index, milestone) in timeline.milestones.iter().enumerate() {
        let x = x(milestone.after);
        let label = format!("{} {:.2} s", milestone.name, milestone.after);
        // One row for each label, since milestones may be close together.
        let row = 12.0 + index as f64 * 13.0;
        svg = svg
            .add(vertical(x, row, bottom).set("class", "milestone"))
            .add(text(x - 4.0, row + 4.0, "end", &label).set("class", "passed"));
    }
    format!("{svg}\n")
}

fn bar(span: &TimelineSpan, from: f64, to: f64, y: f64) -> Group {
    let title = format!("{}: {:.3} s to {:.3} s", span.name, span.from, span.to);
    let bar = Rectangle::new()
        .set("class", "span")
        .set("x", from)
        .set("y", y + 3.0)
        .set("width", (to - from).max(1.0))
        .set("height", ROW - 6.0)
        .add(Title::new(title));
    Group::new()
        .add(text(LEFT - 8.0, y + ROW * 0.75, "end", &span.name))
        .add(bar)
}

fn vertical(x: f64, from: f64, to: f64) -> Line {
    Line::new()
        .set("x1", x)
        .set("x2", x)
        .set("y1", from)
        .set("y2", to)
}

fn text(x: f64, y: f64, anchor: &str, content: &str) -> Text {
    Text::new(content)
        .set("x", x)
        .set("y", y)
        .set("text-anchor", anchor)
}

#[cfg(test)]
mod tests {
    use super::super::{Lane, MilestoneTime, Timeline, TimelineSpan};
    use super::svg;

    #[test]
    fn spans_and_milestones_are_drawn_and_names_escaped() {
        let span = |name: &str, from, to| TimelineSpan {
            name: name.to_owned(),
            from,
            to,
        };
        let svg = svg(&Timeline {
            lanes: vec![Lane {
                name: "parbake".to_owned(),
                spans: vec![span("a < b", 0.0, 0.5), span("c", 0.5, 2.5)],
            }],
            milestones: vec![MilestoneTime {
                name: "DNS answers".to_owned(),
                after: 2.25,
            }],
        });
        assert_eq!(svg.matches("class=\"span\"").count(), 2);
        assert!(svg.contains("a &lt; b") && !svg.contains("a < b"), "{svg}");
        assert!(
            svg.contains("DNS answers 2.25 s") && svg.contains("\n3 s\n"),
            "{svg}"
        );
    }
}
