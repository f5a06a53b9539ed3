//! Small tables: for the terminal, Markdown and CSV.

/// The smallest width of a terminal that is assumed.
const WIDE: usize = 80;

/// A table of text with one header row.
#[derive(Debug, Clone)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table without rows.
    pub fn new(header: Vec<String>) -> Self {
        Table {
            header,
            rows: Vec::new(),
        }
    }

    /// Adds a row; missing cells at its end stay empty.
    pub fn push(&mut self, mut row: Vec<String>) {
        row.resize(self.header.len(), String::new());
        self.rows.push(row);
    }

    /// Formats the table for a terminal: the first column left-aligned, the others right-aligned,
    /// an empty cell as `-`. Headings are broken into several lines if the table would be wider
    /// than most terminals, and the table is wrapped if it is wider than the current terminal.
    pub fn to_terminal(&self) -> String {
        let mut table = comfy_table::Table::new();
        let header = match self.width() > WIDE {
            true => self.header.iter().map(|h| h.replace(", ", ",\n")).collect(),
            false => self.header.clone(),
        };
        let cell = |cell: &String| match cell.is_empty() {
            true => "-".to_owned(),
            false => cell.replace(char::is_control, "\u{fffd}"),
        };
        // A rule below the header only: rows of numbers need none between them.
        table
            .load_preset(comfy_table::presets::NOTHING)
            .set_style(comfy_table::TableComponent::HeaderLines, '─')
            .set_style(comfy_table::TableComponent::MiddleHeaderIntersections, '─')
            .set_content_arrangement(comfy_table::ContentArrangement::Dynamic)
            .set_header(header)
            .add_rows(self.rows.iter().map(|row| row.iter().map(cell)));
        for column in table.column_iter_mut().skip(1) {
            column.set_cell_alignment(comfy_table::CellAlignment::Right);
        }
        format!("{table}\n")
    }

    /// Returns the number of characters in a line, with a space on both sides of each cell.
    fn width(&self) -> usize {
        let column = |at: usize| {
            let rows = self.rows.iter().map(|row| &row[at]);
            let widths = rows.chain([&self.header[at]]).map(|c| c.chars().count());
            widths.max().unwrap_or(0) + 2
        };
        (0..self.header.len()).map(column).sum()
    }

    /// Formats the table as Markdown.
    pub fn to_markdown(&self) -> String {
        let line = |cells: &[String]| {
            let cells: Vec<String> = cells.iter().map(|c| markdown_cell(c)).collect();
            format!("| {} |\n", cells.join(" | "))
        };
        let mut text = line(&self.header);
        let mut rule = vec!["---".to_owned()];
        rule.resize(self.header.len(), "---:".to_owned());
        text.push_str(&line(&rule));
        self.rows.iter().for_each(|row| text.push_str(&line(row)));
        text
    }
}

/// Formats text as a Markdown cell: characters that would end the cell or the line are escaped or
/// replaced by a space.
fn markdown_cell(text: &str) -> String {
    text.replace('|', "\\|").replace(char::is_control, " ")
}

/// Formats a score in [0, 1] as a percentage with two decimals; empty if it is undefined.
pub fn percent(score: Option<f64>) -> String {
    score.map_or(String::new(), |s| format!("{:.2}", s * 100.0))
}

/// Formats scores in [0, 1] as `mean ± standard deviation` in percent. The deviation is that of the
/// sample (divided by n - 1), and absent for a single score.
pub fn spread(scores: &[f64]) -> String {
    let n = scores.len() as f64;
    if scores.is_empty() {
        return String::new();
    }
    let mean = scores.iter().sum::<f64>() / n;
    if scores.len() == 1 {
        return percent(Some(mean));
    }
    let squares: f64 = scores.iter().map(|s| (s - mean).powi(2)).sum();
    let deviation = (squares / (n - 1.0)).sqrt();
    format!("{:.2} ± {:.2}", mean * 100.0, deviation * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn undefined_is_empty_and_one_seed_has_no_spread() {
        assert_eq!(percent(None), "");
        assert_eq!(spread(&[]), "");
        assert_eq!(spread(&[0.5]), "50.00");
        // The sample deviation of 1, 2, 3 is 1.
        assert_eq!(spread(&[0.01, 0.02, 0.03]), "2.00 ± 1.00");
    }

    #[test]
    fn markdown_keeps_its_columns() {
        let mut table = Table::new(vec!["a".into(), "b".into()]);
        table.push(vec!["x|y".into()]);
        assert_eq!(
            table.to_markdown(),
            "| a | b |\n| --- | ---: |\n| x\\|y |  |\n"
        );
    }
}
