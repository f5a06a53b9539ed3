//! Tests the class counts of the long-tailed construction against SciPy's Pareto distribution.

mod common;

use dbloss::data::longtail::Pareto;

#[test]
fn pareto_counts_agree() {
    let golden = common::golden("pareto.json");
    let cases = golden["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for case in cases {
        let number = |key: &str| case[key].as_u64().unwrap() as usize;
        let pareto = Pareto {
            alpha: case["alpha"].as_f64().unwrap(),
            max: number("max"),
            min: number("min"),
            tail: case["tail"].as_f64().unwrap(),
        };
        let counts = pareto.counts(number("num_classes")).unwrap();
        let wanted: Vec<usize> = serde_json::from_value(case["counts"].clone()).unwrap();
        assert_eq!(counts, wanted, "{pareto:?}");
    }
}
