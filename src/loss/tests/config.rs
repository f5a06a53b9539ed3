//! The `[loss]` table: reading, writing back, rejecting.

use super::*;

/// Returns the values of a nested table with their dotted keys.
fn leaves(table: &toml::Table) -> Vec<(String, toml::Value)> {
    let mut found = Vec::new();
    for (key, value) in table {
        match value.as_table() {
            None => found.push((key.clone(), value.clone())),
            Some(inner) => {
                found.extend(
                    leaves(inner)
                        .into_iter()
                        .map(|(k, v)| (format!("{key}.{k}"), v)),
                );
            }
        }
    }
    found
}

fn set(table: &mut toml::Table, path: &str, value: toml::Value) {
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value)),
        Some((part, rest)) => set(table[part].as_table_mut().unwrap(), rest, value),
    }
}

#[test]
fn a_composition_equals_its_preset_also_through_toml() {
    let (logits, targets) = batch(5, 2.0);
    let mut compared = 0;
    for config in all() {
        let text = toml::to_string(&config).unwrap();
        assert_eq!(
            toml::from_str::<LossConfig>(&text).unwrap(),
            config,
            "{text}"
        );
        let Some(composition) = config.composition() else {
            continue;
        };
        let text = toml::to_string(&LossConfig::composed(&composition).unwrap()).unwrap();
        let composed: LossConfig = toml::from_str(&text).unwrap();
        let preset = config.build(&frequency()).unwrap();
        let composed = composed.build(&frequency()).unwrap();
        assert_eq!(
            evaluate(&preset, &logits, &targets, 3),
            evaluate(&composed, &logits, &targets, 3),
            "{text}"
        );
        compared += 1;
    }
    assert!(compared >= 20, "{compared}");
}

#[test]
fn mistakes_are_named_with_what_is_accepted() {
    for (text, parts) in [
        (
            "name = \"db-fokal\"",
            ["loss.name", "did you mean `db-focal`?"],
        ),
        (
            "name = \"db\"\nkapa = 0.1",
            ["loss.kapa", "did you mean `kappa`?"],
        ),
        ("name = \"db\"\nlambda = 0", ["loss.lambda", "above 0"]),
        (
            "name = \"db\"\nbias = \"papr\"",
            ["`code`, `paper`", "did you mean `paper`?"],
        ),
        (
            "name = \"focal\"\ngamma = \"2\"",
            ["loss.gamma", "at or above 0"],
        ),
        (
            "name = \"splc\"\nfrom_epoch = -1",
            ["loss.from_epoch", "whole number"],
        ),
        ("gamma = 2", ["loss.name", "is missing"]),
        ("name = \"cb\"\nbeta = 1.0", ["loss.beta", "below 1"]),
        (
            "name = \"composed\"\nwieght = { kind = \"none\" }",
            ["loss.wieght", "did you mean `weight`?"],
        ),
        (
            "name = \"composed\"\nweight = { kind = \"inverse\", pwer = 1 }",
            ["loss.weight.pwer", "did you mean `power`?"],
        ),
        (
            "name = \"composed\"\nweight = { kind = \"invers\" }",
            ["loss.weight.kind", "did you mean `inverse`?"],
        ),
        (
            "name = \"composed\"\nweight = { power = 1 }",
            ["loss.weight.kind: is missing", "`none`, `inverse`"],
        ),
        (
            "name = \"composed\"\nmargin = 3",
            ["loss.margin: is 3", "a table whose `kind`"],
        ),
        (
            "name = \"composed\"\ntolerance = { kappa = nan }",
            ["loss.tolerance.kappa", "at or above 0"],
        ),
        (
            "name = \"composed\"\nfocal = { gamma = -1 }",
            ["loss.focal.gamma", "at or above 0"],
        ),
    ] {
        let error = parse(text).unwrap_err();
        let mut message = error.to_string();
        if let Error::Input(input) = &error {
            message += input.hint.as_deref().unwrap_or("");
        }
        for part in parts {
            assert!(message.contains(part), "{text}: {message}");
        }
        // The same through serde, including the hint.
        let through_serde = toml::from_str::<LossConfig>(text).unwrap_err().to_string();
        assert!(through_serde.contains(parts[0]), "{through_serde}");
    }
}

/// The serialized form enters the configuration of a run, and so its hash: runs of earlier versions
/// count as finished only as long as it stays the same to the letter.
#[test]
fn the_written_form_is_that_of_earlier_versions() {
    for (text, written) in [
        (
            "name = \"db-focal\"\nlambda = 2",
            "alpha = 0.1\nbalance = 2.0\nbeta = 10.0\nbias = \"code\"\ngamma = 2.0\nkappa = 0.05\n\
             lambda = 2.0\nmu = 0.3\nnormalisation = \"none\"\nreduction = \"mean\"\nscale = 1.0\n\
             name = \"db-focal\"\n",
        ),
        (
            "name = \"mfm\"",
            "clip = 0.05\ndetach_focusing = false\neps = 0.00000001\ngamma_negative = 4.0\n\
             gamma_positive = 1.0\npower = 0.16666666666666666\nreduction = \"sum\"\nscale = 1.0\n\
             name = \"mfm\"\n",
        ),
        (
            "name = \"splc\"",
            "from_epoch = 1\ngamma = 2.0\nmargin = 1.0\nreduction = \"sum\"\nscale = 1.0\n\
             tau = 0.6\nname = \"splc\"\n",
        ),
        (
            "name = \"two-way\"",
            "scale = 1.0\ntemperature_negative = 1.0\ntemperature_positive = 4.0\n\
             name = \"two-way\"\n",
        ),
        (
            "name = \"composed\"\nfocal = { gamma = 1 }\nweight = { kind = \"inverse\" }",
            "scale = 1.0\nreduction = \"mean\"\nnormalisation = \"none\"\nname = \"composed\"\n\n\
             [kernel]\nkind = \"cross-entropy\"\n\n[weight]\nkind = \"inverse\"\npower = 1.0\n\n\
             [focal]\ngamma = 1.0\nbalance = 2.0\n",
        ),
    ] {
        assert_eq!(toml::to_string(&parse(text).unwrap()).unwrap(), written);
    }
}

#[test]
fn every_loss_of_the_papers_is_there_and_describes_itself() {
    for name in [
        "bce",
        "rw",
        "rw-sqrt",
        "focal",
        "cb",
        "cb-focal",
        "r-bce",
        "r-bce-focal",
        "ntr",
        "db",
        "db-focal",
        "db-0fl",
        "cb-ntr",
        "ldam",
        "asl",
        "apl",
        "hill",
        "splc",
        "two-way",
        "zlpr",
        "logit-adjusted",
        "mfm",
    ] {
        assert!(definition(name).is_some(), "{name}");
    }
    for loss in definitions() {
        let unique = names().iter().filter(|name| **name == loss.name).count();
        assert_eq!(unique, 1, "{}", loss.name);
        assert!(!loss.formula.is_empty() && !loss.source.is_empty() && !loss.when.is_empty());
        // Each path that a loss declares leads to a key, and no two keys share a name.
        let parts = loss.parts().unwrap();
        let settings = loss.settings(&parts);
        for path in loss.keys {
            assert!(
                settings.iter().any(|s| s.path.starts_with(path)),
                "{}: {path}",
                loss.name
            );
        }
        let written = LossConfig::named(loss.name).unwrap().to_table();
        assert_eq!(written.len(), settings.len() + 1, "{}", loss.name);
        assert_eq!(
            LossConfig::from_table(&written, &"loss".into())
                .unwrap()
                .to_table(),
            written
        );
    }
}

/// Every key of every loss and of every kind of part: misspelt, of the wrong type, out of range.
#[test]
fn every_key_is_checked_by_name_type_and_range() {
    let mut tried = 0;
    let mut refused = |table: &toml::Table, key: &str| {
        let error = LossConfig::from_table(table, &"loss".into())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with(&format!("loss.{key}: ")),
            "{key}: {error}"
        );
        tried += 1;
    };
    let tables: Vec<toml::Table> = all().iter().map(LossConfig::to_table).collect();
    for table in tables {
        for (key, value) in leaves(&table) {
            if key == "name" {
                continue;
            }
            let with = |path: &str, value: toml::Value| {
                let mut table = table.clone();
                set(&mut table, path, value);
                table
            };
            refused(&with(&key, toml::Value::Array(Vec::new())), &key);
            if value.is_float() {
                refused(&with(&key, f64::NAN.into()), &key);
                refused(&with(&key, "1".into()), &key);
            }
            let misspelt = format!("{key}_");
            refused(&with(&misspelt, value), &misspelt);
        }
    }
    assert!(tried > 500, "{tried}");
}
