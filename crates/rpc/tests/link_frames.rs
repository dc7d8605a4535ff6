//! The frames of a link over TCP, from a peer without manners: cut at every byte, forbidden ones, and floods of allowed ones.
//!
//! The peer here shakes hands as a member of the cluster does, and then writes frames by hand. What lanes and calls make of
//! their own bytes is in `violations.rs`; QUIC has frames of its own, which are quinn's to judge.
mod raw;
mod world;

use std::time::Duration;

use convoke_rpc::identity::Identity;
use convoke_rpc::{CloseCode, Limits, NoError, Role, Streaming, service};
use convoke_types::codec;
use convoke_types::wire::link::{Header, stream_id};
use convoke_types::wire::rpc::{
    Framer, LANE_FRAME_MAX, MethodKind, OPEN_CALL, OPEN_LANE, StreamOpen, item, put_header,
    put_varint, to_callee, to_caller,
};
use raw::{Raw, data, frames, hello};
use tokio::io::AsyncWriteExt;
use world::{Carrier, PATIENCE, World, until};

#[service]
trait Plain {
    async fn echo(&self, text: String) -> Result<String, NoError>;
    /// Never reads what it is sent.
    async fn ignore(&self, numbers: Streaming<u32>) -> Result<u32, NoError>;
}

struct Plainly;

impl Plain for Plainly {
    async fn echo(&self, text: String) -> Result<String, NoError> {
        Ok(text)
    }

    async fn ignore(&self, _numbers: Streaming<u32>) -> Result<u32, NoError> {
        std::future::pending().await
    }
}

struct Site {
    world: World,
    beside: PlainClient,
    rude: Identity,
}

impl Site {
    async fn new(limits: Limits) -> Self {
        let world = World::with_limits(Carrier::Tcp, limits, |server| {
            server.service(PlainServer::new(Plainly))
        });
        let beside = PlainClient::new(world.channel());
        assert_eq!(beside.echo("before").await, Ok("before".to_owned()));
        let rude = world.cluster.identity(Role::Gateway.into());
        Self {
            world,
            beside,
            rude,
        }
    }

    async fn raw(&self) -> Raw {
        let address = self.world.target().addresses[0];
        Raw::shake(address, &self.rude, &self.world.cluster)
            .await
            .unwrap()
    }

    async fn greeted(&self) -> Raw {
        let mut raw = self.raw().await;
        raw.write(&hello()).await.unwrap();
        raw
    }

    async fn end(self) {
        assert_eq!(self.beside.echo("after").await, Ok("after".to_owned()));
        let rests = || {
            let world = &self.world;
            let left = (world.server.links(), world.host.open_links());
            (left, world.server.running_calls())
        };
        until("nothing of the rude peer is left", || {
            rests() == ((1, 1), 0)
        })
        .await;
        self.world.end().await;
    }
}

// ---- Bytes ----------------------------------------------------------------------------------------------------------------

/// Streams that the rude peer opens.
fn mine(number: u64) -> u64 {
    stream_id(number, false, false)
}

fn frame(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_header(&mut bytes, kind, body.len());
    bytes.extend_from_slice(body);
    bytes
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &number in numbers {
        put_varint(&mut bytes, number);
    }
    bytes
}

fn text(text: &str) -> Vec<u8> {
    codec::to_vec(&text.to_owned()).unwrap()
}

/// What a lane begins with.
fn lane() -> Vec<u8> {
    let bind = frame(
        to_callee::BIND,
        &[numbers(&[0]), b"Plain.echo".to_vec()].concat(),
    );
    [vec![OPEN_LANE, 0], bind].concat()
}

fn request(call: u64, words: &str) -> Vec<u8> {
    frame(
        to_callee::REQUEST,
        &[numbers(&[call, 0, 0]), text(words)].concat(),
    )
}

/// A call whose handler runs and reads nothing.
fn ignored() -> Vec<u8> {
    let open = StreamOpen {
        method: "Plain.ignore".to_owned(),
        shape: MethodKind::ClientStreaming,
        deadline_ms: 0,
        trace: None,
    };
    [
        vec![OPEN_CALL],
        frame(item::OPEN, &codec::to_vec(&open).unwrap()),
    ]
    .concat()
}

/// Reads frames until this call was answered and this ping, and says with what.
async fn answer_and_pong(raw: &mut Raw, call: u64, token: u64) -> Vec<u8> {
    let mut framer = Framer::new(LANE_FRAME_MAX);
    let (mut answer, mut ponged) = (None, false);
    while answer.is_none() || !ponged {
        let come = raw.frame().await.unwrap().expect("an answer and a pong");
        if let Header::Data { .. } = come.header {
            framer.feed(come.body.into());
        } else if let Header::Pong { token: came } = come.header {
            ponged |= came == token;
        } else if let Header::Close { .. } = come.header {
            panic!("{}", String::from_utf8_lossy(&come.body));
        }
        while let Some(frame) = framer.next_frame().unwrap() {
            let head = numbers(&[call]);
            assert_eq!(frame.kind, to_caller::ANSWER);
            assert!(frame.body.starts_with(&head), "an answer for another call");
            answer = Some(frame.body[head.len()..].to_vec());
        }
    }
    answer.expect("the loop ends with it")
}

// ---- Cut anywhere ---------------------------------------------------------------------------------------------------------

/// Frames of many kinds that change nothing but what they say, around a call.
fn many_kinds(call: u64) -> Vec<u8> {
    [
        frames(&[
            Header::Credit {
                stream: mine(0),
                bytes: 300,
            },
            Header::Datagram { length: 3 },
        ]),
        b"dat".to_vec(),
        data(mine(0), &request(call, "cut me where you like")),
        frames(&[
            Header::Streams {
                one_way: true,
                count: 0,
            },
            Header::Ping { token: 1000 + call },
        ]),
    ]
    .concat()
}

#[tokio::test]
async fn frames_and_records_may_be_cut_anywhere() {
    let site = Site::new(Limits::default()).await;
    let mut raw = site.greeted().await;
    raw.write(&data(mine(0), &lane())).await.unwrap();
    let mut call = 0;
    for cut in 1..many_kinds(call).len() {
        let bytes = many_kinds(call);
        raw.write(&bytes[..cut]).await.unwrap();
        tokio::task::yield_now().await;
        raw.write(&bytes[cut..]).await.unwrap();
        let answer = answer_and_pong(&mut raw, call, 1000 + call).await;
        assert_eq!(answer, text("cut me where you like"), "cut at {cut}");
        call = (call + 1) % 100;
    }
    let record = raw.seal(&many_kinds(call)).unwrap();
    for cut in 1..record.len() {
        let record = if cut == 1 {
            record.clone()
        } else {
            raw.seal(&many_kinds(call)).unwrap()
        };
        raw.socket.write_all(&record[..cut]).await.unwrap();
        tokio::task::yield_now().await;
        raw.socket.write_all(&record[cut..]).await.unwrap();
        let answer = answer_and_pong(&mut raw, call, 1000 + call).await;
        assert_eq!(answer, text("cut me where you like"), "record cut at {cut}");
        call = (call + 1) % 100;
    }
    // And everything a byte at a time, each in a record of its own.
    for byte in many_kinds(call) {
        raw.write(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = answer_and_pong(&mut raw, call, 1000 + call).await;
    assert_eq!(answer, text("cut me where you like"));
    drop(raw);
    site.end().await;
}

#[tokio::test]
async fn a_connection_that_ends_inside_a_frame_is_a_link_that_ended() {
    let site = Site::new(Limits::default()).await;
    let whole = [hello(), data(mine(0), &lane()), many_kinds(0)].concat();
    for cut in 0..whole.len() {
        let mut raw = site.raw().await;
        raw.write(&whole[..cut]).await.unwrap();
        raw.socket.shutdown().await.unwrap();
        // What was whole may be answered; a farewell would say that half a frame is a crime.
        let farewell = tokio::time::timeout(PATIENCE, raw.farewell()).await;
        assert_eq!(farewell.expect("the link ends"), None, "cut at {cut}");
    }
    site.end().await;
}

// ---- Forbidden ------------------------------------------------------------------------------------------------------------

/// Every breach of the protocol of links, what comes before it, and a word of what its author is told.
fn breaches() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let greeted = |headers: &[Header]| [hello(), frames(headers)].concat();
    let calling = |bytes: Vec<u8>| [hello(), data(mine(0), &ignored()), bytes].concat();
    let ended = |stream| Header::Data {
        stream,
        length: 0,
        last: true,
    };
    let announced = |stream| Header::Data {
        stream,
        length: 1,
        last: false,
    };
    let (theirs, their_one_way) = (stream_id(0, false, true), stream_id(0, true, true));
    let my_one_way = stream_id(0, true, false);
    vec![
        (
            "no greeting",
            frames(&[Header::Ping { token: 1 }]),
            "without a greeting",
        ),
        (
            "two greetings",
            greeted(&[Header::Hello { window: 1 }]),
            "a second greeting",
        ),
        (
            "an unknown kind",
            [hello(), vec![13, 0]].concat(),
            "an unknown kind",
        ),
        (
            "a number of more than 64 bits",
            [hello(), vec![11], vec![0xff; 11]].concat(),
            "a number that is none",
        ),
        (
            "a number longer than needed",
            [hello(), vec![11, 0x80, 0]].concat(),
            "a number that is none",
        ),
        (
            "data on a stream that is ours to write",
            greeted(&[announced(their_one_way)]),
            "not the peer's to write",
        ),
        (
            "the reset of a stream that is ours to write",
            greeted(&[Header::Reset {
                stream: their_one_way,
                code: 1,
            }]),
            "not the peer's to write",
        ),
        (
            "credit for a stream that only we read",
            greeted(&[Header::Credit {
                stream: my_one_way,
                bytes: 1,
            }]),
            "a stream that we read",
        ),
        (
            "a stop of a stream that only we read",
            greeted(&[Header::Stop {
                stream: my_one_way,
                code: 0,
            }]),
            "a stream that we read",
        ),
        (
            "a stream that we never opened",
            greeted(&[announced(theirs)]),
            "a stream nobody opened",
        ),
        (
            "a stream beyond those allowed",
            greeted(&[announced(mine(32))]),
            "more streams than were allowed",
        ),
        (
            "a stream far beyond those allowed",
            greeted(&[announced(mine(u64::MAX >> 2))]),
            "more streams than were allowed",
        ),
        (
            "more data than the window has",
            calling(data(mine(0), &vec![0; 256 * 1024 + 1])),
            "more data than was allowed",
        ),
        (
            "data after the end",
            calling([frames(&[ended(mine(0))]), data(mine(0), b"!")].concat()),
            "data after the end",
        ),
        (
            "a second end",
            calling(frames(&[ended(mine(0)), ended(mine(0))])),
            "a second end",
        ),
        (
            "done with a stream that goes on",
            calling(frames(&[Header::Done { stream: mine(0) }])),
            "has not ended",
        ),
        (
            "credit beyond any use",
            calling(frames(&[Header::Credit {
                stream: mine(0),
                bytes: 1 << 41,
            }])),
            "credit beyond any use",
        ),
        (
            "credit that does not fit a number",
            calling(frames(&[Header::Credit {
                stream: mine(0),
                bytes: u64::MAX,
            }])),
            "credit beyond any use",
        ),
        (
            "more streams than there can be",
            greeted(&[Header::Streams {
                one_way: false,
                count: u64::MAX,
            }]),
            "more streams than there can be",
        ),
        (
            "a datagram that is too large",
            greeted(&[Header::Datagram { length: 64 * 1024 }]),
            "a datagram that is too large",
        ),
        (
            "a farewell without end",
            greeted(&[Header::Close {
                code: 0,
                length: u64::MAX,
            }]),
            "a farewell that is too long",
        ),
    ]
}

#[tokio::test]
async fn a_peer_that_breaks_the_protocol_of_links_is_cut_off_alone() {
    let site = Site::new(Limits::default()).await;
    for (what, bytes, words) in breaches() {
        let mut raw = site.raw().await;
        // A server that takes offence in the middle cuts us off while we write.
        let _ = raw.write(&bytes).await;
        let farewell = tokio::time::timeout(PATIENCE, raw.farewell()).await;
        let farewell = farewell.unwrap_or_else(|_| panic!("{what}: the link stays open"));
        let (code, detail) = farewell.unwrap_or_else(|| panic!("{what}: cut off without a word"));
        assert_eq!(code, CloseCode::ProtocolViolation, "{what}: {detail}");
        assert!(detail.contains(words), "{what}: {detail}");
        assert_eq!(
            site.beside.echo("beside").await,
            Ok("beside".to_owned()),
            "{what}"
        );
    }
    site.end().await;
}

/// Bytes that are no records, or records that nobody could have sealed.
fn broken_records() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let record = |kind: u8, length: u16, body: &[u8]| {
        let length = length.to_be_bytes();
        [&[kind, 3, 3, length[0], length[1]], body].concat()
    };
    vec![
        (
            "a record that nobody sealed",
            record(23, 40, &[7; 40]),
            "cannot be opened",
        ),
        ("an empty record", record(23, 0, &[]), "cannot be opened"),
        (
            "an alert in the clear",
            record(21, 2, &[2, 40]),
            "not sealed",
        ),
        (
            "a handshake in the clear",
            record(22, 4, &[1, 0, 0, 0]),
            "not sealed",
        ),
        (
            "no TLS at all",
            b"GET / HTTP/1.1\r\n".to_vec(),
            "not sealed",
        ),
        (
            "a record larger than any",
            record(23, 0xffff, &[]),
            "a record of 65535 bytes",
        ),
    ]
}

#[tokio::test]
async fn records_that_cannot_be_opened_end_the_link_with_words() {
    let site = Site::new(Limits::default()).await;
    for (what, bytes, words) in broken_records() {
        let mut raw = site.greeted().await;
        let first = raw.frame().await.unwrap().expect("the link is open");
        assert!(matches!(first.header, Header::Hello { .. }));
        raw.socket.write_all(&bytes).await.unwrap();
        let farewell = tokio::time::timeout(PATIENCE, raw.farewell()).await;
        let farewell = farewell.unwrap_or_else(|_| panic!("{what}: the link stays open"));
        let (code, detail) = farewell.unwrap_or_else(|| panic!("{what}: cut off without a word"));
        assert_eq!(code, CloseCode::ProtocolViolation, "{what}: {detail}");
        assert!(detail.contains(words), "{what}: {detail}");
    }
    site.end().await;
}

/// What comes together with the end of a handshake is still the handshake's, and refused by its rules.
#[tokio::test]
async fn rubbish_right_behind_a_handshake_ends_it_and_nothing_else() {
    let site = Site::new(Limits::default()).await;
    for (what, bytes, _) in broken_records() {
        // On one thread the server sees nothing before all of it is there.
        let mut raw = site.raw().await;
        raw.socket.write_all(&bytes).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, async {
            while let Ok(Some(_)) = raw.frame().await {}
        });
        ended
            .await
            .unwrap_or_else(|_| panic!("{what}: the link stays open"));
    }
    site.end().await;
}

// ---- Silence --------------------------------------------------------------------------------------------------------------

/// Reads until the server asks whether we are there, and answers.
async fn answer_ping(raw: &mut Raw) {
    loop {
        let come = raw.frame().await.unwrap().expect("the link is open");
        if let Header::Ping { token } = come.header {
            return raw.write(&frames(&[Header::Pong { token }])).await.unwrap();
        }
    }
}

/// Otherwise every use of a link would cost both ends a question and an answer some seconds later, and an idle link would not be
/// free. The kernel watches over it.
#[tokio::test]
#[cfg(target_os = "linux")]
async fn who_owes_no_answer_is_not_asked() {
    let limits = Limits {
        idle_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let site = Site::new(limits).await;
    let mut raw = site.greeted().await;
    answer_ping(&mut raw).await;
    raw.write(&data(mine(0), &lane())).await.unwrap();
    raw.write(&many_kinds(0)).await.unwrap();
    answer_and_pong(&mut raw, 0, 1000).await;

    // Four times as long as it takes until a link is looked at.
    let silence = tokio::time::timeout(Duration::from_secs(2), async {
        while let Ok(Some(come)) = raw.frame().await {
            let asked = matches!(come.header, Header::Ping { .. } | Header::Close { .. });
            assert!(!asked, "{:?}", come.header);
        }
    });
    silence.await.expect_err("the link stays open");
    drop(raw);
    site.end().await;
}

// ---- Floods ---------------------------------------------------------------------------------------------------------------

/// Far longer than any test, so that no timer comes to the help of a task that was not woken.
fn without_timers() -> Limits {
    Limits {
        keep_alive: Duration::from_secs(3_600),
        idle_timeout: Duration::from_secs(7_200),
        ..Limits::default()
    }
}

/// Writes as long as the server takes it; says how much that was.
async fn write_until_it_stalls(raw: &mut Raw, mut next: impl FnMut(&mut Raw) -> Vec<u8>) -> usize {
    let mut written = 0;
    loop {
        let bytes = next(raw);
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            let write = raw.socket.write(left);
            // A second in which nothing moves between two tasks of one process.
            match tokio::time::timeout(Duration::from_secs(1), write).await {
                Ok(wrote) => {
                    let wrote = wrote.unwrap();
                    left = &left[wrote..];
                    written += wrote;
                }
                Err(_) => {
                    raw.socket_rest = left.to_vec();
                    return written;
                }
            }
            assert!(written < 64 << 20, "{written} bytes are taken without end");
        }
    }
}

#[tokio::test]
async fn who_asks_and_does_not_listen_is_not_listened_to_until_it_does() {
    let site = Site::new(without_timers()).await;
    let mut raw = site.greeted().await;
    let mut asked = 0;
    write_until_it_stalls(&mut raw, |raw| {
        let pings: Vec<_> = (asked..asked + 4_000)
            .map(|token| Header::Ping { token })
            .collect();
        asked += 4_000;
        raw.seal(&frames(&pings)).unwrap()
    })
    .await;
    assert_eq!(site.beside.echo("beside").await, Ok("beside".to_owned()));

    // It listens now: every question was heard and is answered, in order.
    let mut answered = 0;
    while answered < asked {
        raw.send_rest();
        let come = tokio::time::timeout(PATIENCE, raw.frame()).await;
        let come = come.unwrap_or_else(|_| panic!("{answered} of {asked} are answered, no more"));
        if let Header::Pong { token } = come.unwrap().expect("the link is open").header {
            assert_eq!(token, answered);
            answered += 1;
        }
    }
    drop(raw);
    site.end().await;
}

/// Records that keys are used for at least, the one that renews them among them.
const RECORDS_PER_KEY: u64 = 64;

/// Renews the keys as the last of so many records.
async fn renew_keys_after(raw: &mut Raw, records: u64) {
    for token in 1..records {
        raw.write(&frames(&[Header::Ping { token }])).await.unwrap();
    }
    let renewal = raw.seal_key_update().unwrap();
    raw.socket.write_all(&renewal).await.unwrap();
}

/// Every renewal here also asks for one in the other direction, which the peer has to follow to read the answer.
#[tokio::test]
async fn a_peer_that_renews_its_keys_now_and_then_goes_on() {
    let site = Site::new(Limits::default()).await;
    let mut raw = site.greeted().await;
    raw.write(&data(mine(0), &lane())).await.unwrap();
    for call in 0..20 {
        renew_keys_after(&mut raw, RECORDS_PER_KEY).await;
        renew_keys_after(&mut raw, RECORDS_PER_KEY).await;
        raw.write(&many_kinds(call)).await.unwrap();
        let answer = answer_and_pong(&mut raw, call, 1000 + call).await;
        assert_eq!(answer, text("cut me where you like"), "renewal {call}");
    }
    drop(raw);
    site.end().await;
}

#[tokio::test]
async fn a_peer_that_renews_its_keys_all_the_time_is_cut_off() {
    let site = Site::new(Limits::default()).await;
    let before_the_flood = [
        ("at once", vec![1]),
        ("a record too early", vec![RECORDS_PER_KEY - 2]),
        ("a second time at once", vec![RECORDS_PER_KEY, 1]),
        (
            "a record too early the third time",
            vec![RECORDS_PER_KEY, RECORDS_PER_KEY, RECORDS_PER_KEY - 1],
        ),
    ];
    for (what, renewals) in before_the_flood {
        let mut raw = site.greeted().await;
        // Only when its handshake is over for the server too; until then it is rustls that judges.
        let first = raw.frame().await.unwrap().expect("the link is open");
        assert!(matches!(first.header, Header::Hello { .. }));
        for records in renewals {
            renew_keys_after(&mut raw, records).await;
        }
        let farewell = tokio::time::timeout(PATIENCE, raw.farewell()).await;
        let farewell = farewell.unwrap_or_else(|_| panic!("{what}: the link stays open"));
        let (code, detail) = farewell.unwrap_or_else(|| panic!("{what}: cut off without a word"));
        assert_eq!(code, CloseCode::ProtocolViolation, "{what}: {detail}");
        assert!(detail.contains("fresh keys so soon"), "{what}: {detail}");
        assert_eq!(site.beside.echo("beside").await, Ok("beside".to_owned()));
    }
    site.end().await;
}
