use proptest::prelude::*;

use super::*;

/// The longest file, so that steps meet each other often.
const LEN_MAX: u64 = 40;

#[derive(Debug, Clone)]
enum Step {
    Write(u64, u64),
    Zeros(u64, u64),
    Resize(u64),
    Seal,
    Commit,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = || (0..LEN_MAX, 1..LEN_MAX / 2);
    let step = prop_oneof![
        4 => range().prop_map(|(offset, len)| Step::Write(offset, len)),
        2 => range().prop_map(|(offset, len)| Step::Zeros(offset, len)),
        2 => (0..LEN_MAX).prop_map(Step::Resize),
        1 => Just(Step::Seal),
        1 => Just(Step::Commit),
    ];
    prop::collection::vec(step, 0..20)
}

/// A file, and of each byte whether it is in a hole.
#[derive(Debug)]
struct Both {
    file: FileData,
    holes: Vec<bool>,
    generation: u64,
    seals: u64,
    /// The size and the generation at the seal under way.
    sealed: Option<(u64, u64)>,
}

impl Both {
    fn take(&mut self, step: &Step) {
        self.generation += 1;
        match *step {
            Step::Write(offset, len) => self.put(offset, len, true),
            Step::Zeros(offset, len) => {
                let end = (offset + len).min(self.file.size());
                self.put(offset, end.saturating_sub(offset), false);
            }
            Step::Resize(size) => {
                self.file.resize(size, self.seals);
                self.holes.resize(at(size), true);
            }
            Step::Seal => {
                self.seals += 1;
                self.sealed = Some((self.file.size(), self.generation));
            }
            Step::Commit => {
                if let Some((size, generation)) = self.sealed.take() {
                    self.file.rebase(size, generation, self.seals);
                    // What the version has is data, whatever it was.
                    let pieces = self.file.pieces(0, LEN_MAX * 2);
                    for piece in pieces.iter().filter(|it| it.source == PieceSource::Base) {
                        self.holes[at(piece.offset)..at(piece.offset + piece.len)].fill(false);
                    }
                }
            }
        }
    }

    fn put(&mut self, offset: u64, len: u64, is_data: bool) {
        let location = Location {
            segment: 1,
            record: 0,
            record_len: 1_000,
            skip: 100,
        };
        let written = self.generation;
        let extent = Extent {
            len,
            source: if is_data {
                ExtentSource::Log(location)
            } else {
                ExtentSource::Zeros
            },
            written,
        };
        self.file.put(offset, extent);
        if len > 0 {
            let end = self.holes.len().max(at(offset + len));
            self.holes.resize(end, true);
            self.holes[at(offset)..at(offset + len)].fill(!is_data);
        }
    }

    fn check(&self) {
        let size = self.holes.len() as u64;
        assert_eq!(self.file.size(), size);
        let data = self.holes.iter().filter(|it| !**it).count() as u64;
        assert_eq!(self.file.data_len(), data);
        for offset in 0..size {
            let piece = self.file.piece_at(offset).expect("within the file");
            assert!(piece.offset == offset && piece.len > 0, "{piece:?}");
            let same = self.file.pieces(offset, piece.len);
            assert_eq!(same, std::slice::from_ref(&piece), "{offset}");
            let is_hole = piece.source == PieceSource::Zeros;
            let of_it = &self.holes[at(offset)..at(offset + piece.len)];
            assert!(of_it.iter().all(|it| *it == is_hole), "{piece:?}");
        }
        assert_eq!(self.file.piece_at(size), None);
        let mut restored = FileData::with_lengths(self.file.lengths());
        for (offset, extent) in self.file.extents() {
            assert!(restored.restore(offset, extent.clone()));
        }
        assert_eq!(restored, self.file);
    }
}

fn at(offset: u64) -> usize {
    usize::try_from(offset).expect("a short file")
}

proptest! {
    #[test]
    fn holes_are_what_nothing_was_written_to(base in 0..LEN_MAX, steps in steps()) {
        let mut both = Both {
            file: FileData::of_base(base),
            holes: vec![false; at(base)],
            generation: 1,
            seals: 0,
            sealed: None,
        };
        both.check();
        for step in &steps {
            both.take(step);
            both.check();
        }
    }
}
