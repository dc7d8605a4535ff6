//! A path with distance and loss: two network namespaces of this bench's own, and between them a relay that holds every packet for
//! half a round trip and drops some.
//!
//! Each namespace has one device of layer 3 (`tun`), whose packets the relay reads and writes, so both ends run the kernel's real
//! TCP and UDP over packets of at most 1,500 bytes. Needs Linux, root and `ip`. The namespaces go when this is dropped.
//!
//! Deliberately absent: jitter, reordering.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
    path::Path as FilePath,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::{
    ioctl::{Setter, ioctl, opcode},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

/// Packets on their way in one direction; those beyond are dropped, as by a router.
const ON_THE_WAY: usize = 16 * 1024;
/// The largest packet.
const PACKET_BYTES: usize = 1_500;
/// Longer than this no packet waits for its turn on a path with a rate; it is dropped instead.
const QUEUE: Duration = Duration::from_millis(100);
const DEVICE: &str = "path0";

/// What a path does to packets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Weather {
    /// There and back.
    pub(crate) round_trip: Duration,
    /// Of a hundred packets, so many are dropped, in each direction.
    pub(crate) loss_percent: f64,
    /// Millions of bits a second, in each direction; a queue before it takes what [`QUEUE`] lets pass.
    pub(crate) rate_mbit: Option<u32>,
}

impl Weather {
    /// What a packet takes of the path's rate.
    fn time_for(self, packet_bytes: usize) -> Duration {
        self.rate_mbit.map_or(Duration::ZERO, |rate| {
            Duration::from_secs_f64(packet_bytes as f64 * 8.0 / (f64::from(rate) * 1e6))
        })
    }
}

/// One end of a path.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// The namespace's name.
    pub(crate) namespace: String,
    /// Its address there.
    pub(crate) address: IpAddr,
}

/// A path that exists as long as this does.
#[derive(Debug)]
pub(crate) struct Path {
    pub(crate) server: Place,
    pub(crate) driver: Place,
}

impl Path {
    /// Makes both namespaces and starts the relay. The same seed drops the same packets of a direction, counted from the start.
    pub(crate) fn make(weather: Weather, seed: u64) -> anyhow::Result<Self> {
        let place = |role: &str, last: u8| Place {
            namespace: format!("bench-{role}-{}", std::process::id()),
            address: Ipv4Addr::new(10, 213, 0, last).into(),
        };
        let path = Self {
            server: place("server", 1),
            driver: place("driver", 2),
        };
        let devices = [&path.server, &path.driver].map(Place::furnish);
        let [server, driver] = devices;
        let (server, driver) = (server?, driver?);
        relay(server.try_clone()?, driver.try_clone()?, weather, seed);
        relay(driver, server, weather, seed.wrapping_add(1));
        Ok(path)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        for place in [&self.server, &self.driver] {
            // One that was never made cannot be taken away, which is no trouble.
            let _ = ip(&["netns", "del", &place.namespace]);
        }
    }
}

impl Place {
    /// Makes the namespace and its device.
    fn furnish(&self) -> anyhow::Result<File> {
        let name = &self.namespace;
        ip(&["netns", "add", name]).context(
            "make a network namespace, which needs root and the program ip (Debian: iproute2)",
        )?;
        let device = thread::scope(|scope| scope.spawn(|| device_in(name)).join())
            .expect("making a device does not panic")
            .with_context(|| format!("make a device in {name}"))?;
        let address = format!("{}/24", self.address);
        ip(&["-n", name, "addr", "add", &address, "dev", DEVICE])?;
        ip(&["-n", name, "link", "set", "lo", "up"])?;
        ip(&["-n", name, "link", "set", DEVICE, "up"])?;
        Ok(device)
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("run ip")?;
    anyhow::ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}

/// Moves this thread, which must be good for nothing else, into a namespace and makes a device there.
fn device_in(namespace: &str) -> anyhow::Result<File> {
    let namespace = File::open(FilePath::new("/run/netns").join(namespace))?;
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
    let device = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    name_device(&device)?;
    Ok(device)
}

/// What the kernel wants to know of a device: its name, and that its packets come bare.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

#[expect(
    unsafe_code,
    reason = "there is no safe call for this request to the kernel"
)]
fn name_device(device: &File) -> anyhow::Result<()> {
    const TUN: u16 = 1;
    const NO_PACKET_INFORMATION: u16 = 0x1000;
    const SET_INTERFACE: rustix::ioctl::Opcode = opcode::write::<i32>(b'T', 202);
    let mut request = Request {
        name: [0; 16],
        flags: TUN | NO_PACKET_INFORMATION,
        rest: [0; 22],
    };
    request.name[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
    // SAFETY: TUNSETIFF reads one `struct ifreq`, which has this size and layout, and keeps no pointer to it.
    unsafe { ioctl(device, Setter::<SET_INTERFACE, Request>::new(request)) }?;
    Ok(())
}

/// Carries packets one way until this process ends.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread that sleeps until a packet has arrived is the distance"
)]
fn relay(mut from: File, mut to: File, weather: Weather, seed: u64) {
    let (packets, arriving) = mpsc::sync_channel::<(Instant, Vec<u8>)>(ON_THE_WAY);
    thread::spawn(move || {
        let mut lots = Lots(seed);
        let mut buffer = [0; PACKET_BYTES];
        let mut free = Instant::now();
        while let Ok(size) = from.read(&mut buffer) {
            if lots.next() * 100.0 < weather.loss_percent {
                continue;
            }
            let now = Instant::now();
            free = free.max(now) + weather.time_for(size);
            if free - now > QUEUE {
                free -= weather.time_for(size);
                continue;
            }
            let at = free + weather.round_trip / 2;
            // Full: dropped, as by a router.
            let _ = packets.try_send((at, buffer[..size].to_vec()));
        }
    });
    thread::spawn(move || {
        for (at, packet) in arriving {
            thread::sleep(at.saturating_duration_since(Instant::now()));
            // A device that is not up yet takes nothing.
            let _ = to.write_all(&packet);
        }
    });
}

/// Random numbers between 0 and 1 that can be had again: splitmix64.
struct Lots(u64);

impl Lots {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lots_fall_evenly_and_the_same_again() {
        let (mut one, mut again) = (Lots(7), Lots(7));
        let below = (0..10_000).filter(|_| {
            let lot = one.next();
            assert!(lot.total_cmp(&again.next()).is_eq());
            lot < 0.01
        });
        assert!((60..140).contains(&below.count()));
    }
}
