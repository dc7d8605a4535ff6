//! The handshake of a link over TCP, both of its sides, against peers who send whatever they like; and the records behind it.
//!
//! An input begins with a [`Script`]: which side is attacked, by whom, how its flights are changed and where they are cut. The rest
//! is what the peer has to say: raw bytes of a handshake, or data for the records behind a handshake that went well. Nobody can
//! seal such flights in advance, so an honest implementation makes them as the handshake goes on, and they are changed on their way.
//!
//! - It ends in a refusal or asks for more, and nobody is asked for more who has sent [`HandshakeOverTcp::BYTES_MAX`].
//! - What is held is bounded by that and one read more; an alert is said at most once, and its reason is fit for a log.
//! - Nobody gets in without a certificate whose signed part is one that the cluster's issuer signed, and without its key. A member whose
//!   bytes come as they were sent does get in; a refused peer who can read it hears an alert.
//! - Records give out the data that was sealed, from its beginning, and no other.
//! - The same comes of the same bytes wherever they are cut, until the handshake is over. Where changed keys of chance are in
//!   them, they are not the same bytes twice.

use std::sync::{Arc, LazyLock};

use convoke_rpc::identity::{Development, Identity, tls};
use convoke_rpc::testing::{HandshakeOverTcp, HandshakeToDo, RecordsOpening};
use convoke_rpc::{Protocol, RoleSet};
use rustls::client::ResolvesClientCert;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConnection, Connection, ServerConnection, SignatureScheme};

use super::certificate::signed_part;
use super::is_fit_for_a_log;
use crate::Random;

/// Inputs with what a client of ours and a server of ours said in a handshake of the past; `examples/remake_handshakes.rs` makes
/// them anew.
const CLIENT_HELLO: &[u8] = include_bytes!("../../seeds/handshake/a_client_hello");
const WHOLE_CLIENT: &[u8] = include_bytes!("../../seeds/handshake/a_whole_client");
const SERVER: &[u8] = include_bytes!("../../seeds/handshake/a_server");

/// The most that is read from a socket at once.
const READ_MAX: usize = 16 * 1024;
/// Flights that a handshake has at most, those of its records among them.
const FLIGHTS_MAX: usize = 8;

pub(super) const WORDS: &[&[u8]] = &[
    // Records: a change of ciphers, an alert, a handshake, data; empty ones, and the largest there are.
    b"\x14\x03\x03\x00\x01\x01",
    b"\x15\x03\x03\x00\x02\x02\x28",
    b"\x15\x03\x03\x00\x02\x01\x00",
    b"\x16\x03\x03\x00\x00",
    b"\x16\x03\x03\x40\x00",
    b"\x17\x03\x03\x00\x00",
    b"\x17\x03\x03\x41\x00",
    b"\x17\x03\x03\xff\xff",
    // Messages: a hello, one of no end, a request to try again, fresh keys.
    b"\x01\x00\x00\x00",
    b"\x01\xff\xff\xff",
    b"\xcf\x21\xad\x74\xe5\x9a\x61\x11\xbe\x1d\x8c\x02\x1e\x65\xb8\x91",
    b"\x18\x00\x00\x01\x01",
    // Extensions: groups, signatures, protocols, versions, early data, a key that is shared before.
    b"\x00\x0a",
    b"\x00\x0d",
    b"\x00\x10",
    b"\x00\x2b",
    b"\x00\x2a",
    b"\x00\x29",
    b"\x00\x33",
    b"\x11\xec",
    b"\x00\x1d",
    b"convoke-rpc",
];

/// Whom the attacked believe. Its keys are new in every process, so nothing in an input depends on them.
struct World {
    cluster: Development,
    attacked: Identity,
    member: Identity,
    stranger: Identity,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let cluster = Development::new();
    World {
        attacked: cluster.identity(RoleSet::ALL),
        member: cluster.identity(RoleSet::ALL),
        stranger: Development::new().identity(RoleSet::ALL),
        cluster,
    }
});

/// Who attacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Peer {
    /// Nobody who knows TLS: the words of the input, once.
    Bytes,
    /// The same again and again, until it is refused.
    Flood,
    Member,
    /// A member of another cluster.
    Stranger,
    /// Shows a member's certificate and has another key.
    Thief,
    /// Has a member's key and shows its certificate, changed.
    Forger,
    /// Shows no certificate.
    Nobody,
}

impl Peer {
    const ALL: [Self; 7] = [
        Self::Bytes,
        Self::Flood,
        Self::Member,
        Self::Stranger,
        Self::Thief,
        Self::Forger,
        Self::Nobody,
    ];
}

/// A change to a flight on its way.
#[derive(Debug, Clone, Copy)]
struct Change {
    flight: u8,
    kind: u8,
    at: usize,
    by: u8,
}

impl Change {
    const BYTES: usize = 5;

    fn read(bytes: &[u8]) -> Self {
        Self {
            flight: bytes[0] % 4,
            kind: bytes[1] % 4,
            at: usize::from(u16::from_le_bytes([bytes[2], bytes[3]])),
            by: bytes[4],
        }
    }

    /// What it makes of the bytes never depends on their values, which are of chance.
    fn apply(self, bytes: &mut Vec<u8>) {
        if bytes.is_empty() {
            return;
        }
        let at = self.at % bytes.len();
        match self.kind {
            0 => bytes[at] ^= self.by.max(1),
            1 => bytes.truncate(at),
            2 => drop(bytes.drain(at..bytes.len().min(at + usize::from(self.by)))),
            _ => {
                let end = bytes.len().min(at + usize::from(self.by));
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

/// What an input says.
struct Script<'a> {
    /// The one who calls is attacked.
    calling: bool,
    peer: Peer,
    changes: Vec<Change>,
    cuts: &'a [u8],
    words: &'a [u8],
}

impl<'a> Script<'a> {
    fn read(input: &'a [u8]) -> Option<Self> {
        let [mode, counts, rest @ ..] = input else {
            return None;
        };
        let (changes, cuts) = (usize::from(counts & 7), usize::from(counts >> 3));
        let (changes, rest) = rest.split_at((changes * Change::BYTES).min(rest.len()));
        let (cuts, words) = rest.split_at(cuts.min(rest.len()));
        Some(Self {
            calling: mode & 1 == 1,
            peer: Peer::ALL[usize::from(mode >> 1) % Peer::ALL.len()],
            changes: changes
                .chunks_exact(Change::BYTES)
                .map(Change::read)
                .collect(),
            cuts,
            words,
        })
    }

    /// Whether the same must come of it however it is cut.
    fn is_the_same_when_cut(&self) -> bool {
        match self.peer {
            Peer::Bytes => true,
            // The bound is looked at after each read.
            Peer::Flood => false,
            // Keys are made anew for every handshake, and only some of them are still keys with a bit changed.
            Peer::Member | Peer::Stranger | Peer::Thief | Peer::Forger | Peer::Nobody => {
                self.is_untouched()
            }
        }
    }

    /// Whether everything arrives as it was sent.
    fn is_untouched(&self) -> bool {
        self.changes.is_empty() || self.peer == Peer::Forger
    }
}

/// What came of it.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    AsksForMore,
    /// Why, and how many bytes the peer was sent in all.
    Refused(String, usize),
    LetIn(Records),
}

/// What came of the records behind a handshake.
#[derive(Debug, PartialEq, Eq)]
struct Records {
    data: Vec<u8>,
    ended: Result<bool, String>,
}

pub(super) fn check(input: &[u8]) {
    let Some(script) = Script::read(input) else {
        return;
    };
    let whole = Run::new(&script).outcome(&[]);
    let cuts = if script.cuts.is_empty() {
        &[1]
    } else {
        script.cuts
    };
    let cut = Run::new(&script).outcome(cuts);
    match (&whole, &cut) {
        // What comes in one read with the end of a handshake is judged by the library, and by our records when it comes later.
        (Outcome::LetIn(_), _) | (_, Outcome::LetIn(_)) => {}
        (Outcome::AsksForMore | Outcome::Refused(..), _) => {
            assert!(
                whole == cut || !script.is_the_same_when_cut(),
                "{whole:?}, and {cut:?} when cut at {cuts:?}"
            );
        }
    }
    for outcome in [whole, cut] {
        check_outcome(&script, &outcome);
    }
}

fn check_outcome(script: &Script<'_>, outcome: &Outcome) {
    let untouched_member = script.peer == Peer::Member && script.is_untouched();
    match outcome {
        Outcome::AsksForMore => {
            assert!(
                !untouched_member,
                "a member is asked for more than there is"
            );
            assert!(script.peer != Peer::Flood || script.words.is_empty());
        }
        Outcome::Refused(reason, _) => assert!(!untouched_member, "a member is refused: {reason}"),
        Outcome::LetIn(records) => {
            assert!(
                matches!(script.peer, Peer::Member | Peer::Forger),
                "{:?} got in",
                script.peer
            );
            assert!(
                script.words.starts_with(&records.data),
                "data that nobody sealed"
            );
            if untouched_member {
                assert_eq!(records.ended, Ok(true));
                assert_eq!(records.data.len(), script.words.len(), "data is missing");
            }
        }
    }
}

/// A handshake under way.
struct Run<'a> {
    script: &'a Script<'a>,
    peer: Option<Connection>,
    /// The peer can make no sense of what it hears any more, or has heard an alert.
    peer_heard: Option<rustls::Error>,
    flight: usize,
    said: usize,
}

impl<'a> Run<'a> {
    fn new(script: &'a Script<'a>) -> Self {
        Self {
            script,
            peer: peer(script),
            peer_heard: None,
            flight: 0,
            said: 0,
        }
    }

    fn outcome(mut self, cuts: &[u8]) -> Outcome {
        let mut attacked = attacked(self.script.calling);
        let mut sent = 0;
        if let Some(end) = self.act(&mut attacked) {
            return self.end(attacked, end, cuts, &[]);
        }
        loop {
            let flight = self.next_flight();
            if flight.is_empty() {
                return Outcome::AsksForMore;
            }
            let mut left = flight.as_slice();
            let mut lengths = lengths(cuts);
            while !left.is_empty() {
                let length = lengths.next().expect("lengths come for ever");
                let (piece, rest) = left.split_at(length.min(left.len()));
                left = rest;
                assert!(
                    sent < HandshakeOverTcp::BYTES_MAX,
                    "more is asked for after {sent} bytes"
                );
                attacked.take(piece);
                sent += piece.len();
                let end = self.act(&mut attacked);
                assert!(
                    attacked.held() <= HandshakeOverTcp::BYTES_MAX + READ_MAX,
                    "{} bytes are held",
                    attacked.held()
                );
                if let Some(end) = end {
                    return self.end(attacked, end, cuts, left);
                }
            }
        }
    }

    /// Lets the attacked do what it has to do, until it waits or is done.
    fn act(&mut self, attacked: &mut HandshakeOverTcp) -> Option<Result<(), String>> {
        for _ in 0..100 {
            match attacked.go_on() {
                HandshakeToDo::Send(bytes) => {
                    assert_eq!(alerts(&bytes), 0, "an alert without an end");
                    assert!(bytes.len() <= READ_MAX, "{} bytes are sent", bytes.len());
                    self.hear(&bytes);
                }
                HandshakeToDo::Receive => return None,
                HandshakeToDo::Finish => return Some(Ok(())),
                HandshakeToDo::Refuse(last_words, reason) => {
                    assert!(alerts(&last_words) <= 1, "an alert is said twice");
                    assert!(last_words.len() <= READ_MAX);
                    is_fit_for_a_log(&reason.to_string());
                    let could_follow = self.peer_heard.is_none();
                    self.hear(&last_words);
                    if could_follow && self.script.is_untouched() {
                        self.check_heard(&last_words);
                    }
                    return Some(Err(reason.to_string()));
                }
            }
        }
        panic!("it never waits for its peer");
    }

    /// The peer hears, and what it makes of it.
    fn hear(&mut self, bytes: &[u8]) {
        self.said += bytes.len();
        let Some(peer) = &mut self.peer else {
            return;
        };
        let mut left = bytes;
        while !left.is_empty() && self.peer_heard.is_none() {
            peer.read_tls(&mut left).expect("a slice can be read");
            self.peer_heard = peer.process_new_packets().err();
        }
    }

    /// Whoever is turned away and could follow the conversation hears of it.
    fn check_heard(&self, last_words: &[u8]) {
        if self.peer.is_some() {
            assert_eq!(alerts(last_words), 1, "turned away without a word");
            let heard = &self.peer_heard;
            assert!(
                matches!(heard, Some(rustls::Error::AlertReceived(_))),
                "heard {heard:?}"
            );
        }
    }

    /// What the peer says next, changed as the script says; empty when it says nothing.
    fn next_flight(&mut self) -> Vec<u8> {
        let number = self.flight;
        self.flight += 1;
        let mut flight = match (&mut self.peer, self.script.peer) {
            (Some(peer), _) if number < FLIGHTS_MAX => everything_to_send(peer),
            (None, Peer::Flood) => self.script.words.to_vec(),
            (None, _) if number == 0 => self.script.words.to_vec(),
            (Some(_) | None, _) => return Vec::new(),
        };
        for change in &self.script.changes {
            let is_meant = usize::from(change.flight) == number && self.script.peer != Peer::Forger;
            if is_meant && self.peer.is_some() {
                change.apply(&mut flight);
            }
        }
        flight
    }

    fn end(
        self,
        attacked: HandshakeOverTcp,
        end: Result<(), String>,
        cuts: &[u8],
        left: &[u8],
    ) -> Outcome {
        if let Err(reason) = end {
            return Outcome::Refused(reason, self.said);
        }
        let (chain, opening) = attacked.finish().expect("there are keys after a handshake");
        self.check_let_in(&chain);
        Outcome::LetIn(self.records(opening, cuts, left))
    }

    fn check_let_in(&self, chain: &[CertificateDer<'_>]) {
        let genuine = WORLD.member.certificate();
        let leaf = chain.first().expect("nobody gets in without a certificate");
        assert_eq!(
            signed_part(leaf),
            signed_part(&genuine.chain()[0]),
            "{:?} got in with what no issuer signed",
            self.script.peer
        );
    }

    /// What the peer writes behind a handshake, after what is left of its flight.
    fn records(mut self, mut opening: RecordsOpening, cuts: &[u8], left: &[u8]) -> Records {
        let mut bytes = left.to_vec();
        let peer = self.peer.as_mut().expect("only who knows TLS shakes hands");
        if !peer.is_handshaking() {
            for piece in self.script.words.chunks(1 + READ_MAX / 5) {
                std::io::Write::write_all(&mut peer.writer(), piece).expect("a buffer takes it");
                let mut sealed = everything_to_send(peer);
                for change in self
                    .script
                    .changes
                    .iter()
                    .filter(|change| change.flight == 3)
                {
                    change.apply(&mut sealed);
                }
                bytes.extend(sealed);
            }
        }
        let mut data = Vec::new();
        let mut ended = opening.take(&[], &mut data);
        let (mut left, mut lengths) = (bytes.as_slice(), lengths(cuts));
        while !left.is_empty() && ended == Ok(true) {
            let length = lengths.next().expect("lengths come for ever");
            let (piece, rest) = left.split_at(length.min(left.len()));
            left = rest;
            ended = opening.take(piece, &mut data);
            assert!(
                ended.is_err() || opening.held() <= READ_MAX + 5 + 256,
                "more than a record is held"
            );
        }
        if let Err(error) = &ended {
            is_fit_for_a_log(error);
        }
        Records { data, ended }
    }
}

/// The side that is attacked.
fn attacked(calling: bool) -> HandshakeOverTcp {
    let world = &*WORLD;
    let (identity, trust) = (&world.attacked, &world.cluster.trust());
    let alpn = &[Protocol::Rpc.alpn()];
    if calling {
        let config = tls::client_config(identity, trust, alpn);
        HandshakeOverTcp::calling(config, tls::server_name(Some(world.member.node_id())))
    } else {
        HandshakeOverTcp::answering(Arc::new(tls::server_config(identity, trust, alpn)))
    }
}

/// The other side, if it is one that knows TLS.
fn peer(script: &Script<'_>) -> Option<Connection> {
    let world = &*WORLD;
    let (member, stranger) = (world.member.certified_key(), world.stranger.certified_key());
    let shown = match script.peer {
        Peer::Bytes | Peer::Flood => return None,
        Peer::Member => Some(member),
        Peer::Stranger => Some(stranger),
        Peer::Thief => Some(certified(member.cert.clone(), &stranger)),
        Peer::Forger => Some(certified(forged(script), &member)),
        Peer::Nobody => None,
    };
    let shown = Arc::new(Shown(shown));
    let (identity, trust) = (&world.member, &world.cluster.trust());
    let alpn = &[Protocol::Rpc.alpn()];
    Some(if script.calling {
        let mut config = tls::server_config(identity, trust, alpn);
        config.cert_resolver = shown;
        ServerConnection::new(Arc::new(config))
            .expect("a configuration of ours")
            .into()
    } else {
        let mut config = tls::client_config(identity, trust, alpn);
        config.client_auth_cert_resolver = shown;
        ClientConnection::new(Arc::new(config), tls::server_name(None))
            .expect("a configuration of ours")
            .into()
    })
}

fn certified(chain: Vec<CertificateDer<'static>>, key: &CertifiedKey) -> Arc<CertifiedKey> {
    Arc::new(CertifiedKey::new(chain, Arc::clone(&key.key)))
}

/// A member's chain with the changes of the script in its certificate, and its words as more of them.
fn forged(script: &Script<'_>) -> Vec<CertificateDer<'static>> {
    let genuine = WORLD.member.certificate();
    let mut leaf = genuine.chain()[0].to_vec();
    for change in &script.changes {
        change.apply(&mut leaf);
    }
    let more = (!script.words.is_empty()).then(|| script.words.to_vec().into());
    std::iter::once(leaf.into()).chain(more).collect()
}

/// Shows one chain, whoever asks.
#[derive(Debug)]
struct Shown(Option<Arc<CertifiedKey>>);

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}

fn everything_to_send(peer: &mut Connection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while peer.wants_write() {
        peer.write_tls(&mut bytes).expect("a vector takes it");
    }
    bytes
}

/// Alerts among these records: in the clear, or sealed, which no other record of a handshake is as short as.
fn alerts(mut records: &[u8]) -> usize {
    const SEALED_ALERT: usize = 2 + 1 + 16;
    let mut alerts = 0;
    while let [kind, 3, _, high, low, rest @ ..] = records {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let is_alert = *kind == 21 || (*kind == 23 && length == SEALED_ALERT);
        alerts += usize::from(is_alert);
        records = rest.get(length..).expect("we send whole records");
    }
    assert!(records.is_empty(), "we send whole records");
    alerts
}

/// Lengths of pieces, over and over; as much as a read takes when nothing is said.
fn lengths(cuts: &[u8]) -> impl Iterator<Item = usize> {
    let whole = [READ_MAX];
    let cuts: Vec<usize> = if cuts.is_empty() {
        whole.to_vec()
    } else {
        // Handshakes are long: a small cut at every place would only be slow.
        cuts.iter().map(|cut| 1 + usize::from(*cut) * 3).collect()
    };
    cuts.into_iter().cycle()
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let calling = random.once_in(2);
    let peer = random.below(Peer::ALL.len());
    let changes = if random.once_in(3) {
        0
    } else {
        random.below(4)
    };
    let cuts = random.list(6, Random::byte);
    let mut input = vec![
        (peer as u8) << 1 | u8::from(calling),
        (cuts.len() as u8) << 3 | changes as u8,
    ];
    for _ in 0..changes {
        // Mostly bits in the first two flights.
        let kind = if random.once_in(3) { random.byte() } else { 0 };
        input.extend([random.below(4) as u8, kind]);
        input.extend((random.any_size() as u16).to_le_bytes());
        input.push(random.byte());
    }
    input.extend(cuts);
    match Peer::ALL[peer] {
        Peer::Bytes | Peer::Flood => match (calling, random.below(8)) {
            (_, 0) => input.extend(random.bytes(100)),
            (true, _) => input.extend(&SERVER[2..]),
            (false, 1 | 2) => input.extend(&WHOLE_CLIENT[2..]),
            (false, _) => input.extend(&CLIENT_HELLO[2..]),
        },
        Peer::Member | Peer::Stranger | Peer::Thief | Peer::Forger | Peer::Nobody => {
            input.extend(random.bytes(300));
        }
    }
    input
}
