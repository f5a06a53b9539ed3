//! The reference against what is known of keys from elsewhere.

use super::*;
use crate::config::Experiment;

/// Key, kind, default and range, by the published recipe, PyTorch's OneCycleLR and the papers.
const EXPECTED: [(&str, &str, &str, &str); 16] = [
    (
        "train.batch_size",
        "",
        "32",
        "a whole number from 2 to 2147483648",
    ),
    ("train.ema_decay", "", "0", "a number from 0 to below 1"),
    ("train.tensorboard", "", "false", ""),
    (
        "schedule.kind",
        "",
        "\"step\"",
        "one of `step`, `cosine`, `one-cycle`, `constant`",
    ),
    (
        "schedule.warmup_ratio",
        "schedule.kind = \"one-cycle\"",
        "0.04",
        "a number from 0 to 1",
    ),
    (
        "optimizer.betas",
        "optimizer.kind = \"adamw\"",
        "[0.9, 0.999]",
        "a number from 0 to below 1",
    ),
    ("optimizer.learning_rate", "", "", "a number above 0"),
    (
        "split.distribution.kind",
        "",
        "",
        "one of `pareto`, `exponential`, `counts`, `class-counts`, `as-is`, `ids`, `released`",
    ),
    (
        "schedule.warmup_ratio",
        "schedule.kind = \"constant\"",
        "0.3333333333333333",
        "a number from 0 to 1",
    ),
    ("input.mean", "", "", "a finite number"),
    (
        "input.augment.mixup.targets",
        "",
        "\"mix\"",
        "one of `mix`, `union`",
    ),
    (
        "loss.gamma",
        "loss.name = \"focal\"",
        "2.0",
        "a number at or above 0",
    ),
    (
        "loss.weight.mu",
        "loss.name = \"composed\", loss.weight.kind = \"rebalanced\"",
        "0.3",
        "a finite number",
    ),
    ("optimizer.kind", "", "\"sgd\"", "one of `sgd`, `adamw`"),
    (
        "model.neck.out_channels",
        "model.neck.kind = \"published\"",
        "256",
        "a whole number at or above 1",
    ),
    (
        "seed",
        "",
        "0",
        "a whole number from 0 to 9223372036854775807",
    ),
];

#[test]
fn defaults_and_ranges_are_those_of_the_kind() {
    let rows = rows::<Experiment>().unwrap();
    let row = |key: &str, with: &str| {
        let mut found = rows
            .iter()
            .filter(|row| row.key == key && row.only_with == with);
        found
            .next()
            .unwrap_or_else(|| panic!("no {key} with {with}"))
    };
    for (key, with, default, range) in EXPECTED {
        let row = row(key, with);
        assert_eq!(
            (row.default.as_str(), row.range.as_str()),
            (default, range),
            "{key}"
        );
        assert!(!row.required, "{key}");
    }
    assert!(row("name", "").required && row("sampler.kind", "").required);
    assert!(row("loss.name", "").required && !row("split_folder", "").required);
}

#[test]
fn a_prefix_takes_whole_names_and_a_stranger_is_sent_to_the_nearest() {
    let rows = rows::<Experiment>().unwrap();
    let train = below(&rows, "train").unwrap();
    assert!(train.len() > 5 && train.iter().all(|row| row.key.starts_with("train.")));
    assert_eq!(below(&rows, "train.epochs").unwrap().len(), 1);
    assert!(below(&rows, "trai").is_err());
    for (given, near) in [
        ("shedule", "did you mean `schedule`?"),
        (
            "optimizer.learning_rat",
            "did you mean `optimizer.learning_rate`?",
        ),
        ("learning_rate", "did you mean `optimizer.learning_rate`?"),
    ] {
        let error = below(&rows, given).unwrap_err();
        assert_eq!(error.remedy(), Some(near), "{given}");
    }
}
