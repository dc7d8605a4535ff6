//! The durable log: work, crashes, rot, and files full of anything.
//!
//! An input is a list of steps, each with its length: work is done, power is lost in the middle of it, bytes of a file become others, a
//! file is cut or goes, the node starts again.
//!
//! - Nothing panics, whatever is in the files.
//! - A log that opens has no gap, its entries can be read, and it can be written to, trusted, and opened again as sound with all of it.
//! - As long as nobody touches the files, what was acknowledged is there after every crash, and no crash makes a log doubtful.

use bytes::Bytes;
use convoke_consensus::log::{
    Entry, File, Files as _, Log, LogId, Op, Owner, Position, State, TwinDisk, Work,
};
use convoke_types::{ClusterId, NodeId};

use super::is_short;
use crate::Random;

/// The least a segment has.
const SEGMENT: u64 = 64 << 10;
/// Steps of one input; more tell nothing new and take long.
const STEPS: usize = 60;

const OWNER: Owner = Owner {
    cluster: ClusterId::from_bytes([7; 16]),
    node: NodeId::from_public_key([1; 32]),
    log: LogId([9; 16]),
};

struct World {
    disk: TwinDisk,
    log: Log,
    /// Nobody has touched the files.
    is_honest: bool,
    /// Entries that are safe, behind what is purged, as long as everybody is honest.
    safe: Vec<Entry>,
}

pub(super) fn check(input: &[u8]) {
    let mut disk = TwinDisk::new();
    let (log, ops) = Log::create(OWNER, SEGMENT);
    carry_out(&mut disk, &ops);
    let mut world = World {
        disk,
        log,
        is_honest: true,
        safe: Vec::new(),
    };
    let mut rest = input;
    for _ in 0..STEPS {
        let [kind, length, after @ ..] = rest else {
            break;
        };
        let (body, after) = after.split_at(usize::from(*length).min(after.len()));
        rest = after;
        if !world.step(*kind, body) {
            return;
        }
    }
    world.start_again();
}

impl World {
    /// One step; whether there is still a log.
    fn step(&mut self, kind: u8, body: &[u8]) -> bool {
        let byte = |at: usize| body.get(at).copied().unwrap_or(0);
        let number = usize::from(byte(1)) << 8 | usize::from(byte(2));
        match kind % 10 {
            0..=2 => self.append(byte(0), body.get(1..).unwrap_or_default(), None),
            3 => self.append(byte(0), body.get(2..).unwrap_or_default(), Some(byte(1))),
            4 => self.work(Work::Vote {
                term: u64::from(byte(0)),
                vote: None,
            }),
            5 => self.purge(byte(0)),
            6 => {
                self.safe.clear();
                self.work(Work::Reset(Position {
                    term: u64::from(byte(0)),
                    index: self.log.last() + 1 + u64::from(byte(1)),
                }));
            }
            7 => {
                let file = self.file(byte(0));
                self.is_honest = false;
                let size = self.disk.read(file).map_or(0, |bytes| bytes.len());
                match body.len() {
                    0 => self.carry_out(&Op::Remove(file)),
                    1..=3 => self.disk.cut(file, number % (size + 1)),
                    _ => {
                        let bytes = Bytes::copy_from_slice(&body[3..]);
                        let offset = number.min(size.saturating_sub(bytes.len())) as u64;
                        if bytes.len() <= size {
                            self.carry_out(&Op::Write {
                                file,
                                offset,
                                bytes,
                            });
                            self.carry_out(&Op::Sync(file));
                        }
                    }
                }
                return self.start_again();
            }
            8 => {
                let file = self.file(byte(0));
                self.is_honest = false;
                self.disk.rot(file, number, byte(3));
                return self.start_again();
            }
            _ => return self.start_again(),
        }
        true
    }

    fn file(&self, number: u8) -> File {
        let files = self.disk.list().expect("a twin can be listed");
        files
            .get(usize::from(number) % files.len().max(1))
            .copied()
            .unwrap_or(File::Register)
    }

    fn carry_out(&mut self, op: &Op) {
        // A file that somebody took away cannot be written, which the node would not survive either.
        let _ = self.disk.carry_out(op);
    }

    /// Appends entries, some of them in the place of others; with a crash after so many operations.
    fn append(&mut self, cut: u8, body: &[u8], crash: Option<u8>) {
        let base = self.log.register().purged.index;
        let known = self.log.last() - base;
        let cut = u64::from(cut % 4).min(known);
        let entries: Vec<Entry> = body
            .chunks(40)
            .map(|payload| Entry {
                term: u64::from(payload[0] % 4),
                // Some are long, so that segments fill up.
                payload: payload.repeat(usize::from(payload[0])).into(),
            })
            .collect();
        let work = Work::Append {
            first: self.log.last() + 1 - cut,
            entries: entries.clone(),
        };
        let ops = self.log.work(&[work]).expect("it follows what is there");
        let Some(until) = crash else {
            carry_out(&mut self.disk, &ops);
            self.log.done(self.log.mark());
            self.safe.truncate((known - cut) as usize);
            self.safe.extend(entries);
            return;
        };
        let until = usize::from(until) % (ops.len() + 1);
        carry_out(&mut self.disk, &ops[..until]);
        let mut sector = usize::from(crash.unwrap_or(0));
        self.disk.crash(|| {
            sector = sector.wrapping_mul(31).wrapping_add(7);
            sector & 8 == 0
        });
        // What was cut may or may not be gone; what stands before the cut is there.
        self.safe.truncate((known - cut) as usize);
        let kept = self.safe.len();
        self.start_again();
        if self.is_honest {
            let found = entries_of(&self.log, &self.disk);
            assert!(found.len() >= kept, "{} of {kept} entries", found.len());
            self.safe = found;
        }
    }

    fn work(&mut self, work: Work) {
        let ops = self.log.work(&[work]).expect("it makes sense");
        carry_out(&mut self.disk, &ops);
        self.log.done(self.log.mark());
    }

    fn purge(&mut self, many: u8) {
        let base = self.log.register().purged.index;
        let index = (base + u64::from(many)).min(self.log.last());
        let Some(place) = self.log.place(index) else {
            return;
        };
        self.safe
            .drain(..((index - base) as usize).min(self.safe.len()));
        self.work(Work::Purge(Position {
            term: place.term,
            index,
        }));
    }

    /// The node starts again; whether it has a log.
    fn start_again(&mut self) -> bool {
        let opened = match Log::identify(&self.disk) {
            Ok(Some(_)) => Log::open(OWNER, SEGMENT, &self.disk),
            Ok(None) => return false,
            Err(error) => {
                assert!(!self.is_honest, "{error}");
                is_short(&error.to_string());
                return false;
            }
        };
        let (log, state, ops) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                assert!(!self.is_honest, "{error}");
                is_short(&error.to_string());
                return false;
            }
        };
        if let State::Doubtful {
            finding: Some(finding),
        } = &state
        {
            is_short(&finding.to_string());
        }
        carry_out(&mut self.disk, &ops);
        self.log = log;
        let found = entries_of(&self.log, &self.disk);
        if self.is_honest {
            assert_eq!(state, State::Sound);
            let kept = self.safe.len().min(found.len());
            assert_eq!(found[..kept], self.safe[..kept]);
            assert!(
                found.len() >= self.safe.len(),
                "acknowledged entries are gone"
            );
        }
        self.can_go_on(found);
        true
    }

    /// On a copy, so that the input goes on with the log as it was found.
    fn can_go_on(&self, mut entries: Vec<Entry>) {
        let mut disk = self.disk.clone();
        let (mut log, _, ops) = Log::open(OWNER, SEGMENT, &disk).expect("it opened just now");
        carry_out(&mut disk, &ops);
        let entry = Entry {
            term: 9,
            payload: Bytes::from_static(b"one more"),
        };
        entries.push(entry.clone());
        let append = Work::Append {
            first: log.last() + 1,
            entries: vec![entry],
        };
        let ops = log
            .work(&[append, Work::Trust])
            .expect("it follows what is there");
        carry_out(&mut disk, &ops);
        let (log, state, _) = Log::open(OWNER, SEGMENT, &disk).expect("it was written just now");
        assert_eq!(state, State::Sound);
        assert_eq!(entries_of(&log, &disk), entries);
    }
}

fn carry_out(disk: &mut TwinDisk, ops: &[Op]) {
    for op in ops {
        disk.carry_out(op).expect("files the log knows are there");
    }
}

fn entries_of(log: &Log, disk: &TwinDisk) -> Vec<Entry> {
    let first = log.register().purged.index + 1;
    let entry = |index| {
        let place = log.place(index).expect("there is no gap");
        let (offset, length) = place.extent();
        let file = disk
            .read(place.file)
            .expect("places are in files that are there");
        let offset = usize::try_from(offset).expect("segments are small");
        place
            .entry(&file.slice(offset..offset + length))
            .expect("it was checked at the start")
    };
    (first..=log.last()).map(entry).collect()
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..random.below(30) {
        let kind = random.below(10) as u8;
        // Most logs are left alone, or none would get far.
        let kind = if kind == 7 && !random.once_in(4) {
            0
        } else {
            kind
        };
        let body = random.bytes(120);
        input.extend([kind, body.len() as u8]);
        input.extend(body);
    }
    input
}
