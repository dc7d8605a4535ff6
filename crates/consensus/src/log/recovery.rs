//! What a start makes of the files it finds.
//!
//! | found | what follows |
//! | --- | --- |
//! | zeros behind a good batch | a clean end |
//! | a bad batch in which a sector was never written, nothing known behind it | a crash tore it before it was safe: a clean end, too |
//! | any other bad batch, nothing known behind it | rotten after it was acknowledged, as far as anybody can tell: the log is *doubtful* |
//! | a bad batch that another one, or the register, knows to have been safe | rotten: entries are lost, the log is *doubtful* |
//! | no register, or none that can be read | nothing is known about votes: the log is not opened |
//!
//! The second row is what lets a cluster come back by itself when all of it loses power. A sync covers a whole batch, so one sector of it
//! that is still as the file was made says that the sync never ended, and nobody was told that the batch is safe. A batch says how
//! many of its sectors are zeros by right; files are never used twice; a header never stands in two sectors. Only a disk that lost a
//! whole sector which it had called safe looks the same, and that is what other nodes remember ([`Log::found`]).
//!
//! Of each segment the head is read once, and those that count are read once as a whole, one after the other.
//!
//! Deliberately not here: writing, and what a doubtful node does.

use std::collections::BTreeMap;

use super::format::{
    self, ALIGNMENT, BLOCK, BatchHeader, ENTRY_HEADER, Register, SegmentHeader, Wrong, batch_size,
    log_of_register, take_entry,
};
use super::{File, Files, Finding, Log, LogId, Op, OpenError, Owner, Place, Segment, State};

/// A segment that a start finds.
#[derive(Debug, Clone, Copy)]
struct Found {
    file: u32,
    header: SegmentHeader,
}

impl Log {
    /// Which log lives in these files, if one does that can be read.
    ///
    /// # Errors
    /// When the directory or the register cannot be read.
    pub fn identify(files: &impl Files) -> Result<Option<LogId>, OpenError> {
        let listed = files.list()?;
        if listed.is_empty() {
            return Ok(None);
        }
        if !listed.contains(&File::Register) {
            return Err(OpenError::NoRegister {
                what: "there are segments, and no register".to_owned(),
            });
        }
        let bytes = files.read(File::Register)?;
        let slots = [bytes.get(..BLOCK), bytes.get(BLOCK..)];
        let found = slots.into_iter().flatten().find_map(log_of_register);
        match found {
            Some(id) => Ok(Some(id)),
            // Made, and crashed before anything was written: nothing was acknowledged.
            None if bytes.iter().all(|byte| *byte == 0) && listed.len() == 1 => Ok(None),
            None => Err(OpenError::NoRegister {
                what: "it is none".to_owned(),
            }),
        }
    }

    /// The log in these files, what state it is in, and the operations that come first.
    ///
    /// # Errors
    /// When it is not known how the node voted, or the log is not this node's.
    pub fn open(
        owner: Owner,
        segment_bytes: u64,
        files: &impl Files,
    ) -> Result<(Self, State, Vec<Op>), OpenError> {
        let mut log = Self::empty(owner, segment_bytes);
        log.read_register(files)?;
        let finding = log.scan(files)?;
        log.found = log.mark();
        log.register.opened += 1;
        let was_doubtful = log.register.doubtful;
        log.register.doubtful |= finding.is_some();
        log.safe = log.mark();
        // A program that was killed may have left writes that it never synced. They count from here on, so they have to be safe.
        let last = log.segments.back();
        let mut ops: Vec<Op> = last
            .map(|segment| Op::Sync(File::Segment(segment.file)))
            .into_iter()
            .collect();
        if finding.is_some() {
            // What is wrong stands behind the end of what counts from here on, and is not found again.
            log.open_segment(&mut ops);
        } else {
            log.put_register(&mut ops);
        }
        log.put_removals(&mut ops);
        let state = if was_doubtful || finding.is_some() {
            State::Doubtful { finding }
        } else {
            State::Sound
        };
        Ok((log, state, ops))
    }

    fn read_register(&mut self, files: &impl Files) -> Result<(), OpenError> {
        let bytes = files.read(File::Register)?;
        let slots = [bytes.get(..BLOCK), bytes.get(BLOCK..)];
        let mut wrong = None;
        for slot in slots.into_iter().flatten() {
            match Register::decode(slot, &self.owner) {
                Ok((sequence, register)) if sequence > self.written_register => {
                    (self.written_register, self.register) = (sequence, register);
                    self.remembered = register.commit;
                }
                Ok(_) => {}
                Err(Wrong::Version(found)) => {
                    return Err(OpenError::TooNew {
                        found,
                        known: format::VERSION,
                    });
                }
                Err(other @ (Wrong::Blank | Wrong::Checksum | Wrong::Torn | Wrong::Owner)) => {
                    wrong = Some(other);
                }
            }
        }
        match wrong {
            _ if self.written_register > 0 => Ok(()),
            Some(Wrong::Owner) => Err(OpenError::NotOurs),
            Some(wrong) => Err(OpenError::NoRegister {
                what: wrong.to_string(),
            }),
            None => Err(OpenError::NoRegister {
                what: "it is cut".to_owned(),
            }),
        }
    }

    /// Reads all segments that count and enters what stands in them.
    fn scan(&mut self, files: &impl Files) -> Result<Option<Finding>, OpenError> {
        let mut headers: BTreeMap<u64, Found> = BTreeMap::new();
        let mut rotten = None;
        for file in files.list()? {
            let File::Segment(number) = file else {
                continue;
            };
            self.next_file = self.next_file.max(number + 1);
            let header = files
                .head(file)
                .map_err(|error| error.to_string())
                .and_then(|head| {
                    SegmentHeader::decode(&head, &self.owner).map_err(|wrong| wrong.to_string())
                });
            match header {
                Ok(header) => {
                    self.highest_generation = self.highest_generation.max(header.generation);
                    let found = Found {
                        file: number,
                        header,
                    };
                    headers.insert(header.generation, found);
                }
                Err(what) => {
                    rotten = Some((file, what));
                    self.useless.push(number);
                }
            }
        }
        self.highest_generation = self.highest_generation.max(self.register.newest);
        let (oldest, newest) = (self.register.oldest, self.register.newest);
        // Those outside are left from before, or were made ready and not used.
        let outside =
            headers.extract_if(.., |generation, _| !(oldest..=newest).contains(generation));
        let outside: Vec<Found> = outside.map(|(_, found)| found).collect();
        let finding = self.read_segments(files, &headers, rotten);
        // What is not read is behind something rotten, or was before somebody went on elsewhere.
        let read: Vec<u32> = self.segments.iter().map(|segment| segment.file).collect();
        let unread = headers
            .into_values()
            .filter(|found| !read.contains(&found.file));
        let useless = outside.into_iter().chain(unread).map(|found| found.file);
        self.useless.extend(useless);
        self.free_segments();
        let missing = match self.loose.take() {
            Some(first) => Some(format!("entry {first} comes after {}", self.last())),
            None if self.last() < self.register.commit => Some(format!(
                "entries up to {} were decided, and the last one here is {}",
                self.register.commit,
                self.last()
            )),
            None => None,
        };
        let missing = missing.map(|what| Finding {
            file: File::Register,
            offset: 0,
            is_rot: true,
            what,
        });
        Ok(finding.or(missing))
    }

    fn read_segments(
        &mut self,
        files: &impl Files,
        headers: &BTreeMap<u64, Found>,
        rotten: Option<(File, String)>,
    ) -> Option<Finding> {
        if self.register.newest == 0 {
            return None;
        }
        let lost = |what: String, rotten: Option<(File, String)>| {
            let (file, header) =
                rotten.unwrap_or_else(|| (File::Register, "no file has it".to_owned()));
            Finding {
                file,
                offset: 0,
                is_rot: true,
                what: format!("{what}: {header}"),
            }
        };
        let mut generation = self.register.oldest;
        loop {
            let Some(found) = headers.get(&generation) else {
                return Some(lost(format!("segment {generation} is missing"), rotten));
            };
            // The newest that follows it: behind what was rotten, another one may have followed before.
            let mut followers = headers.values().rev().filter_map(|found| {
                let end = found.header.follows?;
                Some((found.header.generation, end))
            });
            let next = followers.find(|(_, end)| end.generation == generation);
            let until = next.map(|(_, end)| end.offset);
            let segment = Segment {
                generation,
                file: found.file,
                end: BLOCK as u64,
            };
            self.segments.push_back(segment);
            if self.written == 0 {
                self.written = found.header.first_batch.saturating_sub(1);
            }
            if let Some(finding) = self.read_segment(files, segment, found.header.size, until) {
                return Some(finding);
            }
            match next {
                Some((next, _)) => generation = next,
                None if generation == self.register.newest => return None,
                None => {
                    let what = format!("the segment behind {generation} is missing");
                    return Some(lost(what, rotten));
                }
            }
        }
    }

    /// Reads the batches of one segment, up to where the next one says it ends, or to the first that is none.
    fn read_segment(
        &mut self,
        files: &impl Files,
        segment: Segment,
        size: u64,
        until: Option<u64>,
    ) -> Option<Finding> {
        let file = File::Segment(segment.file);
        let finding = |offset: u64, is_rot: bool, what: String| Finding {
            file,
            offset,
            is_rot,
            what,
        };
        let bytes = match files.read(file) {
            Ok(bytes) => bytes,
            Err(error) => return Some(finding(0, true, error.to_string())),
        };
        let is_cut = bytes.len() as u64 != size;
        let mut offset = BLOCK as u64;
        loop {
            if until == Some(offset) {
                return None;
            }
            let at = usize::try_from(offset).expect("files are read whole");
            let rest = bytes.get(at..).unwrap_or_default();
            let taken = BatchHeader::take(self.owner.log, segment.generation, offset, rest);
            let what = match taken {
                Ok((header, entries)) if header.number == self.written + 1 => {
                    match self.enter(file, offset, header, entries) {
                        Ok(()) => {
                            offset += batch_size(entries.len()) as u64;
                            self.segments.back_mut().expect("it is being read").end = offset;
                            continue;
                        }
                        Err(what) => what,
                    }
                }
                Ok((header, _)) => {
                    format!("batch {} instead of {}", header.number, self.written + 1)
                }
                Err(wrong) => wrong.to_string(),
            };
            if is_cut {
                let cut = format!("{what}; the file should have {size} bytes");
                return Some(finding(offset, true, cut));
            }
            let is_known = until.is_some() || self.is_known_behind(segment, offset, rest);
            let was_never_safe = matches!(taken, Err(Wrong::Blank | Wrong::Torn));
            // With nothing but zeros behind its end the log goes on in it: nothing that was left there can come to count. Otherwise every
            // start would take a segment of its own.
            self.is_open =
                until.is_none() && size == self.segment_bytes && rest.iter().all(|byte| *byte == 0);
            return (is_known || !was_never_safe).then(|| finding(offset, is_known, what));
        }
    }

    /// Whether a batch further behind says that the next one was safe.
    fn is_known_behind(&self, segment: Segment, offset: u64, rest: &[u8]) -> bool {
        (ALIGNMENT..rest.len().saturating_sub(format::BATCH_HEADER))
            .step_by(ALIGNMENT)
            .any(|at| {
                // Cheap to reject: most of a file is zeros or something else.
                rest[at + 40..at + 48] == segment.generation.to_le_bytes()
                    && BatchHeader::take(
                        self.owner.log,
                        segment.generation,
                        offset + at as u64,
                        &rest[at..],
                    )
                    .is_ok_and(|(header, _)| header.synced > self.written)
            })
    }

    fn enter(
        &mut self,
        file: File,
        offset: u64,
        header: BatchHeader,
        mut entries: &[u8],
    ) -> Result<(), String> {
        if header.first == 0 {
            return Err("an entry of index 0".to_owned());
        }
        let mut at = offset + format::BATCH_HEADER as u64;
        let mut places = Vec::new();
        for _ in 0..header.entries {
            let (term, payload, rest) = take_entry(entries).ok_or("an entry is cut")?;
            places.push(Place {
                term,
                file,
                offset: at,
                length: u32::try_from(payload.len()).expect("as long as it says"),
            });
            at += (ENTRY_HEADER + payload.len()) as u64;
            entries = rest;
        }
        self.written = header.number;
        self.loose = (header.first > self.last() + 1).then_some(header.first);
        if self.loose.is_none() {
            self.put_places(header.first, places);
        }
        Ok(())
    }
}
