//! Changes inputs at random, in the ways in which readers are wrong.

/// A source of choices: equal seeds make equal ones (splitmix64).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, or 0.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        (self.next() % (end.max(1) as u64)) as usize
    }

    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> Option<&'a T> {
        among.get(self.below(among.len()))
    }

    /// A range within `length`, short ones more often than long ones.
    fn range(&mut self, length: usize) -> std::ops::Range<usize> {
        let start = self.below(length + 1);
        let left = length - start;
        let most = [1, 4, 16, left][self.below(4)].min(left);
        start..start + self.below(most + 1)
    }
}

/// Numbers at which something overflows, turns negative, or is a limit of somebody's.
const EDGES: [u64; 18] = [
    0,
    1,
    2,
    0x7f,
    0x80,
    0xff,
    0x7fff,
    0xffff,
    0x1_0000,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 53,
    1 << 60,
    i64::MAX as u64,
    1 << 63,
    u64::MAX - 1,
    u64::MAX,
];

/// No input becomes longer than that: what is wrong with a long one is wrong with a shorter one, too.
pub(crate) const INPUT_BYTES_MAX: usize = 4096;

/// A changed copy of `input`. `words` are pieces of the target's language, `others` inputs to borrow from.
pub(crate) fn mutate(
    random: &mut Random,
    input: &[u8],
    words: &[&'static [u8]],
    others: &[Vec<u8>],
) -> Vec<u8> {
    let mut bytes = input.to_vec();
    for _ in 0..1 + random.below(5) {
        change(random, &mut bytes, words, others);
    }
    bytes.truncate(INPUT_BYTES_MAX);
    bytes
}

fn change(random: &mut Random, bytes: &mut Vec<u8>, words: &[&'static [u8]], others: &[Vec<u8>]) {
    let length = bytes.len();
    match random.below(10) {
        0 if length > 0 => bytes[random.below(length)] ^= 1 << random.below(8),
        1 if length > 0 => bytes[random.below(length)] = random.next().to_le_bytes()[0],
        2 => drop(bytes.drain(random.range(length))),
        3 => {
            let piece = bytes[random.range(length)].to_vec();
            let piece = piece.repeat(1 + random.below(3));
            insert(random, bytes, &piece);
        }
        4 => {
            let other = random.pick(others).map_or(&[][..], |other| other);
            let piece = other[random.range(other.len())].to_vec();
            insert(random, bytes, &piece);
        }
        5 => overwrite_number(random, bytes),
        6 => replace_digits(random, bytes),
        7 => {
            let word = random.pick(words).copied().unwrap_or_default();
            insert(random, bytes, word);
        }
        8 => {
            let word = random.pick(words).copied().unwrap_or_default();
            let range = random.range(length);
            drop(bytes.splice(range, word.iter().copied()));
        }
        _ => {
            let noise: Vec<u8> = (0..random.below(8)).map(|_| random.next().to_le_bytes()[0]).collect();
            insert(random, bytes, &noise);
        }
    }
}

fn insert(random: &mut Random, bytes: &mut Vec<u8>, piece: &[u8]) {
    let at = random.below(bytes.len() + 1);
    drop(bytes.splice(at..at, piece.iter().copied()));
}

/// Puts a number in place of one, two, four or eight bytes, in either order.
fn overwrite_number(random: &mut Random, bytes: &mut [u8]) {
    let width = [1, 2, 4, 8][random.below(4)];
    let Some(last) = bytes.len().checked_sub(width) else { return };
    let at = random.below(last + 1);
    let number = EDGES[random.below(EDGES.len())];
    match random.below(2) {
        0 => bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]),
        _ => bytes[at..at + width].copy_from_slice(&number.to_be_bytes()[8 - width..]),
    }
}

/// Puts another number in place of one that is written in digits.
fn replace_digits(random: &mut Random, bytes: &mut Vec<u8>) {
    let starts: Vec<usize> = (0..bytes.len())
        .filter(|&at| bytes[at].is_ascii_digit() && (at == 0 || !bytes[at - 1].is_ascii_digit()))
        .collect();
    let Some(&start) = random.pick(&starts) else { return };
    let digits = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let number = EDGES[random.below(EDGES.len())];
    let text = match random.below(3) {
        0 => format!("-{number}"),
        1 => (number as i64).to_string(),
        _ => number.to_string(),
    };
    drop(bytes.splice(start..start + digits, text.into_bytes()));
}
