//! One way: frames in large writes, taken apart by their lengths.

use std::{
    hint::black_box,
    io::{BufReader, Read, Write},
};

use super::{CHUNK, Endless, HEADER};
use crate::{
    job::Job,
    probe::{Body, Probe},
};

/// Sends frames without end: packed into chunks, each body a fresh copy; one larger than a chunk
/// goes out as it is.
pub(super) fn pack(mut stream: impl Write, job: &Job) -> Endless {
    let body = Body::new(job.size);
    let header = (job.size as u64).to_le_bytes();
    let mut chunk = Vec::with_capacity(CHUNK);
    loop {
        if HEADER + job.size > CHUNK {
            stream.write_all(&header)?;
            stream.write_all(body.bytes())?;
            continue;
        }
        chunk.clear();
        while chunk.len() + HEADER + job.size <= CHUNK {
            chunk.extend_from_slice(&header);
            chunk.extend_from_slice(body.bytes());
        }
        stream.write_all(&chunk)?;
    }
}

/// Reads chunks and steps from frame to frame in them, without a copy.
pub(super) fn take_apart(mut stream: impl Read, probe: &Probe) -> Endless {
    let mut chunk = vec![0; CHUNK];
    let mut held = 0;
    // What is left of a body that reaches beyond the chunk.
    let mut skip = 0;
    loop {
        let read = stream.read(&mut chunk[held..])?;
        if read == 0 {
            return Err("stream closed".into());
        }
        let filled = held + read;
        let mut at = skip.min(filled);
        skip -= at;
        while skip == 0 {
            let Some(header) = chunk[at..filled].first_chunk::<HEADER>() else {
                break;
            };
            let size = usize::try_from(u64::from_le_bytes(*header))?;
            probe.pulled(&[]);
            let end = at + HEADER + size;
            skip = end.saturating_sub(filled);
            at = end.min(filled);
        }
        chunk.copy_within(at..filled, 0);
        held = filled - at;
    }
}

/// Reads chunks and copies each body out of them; what of a body is beyond a chunk is read to its place.
pub(super) fn take_out(stream: impl Read, probe: &Probe) -> Endless {
    let mut stream = BufReader::with_capacity(CHUNK, stream);
    loop {
        let mut header = [0; HEADER];
        stream.read_exact(&mut header)?;
        let size = u64::from_le_bytes(header);
        let mut body = Vec::with_capacity(usize::try_from(size)?);
        stream.by_ref().take(size).read_to_end(&mut body)?;
        black_box(&body);
        probe.pulled(&[]);
    }
}
