//! What tables of operations do not show: what is `_other` in them, and the names that have given way to others.

/// Lines below a table, by a scrape of `/metrics`; empty where there is nothing to say.
pub fn note(metrics: &str) -> String {
    let (mut other, mut gone, mut retired) = (0.0, 0.0, 0.0);
    for line in metrics.lines() {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        match series.split('{').next() {
            Some("weir_operations_total")
                if [r#"operation="_other""#, r#"resource="_other""#]
                    .iter()
                    .any(|label| series.contains(label)) =>
            {
                other += value;
            }
            Some("weir_names_gone_total") => gone += value,
            Some("weir_operations_retired_total") => retired += value,
            _ => {}
        }
    }
    let mut lines = String::new();
    if other > 0.0 {
        lines += &format!(
            "_other: {other:.0} operations whose name or target Weir does not know, or for which there was no room.\n"
        );
    }
    if gone > 0.0 {
        lines += &format!(
            "{gone:.0} names have given way to others, the longest silent first (limits); their {retired:.0} operations are in no row.\n"
        );
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_and_the_names_that_gave_way_are_told() {
        let metrics = "# HELP weir_operations_total x\n\
            weir_operations_total{listener=\"l\",operation=\"find\",resource=\"a\",result=\"ok\",code=\"\"} 7\n\
            weir_operations_total{listener=\"l\",operation=\"_other\",resource=\"\",result=\"ok\",code=\"\"} 3\n";
        let other = note(metrics);
        assert!(other.starts_with("_other: 3 operations") && other.lines().count() == 1, "{other}");
        let gone = format!(
            "{metrics}weir_names_gone_total{{listener=\"l\",kind=\"resource\"}} 12\n\
             weir_operations_retired_total{{listener=\"l\",result=\"error\"}} 40\n"
        );
        let told = note(&gone);
        assert!(told.contains("\n12 names") && told.contains("their 40 operations"), "{told}");
        assert_eq!(note("weir_operations_total{operation=\"find\",resource=\"a\"} 7\n"), "");
    }
}
