//! The tables of a study: for people with two decimals, as CSV in full precision.

use super::Study;
use super::against::{Kind, Test};
use super::chance;
use super::method::Method;
use super::published::SOURCE;
use crate::metrics::{PerGroup, Scope};
use crate::report::evaluation::what_the_mark_says;
use crate::report::table::{Table, percent};

/// How a cell stands out in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Neither of the two.
    Plain,
    /// The highest score.
    Best,
    /// The next.
    Second,
}

/// Marks the highest and the second highest score as they are shown, with two decimals in per
/// cent: what looks equal is marked alike. Nothing stands out in a column where all are equal.
pub(super) fn marks(scores: &[Option<f64>]) -> Vec<Mark> {
    let shown = |score: &Option<f64>| score.map(|score| (score * 1e4).round() as i64);
    let mut values: Vec<i64> = scores.iter().filter_map(shown).collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.dedup();
    (scores.iter().map(shown))
        .map(|score| match (score, values.as_slice()) {
            (Some(score), [best, _, ..]) if score == *best => Mark::Best,
            (Some(score), [_, second, ..]) if score == *second => Mark::Second,
            _ => Mark::Plain,
        })
        .collect()
}

/// Mean and deviation as `70.86 ± 0.31`, the mean alone for one seed, empty where undefined.
pub(super) fn spread(mean: Option<f64>, deviation: Option<f64>, plus_minus: &str) -> String {
    match deviation {
        Some(deviation) => format!("{}{plus_minus}{:.2}", percent(mean), deviation * 100.0),
        None => percent(mean),
    }
}

/// A p-value with two digits that tell something.
pub(super) fn p_text(p: Option<f64>) -> String {
    match p {
        None => String::new(),
        Some(p) if p < 0.001 => "< 0.001".into(),
        Some(p) => format!("{p:.3}"),
    }
}

/// What the row of a random order says, a sentence.
pub(super) const WHAT_CHANCE_IS: &str = "chance: the expected mAP of a random order of the images.";

/// A mean rank with two decimals.
pub(super) fn rank_text(rank: Option<f64>) -> String {
    rank.map_or(String::new(), |rank| format!("{rank:.2}"))
}

/// Behind the number of a method's seeds where one of its runs is not what it seems. The star of
/// `comparison.md` has another meaning in the tables of a report.
pub(super) const AMISS: &str = " †";

/// The same where a method was trained on other training sets than the baseline.
pub(super) const APART: &str = " ‡";

impl Study {
    /// What is amiss with which run: a line each, in the order of the tables.
    pub(super) fn remarks(&self) -> Vec<String> {
        let of_method = |method: &Method| {
            let line =
                |(seed, remark): &(u64, String)| format!("{}, seed {seed}: {remark}", method.title);
            method.remarks.iter().map(line).collect::<Vec<_>>()
        };
        self.methods.iter().flat_map(of_method).collect()
    }

    /// Which methods have other training sets than the baseline, a line each.
    pub(super) fn apart(&self) -> Vec<String> {
        let line = |method: &Method| Some(format!("{}: {}", method.title, method.apart.as_ref()?));
        self.methods.iter().filter_map(line).collect()
    }

    /// Whether figures were published for any of the rows.
    pub(super) fn has_published(&self) -> bool {
        self.methods.iter().any(|method| method.published.is_some())
    }

    /// Whether there is more than one method to be ranked.
    pub(super) fn has_ranks(&self) -> bool {
        self.methods.len() > 1 && self.ranks[Scope::Total].is_some()
    }

    /// The marks of a column.
    pub(super) fn marks(&self, scope: Scope) -> Vec<Mark> {
        let means: Vec<Option<f64>> = self.methods.iter().map(|m| m.means()[scope]).collect();
        marks(&means)
    }

    /// The main table; `mark` writes a cell that stands out.
    fn main_table(
        &self,
        name: impl Fn(&str) -> String,
        mark: impl Fn(&str, Mark) -> String,
    ) -> Table {
        let mut header = vec!["method".to_owned(), "seeds".to_owned()];
        header.extend(Scope::ALL.map(|scope| format!("{scope} mAP, %")));
        if self.has_ranks() {
            header.push("rank".into());
        }
        if self.has_published() {
            header.extend(Scope::ALL.map(|scope| format!("{scope}, %, quoted")));
        }
        let marks = PerGroup::from_fn(|scope| self.marks(scope));
        let mut table = Table::new(header);
        for (place, method) in self.methods.iter().enumerate() {
            let mut row = vec![name(&method.title), method.seeds_marked(AMISS, APART)];
            for (scope, marks) in marks.iter() {
                let (mean, deviation) = method.mean_and_deviation(scope);
                row.push(mark(&spread(mean, deviation, " ± "), marks[place]));
            }
            if self.has_ranks() {
                row.push(rank_text(self.rank(place)));
            }
            if let Some(published) = &method.published {
                row.extend(
                    published
                        .percent()
                        .iter()
                        .map(|(_, figure)| (*figure).to_owned()),
                );
            }
            table.push(row);
        }
        if let Some(chance) = &self.chance {
            let mut row = vec![name(chance::NAME), String::new()];
            row.extend(chance.means.iter().map(|(_, mean)| percent(*mean)));
            table.push(row);
        }
        table
    }

    /// The interval of a method's gain with its lower end: over images and runs together where
    /// there are several runs, else over the images.
    pub(super) fn interval_cell(&self, method: &Method, scope: Scope) -> (Option<f64>, String) {
        let kinds = [Kind::ImagesAndSeeds, Kind::JackknifeImages];
        let test = kinds
            .iter()
            .find_map(|kind| self.test(method, *kind, scope));
        let Some((test, low, high)) = test.and_then(|test| Some((test, test.low?, test.high?)))
        else {
            return (None, String::new());
        };
        let mark = if test.is_doubtful() { " *" } else { "" };
        let text = format!("{} to {}{mark}", signed(low), signed(high));
        (Some(low), text)
    }

    /// The gains over the baseline with their tests, over all classes.
    fn gain_table(&self, name: impl Fn(&str) -> String) -> Table {
        let mut header = vec!["method".to_owned(), "gain in total mAP, points".to_owned()];
        let (interval, images) = ("95 % interval, points", Kind::JackknifeImages);
        let kinds: Vec<Kind> = (Kind::ALL.into_iter())
            .filter(|kind| self.tests.iter().any(|test| test.test == *kind))
            .collect();
        if kinds.contains(&images) {
            header.push(interval.into());
        }
        header.extend(kinds.iter().map(|kind| format!("p, {}", kind.title())));
        let mut table = Table::new(header);
        for method in self.others() {
            let mut row = vec![
                name(&method.title),
                self.gain(method, Scope::Total)
                    .map_or(String::new(), signed),
            ];
            if kinds.contains(&images) {
                row.push(self.interval_cell(method, Scope::Total).1);
            }
            row.extend(kinds.iter().map(|kind| {
                p_text(
                    self.test(method, *kind, Scope::Total)
                        .and_then(|test| test.p_holm),
                )
            }));
            table.push(row);
        }
        table
    }

    /// The methods that are compared with the baseline.
    pub(super) fn others(&self) -> impl Iterator<Item = &Method> {
        let baseline = self.baseline;
        (self.methods.iter().enumerate())
            .filter_map(move |(place, method)| (place != baseline).then_some(method))
    }

    /// The difference of the means, method minus baseline.
    pub(super) fn gain(&self, method: &Method, scope: Scope) -> Option<f64> {
        Some(method.means()[scope]? - self.baseline().means()[scope]?)
    }

    /// For a terminal.
    pub fn to_terminal(&self) -> String {
        let mut text = self
            .main_table(str::to_owned, |cell, _| cell.to_owned())
            .to_terminal();
        for remark in self.remarks() {
            text.push_str(&format!("† {remark}\n"));
        }
        for other in self.apart() {
            text.push_str(&format!("‡ {other}\n"));
        }
        if self.methods.len() > 1 {
            text.push_str(&format!(
                "\nagainst {}, p after Holm\n{}",
                self.baseline().title,
                self.gain_table(str::to_owned).to_terminal()
            ));
            let marked = |test: &Test| test.classes == Scope::Total && test.is_doubtful();
            if self.tests.iter().any(marked) {
                text.push_str(&what_the_mark_says());
            }
        }
        text
    }

    pub(super) fn markdown(&self) -> String {
        let table = self.main_table(markdown, |cell, mark| match mark {
            _ if cell.is_empty() => String::new(),
            Mark::Plain => cell.to_owned(),
            Mark::Best => format!("**{cell}**"),
            Mark::Second => format!("<ins>{cell}</ins>"),
        });
        let title = markdown(&self.title);
        let mut text = format!("# {title}\n\n{}\n", table.to_markdown());
        text.push_str("mAP in per cent on the ");
        text.push_str(self.set.name());
        text.push_str(
            " set, mean ± sample standard deviation over seeds; best bold, second underlined.\n",
        );
        if self.chance.is_some() {
            text.push_str(WHAT_CHANCE_IS);
            text.push('\n');
        }
        if self.has_published() {
            text.push_str(&format!("Columns marked as quoted: {SOURCE}.\n"));
        }
        for remark in self.remarks() {
            text.push_str(&format!("\n† {}\n", markdown(&remark)));
        }
        for other in self.apart() {
            text.push_str(&format!("\n‡ {}\n", markdown(&other)));
        }
        if self.methods.len() > 1 {
            text.push_str(&format!(
                "\n## Against {}\n\n{}\np-values are two-sided, after Holm over the methods.\n",
                self.baseline().title,
                self.gain_table(markdown).to_markdown()
            ));
        }
        text
    }
}

/// A name as Markdown: no markup, and one line.
fn markdown(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for character in name.chars() {
        match character {
            '<' => text.push_str("&lt;"),
            '&' => text.push_str("&amp;"),
            '*' | '`' | '[' | ']' | '\\' => text.extend(['\\', character]),
            c if c.is_control() => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

/// A difference in per cent, with its sign.
pub(super) fn signed(difference: f64) -> String {
    format!("{:+.2}", difference * 100.0)
}
