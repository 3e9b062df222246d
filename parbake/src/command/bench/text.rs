//! A report as text and as Markdown.

use super::report::{Measured, Ratio, Report};
use crate::output::{count, table};

/// The picture beside the Markdown, by its name.
pub(super) const PICTURE: &str = "plot.svg";
/// What the words mean, for those who read a report without the program.
const LEGEND: &str = "\
`thaw` is `parbake up`. `init` is `kubeadm init` and `kubeadm join` with kubeadm's own settings, on machines of the same
layers, with the images unpacked already, followed by the same wait. `floor` is etcd and the API server alone on a
thaw's data, without kubelet and containers, from their start; the boot of their machine is not in it.

Events are counted from the start of the command. `DNS answers`: from every node, through the service address; `DNS in
pods`: from a pod on every node. The pod, with nothing to do, is put there for this measurement, as a static one.
`all ready`: the API, every node, every pod and DNS, by evidence newer than the start. `first pod`: a deployment and a
service that were made once all was ready answer through the service's address. CPU and memory are the cluster's until
and when all is ready; `memory` counts the page cache that a cluster was the first to fill, so it depends on what ran
before. Disk is what the cluster's own files take, layers not counted. Of several clusters at once each counts.
";

/// For a terminal.
pub(super) fn text(report: &Report) -> String {
    let mut text = head(report).join("\n") + "\n";
    for measured in &report.cases {
        text += &format!("\n{}\n", measured.case);
        text += &table(["MEASURE", "MIN", "MEDIAN", "MAX"], rows(measured));
    }
    if !report.ratios.is_empty() {
        text += "\nratios of medians\n";
        text += &table(
            ["MEASURE", "NODES", "SIDES", "RATIO"],
            report.ratios.iter().map(ratio),
        );
    }
    text
}

/// For a repository or an issue.
pub(super) fn markdown(report: &Report) -> String {
    let mut text = format!("# How fast `{}` starts\n\n", report.artifact);
    text += &head(report).map(|line| format!("- {line}\n")).concat();
    text += &format!("\n{LEGEND}\n![medians, with the smallest and the largest value]({PICTURE})\n");
    if !report.ratios.is_empty() {
        text += "\n## Ratios of medians\n\n| measure | nodes | sides | ratio |\n|---|---|---|---|\n";
        text.extend(report.ratios.iter().map(|found| line(&ratio(found))));
    }
    for measured in &report.cases {
        text += &format!("\n## {}\n\n", measured.case);
        text += "| measure | min | median | max |\n|---|---|---|---|\n";
        text.extend(rows(measured).map(|row| line(&row)));
    }
    text
}

fn head(report: &Report) -> [String; 3] {
    [
        format!(
            "{}, Kubernetes {}, {}",
            report.artifact, report.kubernetes, report.digest
        ),
        report.host.line(),
        format!(
            "{}, in each of which every case had its turn",
            count(report.runs, "run")
        ),
    ]
}

fn rows(measured: &Measured) -> impl Iterator<Item = [String; 4]> {
    measured.measures.iter().map(|values| {
        let show = |value| values.unit.show(value);
        values.spread.row(values.name.to_string(), show)
    })
}

fn ratio(ratio: &Ratio) -> [String; 4] {
    [
        ratio.name.to_string(),
        ratio.nodes.to_string(),
        format!("{} / {}", ratio.of, ratio.by),
        format!("{:.2}", ratio.ratio),
    ]
}

/// A line of a table in Markdown.
pub(super) fn line(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

#[cfg(test)]
mod tests {
    use super::super::report::tests::example;
    use super::{markdown, text};

    #[test]
    fn a_terminal_gets_a_table_for_each_case() {
        let expected = "\
k8s-1.34, Kubernetes v1.34.4, sha256:abc
parbake 0.1.0, 2 CPUs (Some <CPU>), 24.00 GB of memory, Linux 6.18.1, cgroups hybrid, without systemd as process 1, \
systemd-nspawn 252
3 runs, in each of which every case had its turn

thaw, 1 node
MEASURE      MIN        MEDIAN     MAX
/readyz      2.00 s     2.50 s     3.00 s
DNS answers  3.00 s     4.00 s     5.00 s
memory       700.00 MB  800.00 MB  900.00 MB

init, 1 node
MEASURE      MIN      MEDIAN   MAX
DNS answers  36.00 s  38.00 s  40.00 s

floor
MEASURE  MIN     MEDIAN  MAX
/readyz  2.00 s  2.00 s  2.00 s

thaw, 1 node, 2 clusters at once
MEASURE      MIN     MEDIAN  MAX
DNS answers  6.00 s  6.00 s  6.00 s

ratios of medians
MEASURE      NODES  SIDES         RATIO
DNS answers  1      init / thaw   9.50
/readyz      1      thaw / floor  1.25
";
        assert_eq!(text(&example()), expected);
    }

    #[test]
    fn markdown_has_the_same_figures() {
        let text = markdown(&example());
        for part in [
            "# How fast `k8s-1.34` starts\n",
            "](plot.svg)",
            "\n| DNS answers | 1 | init / thaw | 9.50 |\n",
            "\n## thaw, 1 node\n\n| measure | min | median | max |\n|---|---|---|---|\n| /readyz | 2.00 s |",
        ] {
            assert!(text.contains(part), "{part} is missing from {text}");
        }
    }
}
