//! The report of `bench up`: all values, their summaries, and ratios between contenders.

use parbake_artifact::Tag;
use serde::Serialize;

use crate::case::{Case, Contender};
use crate::host::HostFacts;
use crate::metric::{Metric, Sample, Unit};
use crate::statistics::Summary;

/// Times are seconds from the start of the command, sizes are bytes.
#[derive(Debug, Serialize)]
pub struct UpReport {
    pub(crate) artifact: Tag,
    pub(crate) digest: String,
    pub(crate) kubernetes: String,
    pub(crate) runs: usize,
    pub(crate) host: HostFacts,
    pub(crate) cases: Vec<CaseResult>,
    pub(crate) ratios: Vec<Ratio>,
}

#[derive(Debug, Serialize)]
pub(crate) struct CaseResult {
    #[serde(flatten)]
    pub(crate) case: Case,
    pub(crate) measures: Vec<Values>,
}

/// One metric of one case.
#[derive(Debug, Serialize)]
pub(crate) struct Values {
    pub(crate) name: Metric,
    pub(crate) unit: Unit,
    #[serde(flatten)]
    pub(crate) summary: Summary,
    /// One value per run, in order.
    pub(crate) values: Vec<f64>,
}

/// A ratio of two contenders' medians.
#[derive(Debug, PartialEq, Serialize)]
pub(crate) struct Ratio {
    pub(crate) name: Metric,
    pub(crate) nodes: usize,
    #[serde(rename = "of")]
    pub(crate) dividend: Contender,
    #[serde(rename = "by")]
    pub(crate) divisor: Contender,
    pub(crate) ratio: f64,
}

impl CaseResult {
    /// Summarizes the samples of all runs.
    pub(crate) fn new(case: Case, samples: &[Sample]) -> Self {
        let values = |metric: Metric| -> Vec<f64> {
            let found = samples.iter().flatten().filter(|(name, _)| *name == metric);
            found.map(|(_, value)| *value).collect()
        };
        let measures = Metric::ALL.into_iter().map(|name| (name, values(name)));
        let measures = measures.filter(|(_, values)| !values.is_empty());
        Self {
            case,
            measures: measures
                .map(|(name, values)| Values {
                    name,
                    unit: name.unit(),
                    summary: Summary::of(&values),
                    values,
                })
                .collect(),
        }
    }

    /// The values of `metric`, if it was measured.
    pub(crate) fn values(&self, metric: Metric) -> Option<&Values> {
        self.measures.iter().find(|values| values.name == metric)
    }
}

/// kubeadm divided by a thaw, and a thaw divided by its lower bound.
pub(crate) fn ratios(cases: &[CaseResult]) -> Vec<Ratio> {
    let single = || cases.iter().filter(|result| result.case.clusters == 1);
    let of = |contender| single().filter(move |result| result.case.contender == contender);
    let ratio = |name: Metric, nodes, dividend: &CaseResult, divisor: &CaseResult| {
        let above = dividend.values(name)?.summary.median;
        let below = divisor.values(name)?.summary.median;
        (below > 0.0).then_some(Ratio {
            name,
            nodes,
            dividend: dividend.case.contender,
            divisor: divisor.case.contender,
            ratio: above / below,
        })
    };
    let mut ratios = Vec::new();
    for thaw in of(Contender::Thaw) {
        let nodes = thaw.case.nodes;
        for init in of(Contender::Init).filter(|init| init.case.nodes == nodes) {
            let events = [Metric::Dns, Metric::PodDns, Metric::Ready, Metric::FirstPod];
            ratios.extend(
                events
                    .into_iter()
                    .filter_map(|event| ratio(event, nodes, init, thaw)),
            );
        }
        ratios.extend(of(Contender::Floor).filter_map(|floor| ratio(Metric::Api, nodes, thaw, floor)));
    }
    ratios
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{CaseResult, UpReport, ratios};
    use crate::case::{Case, Contender};
    use crate::host::HostFacts;
    use crate::metric::Metric;

    fn case(contender: Contender, nodes: usize, clusters: usize) -> Case {
        Case {
            contender,
            nodes,
            clusters,
        }
    }

    /// A report with invented figures.
    pub(crate) fn example() -> UpReport {
        let cases = vec![
            CaseResult::new(
                case(Contender::Thaw, 1, 1),
                &[
                    vec![(Metric::Api, 2.0), (Metric::Dns, 4.0), (Metric::Memory, 8e8)],
                    vec![(Metric::Api, 3.0), (Metric::Dns, 5.0), (Metric::Memory, 9e8)],
                    vec![(Metric::Api, 2.5), (Metric::Dns, 3.0), (Metric::Memory, 7e8)],
                ],
            ),
            CaseResult::new(
                case(Contender::Init, 1, 1),
                &[vec![(Metric::Dns, 40.0)], vec![(Metric::Dns, 36.0)]],
            ),
            CaseResult::new(case(Contender::Floor, 1, 1), &[vec![(Metric::Api, 2.0)]]),
            CaseResult::new(case(Contender::Thaw, 1, 2), &[vec![(Metric::Dns, 6.0)]]),
        ];
        UpReport {
            artifact: "k8s-1.34".parse().unwrap(),
            digest: "sha256:abc".to_owned(),
            kubernetes: "v1.34.4".to_owned(),
            runs: 3,
            host: HostFacts {
                cpus: 2,
                cpu: Some("Some <CPU>".to_owned()),
                memory: 24_000_000_000,
                kernel: "6.18.1".to_owned(),
                cgroups: parbake_machine::host::CgroupLayout::Hybrid,
                systemd: false,
                nspawn: Some("252".to_owned()),
                parbake: "0.1.0",
                debug: false,
            },
            ratios: ratios(&cases),
            cases,
        }
    }

    #[test]
    fn values_are_grouped_by_metric() {
        let report = example();
        let thaw = &report.cases[0];
        let names: Vec<String> = thaw
            .measures
            .iter()
            .map(|values| values.name.to_string())
            .collect();
        assert_eq!(names, ["/readyz", "DNS answers", "memory"]);
        let dns = thaw.values(Metric::Dns).unwrap();
        assert_eq!(
            (dns.values.as_slice(), dns.summary.median),
            ([4.0, 5.0, 3.0].as_slice(), 4.0)
        );
        assert!(thaw.values(Metric::Disk).is_none());
    }

    #[test]
    fn ratios_compare_equal_numbers_of_nodes() {
        let ratios = example().ratios;
        let found: Vec<_> = ratios
            .iter()
            .map(|ratio| (ratio.name, ratio.dividend, ratio.divisor, ratio.ratio))
            .collect();
        let expected = [
            (Metric::Dns, Contender::Init, Contender::Thaw, 9.5),
            (Metric::Api, Contender::Thaw, Contender::Floor, 1.25),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn case_is_one_json_object() {
        let json = serde_json::to_value(example()).unwrap();
        assert_eq!(json["cases"][1]["side"], "init");
        assert_eq!(json["cases"][0]["measures"][1]["name"], "DNS answers");
        assert_eq!(json["cases"][0]["measures"][1]["values"][2], 3.0);
        assert_eq!(json["cases"][0]["measures"][1]["unit"], "seconds");
        assert_eq!(json["ratios"][0]["by"], "thaw");
    }
}
