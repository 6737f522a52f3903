//! Answers of multicast DNS, written by hand.

/// The name under which nodes are found.
const SERVICE: &str = "_withy._udp.local.";

/// The port that [`answer`] names.
pub const PORT: u16 = 7_100;

/// An answer that is right in every way, about an instance of this number, for 136 years.
pub fn answer(number: u64, txt: &[u8], address: [u8; 4]) -> Vec<u8> {
    let instance = format!("{number:016x}.{SERVICE}");
    let host = format!("{number:016x}.local.");
    let mut out = vec![0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 0];
    let mut data = Vec::new();
    name(&mut data, &instance);
    resource(&mut out, SERVICE, 12, &data);
    let mut data = vec![0, 0, 0, 0];
    data.extend_from_slice(&PORT.to_be_bytes());
    name(&mut data, &host);
    resource(&mut out, &instance, 33, &data);
    resource(&mut out, &instance, 16, txt);
    resource(&mut out, &host, 1, &address);
    out
}

fn name(out: &mut Vec<u8>, name: &str) {
    for label in name.trim_end_matches('.').split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
}

fn resource(out: &mut Vec<u8>, owner: &str, kind: u16, data: &[u8]) {
    name(out, owner);
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&1_u16.to_be_bytes());
    out.extend_from_slice(&u32::MAX.to_be_bytes());
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
}
