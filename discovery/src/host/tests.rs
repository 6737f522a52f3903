use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Stdio};

use super::*;
use crate::testing::{content, key};

fn record(node: u8, sequence: u64) -> Record {
    let mut content = content(1, node);
    content.sequence = sequence;
    content.sign(&key(node)).unwrap()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("withy");
    (parent, directory)
}

/// Looks through all files, as after a minute.
fn look_through(host: &mut Host) -> Vec<Vec<u8>> {
    host.looked = None;
    host.poll().unwrap()
}

fn files(directory: &Path) -> usize {
    fs::read_dir(directory).unwrap().count()
}

#[test]
fn nodes_of_one_host_see_each_other_come_change_and_go() {
    let (_parent, directory) = place();
    let mut one = Host::open(&directory, &record(1, 1)).unwrap();
    assert!(one.poll().unwrap().is_empty());
    let two = Host::open(&directory, &record(2, 1)).unwrap();
    assert_eq!(one.poll().unwrap(), [record(2, 1).octets().to_vec()]);
    assert!(one.poll().unwrap().is_empty(), "nothing changed");
    two.publish(&record(2, 2)).unwrap();
    assert_eq!(one.poll().unwrap(), [record(2, 2).octets().to_vec()]);
    drop(two);
    assert!(one.poll().unwrap().is_empty());
    assert_eq!(files(&directory), 2);
    assert_eq!(one.cleaned(), 0, "it cleaned up after itself");
    let again = Host::open(&directory, &record(1, 1));
    assert!(
        matches!(again, Err(HostError::Io { .. })),
        "one process each"
    );
}

#[cfg(any(target_os = "linux", target_os = "android"))]
#[test]
fn what_is_put_there_is_told_at_once() {
    use std::os::fd::AsFd as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    let (_parent, directory) = place();
    let mut one = Host::open(&directory, &record(1, 1)).unwrap();
    let stirs = one.stirs().unwrap();
    let is_told = |timeout: PollTimeout| {
        let mut asked = [PollFd::new(stirs.as_fd(), PollFlags::POLLIN)];
        poll(&mut asked, timeout).unwrap() == 1
    };
    // What it put there itself is told, and is no news.
    assert!(is_told(PollTimeout::from(10_000_u16)));
    assert!(one.poll().unwrap().is_empty());
    assert!(!is_told(PollTimeout::ZERO));
    for sequence in 1..4 {
        let two = Host::open(&directory, &record(2, sequence)).unwrap();
        assert!(is_told(PollTimeout::from(10_000_u16)));
        let expected = [record(2, sequence).octets().to_vec()];
        assert_eq!(one.poll().unwrap(), expected);
        drop(two);
        assert!(one.poll().unwrap().is_empty());
        assert!(!is_told(PollTimeout::ZERO), "who leaves is no news");
    }
    // Of more than the system notes, all is read.
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    let two = Host::open(&directory, &record(2, 1)).unwrap();
    let (here, there) = (directory.join("here"), directory.join("there"));
    fs::write(&here, "").unwrap();
    for _ in 0..limit.div_ceil(2) + 1 {
        fs::rename(&here, &there).unwrap();
        fs::rename(&there, &here).unwrap();
    }
    two.publish(&record(2, 2)).unwrap();
    let mut found = Vec::new();
    for _ in 0..limit {
        found.extend(one.poll().unwrap());
        if !is_told(PollTimeout::ZERO) {
            break;
        }
    }
    assert_eq!(found.last(), Some(&record(2, 2).octets().to_vec()));
}

#[test]
fn without_a_watch_the_directory_is_asked() {
    let (_parent, directory) = place();
    let mut one = Host::open(&directory, &record(1, 1)).unwrap();
    one.watch = None;
    assert!(one.stirs().is_none() && !one.is_watched());
    assert!(one.poll().unwrap().is_empty());
    let _two = Host::open(&directory, &record(2, 1)).unwrap();
    assert_eq!(one.poll().unwrap(), [record(2, 1).octets().to_vec()]);
    assert!(one.poll().unwrap().is_empty());
}

/// A process that holds its lock and is killed: the test runs itself.
#[test]
fn what_a_killed_process_left_is_taken_away() {
    const DIRECTORY: &str = "WITHY_HOST_TEST";
    if let Some(directory) = std::env::var_os(DIRECTORY) {
        let _host = Host::open(Path::new(&directory), &record(2, 1)).unwrap();
        println!("there");
        let _ = io::stdin().read(&mut [0]);
        return;
    }
    let (_parent, directory) = place();
    let mut one = Host::open(&directory, &record(1, 1)).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "host::tests::what_a_killed_process_left_is_taken_away",
            "--exact",
            "--nocapture",
        ])
        .env(DIRECTORY, &directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut output = child.stdout.take().unwrap();
    while !said.contains("there") {
        let mut octet = [0];
        assert_eq!(output.read(&mut octet).unwrap(), 1, "{said}");
        said.push(char::from(octet[0]));
    }
    assert_eq!(one.poll().unwrap().len(), 1);
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(files(&directory), 4);
    assert!(look_through(&mut one).is_empty());
    assert_eq!((one.cleaned(), files(&directory)), (1, 2));
}

#[test]
fn a_directory_that_is_not_ours_alone_is_refused() {
    let refused = |directory: &Path| {
        let opened = Host::open(directory, &record(1, 1));
        matches!(opened, Err(HostError::Untrusted { .. }))
    };
    let (parent, directory) = place();
    fs::create_dir(&directory).unwrap();
    for mode in [0o755, 0o770, 0o707] {
        fs::set_permissions(&directory, fs::Permissions::from_mode(mode)).unwrap();
        assert!(refused(&directory), "{mode:o}");
    }
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o700)).unwrap();
    let link = parent.path().join("link");
    symlink(&directory, &link).unwrap();
    assert!(refused(&link));
    let file = parent.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(refused(&file));
    assert!(!refused(&directory));
}

#[test]
fn links_and_files_that_are_too_long_are_not_read() {
    let (parent, directory) = place();
    let mut one = Host::open(&directory, &record(1, 1)).unwrap();
    let secret = parent.path().join("secret");
    fs::write(&secret, "not for others").unwrap();
    let locks: Vec<_> = [2, 3]
        .map(|node| {
            let tag = record(node, 1).peer();
            let lock = File::create(directory.join(format!("{tag}.lock"))).unwrap();
            lock.lock().unwrap();
            (lock, directory.join(format!("{tag}.record")))
        })
        .into();
    symlink(&secret, &locks[0].1).unwrap();
    fs::write(&locks[1].1, vec![0; Record::MAX + 1]).unwrap();
    fs::write(directory.join("other.record"), "x").unwrap();
    assert!(look_through(&mut one).is_empty());
    fs::write(&locks[1].1, vec![0; Record::MAX]).unwrap();
    assert_eq!(look_through(&mut one).len(), 1);
}

#[test]
fn a_crowd_is_skipped_and_counted() {
    let (_parent, directory) = place();
    let mut one = Host::open(&directory, &record(1, 1)).unwrap();
    for number in 0..Host::MAX + 10 {
        fs::write(directory.join(format!("{number:032x}.record")), "").unwrap();
    }
    assert!(one.poll().unwrap().is_empty());
    assert_eq!(one.skipped(), 10);
    assert_eq!(one.cleaned(), Host::MAX as u64);
}
