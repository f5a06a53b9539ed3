//! Estimates by simulation how often confidence intervals contain the population's value.
//!
//! `cargo bench --bench coverage` prints the tables of `docs/intervals.md`: for each setting the
//! coverage (per cent of the sets) and the mean width (in points) of this program's intervals and
//! of the textbook intervals. `-- SETS TEXTBOOK` sets the number of sets: by default 1,500 for ours
//! (which gives the coverage to about half a point) and 150 for the textbook intervals (two
//! points), which take nearly all of the time, an hour or more on one core. Words select rows:
//! `AP`, `gain` or `runs` select a table, any other word the populations whose name contains it
//! (`-- 150 150 gain tied`).

mod forms;
mod population;
mod runs;

use forms::{FORMS, TestSet, ours, textbooks};
use population::{Setting, settings};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut numbers = arguments
        .iter()
        .filter_map(|argument| argument.parse().ok());
    let sets = numbers.next().unwrap_or(1_500);
    let textbook_sets = numbers.next().unwrap_or(150).min(sets);
    let words = (arguments.iter()).filter(|a| !a.starts_with('-') && a.parse::<usize>().is_err());
    let (tables, names): (Vec<&String>, Vec<&String>) =
        words.partition(|word| ["AP", "gain", "runs"].contains(&word.as_str()));
    for (gain, title) in [(false, "AP and mAP"), (true, "A gain, paired by image")] {
        let word = if gain { "gain" } else { "AP" };
        if !tables.is_empty() && !tables.iter().any(|table| *table == word) {
            continue;
        }
        println!("\n{title}\n");
        println!(
            "| scores | images | classes | positives | truth | {} | ours |",
            FORMS.join(" | ")
        );
        println!(
            "| --- | ---: | ---: | ---: | ---: |{}",
            " ---: |".repeat(FORMS.len() + 1)
        );
        for setting in settings() {
            let chosen = |name: &&String| setting.name.contains(name.as_str());
            if names.is_empty() || names.iter().any(chosen) {
                row(&setting, gain, sets, textbook_sets);
            }
        }
    }
    if tables.is_empty() || tables.iter().any(|table| *table == "runs") {
        let chosen =
            |name: &str| names.is_empty() || names.iter().any(|n| name.contains(n.as_str()));
        runs::table(&settings(), chosen, sets);
    }
}

/// How often an interval contained the true value, and how wide it was.
#[derive(Default, Clone, Copy)]
struct Tally {
    sets: usize,
    covered: usize,
    width: f64,
}

impl Tally {
    fn add(&mut self, (low, high): (f64, f64), truth: f64) {
        self.sets += 1;
        self.covered += usize::from(low <= truth && truth <= high);
        self.width += high - low;
    }

    fn cell(&self) -> String {
        let sets = self.sets as f64;
        match self.sets {
            0 => "-".to_owned(),
            _ => format!(
                "{:.1} ({:.1})",
                100.0 * self.covered as f64 / sets,
                100.0 * self.width / sets
            ),
        }
    }
}

fn row(setting: &Setting, gain: bool, sets: usize, textbook_sets: usize) {
    let classes = setting.classes();
    let population = |class: usize| {
        let baseline = if gain {
            setting.population(class, false)
        } else {
            0.0
        };
        setting.population(class, gain) - baseline
    };
    let values: Vec<f64> = (0..classes).map(population).collect();
    let mut own = Tally::default();
    let mut textbook = [Tally::default(); FORMS.len()];
    let (mut truths, mut doubtful) = (0.0, 0);
    for index in 0..sets {
        let (scores, targets) = setting.draw(index, gain);
        let set = TestSet {
            images: setting.images,
            classes,
            scores: &scores,
            targets: &targets,
        };
        let defined: Vec<f64> = (0..classes)
            .filter(|&class| set.has_positive(class))
            .map(|class| values[class])
            .collect();
        let Some(ours) = ours(&set) else {
            continue;
        };
        let truth = defined.iter().sum::<f64>() / defined.len() as f64;
        assert!((ours.low..=ours.high).contains(&ours.estimate), "{ours:?}");
        truths += truth;
        doubtful += usize::from(ours.is_doubtful());
        own.add((ours.low, ours.high), truth);
        if index < textbook_sets {
            let ends = textbooks(&set, &ours);
            for (tally, ends) in textbook.iter_mut().zip(ends) {
                if let Some(ends) = ends {
                    tally.add(ends, truth);
                }
            }
        }
    }
    let positives = match (setting.positives[0], setting.positives[classes - 1]) {
        (first, last) if first == last => format!("{first}"),
        (first, last) => format!("{first} to {last:.0}"),
    };
    let mark = if 2 * doubtful > own.sets { " *" } else { "" };
    println!(
        "| {} | {} | {classes} | {positives} | {:.1} | {} | {}{mark} |",
        setting.name,
        setting.images,
        100.0 * truths / own.sets as f64,
        textbook.map(|tally| tally.cell()).join(" | "),
        own.cell()
    );
}
