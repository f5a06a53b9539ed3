//! Live curves of a run, from the files in its folder.

use std::time::Instant;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, Gauge, GraphType, Paragraph};

use crate::config::Experiment;
use crate::error::{Error, Result};
use crate::progress::human_seconds;
use crate::run_dir::{Manifest, RunDir, Status};
use crate::train::history::History;

/// The present state of a run.
#[derive(Debug)]
pub struct Watch {
    run: RunDir,
    name: String,
    /// Number of pictures per step.
    step_images: usize,
    history: History,
    manifest: Option<Manifest>,
    /// When steps were observed, to compute the speed: (time, steps done).
    seen: Vec<(Instant, usize)>,
}

/// Longest time, in seconds, over which the speed is computed.
const SPEED_WINDOW: f64 = 60.0;

impl Watch {
    /// Watches the run in the given folder, which must have begun.
    pub fn new(run: RunDir) -> Result<Self> {
        if !run.manifest().is_file() {
            return Err(Error::file(
                run.path(),
                "is not a run's folder: it has no `manifest.json`",
            )
            .hint("give the folder of a run, for example runs/shapes/erm-s0"));
        }
        let experiment = Experiment::read(&run.config())?;
        let mut watch = Watch {
            name: format!("{} / {}", experiment.name, experiment.run_name()),
            step_images: experiment.train.step_images(),
            history: History::new(&run),
            manifest: None,
            seen: Vec::new(),
            run,
        };
        watch.update()?;
        Ok(watch)
    }

    /// Reads what has been added.
    pub fn update(&mut self) -> Result<()> {
        self.history.update()?;
        // While the manifest is being replaced, the old one is kept.
        if let Ok(manifest) = Manifest::read(&self.run.manifest()) {
            self.manifest = Some(manifest);
        }
        let steps = self.history.steps.len();
        let now = Instant::now();
        match self.seen.last() {
            Some((_, last)) if *last == steps => {}
            // The files were cut back: the run was resumed.
            Some((_, last)) if *last > steps => self.seen = vec![(now, steps)],
            _ => self.seen.push((now, steps)),
        }
        let recent = |moment: &Instant| now.duration_since(*moment).as_secs_f64() < SPEED_WINDOW;
        while self.seen.len() > 2 && !recent(&self.seen[0].0) {
            self.seen.remove(0);
        }
        Ok(())
    }

    /// Returns the steps per second: as observed, otherwise from the speed of the last epoch.
    fn steps_per_second(&self) -> Option<f64> {
        if let (Some(first), Some(last)) = (self.seen.get(1), self.seen.last()) {
            let seconds = last.0.duration_since(first.0).as_secs_f64();
            if seconds > 1.0 {
                return Some((last.1 - first.1) as f64 / seconds);
            }
        }
        let speed = self
            .history
            .timings
            .iter()
            .rev()
            .find_map(|e| e.images_per_second)?;
        Some(speed / self.step_images as f64)
    }

    fn state(&self) -> &'static str {
        match self.manifest.as_ref().map(|manifest| manifest.status) {
            Some(Status::Finished) => "finished",
            Some(Status::Failed) => "failed",
            _ if self.run.is_locked() => "running",
            Some(Status::Interrupted) => "interrupted",
            // The manifest says running but no process holds the lock: the process was killed.
            Some(Status::Running) => "stopped",
            None => "",
        }
    }

    fn total_steps(&self) -> Option<usize> {
        self.manifest.as_ref()?.total_steps
    }

    /// Returns the newest values as (name, value), with an empty value for what is unknown.
    pub fn newest(&self) -> Vec<(&'static str, String)> {
        let step = self.history.steps.last();
        let epochs = &self.history.epochs;
        let best = epochs
            .iter()
            .filter_map(|e| e.score())
            .fold(None, |best, v| match best {
                Some(best) if best >= v => Some(best),
                _ => Some(v),
            });
        let done = self.history.steps.len();
        let rate = self.steps_per_second();
        let left = match (self.state(), rate, self.total_steps()) {
            ("running", Some(rate), Some(total)) if rate > 0.0 => {
                human_seconds(total.saturating_sub(done) as f64 / rate)
            }
            _ => String::new(),
        };
        // If the run is not active, the speed shown is its average.
        let speed = match self.state() {
            "running" => rate.map(|rate| rate * self.step_images as f64),
            _ => self.manifest.as_ref().and_then(Manifest::images_per_second),
        };
        let text = |value: Option<f64>, digits: usize| {
            value.map_or(String::new(), |v| format!("{v:.digits$}"))
        };
        let percent =
            |value: Option<f64>| value.map_or(String::new(), |v| format!("{:.2} %", v * 100.0));
        let total = self
            .total_steps()
            .map_or(String::new(), |total| format!("/{total}"));
        vec![
            ("run", self.name.clone()),
            ("state", self.state().to_owned()),
            ("step", format!("{done}{total}")),
            (
                "epoch",
                step.map_or(String::new(), |s| (s.epoch + 1).to_string()),
            ),
            ("loss", text(step.map(|s| s.loss), 4)),
            (
                "learning rate",
                step.map_or(String::new(), |s| three_digits(s.learning_rate)),
            ),
            ("gradient norm", text(step.map(|s| s.gradient_norm), 3)),
            (
                "validation mAP",
                percent(epochs.iter().rev().find_map(|e| e.score())),
            ),
            ("best mAP", percent(best)),
            ("images per second", text(speed, 1)),
            ("eta", left),
            (
                "error",
                self.manifest
                    .as_ref()
                    .and_then(|m| m.error.clone())
                    .unwrap_or_default(),
            ),
        ]
    }

    /// Draws the curves.
    pub fn draw(&self, frame: &mut Frame) {
        let [header, bar, body, footer] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Length(1),
            Constraint::Min(6),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        frame.render_widget(self.header(), header);
        self.draw_bar(frame, bar);

        let steps = &self.history.steps;
        let loss: Vec<(f64, f64)> = steps.iter().map(|s| (s.step as f64, s.loss)).collect();
        let rate: Vec<_> = steps
            .iter()
            .map(|s| (s.step as f64, s.learning_rate))
            .collect();
        let per_epoch = |value: fn(&crate::train::record::EpochRecord) -> Option<f64>| {
            let rows = self.history.epochs.iter();
            rows.filter_map(|e| Some(((e.epoch + 1) as f64, value(e)?)))
                .collect::<Vec<_>>()
        };
        let validation = per_epoch(|e| e.score().map(|v| v * 100.0));
        let timings = self.history.timings.iter();
        let speed = timings
            .filter_map(|t| Some(((t.epoch + 1) as f64, t.images_per_second?)))
            .collect();
        let curves = [
            ("loss", Color::Cyan, smoothed(&loss), loss),
            ("learning rate", Color::Yellow, Vec::new(), rate),
            (
                "validation mAP by epoch, %",
                Color::Green,
                Vec::new(),
                validation,
            ),
            (
                "images per second by epoch",
                Color::Magenta,
                Vec::new(),
                speed,
            ),
        ];
        // A curve without points takes no space, except for the loss.
        let shown: Vec<_> = curves
            .iter()
            .enumerate()
            .filter(|(i, (_, _, _, points))| *i == 0 || !points.is_empty())
            .map(|(_, curve)| curve)
            .collect();
        let wide = body.width >= 80 && shown.len() > 1;
        let columns = if wide { 2 } else { 1 };
        // As many as fit, the loss first.
        let rows = shown
            .len()
            .div_ceil(columns)
            .min((body.height as usize / 6).max(1));
        let areas = Layout::vertical(vec![Constraint::Fill(1); rows]).split(body);
        let mut rest = shown.into_iter();
        for area in areas.iter() {
            let left = rest.len().min(columns);
            let cells = Layout::horizontal(vec![Constraint::Fill(1); left]).split(*area);
            for (cell, (title, colour, mean, points)) in cells.iter().zip(rest.by_ref().take(left))
            {
                draw_curve(frame, *cell, title, *colour, points, mean);
            }
        }
        frame.render_widget(Paragraph::new("q quits").dim(), footer);
    }

    fn header(&self) -> Paragraph<'_> {
        let newest = self.newest();
        let mut lines = [Vec::new(), Vec::new()];
        for (name, value) in newest.into_iter().filter(|(_, value)| !value.is_empty()) {
            let line = usize::from(!["run", "state", "epoch", "eta", "error"].contains(&name));
            if name == "step" {
                continue;
            }
            if !lines[line].is_empty() {
                lines[line].push(Span::raw("   "));
            }
            lines[line].push(Span::raw(format!("{name} ")).dim());
            lines[line].push(Span::raw(value).bold());
        }
        Paragraph::new(lines.map(Line::from).to_vec())
    }

    fn draw_bar(&self, frame: &mut Frame, area: Rect) {
        let done = self.history.steps.len();
        let total = self.total_steps().unwrap_or(done).max(1);
        let gauge = Gauge::default()
            .ratio((done as f64 / total as f64).clamp(0.0, 1.0))
            .label(format!("{done} of {total} steps"))
            .gauge_style(Style::new().fg(Color::Blue));
        frame.render_widget(gauge, area);
    }
}

/// Formats a number with three significant digits.
fn three_digits(value: f64) -> String {
    let rounded = format!("{value:.2e}").parse::<f64>();
    rounded.map_or(String::new(), |value| value.to_string())
}

/// Returns the moving average over a fiftieth of the points, which smooths a noisy curve; empty for
/// so few points that nothing would be averaged.
fn smoothed(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let window = (points.len() / 50).max(1);
    if window == 1 {
        return Vec::new();
    }
    let means = points.windows(window).map(|part| {
        let mean = part.iter().map(|(_, y)| y).sum::<f64>() / window as f64;
        (part[window - 1].0, mean)
    });
    means.collect()
}

/// Returns the smallest range that contains the values, slightly widened; around a single value.
fn range(values: impl Iterator<Item = f64>) -> [f64; 2] {
    let finite = values.filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    match (low.is_finite(), high - low) {
        (false, _) => [0.0, 1.0],
        (true, 0.0) => [
            low - low.abs().max(1e-6) * 0.1,
            low + low.abs().max(1e-6) * 0.1,
        ],
        (true, width) => [low - width * 0.03, high + width * 0.03],
    }
}

fn draw_curve(
    frame: &mut Frame,
    area: Rect,
    title: &str,
    colour: Color,
    points: &[(f64, f64)],
    mean: &[(f64, f64)],
) {
    let x = range(points.iter().map(|p| p.0));
    let y = range(points.iter().map(|p| p.1));
    let label = |value: f64| match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 0.001 => format!("{value:.1e}"),
        small if small < 1.0 => format!("{value:.4}"),
        small if small < 100.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    };
    let labels = |range: [f64; 2]| {
        [
            label(range[0]),
            label((range[0] + range[1]) / 2.0),
            label(range[1]),
        ]
    };
    // The first and last step as they are, rather than the widened ends of the axis.
    let ends =
        [points.first(), points.last()].map(|p| p.map_or(String::new(), |p| format!("{:.0}", p.0)));
    let line = |data, style: Style| {
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(style)
            .data(data)
    };
    let mut datasets = Vec::new();
    match mean.is_empty() {
        true => datasets.push(line(points, Style::new().fg(colour))),
        false => {
            datasets.push(line(points, Style::new().fg(Color::DarkGray)));
            datasets.push(line(mean, Style::new().fg(colour)));
        }
    }
    let newest = mean
        .last()
        .or(points.last())
        .map_or(String::new(), |p| format!(" {}", label(p.1)));
    let chart = Chart::new(datasets)
        .block(Block::bordered().title(format!(" {title}{newest} ")))
        .x_axis(Axis::default().bounds(x).labels(ends))
        .y_axis(Axis::default().bounds(y).labels(labels(y)));
    frame.render_widget(chart, area);
}

#[cfg(test)]
mod tests {
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    const CONFIG: &str = "name = 'demo'\nmethod = 'erm'\nsplit_folder = 's'\n\
        [loss]\nname = 'bce'\n[sampler]\nkind = 'uniform'\n[train]\nbatch_size = 8\n";

    /// Makes a run of 200 steps in 4 epochs, the last of which is incomplete.
    fn run(folder: &std::path::Path, status: &str) -> RunDir {
        let run = RunDir::new(folder);
        fs_err::write(run.config(), CONFIG).unwrap();
        let manifest = format!(
            r#"{{"status":"{status}","experiment":"demo","method":"erm","seed":0,"command":[],
            "version":"0","device":"cpu","threads":1,"workers":0,"processor":"p","started_unix":0,
            "split_folder":"s","split_hash":"h","config_hash":"c","train_seconds":40.0,
            "images_seen":1600,"total_steps":240}}"#
        );
        fs_err::write(run.manifest(), manifest).unwrap();
        let mut steps = String::from("step,epoch,learning_rate,loss,gradient_norm\n");
        for i in 0..200 {
            let loss = 0.7 * (-f64::from(i) / 80.0).exp();
            steps.push_str(&format!(
                "{i},{},0.00020000000000000004,{loss},1.5\n",
                i / 60
            ));
        }
        fs_err::write(run.steps(), steps + "200,3,0.0").unwrap();
        let epochs = "epoch,loss,validation_map,ema_validation_map\n\
            0,0.6,0.25,\n1,0.3,0.5,\n2,0.2,0.375,";
        fs_err::write(run.epochs(), epochs).unwrap();
        let timings = "epoch,seconds,images_per_second\n0,12,40\n1,12,41\n2,12,";
        fs_err::write(run.epoch_times(), timings).unwrap();
        run
    }

    fn screen(watch: &Watch, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| watch.draw(frame)).unwrap();
        terminal.backend().to_string()
    }

    #[test]
    fn the_newest_values_are_those_of_the_last_whole_rows() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::new(run(folder.path(), "finished")).unwrap();
        let newest: std::collections::BTreeMap<_, _> = watch.newest().into_iter().collect();
        for (name, expected) in [
            ("run", "demo / erm-s0"),
            ("state", "finished"),
            ("step", "200/240"),
            ("epoch", "4"),
            ("loss", "0.0582"),
            ("learning rate", "0.0002"),
            ("validation mAP", "50.00 %"),
            ("images per second", "40.0"),
            ("eta", ""),
        ] {
            assert_eq!(newest[name], expected, "{name}");
        }
    }

    #[test]
    fn a_run_that_nobody_is_at_is_told_from_one_under_way() {
        let folder = tempfile::tempdir().unwrap();
        let run = run(folder.path(), "running");
        let watch = Watch::new(run.clone()).unwrap();
        assert_eq!(watch.state(), "stopped");
        let _lock = run.lock(std::time::Duration::ZERO).unwrap();
        assert_eq!(watch.state(), "running");
        let eta = |watch: &Watch| {
            let newest = watch.newest();
            newest
                .into_iter()
                .find(|(name, _)| *name == "eta")
                .unwrap()
                .1
        };
        // 40 steps are left, at 41 images, or 5.125 batches, per second.
        assert_eq!(eta(&watch), "8 s");
        // Two batches per step: half the steps per second.
        let config = format!("{CONFIG}accumulation_steps = 2\n");
        fs_err::write(run.config(), config).unwrap();
        assert_eq!(eta(&Watch::new(run).unwrap()), "16 s");
    }

    #[test]
    fn curves_are_drawn_on_large_and_small_screens() {
        let folder = tempfile::tempdir().unwrap();
        let watch = Watch::new(run(folder.path(), "running")).unwrap();
        let large = screen(&watch, 100, 30);
        for part in [
            "demo / erm-s0",
            "200 of 240 steps",
            "loss",
            "learning rate",
            "validation mAP by epoch",
            "q quits",
        ] {
            assert!(large.contains(part), "`{part}` not in\n{large}");
        }
        let dots = |text: &str| {
            text.chars()
                .filter(|c| ('\u{2801}'..='\u{28ff}').contains(c))
                .count()
        };
        assert!(dots(&large) > 60, "{large}");
        for (width, height) in [(40, 12), (20, 5), (1, 1)] {
            screen(&watch, width, height);
        }
        assert!(dots(&screen(&watch, 40, 16)) > 10);
    }
}
