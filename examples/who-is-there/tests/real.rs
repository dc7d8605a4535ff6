//! Real processes that are killed, started again and cut off from each other; and what an idle node costs. Each story has a short form
//! for every day and a long one for `cargo xtask e2e`.
#![expect(
    clippy::print_stdout,
    reason = "what was measured is for whoever runs the test"
)]

mod fleet;

use std::time::{Duration, Instant};

use fleet::network::{Cable, ENDS, Namespace, missing};
use fleet::{Fleet, Place, Process, all_know_all, until};

/// What is measured here is measured alone.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn killed_processes_are_missed_and_known_again() {
    kill_and_restart("local", 8, 1, None).await;
}

#[tokio::test]
async fn a_process_that_was_stopped_for_a_while_takes_nobody_for_lost() {
    let _alone = ALONE.lock().await;
    let fleet = Fleet::new("local");
    let nodes = fleet.start_many(5, &[Place::here()]).await;
    let (paused, others) = nodes.split_last().unwrap();

    paused.signal(rustix::process::Signal::STOP);
    for node in others {
        until(&format!("{} gets no answer", node.name), || {
            node.first("NodeUnreachable", Some(&paused.id)).is_some()
        })
        .await;
    }
    paused.signal(rustix::process::Signal::CONT);

    all_know_all(&nodes.iter().collect::<Vec<_>>()).await;
    // It has gone on for long enough to have said so if it had found somebody missing.
    until("it contradicts", || {
        others.iter().all(|node| {
            let member = node.last_of(&paused.id).unwrap();
            member["refutation"].as_u64() > Some(0)
        })
    })
    .await;
    assert!(paused.first("NodeUnreachable", None).is_none());
    for node in nodes {
        assert_eq!(node.complaints(), "");
        node.kill().await;
    }
}

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn three_of_forty_killed_processes_are_missed_in_time_and_known_again() {
    let bounds = Bounds {
        unreachable: Duration::from_millis(3_200 + 1_000),
        failed: Duration::from_millis(8_500 + 1_000),
        rejoined: Duration::from_secs(2),
    };
    kill_and_restart("lan", 40, 3, Some(bounds)).await;
}

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn an_idle_node_costs_little() {
    if let Some(why) = missing() {
        return println!("skipped: {why}");
    }
    let _alone = ALONE.lock().await;
    let fleet = Fleet::new("lan");
    let namespace = std::sync::Arc::new(Namespace::new());
    let place = Place {
        namespace: Some(std::sync::Arc::clone(&namespace)),
        address: "127.0.0.1".to_owned(),
    };
    let nodes = fleet.start_many(40, &[place]).await;
    // What joining brought about settles first.
    pass(Duration::from_secs(15)).await;

    let (begun, before) = (Instant::now(), total_costs(&nodes));
    let (bytes, packets) = namespace.loopback().await;
    pass(Duration::from_secs(30)).await;
    let (bytes, packets) = {
        let (bytes_now, packets_now) = namespace.loopback().await;
        (bytes_now - bytes, packets_now - packets)
    };
    let node_seconds = nodes.len() as f64 * begun.elapsed().as_secs_f64();
    let after = total_costs(&nodes);

    let per_second = bytes as f64 / node_seconds;
    println!(
        "idle, {} nodes: {per_second:.0} bytes and {:.1} packets per node and second with all headers, {:.2} ms of processor time per node \
         and second, {:.1} MB of memory per node",
        nodes.len(),
        packets as f64 / node_seconds,
        (after.0 - before.0).as_secs_f64() * 1e3 / node_seconds,
        after.1 as f64 / 1024.0 / nodes.len() as f64,
    );
    assert!(per_second <= 1_600.0, "{per_second}");
    for node in nodes {
        assert_eq!(node.complaints(), "");
        node.kill().await;
    }
}

#[tokio::test]
async fn a_small_cluster_that_is_cut_in_two_heals() {
    cut_and_heal("local", 9, [2, 1], Duration::ZERO).await;
}

#[tokio::test]
#[ignore = "long: cargo xtask e2e"]
async fn a_cluster_that_is_cut_in_two_suspects_a_partition_and_heals() {
    // Links are lost in that time, and have to be opened again.
    let long = Duration::from_secs(25);
    cut_and_heal("lan", 16, [1, 1], long).await;
}

struct Bounds {
    unreachable: Duration,
    failed: Duration,
    rejoined: Duration,
}

async fn kill_and_restart(
    preset: &'static str,
    count: usize,
    killed: usize,
    bounds: Option<Bounds>,
) {
    let _alone = ALONE.lock().await;
    let fleet = Fleet::new(preset);
    let mut nodes = fleet.start_many(count, &[Place::here()]).await;
    let seed = nodes[0].address.clone();
    let (cpu, memory) = total_costs(&nodes);
    println!(
        "{count} nodes have joined: {:.0} ms of processor time and {:.1} MB of memory per node",
        cpu.as_secs_f64() * 1e3 / count as f64,
        memory as f64 / 1024.0 / count as f64
    );
    let victims = nodes.split_off(count - killed);
    let lost: Vec<(String, String, String)> = victims
        .iter()
        .map(|node| (node.name.clone(), node.id.clone(), node.address.clone()))
        .collect();

    let at = Instant::now();
    for victim in victims {
        victim.kill().await;
    }
    let mut slowest = [Duration::ZERO; 2];
    for (_, id, _) in &lost {
        for node in &nodes {
            for (slowest, event) in slowest.iter_mut().zip(["NodeUnreachable", "NodeFailed"]) {
                until(&format!("{} says {event}", node.name), || {
                    node.first(event, Some(id)).is_some()
                })
                .await;
                let (heard, _) = node.first(event, Some(id)).unwrap();
                *slowest = (*slowest).max(heard - at);
            }
        }
    }
    let [unreachable, failed] = slowest;
    println!(
        "the last survivor heard of the last death after {unreachable:.1?}, and of failure after {failed:.1?}"
    );

    let (name, id, address) = &lost[0];
    let port: u16 = address.rsplit_once(':').unwrap().1.parse().unwrap();
    let at = Instant::now();
    let back = fleet.start(name, &Place::here(), port, &[&seed]).await;
    assert_eq!((&back.id, back.boot), (id, 2), "it is the same node");
    let mut rejoined = Duration::ZERO;
    for node in &nodes {
        until(&format!("{} knows it again", node.name), || {
            node.first_after(Some(at), "NodeRejoined", Some(id))
                .is_some()
        })
        .await;
        let (heard, _) = node
            .first_after(Some(at), "NodeRejoined", Some(id))
            .unwrap();
        rejoined = rejoined.max(heard - at);
    }
    println!("the last one knew it again after {rejoined:.1?}, the start of the process among it");
    let survivors: Vec<&Process> = nodes.iter().collect();
    let mut all = survivors.clone();
    all.push(&back);
    all_know_all(&all).await;
    for node in &survivors {
        for living in &survivors {
            assert!(
                node.first("NodeUnreachable", Some(&living.id)).is_none(),
                "{} took {}, who lives, for lost",
                node.name,
                living.name
            );
        }
    }
    if let Some(bounds) = bounds {
        assert!(unreachable <= bounds.unreachable, "{unreachable:?}");
        assert!(failed <= bounds.failed, "{failed:?}");
        assert!(rejoined <= bounds.rejoined, "{rejoined:?}");
    }
    let gone = back.id.clone();
    back.interrupt().await;
    for node in &nodes {
        until(&format!("{} hears that it left", node.name), || {
            node.verdict(&gone).as_deref() == Some("left")
        })
        .await;
    }
    for node in nodes {
        assert_eq!(node.complaints(), "");
        node.kill().await;
    }
}

/// Of the nodes, shares as given are left and right of the cut.
async fn cut_and_heal(preset: &'static str, count: usize, shares: [usize; 2], held: Duration) {
    if let Some(why) = missing() {
        return println!("skipped: {why}");
    }
    let _alone = ALONE.lock().await;
    let fleet = Fleet::new(preset);
    let cable = Cable::new();
    let places: Vec<Place> = cable
        .ends
        .iter()
        .zip(ENDS)
        .zip(shares)
        .flat_map(|((end, address), share)| {
            let place = Place {
                namespace: Some(end.clone()),
                address: address.to_owned(),
            };
            vec![place; share]
        })
        .collect();
    let nodes = fleet.start_many(count, &places).await;

    cable.cut();
    let at = Instant::now();
    let suspected = last_to_say(&nodes, at, "PartitionSuspected").await;
    println!("cut: the last of {count} suspects a partition after {suspected:.1?}");

    pass(held).await;
    cable.heal();
    let at = Instant::now();
    let healed = last_to_say(&nodes, at, "PartitionHealed").await;
    println!("healed: the last of {count} says so after {healed:.1?}");
    all_know_all(&nodes.iter().collect::<Vec<_>>()).await;
    println!("all know all again after {:.1?}", at.elapsed());
    for node in nodes {
        assert_eq!(node.complaints(), "");
        node.kill().await;
    }
}

async fn last_to_say(nodes: &[Process], after: Instant, event: &str) -> Duration {
    let mut last = Duration::ZERO;
    for node in nodes {
        until(&format!("{} says {event}", node.name), || {
            node.first_after(Some(after), event, None).is_some()
        })
        .await;
        let (at, _) = node.first_after(Some(after), event, None).unwrap();
        last = last.max(at - after);
    }
    last
}

fn total_costs(nodes: &[Process]) -> (Duration, u64) {
    nodes
        .iter()
        .map(Process::costs)
        .fold((Duration::ZERO, 0), |(time, memory), (more, kilobytes)| {
            (time + more, memory + kilobytes)
        })
}

/// Lets time go by, where time is what is measured against.
async fn pass(time: Duration) {
    tokio::time::sleep(time).await; // tidy: idleness is measured over a stretch of time, which has no state to wait for
}
