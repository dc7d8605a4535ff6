//! Peers that break the protocol, byte by byte: each is cut off with words that name the fault, and nobody beside it notices.
//!
//! Both sides are tested with hand-made bytes over real links: a client that is none against a real server, and a server that is
//! none against a real client. The layouts are those of `convoke_types::wire::rpc`.
mod world;

use bytes::Bytes;
use convoke_rpc::link::{RecvHalf, SendHalf};
use convoke_rpc::{
    CallError, Changed, Channel, ChannelConfig, CloseCode, Code, Endpoint, Limits, Link, NoError,
    Protocol, Role, Side, Streaming, Target, every_member, service,
};
use convoke_types::codec;
use convoke_types::wire::rpc::{
    Framer, LANE_FRAME_MAX, MethodKind, OPEN_ANSWER, OPEN_CALL, OPEN_LANE, StreamOpen, item,
    put_header, put_varint, to_callee, to_caller,
};
use world::{Carrier, PATIENCE, World, until};

#[service]
trait Plain {
    async fn echo(&self, text: String) -> Result<String, NoError>;
    async fn wait(&self) -> Result<u32, NoError>;
    async fn sum(&self, numbers: Streaming<u32>) -> Result<u32, NoError>;
}

struct Plainly;

impl Plain for Plainly {
    async fn echo(&self, text: String) -> Result<String, NoError> {
        Ok(text)
    }

    async fn wait(&self) -> Result<u32, NoError> {
        std::future::pending().await
    }

    async fn sum(&self, mut numbers: Streaming<u32>) -> Result<u32, NoError> {
        let mut sum = 0;
        while let Some(Ok(number)) = numbers.next().await {
            sum += number;
        }
        Ok(sum)
    }
}

// ---- Bytes ----------------------------------------------------------------------------------------------------------------

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

fn bind(id: u64, name: &str) -> Vec<u8> {
    frame(to_callee::BIND, &[numbers(&[id]), name.into()].concat())
}

fn request(call: u64, method: u64, body: &[u8]) -> Vec<u8> {
    frame(
        to_callee::REQUEST,
        &[numbers(&[call, method, 0]), body.to_vec()].concat(),
    )
}

fn lane(frames: &[Vec<u8>]) -> Vec<u8> {
    [&[OPEN_LANE, 0], frames.concat().as_slice()].concat()
}

fn call(method: &str, frames: &[Vec<u8>]) -> Vec<u8> {
    let open = StreamOpen {
        method: method.to_owned(),
        shape: if method == "Plain.sum" {
            MethodKind::ClientStreaming
        } else {
            MethodKind::Unary
        },
        deadline_ms: 0,
        trace: None,
    };
    let open = frame(item::OPEN, &codec::to_vec(&open).unwrap());
    [&[OPEN_CALL], open.as_slice(), frames.concat().as_slice()].concat()
}

fn text(text: &str) -> Vec<u8> {
    codec::to_vec(&text.to_owned()).unwrap()
}

// ---- A client that is none ------------------------------------------------------------------------------------------------

async fn stranger(world: &World) -> Link {
    world
        .client
        .connect(world.target().addresses[0], None, Protocol::Rpc)
        .await
        .unwrap()
}

async fn opened(link: &Link, bytes: Vec<u8>) -> (SendHalf, RecvHalf) {
    let (mut send, recv) = link.open_lane().await.unwrap();
    // A server that takes offence in the middle cuts us off while we write.
    let _ = send.write(bytes.into()).await;
    (send, recv)
}

/// Every breach of the protocol by a caller, and a word of what it is told.
fn breaches() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let mut oversized = vec![OPEN_LANE, 0];
    put_header(&mut oversized, to_callee::REQUEST, LANE_FRAME_MAX + 1);
    let endless = [vec![OPEN_LANE, 0], vec![0xff; 11]].concat();
    let endless_lane = [vec![OPEN_LANE], vec![0xff; 11]].concat();
    let wait = bind(0, "Plain.wait");
    let unreadable = [vec![OPEN_CALL], frame(item::OPEN, &[0xff, 0xff, 0xff])].concat();
    vec![
        (
            "a stream of an unknown kind",
            vec![0x7f, 1, 2, 3],
            "begins with 0x7f",
        ),
        (
            "a frame above the limit",
            oversized,
            "17409 bytes where 17408",
        ),
        (
            "a number without an end",
            endless,
            "a number of more than 64 bits",
        ),
        (
            "a lane number without an end",
            endless_lane,
            "a number of more than 64 bits",
        ),
        (
            "a frame of an unknown kind",
            lane(&[frame(9, b"?")]),
            "unknown kind 9",
        ),
        (
            "a request without its fields",
            lane(&[frame(to_callee::REQUEST, &[])]),
            "inside its own fields",
        ),
        (
            "a cancel without its call",
            lane(&[frame(to_callee::CANCEL, &[])]),
            "inside its own fields",
        ),
        (
            "a trace that is too short",
            lane(&[
                wait.clone(),
                frame(to_callee::REQUEST_TRACED, &[0, 0, 0, 1]),
            ]),
            "own fields",
        ),
        (
            "a method that was never bound",
            lane(&[request(0, 5, &[])]),
            "method id 5 was never bound",
        ),
        (
            "a method bound out of turn",
            lane(&[bind(3, "Plain.wait")]),
            "method id 3 where 0 was next",
        ),
        (
            "a method bound twice",
            lane(&[wait.clone(), bind(0, "Plain.wait")]),
            "method id 0 where 1 was next",
        ),
        (
            "a call id that is in use",
            lane(&[wait.clone(), request(4, 0, &[]), request(4, 0, &[])]),
            "call id 4 is in use",
        ),
        (
            "a call id out of range",
            lane(&[wait, request(1 << 40, 0, &[])]),
            "out of range",
        ),
        (
            "a call that opens with something else",
            [vec![OPEN_CALL], frame(item::END, &[])].concat(),
            "opens with a frame",
        ),
        (
            "a call whose opening cannot be read",
            unreadable,
            "opening cannot be read",
        ),
    ]
}

async fn a_caller_that_breaks_the_protocol_is_cut_off_alone(carrier: Carrier) {
    let world = World::serving(carrier, |server| server.service(PlainServer::new(Plainly)));
    let beside = PlainClient::new(world.channel());
    assert_eq!(beside.echo("before").await, Ok("before".to_owned()));
    for (what, bytes, words) in breaches() {
        let link = stranger(&world).await;
        let _halves = opened(&link, bytes).await;
        let reason = tokio::time::timeout(PATIENCE, link.closed()).await;
        let reason = reason.unwrap_or_else(|_| panic!("{what}: the link stays open"));
        assert_eq!(
            (reason.by, reason.code),
            (Side::Peer, CloseCode::ProtocolViolation),
            "{what}: {reason}"
        );
        assert!(reason.detail.contains(words), "{what}: {reason}");
        assert_eq!(beside.echo("after").await, Ok("after".to_owned()), "{what}");
    }
    until("nothing of it is left", || {
        (world.server.links(), world.server.running_calls()) == (1, 0)
    })
    .await;
    world.end().await;
}

async fn bytes_that_are_merely_odd_are_forgiven(carrier: Carrier) {
    let world = World::serving(carrier, |server| server.service(PlainServer::new(Plainly)));
    let link = stranger(&world).await;
    let odd = [
        // Nothing, half an opening, half a frame, half a call; each abandoned.
        vec![],
        vec![OPEN_LANE],
        lane(&[vec![0x81]]),
        lane(&[bind(0, "Plain.echo"), request(0, 0, &text("unread"))]),
        call(
            "Plain.sum",
            &[frame(item::ITEM, &codec::to_vec(&1_u32).unwrap())],
        ),
        call("Nobody.knows", &[]),
        call("Plain.echo", &[frame(item::END, &[])]),
        call("Plain.sum", &[frame(9, b"?")]),
        // An answered call may be cancelled, and so may one that never was.
        lane(&[bind(0, "Plain.echo"), frame(to_callee::CANCEL, &[7])]),
    ];
    for bytes in odd {
        drop(opened(&link, bytes).await);
    }
    let bytes = lane(&[bind(0, "Plain.echo"), request(0, 0, &text("still here"))]);
    let (_send, mut recv) = opened(&link, bytes).await;
    assert_eq!(
        answer(&mut recv).await,
        (to_caller::ANSWER, 0, text("still here"))
    );
    assert_eq!(link.close_reason(), None);
    until("no handler is left", || world.server.running_calls() == 0).await;
    world.end().await;
}

async fn answer(recv: &mut RecvHalf) -> (u8, u64, Vec<u8>) {
    let mut framer = Framer::new(LANE_FRAME_MAX);
    loop {
        if let Some(frame) = framer.next_frame().unwrap() {
            let mut body = frame.body;
            let call = convoke_types::wire::rpc::take_varint(&mut body).unwrap();
            return (frame.kind, call, body.to_vec());
        }
        let chunk = tokio::time::timeout(PATIENCE, recv.read())
            .await
            .expect("an answer comes");
        framer.feed(chunk.unwrap().expect("an answer before the end"));
    }
}

async fn frames_may_be_cut_anywhere(carrier: Carrier) {
    let world = World::serving(carrier, |server| server.service(PlainServer::new(Plainly)));
    let link = stranger(&world).await;
    let item = |number: u32| frame(item::ITEM, &codec::to_vec(&number).unwrap());
    let on_a_lane = lane(&[
        bind(0, "Plain.echo"),
        request(300, 0, &text(&"x".repeat(200))),
    ]);
    let on_a_stream = call(
        "Plain.sum",
        &[item(1), item(2), item(1 << 30), frame(item::END, &[])],
    );
    for cut in 1..on_a_lane.len() {
        let (mut send, mut recv) = opened(&link, on_a_lane[..cut].to_vec()).await;
        tokio::task::yield_now().await;
        send.write(Bytes::copy_from_slice(&on_a_lane[cut..]))
            .await
            .unwrap();
        assert_eq!(
            answer(&mut recv).await,
            (to_caller::ANSWER, 300, text(&"x".repeat(200))),
            "cut at {cut}"
        );
    }
    for cut in 1..on_a_stream.len() {
        let (mut send, mut recv) = opened(&link, on_a_stream[..cut].to_vec()).await;
        tokio::task::yield_now().await;
        send.write(Bytes::copy_from_slice(&on_a_stream[cut..]))
            .await
            .unwrap();
        let mut framer = Framer::new(LANE_FRAME_MAX);
        let frame = loop {
            match framer.next_frame().unwrap() {
                Some(frame) => break frame,
                None => framer.feed(
                    recv.read()
                        .await
                        .unwrap()
                        .expect("an answer before the end"),
                ),
            }
        };
        let sum = codec::from_slice::<u32>(&frame.body).unwrap();
        assert_eq!(
            (frame.kind, sum),
            (item::ITEM, 3 + (1 << 30)),
            "cut at {cut}"
        );
    }
    // And everything at once, a byte at a time.
    let (mut send, mut recv) = link.open_lane().await.unwrap();
    for &byte in &on_a_lane {
        send.write(Bytes::copy_from_slice(&[byte])).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(answer(&mut recv).await.1, 300);
    world.end().await;
}

// ---- A server that is none ------------------------------------------------------------------------------------------------

/// Every breach of the protocol by a callee, as the bytes on its lane, or on a one-way stream, and a word of what it is told.
fn false_answers() -> Vec<(&'static str, bool, Vec<u8>, &'static str)> {
    let answered = |call: u64| {
        frame(
            to_caller::ANSWER,
            &[numbers(&[call]), codec::to_vec(&7_u32).unwrap()].concat(),
        )
    };
    let mut oversized = Vec::new();
    put_header(&mut oversized, to_caller::ANSWER, LANE_FRAME_MAX + 1);
    let large = |lane: u64, call: u64, kind: u8| {
        [
            vec![OPEN_ANSWER],
            numbers(&[lane, call]),
            vec![kind],
            codec::to_vec(&7_u32).unwrap(),
        ]
        .concat()
    };
    vec![
        (
            "an answer to a call nobody made",
            true,
            answered(5),
            "call 5, which waits for none",
        ),
        (
            "an answer to no possible call",
            true,
            answered(u64::MAX),
            "which waits for none",
        ),
        (
            "two answers to one call",
            true,
            [answered(0), answered(0)].concat(),
            "call 0, which waits for none",
        ),
        (
            "a frame of an unknown kind",
            true,
            frame(9, &numbers(&[0])),
            "unknown kind 9",
        ),
        (
            "an answer without its call",
            true,
            frame(to_caller::ANSWER, &[]),
            "inside its own fields",
        ),
        (
            "a frame above the limit",
            true,
            oversized,
            "17409 bytes where 17408",
        ),
        (
            "a large answer to a call nobody made",
            false,
            large(0, 5, to_caller::ANSWER),
            "call 5, which waits for none",
        ),
        (
            "a large answer for a lane nobody opened",
            false,
            large(4, 0, to_caller::ANSWER),
            "lane 4",
        ),
        (
            "a large answer of an unknown kind",
            false,
            large(0, 0, 9),
            "kind 9",
        ),
        (
            "a large answer that is cut short",
            false,
            vec![OPEN_ANSWER, 0, 0],
            "without a kind",
        ),
        (
            "a large answer that is hardly one",
            false,
            vec![OPEN_ANSWER],
            "own fields",
        ),
        (
            "a one-way stream that is no answer",
            false,
            vec![0x7f],
            "no answer",
        ),
    ]
}

async fn a_callee_that_breaks_the_protocol_is_cut_off(carrier: Carrier) {
    let cluster = convoke_rpc::identity::Development::new();
    let host = carrier.endpoint(&cluster, Role::Worker.into(), Limits::default());
    let client = carrier.endpoint(&cluster, Role::Gateway.into(), Limits::default());
    let mut listener = host.listen(Protocol::Rpc, every_member()).unwrap();
    for (what, on_lane, bytes, words) in false_answers() {
        let caller = PlainClient::new(Channel::new(
            &client,
            target(&host),
            ChannelConfig::default(),
        ));
        let pretends = async {
            let link = listener.accept().await.unwrap();
            let (mut send, mut recv) = link.accept_stream().await.unwrap();
            let mut come = 0;
            // The opening, the method and the request; then there is a call to answer.
            while come < lane(&[bind(0, "Plain.wait"), request(0, 0, &[])]).len() {
                come += recv.read().await.unwrap().expect("a request").len();
            }
            if on_lane {
                send.write(bytes.into()).await.unwrap();
            } else {
                let mut one_way = link.open_one_way().await.unwrap();
                one_way.write(bytes.into()).await.unwrap();
                one_way.finish();
            }
            let reason = tokio::time::timeout(PATIENCE, link.closed()).await;
            reason.unwrap_or_else(|_| panic!("{what}: the link stays open"))
        };
        let (answer, reason) = tokio::join!(caller.wait(), pretends);
        assert_eq!(
            (reason.by, reason.code),
            (Side::Peer, CloseCode::ProtocolViolation),
            "{what}: {reason}"
        );
        assert!(reason.detail.contains(words), "{what}: {reason}");
        match answer {
            Ok(answered) => assert!(what.contains("two answers") && answered == 7, "{what}"),
            Err(CallError::Rpc(problem)) => {
                assert_eq!(
                    (problem.code, problem.changed),
                    (Code::ProtocolViolation, Changed::Maybe),
                    "{what}"
                );
                assert!(problem.message().contains(words), "{what}: {problem}");
            }
            Err(CallError::App(never)) => match never {},
        }
    }
    drop(listener);
    client.close().await;
    host.close().await;
}

fn target(host: &Endpoint) -> Target {
    Target {
        addresses: vec![host.local_address().unwrap()],
        node: Some(host.identity().node_id()),
    }
}

async fn a_problem_that_cannot_be_read_is_still_a_problem(carrier: Carrier) {
    let cluster = convoke_rpc::identity::Development::new();
    let host = carrier.endpoint(&cluster, Role::Worker.into(), Limits::default());
    let client = carrier.endpoint(&cluster, Role::Gateway.into(), Limits::default());
    let mut listener = host.listen(Protocol::Rpc, every_member()).unwrap();
    let caller = PlainClient::new(Channel::new(
        &client,
        target(&host),
        ChannelConfig::default(),
    ));
    let pretends = async {
        let link = listener.accept().await.unwrap();
        let (mut send, mut recv) = link.accept_stream().await.unwrap();
        let both = lane(&[
            bind(0, "Plain.wait"),
            request(0, 0, &[]),
            request(1, 0, &[]),
        ])
        .len();
        let mut come = 0;
        while come < both {
            come += recv.read().await.unwrap().expect("two requests").len();
        }
        let unreadable = frame(to_caller::PROBLEM, &[0, 0xff, 0xff, 0xff]);
        // An answer to another type than was asked for.
        let mistyped = frame(
            to_caller::ANSWER,
            &[numbers(&[1]), text("no number")].concat(),
        );
        send.write([unreadable, mistyped].concat().into())
            .await
            .unwrap();
        (link, send, recv)
    };
    let (first, second, held) = tokio::join!(caller.wait(), caller.wait(), pretends);
    for answer in [first, second] {
        let Err(CallError::Rpc(problem)) = answer else {
            panic!("{answer:?}")
        };
        assert_eq!(
            (problem.code, problem.changed),
            (Code::Undecodable, Changed::Maybe),
            "{problem}"
        );
    }
    assert_eq!(
        held.0.close_reason(),
        None,
        "what cannot be read may be of a newer version"
    );
    client.close().await;
    host.close().await;
}

world::on_every_carrier!(
    a_caller_that_breaks_the_protocol_is_cut_off_alone,
    bytes_that_are_merely_odd_are_forgiven,
    frames_may_be_cut_anywhere,
    a_callee_that_breaks_the_protocol_is_cut_off,
    a_problem_that_cannot_be_read_is_still_a_problem,
);
