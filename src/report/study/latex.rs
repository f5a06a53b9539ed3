//! The tables as LaTeX: fragments for a paper, and a document that includes them.

use super::published::SOURCE;
use super::tables::{Mark, WHAT_CHANCE_IS, marks, rank_text, spread};
use super::{Study, chance};
use crate::metrics::{PerGroup, Scope};
use crate::report::table::percent;

/// Number of methods side by side in the class table; further methods go into another table.
const METHODS_A_TABLE: usize = 7;

/// Escapes the characters that are special in LaTeX.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => escaped.extend(['\\', character]),
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("\\textless{}"),
            '>' => escaped.push_str("\\textgreater{}"),
            '|' => escaped.push_str("\\textbar{}"),
            '"' => escaped.push_str("\\char34{}"),
            '±' => escaped.push_str("$\\pm$"),
            other if other.is_control() => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

fn marked(cell: String, mark: Mark) -> String {
    match mark {
        Mark::Best => format!("\\textbf{{{cell}}}"),
        Mark::Second => format!("\\underline{{{cell}}}"),
        Mark::Plain => cell,
    }
}

fn header(study: &Study, packages: &str) -> String {
    let title: String = study.title.replace(char::is_control, " ");
    format!(
        "% {title}. Written by dbloss {}. Needs {packages}.\n",
        env!("CARGO_PKG_VERSION")
    )
}

/// Returns a LaTeX label of letters, digits and hyphens.
fn label(study: &Study) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    study.title.chars().map(plain).collect()
}

/// Writes `table.tex`: one row per method; columns total, head, medium, tail.
pub(super) fn table(study: &Study) -> String {
    let quoted = study.has_published();
    let ranked = study.has_ranks();
    let mut text = header(study, "\\usepackage{booktabs}");
    text.push_str("\\begin{table}\n\\centering\n\\small\n\\setlength{\\tabcolsep}{4pt}\n");
    text.push_str(&caption(study));
    let columns = 6 + usize::from(ranked);
    text.push_str(&format!(
        "\\smallskip\n\\begin{{tabular}}{{lr{}{}}}\n\\toprule\n",
        "r".repeat(columns - 2),
        if quoted { "rrrr" } else { "" }
    ));
    if quoted {
        text.push_str(&format!(
            " & & \\multicolumn{{{}}}{{c}}{{measured}} & \\multicolumn{{4}}{{c}}{{quoted}} \\\\\n\
             \\cmidrule(lr){{3-{columns}}}\\cmidrule(lr){{{}-{}}}\n",
            columns - 2,
            columns + 1,
            columns + 4
        ));
    }
    let groups = Scope::ALL.map(Scope::name).join(" & ");
    text.push_str(&format!("method & seeds & {groups}"));
    if ranked {
        text.push_str(" & rank");
    }
    if quoted {
        text.push_str(&format!(" & {groups}"));
    }
    text.push_str(" \\\\\n\\midrule\n");
    let columns = PerGroup::from_fn(|scope| study.marks(scope));
    for (place, method) in study.methods.iter().enumerate() {
        text.push_str(&format!(
            "{} & {}",
            escape(&method.title),
            method.seeds_marked("\\rlap{$^\\dagger$}", "\\rlap{$^{\\;\\ddagger}$}")
        ));
        for (scope, marks) in columns.iter() {
            let (mean, deviation) = method.mean_and_deviation(scope);
            let mean = marked(percent(mean), marks[place]);
            let deviation = deviation.map_or(String::new(), |d| {
                format!(" {{\\scriptsize$\\pm$ {:.2}}}", d * 100.0)
            });
            text.push_str(&format!(" & {mean}{deviation}"));
        }
        if ranked {
            text.push_str(&format!(" & {}", rank_text(study.rank(place))));
        }
        match &method.published {
            Some(published) => {
                let figures = published.percent();
                (figures.iter()).for_each(|(_, figure)| text.push_str(&format!(" & {figure}")));
            }
            None if quoted => text.push_str(" & & & &"),
            None => {}
        }
        text.push_str(" \\\\\n");
    }
    text.push_str(&chance_row(study));
    text.push_str("\\bottomrule\n\\end{tabular}\n");
    text.push_str(&footnotes(study));
    text.push_str("\\end{table}\n");
    text
}

/// Returns the table's caption, which explains its rows and columns.
fn caption(study: &Study) -> String {
    format!(
        "\\caption{{mAP (\\%) on {} ({} set), mean $\\pm$ sample standard deviation over seeds. \
         Best bold, second underlined.{}{}}}\n\\label{{tab:{}}}\n",
        escape(&study.title),
        study.set,
        match study.chance {
            Some(_) => format!(" {WHAT_CHANCE_IS}"),
            None => String::new(),
        },
        match study.has_published() {
            true => format!(" Columns on the right: {}.", escape(SOURCE)),
            false => String::new(),
        },
        label(study)
    )
}

/// Returns the row of a random order, if its scores are known.
fn chance_row(study: &Study) -> String {
    let Some(chance) = &study.chance else {
        return String::new();
    };
    let means = chance.means.iter().map(|(_, mean)| percent(*mean));
    let cells = std::iter::once(String::new()).chain(means);
    let more = usize::from(study.has_ranks()) + if study.has_published() { 4 } else { 0 };
    format!(
        "\\midrule\n{} & {}{} \\\\\n",
        chance::NAME,
        cells.collect::<Vec<_>>().join(" & "),
        " &".repeat(more)
    )
}

/// Explains the marks beside the methods.
fn footnotes(study: &Study) -> String {
    let mut text = String::new();
    for remark in study.remarks() {
        let remark = escape(&remark);
        text.push_str(&format!("\\par\\smallskip$^\\dagger$ {remark}\n"));
    }
    for other in study.apart() {
        let other = escape(&other);
        text.push_str(&format!("\\par\\smallskip$^\\ddagger$ {other}\n"));
    }
    text
}

/// Writes `per_class.tex`: one row per class by descending training count, with a rule between the
/// groups.
pub(super) fn per_class(study: &Study) -> String {
    let mut text = header(study, "\\usepackage{booktabs} and \\usepackage{longtable}");
    let order = study.class_order();
    let places: Vec<usize> = (0..study.methods.len()).collect();
    for (part, methods) in places.chunks(METHODS_A_TABLE).enumerate() {
        text.push_str("{\\small\n\\setlength{\\tabcolsep}{4pt}\n");
        text.push_str(&format!(
            "\\begin{{longtable}}{{lr{}}}\n\\caption{{AP (\\%) of every class on {} ({} set), mean \
             over seeds; $n$: training images. Best bold, second underlined{}.}}\n",
            "r".repeat(methods.len()),
            escape(&study.title),
            study.set,
            match places.len() > METHODS_A_TABLE {
                true => ", over all methods",
                false => "",
            },
        ));
        text.push_str(&format!(
            "\\label{{tab:{}-classes-{part}}} \\\\\n",
            label(study)
        ));
        let names: Vec<String> = (methods.iter())
            .map(|&m| format!(" & {}", escape(&study.methods[m].title)))
            .collect();
        let head = format!("\\toprule\nclass & $n${} \\\\\n\\midrule\n", names.concat());
        text.push_str(&format!(
            "{head}\\endfirsthead\n{head}\\endhead\n\\bottomrule\n\\endfoot\n"
        ));
        let mut group = None;
        for &class in &order {
            let row = &study.classes()[class];
            if group
                .replace(row.group)
                .is_some_and(|before| before != row.group)
            {
                text.push_str("\\midrule\n");
            }
            let scores: Vec<Option<f64>> = (study.methods.iter())
                .map(|m| m.class_scores[class])
                .collect();
            let marks = marks(&scores);
            text.push_str(&format!("{} & {}", escape(&row.name), row.train_count));
            for &m in methods {
                let score = match scores[m] {
                    Some(_) => marked(spread(scores[m], None, ""), marks[m]),
                    None => String::new(),
                };
                text.push_str(&format!(" & {score}"));
            }
            text.push_str(" \\\\\n");
        }
        text.push_str("\\end{longtable}\n}\n");
    }
    text
}

/// Writes `report.tex`: a document that contains both tables.
pub(super) fn document(study: &Study) -> String {
    format!(
        "{}\\documentclass[a4paper]{{article}}\n\
         \\usepackage[margin=2cm]{{geometry}}\n\
         \\usepackage{{iftex}}\n\
         \\ifPDFTeX\\usepackage[utf8]{{inputenc}}\\else\\usepackage{{fontspec}}\\fi\n\
         \\usepackage{{booktabs}}\n\
         \\usepackage{{longtable}}\n\
         \\begin{{document}}\n\
         \\input{{table}}\n\
         \\input{{per_class}}\n\
         \\end{{document}}\n",
        header(
            study,
            "table.tex and per_class.tex beside it; names in other scripts want lualatex"
        )
    )
}

#[cfg(test)]
mod tests {
    use super::escape;

    #[test]
    fn special_characters_are_text() {
        assert_eq!(
            escape("hair_drier & 50 % {x}"),
            "hair\\_drier \\& 50 \\% \\{x\\}"
        );
        assert_eq!(
            escape("a\\b~c^d#$"),
            "a\\textbackslash{}b\\textasciitilde{}c\\textasciicircum{}d\\#\\$"
        );
        assert_eq!(
            escape("<é|\">"),
            "\\textless{}é\\textbar{}\\char34{}\\textgreater{}"
        );
    }
}
