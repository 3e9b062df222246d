//! The report of `bench up` as text and as Markdown.

use crate::format::{count, markdown_row, table};
use crate::report::{CaseResult, Ratio, UpReport};

/// The file name of the plot, which the Markdown refers to.
pub(crate) const PLOT: &str = "plot.svg";
const LEGEND: &str = "\
`thaw` is `parbake up`. `init` is `kubeadm init` and `kubeadm join` with kubeadm's default settings, on machines with the
same layers and unpacked images, followed by the same wait. `floor` is the lower bound: etcd and the API server alone on a
thaw's data, without kubelet and containers, counted from their start, not from the boot of their machine.

Times are counted from the start of the command. `DNS answers`: on every node, through the service address. `DNS in pods`:
in an idle static pod on every node, which is added for this measurement. `all ready`: the API, every node, every pod and
DNS, by evidence newer than the start. `first pod`: a deployment and a service, created after the cluster was ready,
answer through the service address. CPU and memory are the cluster's until, and when, everything is ready; `memory`
includes page cache that the cluster was first to fill, so it depends on what ran before. `disk` is the cluster's own
files without layers. Clusters started at once are counted one by one.
";

pub(crate) fn text(report: &UpReport) -> String {
    let mut text = head(report).join("\n") + "\n";
    for result in &report.cases {
        text += &format!("\n{}\n", result.case);
        text += &table(["METRIC", "MIN", "MEDIAN", "MAX"], rows(result));
    }
    if !report.ratios.is_empty() {
        text += "\nratios of medians\n";
        text += &table(
            ["METRIC", "NODES", "CONTENDERS", "RATIO"],
            report.ratios.iter().map(ratio),
        );
    }
    text
}

pub(crate) fn markdown(report: &UpReport) -> String {
    let mut text = format!("# How fast `{}` starts\n\n", report.artifact);
    text += &head(report).map(|line| format!("- {line}\n")).concat();
    text += &format!("\n{LEGEND}\n![medians with minimum and maximum]({PLOT})\n");
    if !report.ratios.is_empty() {
        text += "\n## Ratios of medians\n\n| metric | nodes | contenders | ratio |\n|---|---|---|---|\n";
        text.extend(report.ratios.iter().map(|found| markdown_row(&ratio(found))));
    }
    for result in &report.cases {
        text += &format!("\n## {}\n\n", result.case);
        text += "| metric | min | median | max |\n|---|---|---|---|\n";
        text.extend(rows(result).map(|row| markdown_row(&row)));
    }
    text
}

fn head(report: &UpReport) -> [String; 3] {
    [
        format!(
            "{}, Kubernetes {}, {}",
            report.artifact, report.kubernetes, report.digest
        ),
        report.host.line(),
        format!("{} of every case, in turn", count(report.runs, "run")),
    ]
}

fn rows(result: &CaseResult) -> impl Iterator<Item = [String; 4]> {
    result.measures.iter().map(|values| {
        let show = |value| values.unit.show(value);
        values.summary.row(values.name.to_string(), show)
    })
}

fn ratio(ratio: &Ratio) -> [String; 4] {
    [
        ratio.name.to_string(),
        ratio.nodes.to_string(),
        format!("{} / {}", ratio.dividend, ratio.divisor),
        format!("{:.2}", ratio.ratio),
    ]
}

#[cfg(test)]
mod tests {
    use super::{markdown, text};
    use crate::report::tests::example;

    #[test]
    fn text_has_a_table_for_each_case() {
        let expected = "\
k8s-1.34, Kubernetes v1.34.4, sha256:abc
parbake 0.1.0, 2 CPUs (Some <CPU>), 24.00 GB of memory, Linux 6.18.1, cgroups hybrid, without systemd as process 1, \
systemd-nspawn 252
3 runs of every case, in turn

thaw, 1 node
METRIC       MIN        MEDIAN     MAX
/readyz      2.00 s     2.50 s     3.00 s
DNS answers  3.00 s     4.00 s     5.00 s
memory       700.00 MB  800.00 MB  900.00 MB

init, 1 node
METRIC       MIN      MEDIAN   MAX
DNS answers  36.00 s  38.00 s  40.00 s

floor
METRIC   MIN     MEDIAN  MAX
/readyz  2.00 s  2.00 s  2.00 s

thaw, 1 node, 2 clusters at once
METRIC       MIN     MEDIAN  MAX
DNS answers  6.00 s  6.00 s  6.00 s

ratios of medians
METRIC       NODES  CONTENDERS    RATIO
DNS answers  1      init / thaw   9.50
/readyz      1      thaw / floor  1.25
";
        assert_eq!(text(&example()), expected);
    }

    #[test]
    fn markdown_has_the_figures_of_the_text() {
        let text = markdown(&example());
        for part in [
            "# How fast `k8s-1.34` starts\n",
            "](plot.svg)",
            "\n| DNS answers | 1 | init / thaw | 9.50 |\n",
            "\n## thaw, 1 node\n\n| metric | min | median | max |\n|---|---|---|---|\n| /readyz | 2.00 s |",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
}
