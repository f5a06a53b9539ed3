//! The pictures of the page, each in it once, in bounded room.

use std::collections::HashMap;

use rayon::prelude::*;
use serde::Serialize;

use super::look::Part;
use crate::error::Result;
use crate::interrupt;
use crate::progress::Progress;
use crate::report::thumbnail::{data_uri, fitted};
use crate::wording::{counted, first_named};

/// Quality of the JPEG files, small ones.
const QUALITY: u8 = 82;

/// Pictures that are read at a time.
const AT_ONCE: usize = 64;

/// Which of the parts a picture is of, and its row there.
pub(super) type Place = (usize, usize);

/// The pictures that a page wants.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    numbers: HashMap<Place, usize>,
    places: Vec<Place>,
    /// By number; the lower, the earlier is a picture taken.
    priorities: Vec<usize>,
}

impl Wanted {
    /// Notes that a picture is wanted and gives its number in the page.
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

/// A picture of the page: what it shows or why it shows nothing.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Shown {
    /// The address of the picture.
    pub data: Option<String>,
    /// Why it cannot be shown; without both there was no room.
    pub problem: Option<String>,
}

/// All pictures of the page by number, and what became of them.
#[derive(Debug)]
pub(super) struct Pictures {
    /// By number.
    pub shown: Vec<Shown>,
    /// What is said of those that are missing, a sentence each.
    pub remarks: Vec<String>,
}

/// Reads the pictures that are wanted until `most_bytes` of the page are filled; a picture that
/// cannot be read is told of and left out.
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
                // Nothing that is wanted less takes its place.
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
