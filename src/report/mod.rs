//! Results for people and programs: tables, plots and comparisons.

mod chart;
pub mod class_scores;
pub mod compare;
mod comparison_plot;
mod drawing;
pub mod evaluation;
pub mod inspect;
pub mod labelling;
pub mod loss_curves;
mod page;
pub mod sheet;
pub mod stats;
pub mod study;
pub mod table;
mod thumbnail;
pub mod tuning;
