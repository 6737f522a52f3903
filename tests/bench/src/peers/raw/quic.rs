//! The same octets over one stream of quinn, with AES-256-GCM, as quinn is configured by default or as
//! Withy does it on loopback.
//!
//! Small messages are packed into writes of 64 KiB; a reader takes chunks as they come.

use std::sync::Arc;
use std::time::Instant;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, MtuDiscoveryConfig, RecvStream, SendStream,
    ServerConfig, TokioRuntime, TransportConfig,
};
use rustls::crypto::ring::{cipher_suite, default_provider};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, version::TLS13};

use super::{Endless, Failure, HEADER, Variant, runtime};
use crate::job::Job;
use crate::peers::keys::Certificate;
use crate::probe::{Body, Probe};

/// Octets of a datagram on loopback.
const MTU: u16 = 6_500;
/// Octets of a write of small messages.
const WRITE: usize = 64 * 1024;

pub(super) fn pull(variant: Variant, probe: &'static Probe) -> Endless {
    runtime::run(async move {
        let (_endpoint, connection) = accepted(variant, probe).await?;
        let mut stream = connection.accept_uni().await?;
        let mut buffer: Vec<u8> = Vec::new();
        // What is left of a body that is larger than what came.
        let mut skip = 0;
        loop {
            let chunk = stream.read_chunk(usize::MAX, true).await?;
            let chunk = chunk.ok_or("stream closed")?.bytes;
            let mut at = 0;
            while at < chunk.len() {
                let taken = skip.min(chunk.len() - at);
                (at, skip) = (at + taken, skip - taken);
                if skip > 0 {
                    break;
                }
                let taken = (HEADER - buffer.len()).min(chunk.len() - at);
                buffer.extend_from_slice(&chunk[at..at + taken]);
                at += taken;
                if let Some(header) = buffer.first_chunk::<HEADER>() {
                    skip = usize::try_from(u64::from_le_bytes(*header))?;
                    buffer.clear();
                    probe.pulled(&[]);
                }
            }
        }
    })
}

pub(super) fn push(variant: Variant, job: &'static Job) -> Endless {
    runtime::run(async move {
        let (_endpoint, connection) = connected(variant, job).await?;
        let mut stream = connection.open_uni().await?;
        let body = Body::new(job.size);
        let header = (job.size as u64).to_le_bytes();
        let mut chunk = Vec::with_capacity(WRITE);
        loop {
            if HEADER + job.size > WRITE {
                stream.write_all(&header).await?;
                stream.write_all(body.bytes()).await?;
                continue;
            }
            chunk.clear();
            while chunk.len() + HEADER + job.size <= WRITE {
                chunk.extend_from_slice(&header);
                chunk.extend_from_slice(body.bytes());
            }
            stream.write_all(&chunk).await?;
        }
    })
}

pub(super) fn rep(variant: Variant, job: &'static Job, probe: &'static Probe) -> Endless {
    runtime::run(async move {
        let (_endpoint, connection) = accepted(variant, probe).await?;
        let (mut send, mut receive) = connection.accept_bi().await?;
        let mut body = vec![0; job.size];
        loop {
            receive.read_exact(&mut body).await?;
            send.write_all(&body).await?;
        }
    })
}

pub(super) fn req(variant: Variant, job: &'static Job, probe: &'static Probe) -> Endless {
    runtime::run(async move {
        let (_endpoint, connection) = connected(variant, job).await?;
        let (mut send, mut receive) = connection.open_bi().await?;
        loop {
            round_trip(&mut send, &mut receive, job.size, probe).await?;
        }
    })
}

async fn round_trip(
    send: &mut SendStream,
    receive: &mut RecvStream,
    size: usize,
    probe: &Probe,
) -> Result<(), Failure> {
    let start = Instant::now();
    let mut body = vec![0; size];
    send.write_all(&body).await?;
    receive.read_exact(&mut body).await?;
    probe.round_trip(start);
    Ok(())
}

async fn accepted(variant: Variant, probe: &Probe) -> Result<(Endpoint, Connection), Failure> {
    let Certificate { certificate, key } = Certificate::of_server();
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes())?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
    let tls = rustls::ServerConfig::builder_with_provider(provider().into())
        .with_protocol_versions(&[&TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)?;
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(transport(variant));
    let endpoint = endpoint(variant, Some(config))?;
    probe.ready(&format!("quic://{}", endpoint.local_addr()?));
    let incoming = endpoint.accept().await.ok_or("endpoint closed")?;
    Ok((endpoint, incoming.await?))
}

async fn connected(variant: Variant, job: &Job) -> Result<(Endpoint, Connection), Failure> {
    let certificate = Certificate::of_server().certificate;
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(certificate.as_bytes())?)?;
    let tls = rustls::ClientConfig::builder_with_provider(provider().into())
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls)?));
    config.transport_config(transport(variant));
    let endpoint = endpoint(variant, None)?;
    let remote = job.endpoint.trim_start_matches("quic://").parse()?;
    let connection = endpoint.connect_with(config, remote, "127.0.0.1")?.await?;
    Ok((endpoint, connection))
}

fn provider() -> rustls::crypto::CryptoProvider {
    let mut provider = default_provider();
    // QUIC needs the second one for its first packets.
    provider.cipher_suites = vec![
        cipher_suite::TLS13_AES_256_GCM_SHA384,
        cipher_suite::TLS13_AES_128_GCM_SHA256,
    ];
    provider
}

fn endpoint(variant: Variant, server: Option<ServerConfig>) -> Result<Endpoint, Failure> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    let mut config = EndpointConfig::default();
    if variant == Variant::Loopback {
        config.max_udp_payload_size(MTU)?;
    }
    Ok(Endpoint::new(
        config,
        server,
        socket,
        Arc::new(TokioRuntime),
    )?)
}

fn transport(variant: Variant) -> Arc<TransportConfig> {
    let mut config = TransportConfig::default();
    if variant == Variant::Bare {
        return Arc::new(config);
    }
    let mut discovery = MtuDiscoveryConfig::default();
    discovery.upper_bound(MTU);
    config
        .stream_receive_window((1_u32 << 20).into())
        .receive_window((32_u32 << 20).into())
        .send_window(4 << 20)
        .mtu_discovery_config(Some(discovery));
    Arc::new(config)
}
