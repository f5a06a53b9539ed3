//! Follows the recipe for a new loss in CONTRIBUTING.md.

use super::*;
use crate::loss::pages;

/// The file `power_focal.rs` is printed in the recipe and is all that its loss needs.
#[test]
fn the_recipe_of_contributing_makes_a_loss() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let recipe = fs_err::read_to_string(root.join("CONTRIBUTING.md")).unwrap();
    assert!(recipe.contains(include_str!("power_focal.rs")));

    let definition = &power_focal::DEFINITIONS[0];
    let given: toml::Table = "power = 2\nmargin = 0.5\nbalance = 3".parse().unwrap();
    let config = LossConfig::preset(definition, &given, &"loss".into()).unwrap();
    let written = "balance = 3.0\ngamma = 2.0\nmargin = 0.5\npower = 2.0\nreduction = \"mean\"\n\
                   scale = 1.0\nname = \"power-focal\"\n";
    assert_eq!(toml::to_string(&config).unwrap(), written);
    assert!(pages::page(&pages::sheet(definition).unwrap()).contains("| `margin` | `1.0` |"));
    let misspelt: toml::Table = "pwer = 2".parse().unwrap();
    let error = LossConfig::preset(definition, &misspelt, &"loss".into()).unwrap_err();
    assert!(error.to_string().starts_with("loss.pwer: "), "{error}");

    let frequency = ClassFrequency {
        counts: vec![10, 20, 30, 40, 50, 60, 70],
        num_images: 100,
    };
    let (logits, targets) = batch(11, 2.0);
    let (value, _) = evaluate(&config.build(&frequency).unwrap(), &logits, &targets, 0);
    let terms = (0..35).map(|i| {
        let weight = (100.0 / frequency.counts[i % 7] as f64).powi(2);
        let right = match targets[i] > 0.5 {
            true => 1.0 / (1.0 + (0.5 - logits[i]).exp()),
            false => 1.0 / (1.0 + logits[i].exp()),
        };
        -weight * 3.0 * (1.0 - right).powi(2) * right.ln()
    });
    let expected = terms.sum::<f64>() / 35.0;
    assert!(
        (value - expected).abs() <= 1e-12 * expected,
        "{value} for {expected}"
    );
}
