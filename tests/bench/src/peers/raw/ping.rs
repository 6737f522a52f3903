//! To and fro: a body of known size, by tokio.

use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::{Failure, sealed};
use crate::{
    job::{Job, Seal},
    probe::Probe,
};

pub(super) async fn echo(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    job: &'static Job,
) -> Result<(), Failure> {
    let mut ball = Ball::new(job);
    loop {
        ball.catch(&mut stream).await?;
        ball.throw(&mut stream).await?;
    }
}

pub(super) async fn round_trip(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    ball: &mut Ball,
    probe: &Probe,
    start: Instant,
) -> Result<(), Failure> {
    ball.throw(stream).await?;
    ball.catch(stream).await?;
    probe.round_trip(start);
    Ok(())
}

/// What goes to and fro: a body, sealed if the job says so.
pub(super) enum Ball {
    Clear(Vec<u8>),
    Sealed(Box<sealed::Record>),
}

impl Ball {
    pub(super) fn new(job: &Job) -> Self {
        match job.seal {
            Seal::Clear => Self::Clear(vec![0; job.size]),
            _ => Self::Sealed(Box::new(sealed::Record::new(job.size))),
        }
    }

    async fn throw(&mut self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<(), Failure> {
        let octets = match self {
            Self::Clear(body) => &body[..],
            Self::Sealed(record) => record.seal()?,
        };
        Ok(stream.write_all(octets).await?)
    }

    async fn catch(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<(), Failure> {
        match self {
            Self::Clear(body) => {
                stream.read_exact(body).await?;
            }
            Self::Sealed(record) => {
                stream.read_exact(record.octets()).await?;
                record.open()?;
            }
        }
        Ok(())
    }
}
