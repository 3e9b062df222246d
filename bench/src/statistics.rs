//! Minimum, median and maximum of repeated measurements.

use serde::Serialize;

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Summary {
    pub(crate) minimum: f64,
    /// The mean of the two middle values where their number is even.
    pub(crate) median: f64,
    pub(crate) maximum: f64,
}

impl Summary {
    /// Summarizes values in any order; all zero if there are none.
    pub(crate) fn of(values: &[f64]) -> Self {
        let mut values = values.to_vec();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or_default();
        let last = values.len().saturating_sub(1);
        Self {
            minimum: at(0),
            median: f64::midpoint(at(last / 2), at(values.len() / 2)),
            maximum: at(last),
        }
    }

    /// A table row: label, minimum, median, maximum.
    pub(crate) fn row(&self, label: impl Into<String>, show: impl Fn(f64) -> String) -> [String; 4] {
        [
            label.into(),
            show(self.minimum),
            show(self.median),
            show(self.maximum),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::Summary;

    #[test]
    fn median_of_an_even_number_of_values_is_the_mean_of_the_middle_two() {
        let cases: [(&[f64], [f64; 3]); 5] = [
            (&[], [0.0, 0.0, 0.0]),
            (&[7.0], [7.0, 7.0, 7.0]),
            (&[9.0, 4.0], [4.0, 6.5, 9.0]),
            (&[9.0, 1.0, 2.0], [1.0, 2.0, 9.0]),
            (&[8.0, 1.0, 2.0, 3.0], [1.0, 2.5, 8.0]),
        ];
        for (values, [minimum, median, maximum]) in cases {
            let expected = Summary {
                minimum,
                median,
                maximum,
            };
            assert_eq!(Summary::of(values), expected, "{values:?}");
        }
    }
}
