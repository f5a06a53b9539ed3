//! Tests every case of the golden metrics, computed by scikit-learn.

mod common;

use dbloss::metrics::{ApMethod, ScoreTable, average_precision_per_class, threshold_scores};
use serde_json::Value;

#[test]
fn metrics_agree() {
    let root = common::golden("metrics.json");
    let cases = root["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    for (number, case) in cases.iter().enumerate() {
        check(number, case);
    }
    println!("{} cases of metrics.json agree", cases.len());
}

fn check(number: usize, case: &Value) {
    let rows = case["scores"].as_array().unwrap();
    let num_classes = rows[0].as_array().unwrap().len();
    let scores: Vec<f64> = (rows.iter())
        .flat_map(|row| row.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()))
        .collect();
    let mut targets = vec![0u8; scores.len()];
    for (image, labels) in case["labels"].as_array().unwrap().iter().enumerate() {
        for class in labels.as_array().unwrap() {
            targets[image * num_classes + class.as_u64().unwrap() as usize] = 1;
        }
    }
    let table = ScoreTable::new(&scores, &targets, num_classes).unwrap();
    let close = |what: &str, own: Option<f64>, expected: &Value| {
        let near = match (own, expected.as_f64()) {
            (Some(own), Some(expected)) => (own - expected).abs() <= 1e-9,
            (None, None) => expected.is_null(),
            _ => false,
        };
        assert!(near, "case {number}, {what}: {own:?} for {expected}");
    };
    let average = average_precision_per_class(&table, ApMethod::Area);
    let at_zero = threshold_scores(&table, &[0.0]).unwrap();
    for (key, expected) in case.as_object().unwrap() {
        match key.as_str() {
            "scores" | "labels" | "name" | "num_classes" => {}
            "average_precision" => {
                let expected = expected.as_array().unwrap();
                assert_eq!(expected.len(), average.len());
                for (own, expected) in average.iter().zip(expected) {
                    close(key, *own, expected);
                }
            }
            "map_over_classes_with_positives" => {
                let defined: Vec<f64> = average.iter().copied().flatten().collect();
                let mean = defined.iter().sum::<f64>() / defined.len() as f64;
                close(key, Some(mean), expected);
            }
            "micro_f1" => close(key, at_zero.micro.f1, expected),
            "macro_f1" => close(key, at_zero.macro_average.f1, expected),
            "accuracy" => close(key, at_zero.accuracy, expected),
            other => panic!("case {number}: unknown key `{other}`"),
        }
    }
}
