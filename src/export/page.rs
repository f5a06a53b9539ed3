//! The card as a readable page.

use std::fmt::Write as _;

use super::card::{Card, Scores};
use crate::report::table::{Table, percent};

impl Card {
    /// Renders the card as Markdown.
    pub fn to_markdown(&self) -> String {
        let mut page = format!("# {}\n\n", self.name);
        let network = &self.network;
        let facts = [
            ("network", {
                let (library, name) = (&network.library, &network.library_name);
                let backbone = &network.backbone;
                format!("{backbone} (tensors named as those of {library}'s {name})")
            }),
            ("neck", network.neck.to_string()),
            ("head", network.head.to_string()),
            ("parameters", network.parameters.to_string()),
            ("checkpoint", self.checkpoint.name()),
            ("trained by", format!("dbloss {}", self.training.version)),
            ("exported by", self.exported_by.clone()),
            ("split", format!("{}, {}", self.split.hash, self.images())),
        ];
        for (what, fact) in facts {
            let _ = writeln!(page, "- {what}: {fact}");
        }
        let _ = write!(page, "\n## Pictures\n\n");
        for (number, step) in self.preprocessing.steps.iter().enumerate() {
            let _ = writeln!(page, "{}. {step}", number + 1);
        }
        let prepared = &self.preprocessing;
        let _ = writeln!(
            page,
            "\nmean {:?}, std {:?} on the scale of 0 to 255; mean {:?}, std {:?} on that of 0 to 1",
            prepared.mean, prepared.std, prepared.mean_of_one, prepared.std_of_one
        );
        let _ = write!(page, "\n## Classes\n\n{}.", self.thresholds_in_words());
        let _ = write!(page, "\n\n{}", self.class_table());
        if !self.scores.is_empty() {
            let _ = write!(page, "\n## Scores\n\n{}", self.score_table());
        }
        let _ = write!(
            page,
            "\n## Experiment\n\n```toml\n{}```\n",
            self.configuration
        );
        page
    }

    fn images(&self) -> String {
        let counts = (self.split.images.iter()).map(|(set, count)| format!("{set} {count}"));
        match counts.collect::<Vec<_>>() {
            none if none.is_empty() => {
                "its size was not known when the model was exported".to_owned()
            }
            counts => format!("images: {}", counts.join(", ")),
        }
    }

    fn thresholds_in_words(&self) -> String {
        match &self.thresholds.chosen_on {
            Some(set) => format!("Thresholds, chosen on {set}: {}", self.thresholds.rule),
            None => format!("No thresholds were chosen: {}", self.thresholds.rule),
        }
    }

    fn class_table(&self) -> String {
        let header = [
            "class",
            "threshold (logit)",
            "threshold (probability)",
            "group",
            "training images",
            "AP on test, %",
        ];
        let mut table = Table::new(header.map(str::to_owned).to_vec());
        for class in &self.classes {
            let number = |number: Option<f64>| number.map_or(String::new(), |n| format!("{n:.4}"));
            table.push(vec![
                class.name.clone(),
                number(class.threshold),
                number(class.threshold_probability),
                class.group.map_or(String::new(), |group| group.to_string()),
                class.train_images.map_or(String::new(), |n| n.to_string()),
                percent(class.average_precision),
            ]);
        }
        table.to_markdown()
    }

    fn score_table(&self) -> String {
        let mut header = vec!["score, %".to_owned()];
        header.extend(self.scores.keys().cloned());
        let mut table = Table::new(header);
        let rows = |of: fn(&Scores) -> Vec<&String>| {
            let mut names: Vec<&String> = self.scores.values().flat_map(of).collect();
            names.sort();
            names.dedup();
            names
        };
        for name in rows(|scores| scores.map.keys().collect()) {
            let mut row = vec![format!("mAP {name}")];
            let values = self.scores.values().map(|scores| scores.map.get(name));
            row.extend(values.map(|value| percent(value.copied().flatten())));
            table.push(row);
        }
        for name in rows(|scores| scores.metrics.keys().collect()) {
            let mut row = vec![name.clone()];
            let values = self.scores.values().map(|scores| scores.metrics.get(name));
            row.extend(values.map(|value| percent(value.copied().flatten())));
            table.push(row);
        }
        table.to_markdown()
    }
}
