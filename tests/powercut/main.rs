//! Power cuts: what was shown is on the disk, and not only in the memory of the system (D-16).
//!
//! The server works on an ext4 file system in an image file. In mid-stream it is stopped and the image copied: the copy holds what
//! a disk would hold after a cut at that moment. A second server on the copy must have everything that clients saw (`sync`), or
//! say honestly what it has lost (`os`). Needs root, for the mounts; `tests/deep` runs it. `TIDEMARK_ROUNDS` sets the number of cuts.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests")]

#[path = "../common/mod.rs"]
mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use common::model::{Ended, Random, Seen, rounds};
use common::rest::Client;
use common::server::Server;
use nix::sys::signal::Signal;

/// How many responses stream at once.
const STREAMS: usize = 24;

/// The size of the image: room for the streams of one round.
const IMAGE_MIB: u32 = 256;

/// An ext4 file system in a file, mounted until it is dropped.
struct Disk {
    image: PathBuf,
    mount: PathBuf,
}

impl Disk {
    fn make(dir: &Path) -> Self {
        let image = dir.join("disk.img");
        sh(&format!("truncate -s {IMAGE_MIB}M '{0}' && mkfs.ext4 -q -F '{0}'", image.display()));
        Self::mounted(image, dir.join("disk"))
    }

    fn mounted(image: PathBuf, mount: PathBuf) -> Self {
        sh(&format!("mkdir -p '{1}' && mount -o loop '{0}' '{1}'", image.display(), mount.display()));
        Self { image, mount }
    }

    /// What the disk holds at this moment, as a disk of its own.
    fn cut(&self, dir: &Path) -> Self {
        let copy = dir.join("copy.img");
        sh(&format!("cp --sparse=always '{}' '{}'", self.image.display(), copy.display()));
        Self::mounted(copy, dir.join("copy"))
    }

    fn data(&self) -> PathBuf {
        self.mount.join("data")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        sh(&format!("umount -l '{0}' && rm -f '{1}'", self.mount.display(), self.image.display()));
    }
}

fn sh(script: &str) {
    let output = Command::new("bash").args(["-euc", script]).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Streams into a server on a disk of its own, and cuts the power in the middle; returns what was seen, and a server on what is
/// left.
async fn cut(durability: &str, random: &mut Random, dir: &Path) -> (Seen, Disk, Server) {
    let config = format!("[server]\ndurability = \"{durability}\"\n[store]\nmin_free = \"1MiB\"\n");
    let disk = Disk::make(dir);
    let mut server = Server::start_over(&config, &disk.data());
    let (seen, client) = (Seen::default(), Client::new(&server.url()));
    let readers: Vec<_> =
        (0..STREAMS).map(|n| tokio::spawn(seen.clone().stream(client.clone(), n))).collect();
    // However slow the machine is, there is something to lose.
    let begun = Instant::now();
    while seen.events() <= 2 * STREAMS {
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing streams");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(random.below(1500))).await;
    server.signal(Signal::SIGSTOP);
    let after = disk.cut(dir);
    server.kill();
    for reader in readers {
        reader.await.unwrap();
    }
    drop((server, disk));
    let server = Server::start_over(&config, &after.data());
    (seen, after, server)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_a_client_saw_is_lost_to_a_power_cut_with_sync() {
    let mut random = Random::seeded();
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=rounds(10) {
        let (seen, disk, server) = cut("sync", &mut random, dir.path()).await;
        let mut ended = Ended::default();
        ended.check(&Client::new(&server.url()), &seen).await;
        println!("cut {round}: {} events of {} responses, none lost", seen.events(), ended.count());
        assert!(seen.events() > STREAMS, "the cut came too early to prove anything");
        drop((server, disk));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_power_cut_took_with_os_is_said_honestly() {
    let mut random = Random::seeded();
    let dir = tempfile::tempdir().unwrap();
    let mut lost = 0;
    for round in 1..=rounds(10).div_ceil(2) {
        let (seen, disk, server) = cut("os", &mut random, dir.path()).await;
        let (client, mut ended) = (Client::new(&server.url()), Ended::default());
        for (id, events) in seen.all() {
            let (status, reply) = Client::json(client.get(&format!("/v1/responses/{id}"))).await;
            if status == 404 {
                assert_eq!(reply["error"]["code"], "not_found");
                lost += events.len();
                continue;
            }
            let frames = ended.whole(&client, &id).await;
            let kept = frames.len() as u64 - 1;
            for (seq, data) in events.range(..kept) {
                assert_eq!(&frames[usize::try_from(*seq).unwrap()].data, data, "event {seq} of {id} changed");
            }
            let beyond = events
                .range(kept..)
                .filter(|(seq, data)| frames.get(**seq as usize).is_none_or(|frame| frame.data != **data));
            for (seq, _) in beyond {
                let path = format!("/v1/responses/{id}?stream=true&starting_after={seq}");
                let (status, reply) = Client::json(client.get(&path)).await;
                assert_eq!((status, &reply["error"]["code"]), (409, &"offset_lost".into()), "{reply}");
                assert_eq!(reply["error"]["reason"], "rolled_back", "{reply}");
                lost += 1;
            }
        }
        println!("cut {round}: {} events were seen, {lost} lost so far, each said so", seen.events());
        drop((server, disk));
    }
    assert!(lost > 0, "no cut took anything: this proved nothing");
}
