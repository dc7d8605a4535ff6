//! What the log promises: what was acknowledged is there after any crash, and what rots is noticed.
//!
//! Histories are drawn from a seed; `LOG_SEED=N cargo test -p convoke-consensus --test log` replays one.

use bytes::Bytes;
use convoke_consensus::log::{
    Ballot, Entry, File, Files, Finding, Log, LogId, Mark, Op, OpenError, Owner, Position, State,
    TwinDisk, VoterId, Work, WorkError,
};
use convoke_types::{ClusterId, NodeId};

const SEGMENT: u64 = 64 << 10;

fn owner() -> Owner {
    Owner {
        cluster: ClusterId::from_bytes([7; 16]),
        node: NodeId::from_public_key([1; 32]),
        log: LogId([9; 16]),
    }
}

/// SplitMix64, so that a seed means the same for ever.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }
}

/// A log on a twin disk, and what it has acknowledged.
struct World {
    disk: TwinDisk,
    log: Log,
    state: State,
}

impl World {
    fn new() -> Self {
        let mut disk = TwinDisk::new();
        let (log, ops) = Log::create(owner(), SEGMENT);
        carry_out(&mut disk, &ops);
        Self {
            disk,
            log,
            state: State::Sound,
        }
    }

    fn work(&mut self, work: &[Work]) {
        let ops = self.log.work(work).expect("the work makes sense");
        carry_out(&mut self.disk, &ops);
        self.log.done(self.log.mark());
    }

    fn append(&mut self, first: u64, entries: Vec<Entry>) {
        self.work(&[Work::Append { first, entries }]);
    }

    fn reopen(&mut self) {
        self.try_reopen().expect("the register is whole");
    }

    fn try_reopen(&mut self) -> Result<(), OpenError> {
        let (log, state, ops) = Log::open(owner(), SEGMENT, &self.disk)?;
        carry_out(&mut self.disk, &ops);
        (self.log, self.state) = (log, state);
        Ok(())
    }

    fn entry(&self, index: u64) -> Option<Entry> {
        let place = self.log.place(index)?;
        let file = self
            .disk
            .read(place.file)
            .expect("places are in files that are there");
        let (offset, length) = place.extent();
        let read = file.slice(offset as usize..offset as usize + length);
        Some(
            place
                .entry(&read)
                .expect("what was checked at the start is right"),
        )
    }

    fn entries(&self) -> Vec<(u64, Entry)> {
        let first = self.log.register().purged.index + 1;
        let all = first..=self.log.last();
        all.map(|index| (index, self.entry(index).expect("there is no gap")))
            .collect()
    }

    fn segments(&self) -> Vec<File> {
        let files = self.disk.list().expect("a twin can be listed");
        files
            .into_iter()
            .filter(|file| matches!(file, File::Segment(_)))
            .collect()
    }

    fn finding(&self) -> &Finding {
        match &self.state {
            State::Doubtful {
                finding: Some(finding),
            } => finding,
            State::Doubtful { finding: None } | State::Sound => panic!("nothing was found"),
        }
    }

    fn is_sound(&self) -> bool {
        self.state == State::Sound
    }
}

fn carry_out(disk: &mut TwinDisk, ops: &[Op]) {
    for op in ops {
        disk.carry_out(op).expect("there is room");
    }
}

/// No vote is 0; an even one led.
fn ballot(number: u64) -> Option<Ballot> {
    let byte = u8::try_from(number).expect("small");
    (number > 0).then(|| Ballot {
        candidate: VoterId {
            node: NodeId::from_public_key([byte; 32]),
            log: LogId([byte + 1; 16]),
        },
        is_elected: number.is_multiple_of(2),
    })
}

fn entry(term: u64, text: &str) -> Entry {
    Entry {
        term,
        payload: Bytes::copy_from_slice(text.as_bytes()),
    }
}

fn texts(world: &World) -> Vec<String> {
    let all = world.entries().into_iter();
    all.map(|(index, entry)| {
        let text = String::from_utf8_lossy(&entry.payload).into_owned();
        format!("{index}@{} {text}", entry.term)
    })
    .collect()
}

#[test]
fn what_was_written_is_there_after_a_start() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a"), entry(1, "b")]);
    world.work(&[
        Work::Vote {
            term: 2,
            vote: ballot(5),
        },
        Work::Append {
            first: 3,
            entries: vec![entry(2, "c")],
        },
    ]);
    world.reopen();
    assert_eq!(texts(&world), ["1@1 a", "2@1 b", "3@2 c"]);
    assert_eq!(world.log.last_position(), Position { term: 2, index: 3 });
    let register = world.log.register();
    assert_eq!(
        (register.term, register.vote, register.opened),
        (2, ballot(5), 2)
    );
    assert!(world.is_sound());
    world.append(4, vec![entry(3, "d")]);
    world.reopen();
    assert_eq!(texts(&world).last().map(String::as_str), Some("4@3 d"));
}

#[test]
fn a_cut_end_stays_cut() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a"), entry(1, "b"), entry(1, "c")]);
    world.append(2, vec![entry(2, "B")]);
    world.reopen();
    assert_eq!(texts(&world), ["1@1 a", "2@2 B"]);
    world.append(2, vec![]);
    world.reopen();
    assert_eq!(texts(&world), ["1@1 a"]);
}

#[test]
fn a_gap_is_refused() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a")]);
    let gap = Work::Append {
        first: 3,
        entries: vec![entry(1, "c")],
    };
    assert_eq!(
        world.log.work(&[gap]),
        Err(WorkError::Gap { first: 3, last: 1 })
    );
    let large = Work::Append {
        first: 2,
        entries: vec![entry(1, &"x".repeat(SEGMENT as usize))],
    };
    assert!(matches!(
        world.log.work(&[large]),
        Err(WorkError::TooLarge { .. })
    ));
    assert_eq!(texts(&world), ["1@1 a"]);
}

#[test]
fn purged_segments_go_and_are_never_read_again() {
    let mut world = World::new();
    let long = "x".repeat(10_000);
    for index in 1..=100 {
        world.append(index, vec![entry(1, &long)]);
        if index % 10 == 0 {
            world.work(&[Work::Purge(Position {
                term: 1,
                index: index - 3,
            })]);
        }
        if index % 7 == 0 {
            world.reopen();
            assert!(world.is_sound(), "{:?} at {index}", world.state);
            assert_eq!(world.log.last(), index);
        }
    }
    assert!(world.segments().len() <= 6, "{:?}", world.segments());
    assert_eq!(world.log.register().purged.index, 97);
    assert!(world.log.place(97).is_none() && world.log.place(98).is_some());
}

#[test]
fn a_snapshot_replaces_everything() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a"), entry(1, "b")]);
    let position = Position { term: 3, index: 50 };
    world.work(&[Work::Reset(position)]);
    assert_eq!(world.log.last_position(), position);
    world.append(51, vec![entry(3, "y")]);
    world.reopen();
    assert_eq!(texts(&world), ["51@3 y"]);
    world.work(&[Work::Reset(Position { term: 4, index: 90 })]);
    world.append(91, vec![entry(4, "z")]);
    world.reopen();
    assert!(world.is_sound());
    assert_eq!(texts(&world), ["91@4 z"]);
}

#[test]
fn a_log_of_somebody_else_is_not_opened() {
    let world = World::new();
    let other = Owner {
        node: NodeId::from_public_key([2; 32]),
        ..owner()
    };
    let error = Log::open(other, SEGMENT, &world.disk).expect_err("another node's");
    assert!(matches!(error, OpenError::NotOurs), "{error}");
    let other = Owner {
        cluster: ClusterId::from_bytes([8; 16]),
        ..owner()
    };
    let error = Log::open(other, SEGMENT, &world.disk).expect_err("another cluster's");
    assert!(matches!(error, OpenError::NotOurs), "{error}");
    assert_eq!(
        Log::identify(&world.disk).expect("it is whole"),
        Some(LogId([9; 16]))
    );
    assert_eq!(
        Log::identify(&TwinDisk::new()).expect("nothing is there"),
        None
    );
}

#[test]
fn a_log_of_a_newer_program_is_not_opened_and_nothing_is_written() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a")]);
    let newer = Op::Write {
        file: File::Register,
        offset: 8,
        bytes: Bytes::from_static(&[2, 0]),
    };
    carry_out(&mut world.disk, &[newer, Op::Sync(File::Register)]);
    let error = world.try_reopen().expect_err("it may mean anything");
    assert!(
        matches!(error, OpenError::TooNew { found: 2, known: 1 }),
        "{error}"
    );
}

#[test]
fn a_register_survives_in_one_of_its_slots_and_without_both_nothing_is_opened() {
    let mut world = World::new();
    world.work(&[Work::Vote {
        term: 7,
        vote: ballot(3),
    }]);
    world.disk.rot(File::Register, 100, 3);
    world.reopen();
    assert_eq!(world.log.register().term, 7);
    for byte in [100, 4_096 + 100] {
        world.disk.rot(File::Register, byte, 3);
    }
    let error = world.try_reopen().expect_err("both slots are rotten");
    assert!(matches!(error, OpenError::NoRegister { .. }), "{error}");
}

#[test]
fn a_missing_register_beside_segments_is_told() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a")]);
    world
        .disk
        .carry_out(&Op::Remove(File::Register))
        .expect("it is there");
    let error = Log::identify(&world.disk).expect_err("votes are not known");
    assert!(matches!(error, OpenError::NoRegister { .. }), "{error}");
}

#[test]
fn doubt_outlives_every_start_until_a_leader_ends_it() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a")]);
    world.append(2, vec![entry(1, "b")]);
    let place = world.log.place(2).expect("it is there");
    world.disk.rot(place.file, place.offset as usize + 16, 0);
    world.reopen();
    let finding = world.finding();
    assert!(!finding.is_rot, "nothing behind it says that it was safe");
    assert_eq!(texts(&world), ["1@1 a"]);
    world.reopen();
    assert_eq!(world.state, State::Doubtful { finding: None });
    world.append(2, vec![entry(1, "b")]);
    world.work(&[Work::Trust]);
    world.reopen();
    assert!(world.is_sound(), "{:?}", world.state);
    assert_eq!(texts(&world), ["1@1 a", "2@1 b"]);
}

#[test]
fn what_was_known_to_be_safe_and_is_rotten_is_no_torn_write() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a")]);
    world.append(2, vec![entry(1, "b")]);
    world.append(3, vec![entry(1, "c")]);
    let place = world.log.place(1).expect("it is there");
    world.disk.rot(place.file, place.offset as usize + 16, 0);
    world.reopen();
    let finding = world.finding();
    assert!(finding.is_rot, "{finding}");
    assert_eq!(world.log.last(), 0);
    // What stood behind does not come back when the gap is filled.
    world.append(1, vec![entry(4, "A")]);
    world.reopen();
    assert_eq!(texts(&world), ["1@4 A"]);
}

#[test]
fn decided_entries_that_are_missing_are_noticed_even_at_a_clean_end() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a")]);
    let before = world.disk.clone();
    world.append(2, vec![entry(1, "b")]);
    world.work(&[
        Work::Commit(2),
        Work::Vote {
            term: 2,
            vote: ballot(1),
        },
    ]);
    let segment = world.segments()[0];
    let old = before.read(segment).expect("it was there");
    let rollback = Op::Write {
        file: segment,
        offset: 0,
        bytes: old,
    };
    carry_out(&mut world.disk, &[rollback, Op::Sync(segment)]);
    world.reopen();
    assert!(matches!(&world.state, State::Doubtful { finding: Some(f) } if f.is_rot));
}

#[test]
fn a_segment_that_is_cut_or_gone_is_noticed() {
    for is_gone in [false, true] {
        let mut world = World::new();
        world.append(1, vec![entry(1, "a")]);
        let segment = world.segments()[0];
        if is_gone {
            world
                .disk
                .carry_out(&Op::Remove(segment))
                .expect("it is there");
        } else {
            world.disk.cut(segment, 40_000);
        }
        world.reopen();
        assert!(!world.is_sound(), "gone: {is_gone}");
        world.append(world.log.last() + 1, vec![entry(2, "b")]);
        world.work(&[Work::Trust]);
        world.reopen();
        assert!(world.is_sound(), "{:?}", world.state);
    }
}

#[test]
fn what_is_decided_is_found_after_a_start_when_it_was_to_be_remembered_and_written_once() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a"), entry(1, "b"), entry(1, "c")]);
    world.work(&[Work::Commit(2)]);
    world.reopen();
    assert_eq!(world.log.register().commit, 0, "it was only kept in mind");
    world.work(&[Work::Commit(2), Work::Remember]);
    let again = world.log.work(&[Work::Commit(2), Work::Remember]);
    assert_eq!(again, Ok(Vec::new()), "nothing is new");
    world.reopen();
    assert_eq!(world.log.register().commit, 2);
    let again = world.log.work(&[Work::Remember]);
    assert_eq!(again, Ok(Vec::new()), "it was found");
    assert!(world.is_sound());
}

#[test]
fn a_segment_that_is_cut_is_read_as_far_as_it_goes() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a")]);
    let segment = world.segments()[0];
    world.disk.cut(segment, 40_000);
    world.reopen();
    assert!(!world.is_sound());
    assert_eq!(texts(&world), ["1@1 a"]);
    world.append(2, vec![entry(1, "b")]);
    world.work(&[Work::Trust]);
    world.reopen();
    assert!(world.is_sound(), "{:?}", world.state);
    // Nothing in it counts any more, and its place would be free.
    for index in [50, 90] {
        world.work(&[Work::Reset(Position { term: 3, index })]);
        world.append(index + 1, vec![entry(3, "c")]);
    }
    assert!(!world.segments().contains(&segment));
    world.reopen();
    assert!(world.is_sound(), "{:?}", world.state);
    assert_eq!(texts(&world), ["91@3 c"]);
}

/// A long batch of which the sector with this number, counted from that of its header, is written or not.
fn torn(keeps: impl Fn(usize) -> bool, payload: Vec<u8>) -> World {
    let mut world = World::new();
    world.append(1, vec![entry(1, "safe")]);
    let append = Work::Append {
        first: 2,
        entries: vec![Entry {
            term: 1,
            payload: payload.into(),
        }],
    };
    let ops = world.log.work(&[append]).expect("it follows");
    carry_out(&mut world.disk, &ops[..1]);
    let mut sector = 0;
    world.disk.crash(|| {
        sector += 1;
        keeps(sector - 1)
    });
    world
}

#[test]
fn a_batch_without_one_of_its_sectors_was_never_acknowledged_and_makes_no_doubt() {
    for missing in 0..4 {
        let mut world = torn(|sector| sector != missing, vec![b'x'; 1_700]);
        world.reopen();
        assert!(world.is_sound(), "{:?} without {missing}", world.state);
        assert_eq!(texts(&world), ["1@1 safe"]);
        // What is left of it does not come back behind something new.
        world.append(2, vec![entry(2, "b")]);
        world.reopen();
        assert_eq!(texts(&world), ["1@1 safe", "2@2 b"]);
    }
}

#[test]
fn zeros_that_were_written_are_no_sectors_that_were_not() {
    let mut whole = torn(|_| true, vec![0; 1_700]);
    whole.reopen();
    assert_eq!(whole.log.last(), 2);
    let place = whole.log.place(2).expect("it is there");
    whole.disk.rot(place.file, place.offset as usize + 2, 0);
    whole.reopen();
    assert!(!whole.is_sound(), "a turned bit among zeros is no crash");
    // Between two sectors that are written there is one that says nothing: nobody can tell.
    let mut payload = vec![b'x'; 1_700];
    payload[300..1_000].fill(0);
    let mut hidden = torn(|_| true, payload);
    hidden.reopen();
    let place = hidden.log.place(2).expect("it is there");
    hidden
        .disk
        .rot(place.file, place.offset as usize + 1_200, 0);
    hidden.reopen();
    assert!(!hidden.is_sound(), "zeros by right do not count as missing");
}

#[test]
fn what_a_killed_program_left_in_the_cache_is_safe_when_it_counts() {
    let mut world = World::new();
    world.append(1, vec![entry(1, "a")]);
    let append = Work::Append {
        first: 2,
        entries: vec![entry(1, "b")],
    };
    let ops = world.log.work(&[append]).expect("it follows");
    let unsynced = ops.iter().filter(|op| !matches!(op, Op::Sync(_)));
    for op in unsynced {
        world.disk.carry_out(op).expect("there is room");
    }
    // The program is killed, and the machine goes on.
    world.reopen();
    assert_eq!(texts(&world), ["1@1 a", "2@1 b"]);
    world.disk.crash(|| false);
    world.reopen();
    assert_eq!(texts(&world), ["1@1 a", "2@1 b"]);
}

#[test]
fn a_log_knows_how_far_it_has_come_for_sure() {
    let mut world = World::new();
    assert_eq!(world.log.found(), Mark::default());
    world.append(1, vec![entry(1, "a")]);
    let before = world.log.safe();
    assert_eq!((before.opened, before.term, before.batch), (1, 0, 1));
    let vote = Work::Vote {
        term: 4,
        vote: ballot(1),
    };
    let ops = world.log.work(&[vote]).expect("anybody may vote");
    assert_eq!(world.log.safe(), before, "nothing is safe yet");
    let mark = world.log.mark();
    carry_out(&mut world.disk, &ops);
    world.log.done(mark);
    let safe = world.log.safe();
    assert_eq!((safe.opened, safe.term, safe.batch), (1, 4, 1));
    world.reopen();
    assert_eq!(world.log.found(), safe);
    assert_eq!(world.log.safe().opened, 2);
}

/// What a history has acknowledged.
#[derive(Clone, Default)]
struct Model {
    purged: Position,
    entries: Vec<Entry>,
    term: u64,
    vote: Option<Ballot>,
}

impl Model {
    fn last(&self) -> u64 {
        self.purged.index + self.entries.len() as u64
    }

    fn apply(&mut self, work: &Work) {
        match work {
            Work::Append { first, entries } => {
                let keep = first - self.purged.index - 1;
                self.entries.truncate(keep as usize);
                self.entries.extend(entries.iter().cloned());
            }
            Work::Vote { term, vote } => (self.term, self.vote) = (*term, *vote),
            Work::Purge(position) => {
                let gone = position.index.saturating_sub(self.purged.index);
                if gone > 0 {
                    self.entries.drain(..gone as usize);
                    self.purged = *position;
                }
            }
            Work::Reset(position) => {
                self.entries.clear();
                self.purged = *position;
            }
            Work::Commit(_) | Work::Remember | Work::Trust | Work::Doubt(_) => {}
        }
    }

    fn draw(&self, dice: &mut Dice) -> Work {
        match dice.below(20) {
            0 | 1 => Work::Vote {
                term: self.term + dice.below(3),
                vote: ballot(dice.below(4)),
            },
            2 | 3 if !self.entries.is_empty() => {
                let at = dice.below(self.entries.len() as u64);
                Work::Purge(Position {
                    index: self.purged.index + at + 1,
                    term: self.entries[at as usize].term,
                })
            }
            4 if dice.below(4) == 0 => Work::Reset(Position {
                index: self.last() + 1 + dice.below(50),
                term: self.term,
            }),
            draw => {
                let cut = if draw < 7 {
                    dice.below(self.entries.len() as u64 + 1)
                } else {
                    0
                };
                let entries = (0..dice.below(6)).map(|_| {
                    let longest = if dice.below(8) == 0 { 20_000 } else { 300 };
                    let length = dice.below(longest);
                    Entry {
                        term: self.term,
                        payload: vec![dice.roll() as u8; length as usize].into(),
                    }
                });
                Work::Append {
                    first: self.last() + 1 - cut,
                    entries: entries.collect(),
                }
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "whoever replays a seed names it")]
fn seeds(many: u64) -> std::ops::Range<u64> {
    match std::env::var("LOG_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
    {
        Some(seed) => seed..seed + 1,
        None => 0..many,
    }
}

/// Histories of work with crashes at any operation, sectors lost at random.
#[test]
fn no_crash_takes_what_was_acknowledged() {
    let (mut crashes, mut torn) = (0_u32, 0_u32);
    for seed in seeds(400) {
        let told = format!("LOG_SEED={seed}");
        let mut dice = Dice(seed);
        let mut world = World::new();
        let mut model = Model::default();
        for _ in 0..40 {
            let mut ahead = model.clone();
            let works: Vec<Work> = (0..=dice.below(3))
                .map(|_| {
                    let work = ahead.draw(&mut dice);
                    ahead.apply(&work);
                    work
                })
                .collect();
            let ops = world.log.work(&works).expect("drawn to make sense");
            if dice.below(5) > 0 {
                carry_out(&mut world.disk, &ops);
                world.log.done(world.log.mark());
                model = ahead;
                continue;
            }
            crashes += 1;
            let until = dice.below(ops.len() as u64 + 1) as usize;
            carry_out(&mut world.disk, &ops[..until]);
            let (mut kept, mut lost) = (0, 0);
            world.disk.crash(|| {
                let keeps = dice.below(2) == 0;
                *(if keeps { &mut kept } else { &mut lost }) += 1;
                keeps
            });
            torn += u32::from(kept > 0 && lost > 0);
            world.reopen();
            // What was torn was never acknowledged, and that can be seen: a crash alone makes no log doubtful.
            assert!(world.is_sound(), "{told}: {:?}", world.state);
            check_after_crash(&world, &model, &works, &told);
            // Go on from what is there.
            let register = world.log.register();
            model = Model {
                purged: register.purged,
                entries: world
                    .entries()
                    .into_iter()
                    .map(|(_, entry)| entry)
                    .collect(),
                term: register.term,
                vote: register.vote,
            };
        }
        world.reopen();
        assert!(world.is_sound(), "{told}: {:?}", world.state);
        let found: Vec<Entry> = world
            .entries()
            .into_iter()
            .map(|(_, entry)| entry)
            .collect();
        assert_eq!(found, model.entries, "{told}");
    }
    if crashes > 1_000 {
        assert!(
            torn > crashes / 50,
            "{torn} of {crashes} crashes tore something"
        );
    }
}

/// After a crash within some work: everything before it is there, and of the work any beginning, an append maybe in part.
fn check_after_crash(world: &World, model: &Model, works: &[Work], told: &str) {
    let mut ahead = model.clone();
    let mut states = vec![ahead.clone()];
    for work in works {
        if let Work::Append { first, entries } = work {
            for part in 0..entries.len() {
                let mut partly = ahead.clone();
                partly.apply(&Work::Append {
                    first: *first,
                    entries: entries[..part].to_vec(),
                });
                states.push(partly);
            }
        }
        ahead.apply(work);
        states.push(ahead.clone());
    }
    let register = world.log.register();
    let is_vote = |state: &Model| (state.term, state.vote) == (register.term, register.vote);
    assert!(
        states.iter().any(is_vote),
        "{told}: nobody voted so: {register:?}"
    );
    // Purging and appending reach the disk each on its own, so entries are compared where both have them.
    let found = world.entries();
    let fits = states.iter().any(|state| {
        world.log.last() == state.last()
            && found.iter().all(|(index, entry)| {
                index
                    .checked_sub(state.purged.index + 1)
                    .is_none_or(|at| state.entries.get(at as usize) == Some(entry))
            })
    });
    assert!(
        fits,
        "{told}: what is there is no state the log was ever in"
    );
}

/// One bit anywhere in what is safe: it is noticed, or it does not matter.
#[test]
fn no_rotten_bit_goes_unnoticed() {
    let (mut noticed, mut harmless) = (0, 0);
    for seed in seeds(1_500) {
        let told = format!("LOG_SEED={seed}");
        let mut dice = Dice(seed ^ 0xb17);
        let mut world = World::new();
        let mut model = Model::default();
        for _ in 0..12 {
            let work = model.draw(&mut dice);
            world.work(std::slice::from_ref(&work));
            model.apply(&work);
            if dice.below(9) == 0 {
                world.reopen();
            }
        }
        let files = world.disk.list().expect("a twin can be listed");
        let file = files[dice.below(files.len() as u64) as usize];
        let size = world.disk.read(file).expect("listed just now").len() as u64;
        // Mostly where something stands.
        let within = if dice.below(2) == 0 {
            size.min(9_000)
        } else {
            size
        };
        let byte = dice.below(within);
        world.disk.rot(file, byte as usize, dice.below(8) as u8);
        world
            .try_reopen()
            .unwrap_or_else(|error| panic!("{told}: one bit of one slot: {error}"));
        let found: Vec<Entry> = world
            .entries()
            .into_iter()
            .map(|(_, entry)| entry)
            .collect();
        let register = world.log.register();
        assert_eq!(
            (register.term, register.vote),
            (model.term, model.vote),
            "{told}"
        );
        if world.is_sound() {
            harmless += 1;
            assert_eq!(found, model.entries, "{told}: byte {byte} of {file}");
        } else {
            noticed += 1;
        }
    }
    assert!(
        noticed + harmless == 1 || noticed > 100,
        "{noticed} noticed, {harmless} harmless"
    );
}
