//! What is reported: every measured value, what they come to, and how the sides compare.

use parbake_artifact::Tag;
use serde::Serialize;

use super::case::{Case, Side};
use super::host::Facts;
use super::measure::{Measure, Sample, Unit};
use super::spread::Spread;

/// A whole benchmark. Times are seconds from the start of the command, sizes are bytes.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) artifact: Tag,
    pub(super) digest: String,
    pub(super) kubernetes: String,
    pub(super) runs: usize,
    pub(super) host: Facts,
    pub(super) cases: Vec<Measured>,
    pub(super) ratios: Vec<Ratio>,
}

/// All that was measured in one case.
#[derive(Debug, Serialize)]
pub(super) struct Measured {
    #[serde(flatten)]
    pub(super) case: Case,
    pub(super) measures: Vec<Values>,
}

/// One measure in one case.
#[derive(Debug, Serialize)]
pub(super) struct Values {
    pub(super) name: Measure,
    pub(super) unit: Unit,
    #[serde(flatten)]
    pub(super) spread: Spread,
    /// In the order of the runs.
    pub(super) values: Vec<f64>,
}

/// How the medians of two sides compare.
#[derive(Debug, PartialEq, Serialize)]
pub(super) struct Ratio {
    pub(super) name: Measure,
    pub(super) nodes: usize,
    /// The side whose median is divided.
    pub(super) of: Side,
    /// The side by whose median it is divided.
    pub(super) by: Side,
    pub(super) ratio: f64,
}

impl Measured {
    /// Puts together what one case's runs came to.
    pub(super) fn new(case: Case, samples: &[Sample]) -> Self {
        let values = |measure: Measure| -> Vec<f64> {
            let found = samples.iter().flatten().filter(|(name, _)| *name == measure);
            found.map(|(_, value)| *value).collect()
        };
        let measures = Measure::ALL.into_iter().map(|name| (name, values(name)));
        let measures = measures.filter(|(_, values)| !values.is_empty());
        Self {
            case,
            measures: measures
                .map(|(name, values)| Values {
                    name,
                    unit: name.unit(),
                    spread: Spread::of(&values),
                    values,
                })
                .collect(),
        }
    }

    /// What it says of `measure`.
    pub(super) fn of(&self, measure: Measure) -> Option<&Values> {
        self.measures.iter().find(|values| values.name == measure)
    }
}

/// How much longer kubeadm takes than a thaw, and a thaw than what it cannot be faster than.
pub(super) fn ratios(cases: &[Measured]) -> Vec<Ratio> {
    let alone = || cases.iter().filter(|measured| measured.case.clusters == 1);
    let side = |side| alone().filter(move |measured| measured.case.side == side);
    let ratio = |name: Measure, nodes, of: &Measured, by: &Measured| {
        let (above, below) = (of.of(name)?.spread.median, by.of(name)?.spread.median);
        (below > 0.0).then_some(Ratio {
            name,
            nodes,
            of: of.case.side,
            by: by.case.side,
            ratio: above / below,
        })
    };
    let mut ratios = Vec::new();
    for thaw in side(Side::Thaw) {
        let nodes = thaw.case.nodes;
        for init in side(Side::Init).filter(|init| init.case.nodes == nodes) {
            let events = [Measure::Dns, Measure::PodDns, Measure::Ready, Measure::FirstPod];
            ratios.extend(
                events
                    .into_iter()
                    .filter_map(|event| ratio(event, nodes, init, thaw)),
            );
        }
        ratios.extend(side(Side::Floor).filter_map(|floor| ratio(Measure::Api, nodes, thaw, floor)));
    }
    ratios
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::case::{Case, Side};
    use super::super::host::Facts;
    use super::super::measure::Measure;
    use super::{Measured, Report, ratios};

    fn case(side: Side, nodes: usize, clusters: usize) -> Case {
        Case {
            side,
            nodes,
            clusters,
        }
    }

    /// A report of made-up figures.
    pub(in super::super) fn example() -> Report {
        let cases = vec![
            Measured::new(
                case(Side::Thaw, 1, 1),
                &[
                    vec![(Measure::Api, 2.0), (Measure::Dns, 4.0), (Measure::Memory, 8e8)],
                    vec![(Measure::Api, 3.0), (Measure::Dns, 5.0), (Measure::Memory, 9e8)],
                    vec![(Measure::Api, 2.5), (Measure::Dns, 3.0), (Measure::Memory, 7e8)],
                ],
            ),
            Measured::new(
                case(Side::Init, 1, 1),
                &[vec![(Measure::Dns, 40.0)], vec![(Measure::Dns, 36.0)]],
            ),
            Measured::new(case(Side::Floor, 1, 1), &[vec![(Measure::Api, 2.0)]]),
            Measured::new(case(Side::Thaw, 1, 2), &[vec![(Measure::Dns, 6.0)]]),
        ];
        Report {
            artifact: "k8s-1.34".parse().unwrap(),
            digest: "sha256:abc".to_owned(),
            kubernetes: "v1.34.4".to_owned(),
            runs: 3,
            host: Facts {
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
    fn values_are_gathered_by_measure() {
        let report = example();
        let thaw = &report.cases[0];
        let names: Vec<String> = thaw
            .measures
            .iter()
            .map(|values| values.name.to_string())
            .collect();
        assert_eq!(names, ["/readyz", "DNS answers", "memory"]);
        let dns = thaw.of(Measure::Dns).unwrap();
        assert_eq!(
            (dns.values.as_slice(), dns.spread.median),
            ([4.0, 5.0, 3.0].as_slice(), 4.0)
        );
        assert!(thaw.of(Measure::Disk).is_none());
    }

    #[test]
    fn medians_of_the_same_number_of_nodes_are_compared() {
        let ratios = example().ratios;
        let found: Vec<_> = ratios
            .iter()
            .map(|ratio| (ratio.name, ratio.of, ratio.by, ratio.ratio))
            .collect();
        let expected = [
            (Measure::Dns, Side::Init, Side::Thaw, 9.5),
            (Measure::Api, Side::Thaw, Side::Floor, 1.25),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn as_json_a_case_is_one_object() {
        let json = serde_json::to_value(example()).unwrap();
        assert_eq!(json["cases"][1]["side"], "init");
        assert_eq!(json["cases"][0]["measures"][1]["name"], "DNS answers");
        assert_eq!(json["cases"][0]["measures"][1]["values"][2], 3.0);
        assert_eq!(json["cases"][0]["measures"][1]["unit"], "seconds");
        assert_eq!(json["ratios"][0]["by"], "thaw");
    }
}
