use super::*;
use crate::train::recorder::Recorder;

/// Returns (step, tag, value) of every scalar in a folder, in the order they are read.
fn scalars(run: &RunDir) -> Vec<(u64, String, f32)> {
    let mut scalars = Vec::new();
    for path in event_files(&run.tensorboard()).unwrap() {
        let all = fs_err::read(path).unwrap();
        let mut rest = all.as_slice();
        while let Some((_, mut event, after)) = next_record(rest) {
            rest = after;
            let mut step = 0;
            while let Some((number, mut value, integer, next)) = field(event) {
                event = next;
                match number {
                    STEP => step = integer,
                    SUMMARY => {
                        while let Some((_, scalar, _, more)) = field(value) {
                            value = more;
                            let (_, tag, _, scalar) = field(scalar).unwrap();
                            let (_, number, _, _) = field(scalar).unwrap();
                            let tag = String::from_utf8(tag.to_vec()).unwrap();
                            let number = f32::from_le_bytes(number.try_into().unwrap());
                            scalars.push((step, tag, number));
                        }
                    }
                    _ => {}
                }
            }
        }
        assert!(rest.is_empty(), "half a record is left");
    }
    scalars
}

/// Reads one field: its number, its bytes (empty for a varint), its value if it is a varint, and
/// the rest of the buffer.
fn field(buffer: &[u8]) -> Option<(u64, &[u8], u64, &[u8])> {
    let (key, rest) = read_number(buffer)?;
    let take = |rest: &'_ [u8], length: usize| (length <= rest.len()).then_some(length);
    match key & 7 {
        VARINT => {
            let (value, rest) = read_number(rest)?;
            Some((key >> 3, &[], value, rest))
        }
        kind => {
            let (length, rest) = match kind {
                FIXED_64 => (8, rest),
                FIXED_32 => (4, rest),
                BYTES => {
                    let (length, rest) = read_number(rest)?;
                    (usize::try_from(length).ok()?, rest)
                }
                _ => return None,
            };
            let (value, rest) = rest.split_at(take(rest, length)?);
            Some((key >> 3, value, 0, rest))
        }
    }
}

fn read_number(buffer: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in buffer.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte & 0x80 == 0 {
            return Some((value, &buffer[i + 1..]));
        }
    }
    None
}

/// Reads the first record of a buffer: the whole record, its data, and the rest. `None` at the end,
/// or if the record is incomplete.
fn next_record(buffer: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let length: [u8; 8] = *buffer.first_chunk()?;
    let checksum = |at: usize| Some(u32::from_le_bytes(*buffer.get(at..)?.first_chunk()?));
    if checksum(8)? != masked_crc(&length) {
        return None;
    }
    let end = usize::try_from(u64::from_le_bytes(length))
        .ok()?
        .checked_add(12)?;
    let data = buffer.get(12..end)?;
    if checksum(end)? != masked_crc(data) {
        return None;
    }
    let (whole, rest) = buffer.split_at(end + 4);
    Some((whole, data, rest))
}

fn step(step: usize) -> StepRecord {
    StepRecord {
        step,
        epoch: step / 3,
        learning_rate: 0.1,
        loss: step as f64,
        gradient_norm: 2.0,
    }
}

fn time(epoch: usize) -> EpochTime {
    EpochTime {
        epoch,
        seconds: 1.0,
        images_per_second: None,
    }
}

fn epoch(epoch: usize) -> EpochRecord {
    EpochRecord {
        epoch,
        loss: 0.5,
        validation_map: None,
        ema_validation_map: None,
    }
}

#[test]
fn checksums_are_the_published_ones() {
    // RFC 3720, appendix B.4, and the check value of the CRC catalogue.
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
    let ascending: Vec<u8> = (0..32).collect();
    assert_eq!(crc32c(&ascending), 0x46dd_794e);
}

#[test]
fn resuming_leaves_every_step_and_epoch_once() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(folder.path());
    let events = EventWriter::open(&run, 0, 0, 3).unwrap();
    let recorder = Recorder::open(&run, 0, 0).unwrap();
    let mut writer = recorder.with_events(Some(events));
    for i in 0..5 {
        writer.step(&step(i)).unwrap();
        if i == 2 {
            writer.epoch(&epoch(0), &time(0), i).unwrap();
        }
    }
    writer.flush().unwrap();
    drop(writer);
    // The process was killed in the middle of a record.
    let path = event_files(&run.tensorboard()).unwrap().remove(0);
    let whole = fs_err::read(&path).unwrap();
    fs_err::write(&path, &whole[..whole.len() - 3]).unwrap();

    // The checkpoint is from after step 2, but before the end of its epoch.
    let recorder = Recorder::open(&run, 3, 0).unwrap();
    let events = EventWriter::open(&run, 3, 0, 3).unwrap();
    let mut resumed = recorder.with_events(Some(events));
    resumed.epoch(&epoch(0), &time(0), 2).unwrap();
    for i in 3..6 {
        resumed.step(&step(i)).unwrap();
    }
    resumed.flush().unwrap();
    let found = scalars(&run);
    let steps = |tag: &str| -> Vec<u64> {
        let of_tag = found.iter().filter(|(_, t, _)| t == tag);
        of_tag.map(|(step, _, _)| *step).collect()
    };
    assert_eq!(steps("train/loss"), [0, 1, 2, 3, 4, 5]);
    assert_eq!(steps("epoch/loss"), [2]);
    assert_eq!(event_files(&run.tensorboard()).unwrap().len(), 1);

    // The end of the second epoch is reached now, and written again with the rest.
    resumed.epoch(&epoch(1), &time(1), 5).unwrap();
    drop(resumed);
    drop(EventWriter::open(&run, 6, 2, 3).unwrap());
    let again = scalars(&run);
    let ends = again.iter().filter(|(_, tag, _)| tag == "epoch/loss");
    assert_eq!(ends.map(|(step, ..)| *step).collect::<Vec<_>>(), [2, 5]);
    assert!(
        found
            .iter()
            .all(|(s, tag, v)| tag != "train/loss" || *v == *s as f32)
    );
}

#[test]
fn an_option_that_is_new_finds_the_rows_that_are_there() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunDir::new(folder.path());
    let header = "step,epoch,learning_rate,loss,gradient_norm";
    fs_err::write(
        run.steps(),
        format!("{header}\n0,0,0.1,0.5,1\n1,0,0.1,0.25,1\n2,0,"),
    )
    .unwrap();
    EventWriter::open(&run, 2, 0, 3).unwrap();
    let found = scalars(&run);
    let losses = found.iter().filter(|(_, tag, _)| tag == "train/loss");
    assert_eq!(losses.map(|(_, _, v)| *v).collect::<Vec<_>>(), [0.5, 0.25]);
}
