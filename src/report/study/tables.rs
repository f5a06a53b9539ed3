//! The tables of a study: for people with two decimals, as CSV in full precision.

use super::Study;
use super::against::{Kind, Test};
use super::chance;
use super::method::Method;
use super::published::SOURCE;
use crate::metrics::{PerGroup, Scope};
use crate::report::evaluation::what_the_mark_says;
use crate::report::table::{Table, percent};

/// How a cell is highlighted in its column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// Not highlighted.
    Plain,
    /// The highest score.
    Best,
    /// The second highest score.
    Second,
}

/// Marks the highest and the second highest score as displayed, with two decimals in percent:
/// scores that look equal are marked alike. Nothing is marked in a column of equal scores.
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

/// Formats mean and deviation as `70.86 ± 0.31`; only the mean for one seed, empty where undefined.
pub(super) fn spread(mean: Option<f64>, deviation: Option<f64>, plus_minus: &str) -> String {
    match deviation {
        Some(deviation) => format!("{}{plus_minus}{:.2}", percent(mean), deviation * 100.0),
        None => percent(mean),
    }
}

/// Formats a p-value with three decimals, or as `< 0.001`.
pub(super) fn p_text(p: Option<f64>) -> String {
    match p {
        None => String::new(),
        Some(p) if p < 0.001 => "< 0.001".into(),
        Some(p) => format!("{p:.3}"),
    }
}

/// The sentence that explains the row of a random order.
pub(super) const WHAT_CHANCE_IS: &str = "chance: the expected mAP of a random order of the images.";

/// Formats a mean rank with two decimals.
pub(super) fn rank_text(rank: Option<f64>) -> String {
    rank.map_or(String::new(), |rank| format!("{rank:.2}"))
}

/// Appended to a method's number of seeds if one of its runs has a remark. The star of
/// `comparison.md` has another meaning in the tables of a report.
pub(super) const AMISS: &str = " †";

/// Appended if a method was trained on other training sets than the baseline.
pub(super) const APART: &str = " ‡";

impl Study {
    /// Returns the remarks on the runs: one line each, in the order of the tables.
    pub(super) fn remarks(&self) -> Vec<String> {
        let of_method = |method: &Method| {
            let line =
                |(seed, remark): &(u64, String)| format!("{}, seed {seed}: {remark}", method.title);
            method.remarks.iter().map(line).collect::<Vec<_>>()
        };
        self.methods.iter().flat_map(of_method).collect()
    }

    /// Lists the methods with other training sets than the baseline, one line each.
    pub(super) fn apart(&self) -> Vec<String> {
        let line = |method: &Method| Some(format!("{}: {}", method.title, method.apart.as_ref()?));
        self.methods.iter().filter_map(line).collect()
    }

    /// Returns whether there are published scores for any of the rows.
    pub(super) fn has_published(&self) -> bool {
        self.methods.iter().any(|method| method.published.is_some())
    }

    /// Returns whether there is more than one method to rank.
    pub(super) fn has_ranks(&self) -> bool {
        self.methods.len() > 1 && self.ranks[Scope::Total].is_some()
    }

    /// Returns the marks of a column.
    pub(super) fn marks(&self, scope: Scope) -> Vec<Mark> {
        let means: Vec<Option<f64>> = self.methods.iter().map(|m| m.means()[scope]).collect();
        marks(&means)
    }

    /// Makes the main table; `mark` formats a highlighted cell.
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

    /// Returns the interval of a method's gain, with its lower end: over images and runs together
    /// if there are several runs, otherwise over the images.
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

    /// Makes the table of the gains over the baseline with their tests, over all classes.
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

    /// Returns the methods that are compared with the baseline.
    pub(super) fn others(&self) -> impl Iterator<Item = &Method> {
        let baseline = self.baseline;
        (self.methods.iter().enumerate())
            .filter_map(move |(place, method)| (place != baseline).then_some(method))
    }

    /// Returns the difference of the means, method minus baseline.
    pub(super) fn gain(&self, method: &Method, scope: Scope) -> Option<f64> {
        Some(method.means()[scope]? - self.baseline().means()[scope]?)
    }

    /// Formats the study for a terminal.
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

/// Formats a name for Markdown: without markup and on one line.
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

/// Formats a difference in percent, with its sign.
pub(super) fn signed(difference: f64) -> String {
    format!("{:+.2}", difference * 100.0)
}
