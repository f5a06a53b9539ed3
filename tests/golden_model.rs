//! Tests the model against trajectories computed by PyTorch.

mod common;

use candle_core::{DType, Device, IndexOp};
use common::{formula, golden};
use dbloss::model::backbone::{BackboneConfig, Winograd, build};
use dbloss::model::builder::Builder;

#[test]
fn features_in_evaluation_mode_match_pytorch() {
    let golden = golden("model.json");
    let models = golden["models"].as_array().unwrap();
    assert!(!models.is_empty());
    for model in models {
        let number = |key: &str| model[key].as_u64().unwrap() as usize;
        let config = BackboneConfig {
            name: serde_json::from_value(model["arch"].clone()).unwrap(),
            frozen_stages: model["frozen_stages"].as_i64().unwrap() as i32,
            norm_eval: model["norm_eval"].as_bool().unwrap(),
            winograd: Winograd::On,
            adapter: None,
        };
        let builder = Builder::new(&Device::Cpu, DType::F32, 0);
        let backbone = build(&config, &builder).unwrap();
        formula::fill(&builder.parameters());
        let images = formula::images(
            model["input"].as_str().unwrap(),
            number("batch"),
            number("size"),
            model["input_scale"].as_f64().unwrap() as f32,
        );
        let features = backbone.features(&images).unwrap().pooled().unwrap();
        let found: Vec<f32> = features.i(0).unwrap().to_vec1().unwrap();
        let expected: Vec<f64> =
            serde_json::from_value(model["eval_features_first_image"].clone()).unwrap();
        assert_eq!(found.len(), expected.len());
        let largest = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (f, e) in found.iter().zip(&expected) {
            let error = (f64::from(*f) - e).abs() / largest;
            assert!(error < 1e-4, "{config:?}: {f} for {e}");
        }
    }
}
