//! What is measured, as it is exposed. Included by the tests of this crate and of its users, by its path.

use weir_measure::Measure;

/// The whole Prometheus text.
pub fn text(measure: &Measure) -> String {
    let mut text = Vec::new();
    measure.prometheus(&mut text);
    String::from_utf8(text).unwrap()
}

/// The sum of the series of `family` in a text whose labels hold all of `labels`, each written `name="value"`.
pub fn sum(text: &str, family: &str, labels: &[&str]) -> f64 {
    let of_family = text.lines().filter(|line| {
        line.strip_prefix(family).is_some_and(|rest| rest.starts_with('{') || rest.starts_with(' '))
    });
    of_family
        .filter(|line| labels.iter().all(|label| line.contains(label)))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap())
        .sum()
}
