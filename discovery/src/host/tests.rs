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
    assert!(one.poll().unwrap().is_empty());
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
    assert!(one.poll().unwrap().is_empty());
    fs::write(&locks[1].1, vec![0; Record::MAX]).unwrap();
    assert_eq!(one.poll().unwrap().len(), 1);
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
