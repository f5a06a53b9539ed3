//! Products of small matrices with the register tile.

use super::activation::Activation;
use super::buffer::AlignedVec;
use super::isa::Isa;
use super::tile::{MAX_ROWS, PANEL, Product};

/// Some rows of a matrix.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a> {
    /// The values, starting with the first value of the first row.
    pub values: &'a [f32],
    /// Number of values from one row to the next.
    pub pitch: usize,
    /// Number of rows.
    pub count: usize,
    /// Number of values of a row.
    pub run: usize,
}

impl<'a> Rows<'a> {
    pub(super) fn row(&self, index: usize) -> &'a [f32] {
        &self.values[index * self.pitch..][..self.run]
    }
}

/// Returns the number of values of the panels of a matrix of `depth` rows and `columns` columns.
pub(super) fn panels_len(depth: usize, columns: usize) -> usize {
    columns.div_ceil(PANEL) * depth * PANEL
}

/// Packs the matrix itself in panels `[panels][rows][PANEL]`, zero-padded.
pub(super) fn pack(rows: Rows, panels: &mut AlignedVec) {
    panels.resize(panels_len(rows.count, rows.run));
    let size = (rows.count * PANEL).max(1);
    for (panel, lines) in panels.chunks_exact_mut(size).enumerate() {
        let first = panel * PANEL;
        let wanted = PANEL.min(rows.run - first);
        for (index, line) in lines.chunks_exact_mut(PANEL).enumerate() {
            line[..wanted].copy_from_slice(&rows.row(index)[first..][..wanted]);
            line[wanted..].fill(0.0);
        }
    }
}

/// Packs the transpose times `scale` in panels `[panels][run][PANEL]`, zero-padded.
pub(super) fn pack_transposed(rows: Rows, scale: f32, panels: &mut AlignedVec) {
    panels.resize(panels_len(rows.run, rows.count));
    let size = (rows.run * PANEL).max(1);
    for (panel, lines) in panels.chunks_exact_mut(size).enumerate() {
        let first = panel * PANEL;
        let wanted = PANEL.min(rows.count - first);
        if wanted < PANEL {
            lines.fill(0.0);
        }
        for column in 0..wanted {
            let places = lines[column..].iter_mut().step_by(PANEL);
            for (place, &value) in places.zip(rows.row(first + column)) {
                *place = value * scale;
            }
        }
    }
}

/// Computes `destination = rows * panels`, a matrix of `columns` columns whose rows are `pitch`
/// values apart.
///
/// # Panics
/// If a slice has the wrong length.
pub(super) fn multiply(
    isa: Isa,
    rows: Rows,
    panels: &[f32],
    columns: usize,
    destination: &mut [f32],
    pitch: usize,
) {
    assert_eq!(panels.len(), panels_len(rows.run, columns));
    assert!(columns <= pitch && destination.len() == rows.count * pitch);
    let null = std::ptr::null();
    let tiles = rows.count.div_ceil(isa.rows());
    for tile in 0..tiles {
        let (first, end) = (rows.count * tile / tiles, rows.count * (tile + 1) / tiles);
        let (mut pointers, mut offsets) = ([null; MAX_ROWS], [0; MAX_ROWS]);
        for (place, row) in (first..end).enumerate() {
            pointers[place] = rows.row(row).as_ptr();
            offsets[place] = row * pitch;
        }
        let product = Product {
            pointers: pointers.as_ptr(),
            rows: end - first,
            taps: 1,
            run: rows.run,
            weights: panels.as_ptr(),
            goes_on: false,
            panel_stride: rows.run * PANEL,
            panels: 0..columns.div_ceil(PANEL),
            columns,
            destination: destination.as_mut_ptr(),
            offsets,
            bias: null,
            addend: null,
            activation: Activation::None,
            mask: null,
            mask_activation: Activation::None,
        };
        // SAFETY: the pointers come from slices of `run` values; the panels and the destination
        // have the lengths asserted, and the destination is borrowed for this call alone.
        unsafe { product.run(isa) };
    }
}
