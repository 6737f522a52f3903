//! A keeper whose disk is full: as the kernel says it, by a limit of the size of its files.

use std::time::Duration;

use crate::crash::Mesh;
use crate::part::play;
use crate::process::Part;

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    if let Some(part) = Part::of_this_process() {
        return play(&part);
    }
    let mut mesh = Mesh::new("full_disk::a_full_disk_refuses_and_loses_nothing");
    let mut keeper = mesh.start("keeper");
    assert_eq!(keeper.hear(), "keeps");
    mesh.start_producers(&["producer"]);
    mesh.start_workers(1);
    mesh.go_on(100);
    // The log is longer than this already, or will be soon.
    keeper.tell("4096");
    assert_eq!(keeper.hear(), "limited");
    assert_eq!(mesh.producer().hear(), "refused");
    // Killed while it is full, it has all that was accepted.
    keeper.kill();
    let mut keeper = mesh.start("keeper");
    assert_eq!(keeper.hear(), "keeps");
    mesh.go_on(100);
    keeper.tell("4096");
    assert_eq!(keeper.hear(), "limited");
    // It was refused now and then, and is again.
    while mesh.producer().hear_within(Duration::ZERO).is_some() {}
    assert_eq!(mesh.producer().hear(), "refused");
    keeper.tell("no limit");
    assert_eq!(keeper.hear(), "limited");
    mesh.go_on(1_000);
    let verdict = mesh.finish();
    assert!(
        verdict.refused > 0 && verdict.got >= verdict.accepted,
        "{verdict:?}"
    );
}
