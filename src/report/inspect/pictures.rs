//! The pictures of the page, each embedded once, within a size limit.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use super::look::Part;
use crate::error::Result;
use crate::interrupt;
use crate::progress::Progress;
use crate::report::thumbnail::{data_uri, fitted};
use crate::wording::{counted, first_named};

/// Quality of the JPEG files, which are small pictures.
const QUALITY: u8 = 82;

/// Number of pictures that are read at a time.
const AT_ONCE: usize = 64;

/// Index of the part that a picture belongs to, and its row there.
pub(super) type Place = (usize, usize);

/// The pictures requested by a page.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    numbers: HashMap<Place, usize>,
    places: Vec<Place>,
    /// The priority of each picture, by number; pictures with lower values are taken first.
    priorities: Vec<usize>,
}

impl Wanted {
    /// Requests a picture and returns its number on the page.
    pub(super) fn want(&mut self, place: Place, priority: usize) -> usize {
        let next = self.places.len();
        let number = *self.numbers.entry(place).or_insert(next);
        if number == next {
            self.places.push(place);
            self.priorities.push(priority);
        }
        self.priorities[number] = self.priorities[number].min(priority);
        number
    }
}

/// A picture on the page: the picture, or why it is not shown.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Shown {
    /// The data URL of the picture.
    pub data: Option<String>,
    /// Why the picture cannot be shown; if both are missing, there was no room for it.
    pub problem: Option<String>,
}

/// All pictures of the page by number, with the outcome of reading them.
#[derive(Debug)]
pub(super) struct Pictures {
    /// By number.
    pub shown: Vec<Shown>,
    /// Remarks on those that are missing, one sentence each.
    pub remarks: Vec<String>,
}

/// Reads the requested pictures until `most_bytes` of the page are filled; pictures that cannot be
/// read are reported and left out.
pub(super) fn read(
    wanted: &Wanted,
    parts: &[&Part],
    side: u32,
    most_bytes: usize,
) -> Result<Pictures> {
    let mut order: Vec<usize> = (0..wanted.places.len()).collect();
    order.sort_by_key(|&number| (wanted.priorities[number], number));
    let mut shown = vec![Shown::default(); order.len()];
    let mut progress = Progress::new("inspect, pictures", order.len() as u64);
    let (mut bytes, mut unread, mut without_room) = (0, Vec::new(), 0);
    let read = |number: &usize| -> Result<Shown> {
        let (part, image) = wanted.places[*number];
        let name = parts[part].table.image(image);
        Ok(match parts[part].root.decode(name) {
            Ok(picture) => Shown {
                data: Some(data_uri(&fitted(&picture, side), QUALITY)?),
                problem: None,
            },
            Err(error) => Shown {
                data: None,
                problem: Some(error.to_string()),
            },
        })
    };
    for numbers in order.chunks(AT_ONCE) {
        interrupt::check("no page is written")?;
        if bytes >= most_bytes {
            without_room += numbers.len();
            continue;
        }
        let several: Vec<Shown> = numbers.par_iter().map(read).collect::<Result<_>>()?;
        for (&number, picture) in numbers.iter().zip(several) {
            progress.advance(1);
            let length = picture.data.as_ref().map_or(0, String::len);
            if length > 0 && bytes + length > most_bytes {
                // So that no picture of lower priority takes its place.
                bytes = most_bytes;
                without_room += 1;
                continue;
            }
            bytes += length;
            if picture.problem.is_some() {
                unread.push(wanted.places[number]);
            }
            shown[number] = picture;
        }
    }
    let mut remarks = Vec::new();
    if !unread.is_empty() {
        let names = first_named((unread.iter()).map(|&(part, i)| parts[part].table.image(i)));
        remarks.push(format!(
            "{} cannot be shown: {names}. The page gives the reason for each.",
            counted(unread.len(), "picture")
        ));
    }
    if without_room > 0 {
        remarks.push(format!(
            "{} of {} left out, those that stand lowest in their lists: the page has room for {} \
             MiB of pictures (--room).",
            counted(without_room, "picture"),
            order.len(),
            most_bytes >> 20
        ));
    }
    remarks.iter().for_each(|remark| tracing::warn!("{remark}"));
    Ok(Pictures { shown, remarks })
}
