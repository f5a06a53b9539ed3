//! The bridge to candle.

use candle_core::{Device, Tensor, Var};

use super::*;

#[test]
fn candle_sees_value_and_gradient() {
    let (logits, targets) = batch(9, 1.0);
    let loss = build("db-focal", &frequency()).unwrap();
    let rounded: Vec<f32> = logits.iter().map(|&z| z as f32).collect();
    let exact: Vec<f64> = rounded.iter().map(|&z| f64::from(z)).collect();
    let (value, gradient) = evaluate(&loss, &exact, &targets, 0);
    let var = Var::from_vec(rounded, (5, 7), &Device::Cpu).unwrap();
    let scalar = apply(&loss, var.as_tensor(), &targets, 0).unwrap();
    assert_eq!(scalar.to_scalar::<f32>().unwrap(), value as f32);
    let doubled = (scalar * 2.0).unwrap().backward().unwrap();
    let own = doubled.get(var.as_tensor()).unwrap().flatten_all().unwrap();
    for (own, expected) in own.to_vec1::<f32>().unwrap().iter().zip(&gradient) {
        assert_eq!(*own, 2.0 * (*expected as f32));
    }
    // Logits that are a view of another tensor: their strides are not those of rows.
    let turned = var.as_tensor().t().unwrap().contiguous().unwrap();
    let view = apply(&loss, &turned.t().unwrap(), &targets, 0).unwrap();
    assert_eq!(view.to_scalar::<f32>().unwrap(), value as f32);
    let wrong = Tensor::zeros((5, 6), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(apply(&loss, var.as_tensor(), &targets[..30], 0).is_err());
    assert!(
        apply(&loss, &wrong, &targets[..30], 0).is_err(),
        "built for seven classes"
    );
}
