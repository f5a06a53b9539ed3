//! Schedules compared with closed forms.

use super::*;

#[test]
fn the_published_schedule() {
    let schedule = Schedule::default();
    let rate = |step| schedule.learning_rate(0.02, step, 121, 8);
    // lr_t = lr * (1 - (1 - t/500) * 2/3)
    assert!((rate(0) - 0.02 / 3.0).abs() < 1e-15);
    assert!((rate(250) - 0.02 * (1.0 - 0.5 * 2.0 / 3.0)).abs() < 1e-15);
    assert_eq!(rate(500), 0.02);
    assert_eq!(rate(5 * 121 - 1), 0.02);
    assert!((rate(5 * 121) - 0.002).abs() < 1e-15);
    assert!((rate(7 * 121) - 0.0002).abs() < 1e-15);
}

#[test]
fn cosine_starts_full_and_ends_at_nothing() {
    let schedule = Schedule::Cosine {
        warmup_iterations: Extent::Count(0),
        warmup_ratio: 1.0,
        final_ratio: 0.0,
        after_warmup: false,
    };
    assert_eq!(schedule.learning_rate(0.1, 0, 10, 3), 0.1);
    assert!((schedule.learning_rate(0.1, 15, 10, 3) - 0.05).abs() < 1e-12);
    assert!(schedule.learning_rate(0.1, 30, 10, 3).abs() < 1e-12);
}

#[test]
fn a_cosine_may_begin_where_the_warm_up_ends() {
    let text = "kind = 'cosine'\nwarmup_iterations = 10\nwarmup_ratio = 0.1\n\
                final_ratio = 0.05\nafter_warmup = true";
    let schedule: Schedule = toml::from_str(text).unwrap();
    // PyTorch's LinearLR(0.1, total_iters=10), then CosineAnnealingLR(T_max=30, eta_min=0.01).
    for step in 0..40 {
        let expected = match step {
            0..10 => 0.2 * (0.1 + 0.9 * f64::from(step) / 10.0),
            _ => {
                let angle = std::f64::consts::PI * f64::from(step - 10) / 30.0;
                0.01 + 0.5 * (0.2 - 0.01) * (1.0 + angle.cos())
            }
        };
        let found = schedule.learning_rate(0.2, step as usize, 10, 4);
        assert!(
            (found - expected).abs() < 1e-15,
            "step {step}: {found} {expected}"
        );
    }
}

fn step(milestones: &str, warmup: &str) -> Schedule {
    let text = format!("kind = 'step'\nmilestones = {milestones}\nwarmup_iterations = {warmup}");
    toml::from_str(&text).unwrap()
}

#[test]
fn parts_of_the_training_are_the_counts_that_they_stand_for() {
    let (parts, counts) = (step("[0.5, 0.75]", "0.1"), step("[4, 6]", "8"));
    for t in 0..80 {
        let rate = |s: &Schedule| s.learning_rate(0.02, t, 10, 8);
        assert_eq!(rate(&parts), rate(&counts), "step {t}");
    }
}

#[test]
fn what_is_written_is_read_back_the_same() {
    for text in ["[5, 7]", "[0.6, 0.85]", "[\"40 steps\", \"1000 steps\"]"] {
        let schedule = step(text, "0.1");
        let written = toml::to_string(&schedule).unwrap();
        assert!(
            written.contains(&format!("milestones = {text}")),
            "{written}"
        );
        assert_eq!(toml::from_str::<Schedule>(&written).unwrap(), schedule);
    }
}

#[test]
fn a_text_says_its_unit() {
    let (texts, counts) = (
        step("['4 epochs', '6 epochs']", "'2 epochs'"),
        step("[4, 6]", "20"),
    );
    for t in 0..80 {
        let rate = |s: &Schedule| s.learning_rate(0.02, t, 10, 8);
        assert_eq!(rate(&texts), rate(&counts), "step {t}");
    }
}

#[test]
fn one_cycle_rises_to_the_full_rate_and_ends_at_its_last() {
    let schedule: Schedule = toml::from_str("kind = 'one-cycle'").unwrap();
    let rate = |step| schedule.learning_rate(0.5, step, 10, 10);
    assert!((rate(0) - 0.02).abs() < 1e-15);
    assert!((rate(29) - 0.5).abs() < 1e-15);
    assert!((rate(99) - 2e-6).abs() < 1e-15);
    assert!((0..99).all(|t| (rate(t + 1) > rate(t)) == (t < 29)));
    // Without a rise, the first step has the full rate.
    let schedule: Schedule = toml::from_str("kind = 'one-cycle'\nwarmup_iterations = 0").unwrap();
    assert_eq!(schedule.learning_rate(0.5, 0, 10, 10), 0.5);
    assert!(schedule.learning_rate(0.5, 50, 10, 10) < 0.5);
}

#[test]
fn a_constant_rate_is_written_as_it_always_was() {
    let constant: Schedule = toml::from_str("kind = 'constant'").unwrap();
    assert_eq!(toml::to_string(&constant).unwrap(), "kind = \"constant\"\n");
    let warm: Schedule = toml::from_str("kind = 'constant'\nwarmup_iterations = 10").unwrap();
    assert!((warm.learning_rate(0.3, 0, 10, 10) - 0.1).abs() < 1e-15);
    assert_eq!(warm.learning_rate(0.3, 10, 10, 10), 0.3);
}

#[test]
fn a_schedule_that_does_not_fit_is_told_with_its_values() {
    let published = Schedule::default();
    assert!(published.misfits(0.02, 121, 8).is_empty());
    // 40 images in batches of 32: one step per epoch.
    let told = published.misfits(0.02, 1, 8);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].contains("= 500") && told[0].contains("8 steps"),
        "{told:?}"
    );
    let told = published.misfits(0.02, 1000, 6);
    assert!(told.len() == 1 && told[0].contains("names 7"), "{told:?}");
    assert!(published.misfits(0.02, 80, 8)[0].contains("400 steps"));
    assert!(step("[0.6, 0.85]", "0.1").misfits(0.02, 1, 8).is_empty());
}

#[test]
fn nonsense_is_refused() {
    for milestones in ["[7, 5]", "[0, 5]", "[0.8, 0.5]", "[0.5, 3]"] {
        assert!(
            step(milestones, "0")
                .check(&KeyPath::from("schedule"))
                .is_err(),
            "{milestones}"
        );
    }
    for value in ["1.5", "-1", "'all'", "nan"] {
        let text = format!("kind = 'cosine'\nwarmup_iterations = {value}");
        let error = toml::from_str::<Schedule>(&text).unwrap_err().to_string();
        assert!(error.contains("a fraction of the training"), "{error}");
    }
}
