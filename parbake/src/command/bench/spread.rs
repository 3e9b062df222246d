//! What several measurements of one thing come to.

use serde::Serialize;

/// The ends and the middle of measured values.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(super) struct Spread {
    pub(super) minimum: f64,
    /// Of an even number of values, the mean of the two in the middle.
    pub(super) median: f64,
    pub(super) maximum: f64,
}

impl Spread {
    /// Of values in any order; all zero where there is none.
    pub(super) fn of(values: &[f64]) -> Self {
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

    /// A row of a table: what they are of, both ends and the middle between them.
    pub(super) fn row(&self, of: impl Into<String>, show: impl Fn(f64) -> String) -> [String; 4] {
        [
            of.into(),
            show(self.minimum),
            show(self.median),
            show(self.maximum),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::Spread;

    #[test]
    fn the_median_of_an_even_number_is_between_the_two_in_the_middle() {
        let cases: [(&[f64], [f64; 3]); 5] = [
            (&[], [0.0, 0.0, 0.0]),
            (&[7.0], [7.0, 7.0, 7.0]),
            (&[9.0, 4.0], [4.0, 6.5, 9.0]),
            (&[9.0, 1.0, 2.0], [1.0, 2.0, 9.0]),
            (&[8.0, 1.0, 2.0, 3.0], [1.0, 2.5, 8.0]),
        ];
        for (values, [minimum, median, maximum]) in cases {
            let expected = Spread {
                minimum,
                median,
                maximum,
            };
            assert_eq!(Spread::of(values), expected, "{values:?}");
        }
    }
}
