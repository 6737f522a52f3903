//! Beside Avahi on the same host and the same port: both are found, and both find.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::namespace::{HERE, There, inside, run};
use crate::node::{PORT, announcing, find, node, until, works};
use crate::zeroconf::{announcement, strings};

/// Where the daemons of this namespace meet.
const BUS: &str = "unix:path=/run/bus";

const BUS_CONFIG: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/bus</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/><allow own="*"/><allow send_destination="*"/><allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

const AVAHI_CONFIG: &str = "[server]\nhost-name=beside\nuse-ipv4=yes\nuse-ipv6=no\nenable-dbus=yes\n\
    [publish]\npublish-workstation=no\n";

/// A process that ends with the test.
struct Daemon(Child);

impl Daemon {
    fn start(command: &mut Command) -> Self {
        let command = command.env("DBUS_SYSTEM_BUS_ADDRESS", BUS);
        Self(command.stdin(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn browse() -> String {
    let output = Command::new("avahi-browse")
        .args(["--resolve", "--parsable", "--terminate", "_withy._udp"])
        .env("DBUS_SYSTEM_BUS_ADDRESS", BUS)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn both_are_found_beside_each_other() {
    inside("avahi::both_are_found_beside_each_other", || {
        let there = There::new();
        std::fs::write("/run/bus.conf", BUS_CONFIG).unwrap();
        std::fs::write("/run/avahi.conf", AVAHI_CONFIG).unwrap();
        // Avahi gives what is its to a user of that name; there is no other than root here.
        run("echo 'root:x:0:0::/:/bin/sh
            avahi:x:0:0::/:/bin/sh' | sed 's/^ *//' >/run/passwd
            echo 'root:x:0:
            avahi:x:0:' | sed 's/^ *//' >/run/group
            mount --bind /run/passwd /etc/passwd
            mount --bind /run/group /etc/group");
        let bus = ["--config-file=/run/bus.conf", "--nofork", "--nopidfile"];
        let _bus = Daemon::start(Command::new("dbus-daemon").args(bus));
        until("there is a bus", || Path::new("/run/bus").exists());
        let avahi = [
            "--file=/run/avahi.conf",
            "--no-drop-root",
            "--no-chroot",
            "--no-rlimits",
        ];
        let _avahi = Daemon::start(Command::new("avahi-daemon").args(avahi));
        until("Avahi runs", || Path::new("/run/avahi-daemon/pid").exists());

        let one = announcing(1);
        works(&one);
        let name = node(1).to_string();
        until("Avahi finds us", || {
            let found = browse();
            let ours = format!("=;left;IPv4;{name};_withy._udp;local;{name}.local;{HERE};{PORT};");
            found.lines().any(|line| {
                line.starts_with(&ours) && line.contains("\"txtvers=1\"") && line.contains("\"sig=")
            })
        });
        // We find what Avahi announces, here and on another host.
        let two = there.within(|| announcing(2));
        find(&one, 2);
        let text = strings(&announcement(3, HERE).encode());
        let mut publish = Command::new("avahi-publish");
        publish.args(["--service", "published", "_withy._udp", &PORT.to_string()]);
        let published = Daemon::start(publish.args(text));
        assert_eq!(&*find(&one, 3).instance, "published");
        find(&two, 3);
        drop(published);
    });
}
