//! The ways in which files get broken.

use dbloss::rng::Stream;

/// Bytes that mean something to some reader.
const TELLING: &[u8] = b"\"\\{}[],:|<>&;/\n\r\t\0-+.eE019 \xff\xc3\xef\xbb\xbf\x1b=@%'#()";

/// Texts that mean something to some reader.
const WORDS: &[&[u8]] = &[
    b"../",
    b"/etc/passwd",
    b"\x1b[2J",
    b"=1+1",
    b"<script>",
    b"NaN",
    b"-inf",
    b"1e999",
    b"99999999999999999999",
    b"18446744073709551615",
    b"4294967295",
    b"-1",
    b"null",
    b"true",
    b"\xe2\x80\xae",
    b"\xf0\x9f\x98\x80",
    b"a\xcc\x80",
    b"<!ENTITY a \"&a;&a;\">",
    b"__metadata__",
    b"''",
    b"'''",
    b"\r",
];

/// Numbers at the ends of their types, as they stand in binary files.
const NUMBERS: &[u64] = &[
    0,
    1,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0x8000,
    0xffff,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    u64::MAX,
    1 << 40,
];

/// One of the seeds, changed; now and then bytes of chance.
pub(crate) fn mutated(seeds: &[Vec<u8>], stream: &mut Stream) -> Vec<u8> {
    if stream.chance(0.01) {
        let length = stream.below(600);
        return (0..length).map(|_| stream.next_u64() as u8).collect();
    }
    let mut bytes = seeds[stream.below(seeds.len())].clone();
    for _ in 0..=stream.below(4) {
        mutate(&mut bytes, seeds, stream);
    }
    bytes
}

fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], stream: &mut Stream) {
    let at = stream.below(bytes.len() + 1);
    let end = (at + stream.below(16)).min(bytes.len());
    match stream.below(11) {
        0 if at < bytes.len() => bytes[at] = stream.next_u64() as u8,
        1 if at < bytes.len() => bytes[at] ^= 1 << stream.below(8),
        2 => bytes.insert(at, TELLING[stream.below(TELLING.len())]),
        3 => drop(bytes.drain(at..end)),
        4 => {
            let copy = bytes[at..end].to_vec();
            let to = stream.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        5 if stream.chance(0.3) => bytes.truncate(at),
        6 if stream.chance(0.05) => {
            // Deep nesting and long runs.
            let run = vec![TELLING[stream.below(TELLING.len())]; 2000];
            bytes.splice(at..at, run);
        }
        7 => {
            let word = WORDS[stream.below(WORDS.len())];
            let over = (at + stream.below(word.len() + 1)).min(bytes.len());
            bytes.splice(at..over, word.iter().copied());
        }
        8 => {
            let number = NUMBERS[stream.below(NUMBERS.len())];
            let width = [1, 2, 4, 8][stream.below(4)];
            let (little, big) = (number.to_le_bytes(), number.to_be_bytes());
            let digits = match stream.chance(0.7) {
                true => &little[..width],
                false => &big[8 - width..],
            };
            for (byte, digit) in bytes.iter_mut().skip(at).zip(digits) {
                *byte = *digit;
            }
        }
        9 => {
            // Another number in the place of one.
            let is_digit = |byte: &u8| byte.is_ascii_digit();
            if let Some(from) = bytes.iter().skip(at).position(is_digit) {
                let from = at + from;
                let digits = bytes[from..]
                    .iter()
                    .take_while(|byte| is_digit(byte))
                    .count();
                let number = NUMBERS[stream.below(NUMBERS.len())].to_string();
                bytes.splice(from..from + digits, number.into_bytes());
            }
        }
        _ if stream.chance(0.3) => {
            // The end of another seed.
            let other = &seeds[stream.below(seeds.len())];
            let from = stream.below(other.len() + 1);
            bytes.truncate(at);
            bytes.extend(&other[from..]);
        }
        _ => {}
    }
}
