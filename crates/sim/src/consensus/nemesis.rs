//! What goes wrong in a story, drawn from its seed.
//!
//! Every few dozen milliseconds one thing happens: a crash, a loss of power everywhere, a cut, a pause, a jump of a clock, a stall or a
//! full disk, lost messages, a disk put back to an earlier day, a handover, a change of voters. At most one log is doubtful at a time: a
//! majority of doubtful logs has nobody to be refilled by, and waits for people. A disk is put back when the others are there to know
//! better, and they are left alone until they were asked: what else happens then is in design 009 among what nobody notices.
//!
//! Deliberately not here: what must hold all the while (`oracles`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use convoke_consensus::engine::Member;
use convoke_consensus::engine::runtime::AsyncRuntime as _;

use super::disk::Loss;
use super::runtime::{Virtual, WORLD, chance, jump, now, pause, resume, sleep, spawn_in};
use super::world::{MILLISECOND, Worldwide, voter};

/// Voters of a story with more hosts than that.
const VOTERS: usize = 3;

fn below(bound: u64) -> u64 {
    chance(|random| random.below(bound))
}

/// Lets things happen until then, and mends all of it. Where voters follow from records, records change instead of voters.
pub(super) async fn run(world: Worldwide, until: u64) {
    let hosts = world.lock().hosts.len();
    while now() < until {
        sleep((30 + below(150)) * MILLISECOND).await;
        let host = below(hosts as u64) as usize;
        let other = (host + 1 + below(hosts as u64 - 1) as usize) % hosts;
        match below(16) {
            0 => lose_power(&world, hosts),
            1 => {
                let disks: Vec<_> = {
                    let world = world.lock();
                    world.hosts.iter().map(|it| it.disk.clone()).collect()
                };
                disks.iter().for_each(|disk| disk.lock().take_image());
            }
            2 if hosts == VOTERS => put_back(&world, hosts, host).await,
            _ => happen(&world, hosts, host, other),
        }
    }
    {
        let mut world = world.lock();
        world.cut.clear();
        world.loss = 0.0;
        world.note(0, "all is well from now on");
    }
    for host in 0..hosts {
        mend(&world, host);
    }
    let has_records = world.lock().has_records;
    if hosts > VOTERS && !has_records {
        let all = (0..hosts).collect();
        while !change_voters(&world, &all).await {
            sleep(50 * MILLISECOND).await;
        }
    }
}

fn happen(world: &Worldwide, hosts: usize, host: usize, other: usize) {
    match below(14) {
        0..=2 => crash(world, host),
        3 => {
            world.note(host, &format!("does not reach #{other}"));
            world.lock().cut.insert((host, other));
        }
        4 => {
            world.note(host, &format!("and #{other} do not reach each other"));
            let mut world = world.lock();
            world.cut.extend([(host, other), (other, host)]);
        }
        5 => isolate(world, hosts, host),
        6 | 7 => {
            world.note(host, "reaches all again, and all others do");
            let mut world = world.lock();
            world.cut.clear();
            world.loss = 0.0;
        }
        8 => stop_for_a_while(world, host),
        9 => {
            let life = world.lock().hosts[host].life;
            let by = Duration::from_millis(10 + below(2_000));
            world.note(host, &format!("has its clock go forward by {by:?}"));
            life.into_iter().for_each(|life| jump(life, by));
        }
        10 => {
            // Now and then it is as good as stuck: for longer than others wait for a leader.
            let stall = match below(8) {
                0 => 600 * MILLISECOND,
                some => some % 3 * 40 * MILLISECOND,
            };
            world.note(host, &format!("has syncs that take {stall} ns longer"));
            let disk = world.lock().hosts[host].disk.clone();
            disk.lock().stall = stall;
        }
        11 => fill(world, host),
        12 => {
            let loss = below(20) as f64 / 100.0;
            world.lock().loss = loss;
        }
        _ => spawn_in(WORLD, rule(world.clone(), other)),
    }
}

/// Power is lost, and comes back after a while.
fn crash(world: &Worldwide, host: usize) {
    // Whoever votes alone and does not trust its own log waits for a person.
    let votes_alone =
        || super::voters::voters(world).is_none_or(|it| it.len() < 3 && it.contains(&host));
    let has_records = world.lock().has_records;
    let may_doubt = !(has_records && votes_alone()) && {
        let world = world.lock();
        let mut others = world.hosts.iter().enumerate();
        !others.any(|(number, it)| number != host && it.is_suspect)
    };
    let loss = match below(4) {
        0 => Loss::Clean,
        1 if may_doubt => Loss::Rotten,
        _ => Loss::Torn,
    };
    world.crash(host, loss);
    come_back(world, host);
}

/// All lose power at once, and all of them what they had not synced.
fn lose_power(world: &Worldwide, hosts: usize) {
    world.lock().seen.outages += 1;
    for host in 0..hosts {
        world.crash(host, Loss::Torn);
        come_back(world, host);
    }
}

/// How long a restored node takes to ask the others, and longer.
const ASKS: u64 = 100 * MILLISECOND;

/// A disk is put back to an earlier day, while the others are there and know better.
async fn put_back(world: &Worldwide, hosts: usize, host: usize) {
    {
        let mut world = world.lock();
        world.cut.clear();
        world.loss = 0.0;
        let lives = world.hosts.iter().filter_map(|it| it.life);
        lives.for_each(resume);
    }
    // Whoever leads has heard of everybody, and everybody of it.
    sleep(ASKS).await;
    let nodes = world.nodes();
    let leader = world.leader().map(|(leader, node)| (leader, node.status()));
    let Some((_, leader)) = leader else {
        return;
    };
    let knows = nodes.iter().all(|(_, node)| {
        let status = node.status();
        let is_heard = leader
            .matching
            .get(&status.me)
            .is_some_and(|it| it.index > 0);
        status.leader == Some(leader.me) && status.stopped.is_none() && is_heard
    });
    let is_suspect = world.lock().hosts.iter().any(|it| it.is_suspect);
    if nodes.len() < hosts || !knows || is_suspect {
        return;
    }
    world.crash(host, Loss::Restored);
    sleep(10 * MILLISECOND).await;
    mend(world, host);
    sleep(ASKS).await;
}

/// Power is there again after a while.
fn come_back(world: &Worldwide, host: usize) {
    let world = world.clone();
    spawn_in(WORLD, async move {
        sleep((10 + below(300)) * MILLISECOND).await;
        mend(&world, host);
    });
}

/// The machine is as it should be: it runs, and its disk has room and is quick.
pub(super) fn mend(world: &Worldwide, host: usize) {
    let (life, disk) = {
        let world = world.lock();
        let it = &world.hosts[host];
        (it.life, it.disk.clone())
    };
    {
        let mut disk = disk.lock();
        disk.stall = 0;
        disk.fill(false);
    }
    let has_stopped = world
        .node(host)
        .is_some_and(|node| node.status().stopped.is_some());
    match life {
        Some(life) if !has_stopped => return resume(life),
        Some(_) => world.crash(host, Loss::Clean),
        None => {}
    }
    world.boot(host);
    spawn_listener(world, host);
}

/// Somebody watches on the node as soon as it runs.
pub(super) fn spawn_listener(world: &Worldwide, host: usize) {
    let Some(life) = world.lock().hosts[host].life else {
        return;
    };
    let world = world.clone();
    spawn_in(life, async move {
        sleep(5 * MILLISECOND).await;
        if let Some(node) = world.node(host) {
            super::oracles::listen(world, host, node).await;
        }
    });
}

fn isolate(world: &Worldwide, hosts: usize, host: usize) {
    world.note(host, "is cut off");
    let others = (0..hosts).filter(|other| *other != host);
    let both = others.flat_map(|other| [(host, other), (other, host)]);
    world.lock().cut.extend(both);
}

fn stop_for_a_while(world: &Worldwide, host: usize) {
    let Some(life) = world.lock().hosts[host].life else {
        return;
    };
    world.note(host, "stands still");
    pause(life);
    spawn_in(WORLD, async move {
        sleep((10 + below(400)) * MILLISECOND).await;
        resume(life);
    });
}

/// The disk takes no other segment; what became of the node shows later.
fn fill(world: &Worldwide, host: usize) {
    world.note(host, "has a full disk");
    let disk = world.lock().hosts[host].disk.clone();
    disk.lock().fill(true);
    let world = world.clone();
    spawn_in(WORLD, async move {
        sleep((100 + below(300)) * MILLISECOND).await;
        mend(&world, host);
    });
}

/// Somebody else leads, or others vote.
async fn rule(world: Worldwide, to: usize) {
    let (hosts, has_records) = {
        let world = world.lock();
        (world.hosts.len(), world.has_records)
    };
    if has_records && below(2) == 0 {
        return super::voters::decide_something(&world, to).await;
    }
    if hosts > VOTERS && !has_records && below(2) == 0 {
        // A leader does not leave itself out.
        let stays = world.leader().map_or(0, |(host, _)| host);
        let mut set: BTreeSet<usize> = (0..hosts).collect();
        while set.len() > VOTERS {
            let leaves = below(hosts as u64) as usize;
            if leaves != stays {
                set.remove(&leaves);
            }
        }
        change_voters(&world, &set).await;
        return;
    }
    if let Some((host, leader)) = world.leader()
        && host != to
    {
        let handed = leader.transfer(voter(to)).await;
        world.note(host, &format!("hands over to #{to}: {handed:?}"));
        world.lock().seen.handovers += u64::from(handed.is_ok());
    }
}

async fn change_voters(world: &Worldwide, set: &BTreeSet<usize>) -> bool {
    let Some((host, leader)) = world.leader() else {
        return false;
    };
    let voters: BTreeMap<_, _> = set
        .iter()
        .map(|host| (voter(*host), Member::default()))
        .collect();
    // Whoever asked is gone after a while; what it left behind is finished by others.
    let change = leader.change_voters(voters);
    let changed = Virtual::timeout(Duration::from_millis(300), change).await;
    world.note(host, &format!("has {set:?} vote: {changed:?}"));
    let is_done = matches!(changed, Ok(Ok(())));
    world.lock().seen.votes_changed += u64::from(is_done);
    is_done
}
