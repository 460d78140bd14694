//! Bytes of strangers, and of clients that are in: any is a packet or an error.
//!
//! What arrives before a login may make the server hold little; that is counted here, too.

use std::collections::BTreeMap;

use mysql_common::constants::CapabilityFlags;
use strandline_fuzz::{outcome, run};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::runtime::Builder;

use super::auth::{Strangers, check_clear, check_native, check_sha2, new_salt};
use super::bytes::Input;
use super::handshake::{
    Answer, LoginRequest, NATIVE_PLUGIN, SHA2_PLUGIN, describe, parse_answer, parse_change_user, put_answer,
    server_capabilities,
};
use super::login::STRANGER_BYTES_MAX;
use super::packet::{Channel, ReadError};
use super::params;
use super::stream::Stream;

fn request(plugin: &str, response: Vec<u8>) -> LoginRequest {
    LoginRequest {
        user: "account:user".to_owned(),
        database: Some("d".to_owned()),
        response,
        plugin: Some(plugin.to_owned()),
        attributes: vec![("_client_name".to_owned(), "test".to_owned()), ("_pid".to_owned(), "1".to_owned())],
    }
}

fn answers() -> Vec<Vec<u8>> {
    let all = server_capabilities(true, true);
    let old = all - CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA - CapabilityFlags::CLIENT_CONNECT_ATTRS;
    let mut tls = all.bits().to_le_bytes().to_vec();
    tls.resize(32, 0);
    let mut answers = vec![tls];
    for capabilities in [all, old] {
        for (plugin, response) in [(SHA2_PLUGIN, vec![1; 32]), (NATIVE_PLUGIN, vec![2; 20]), ("other", Vec::new())] {
            let mut out = Vec::new();
            put_answer(&mut out, capabilities, &request(plugin, response));
            answers.push(out);
        }
    }
    answers
}

const WORDS: [&[u8]; 6] = [
    b"\xFE\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF",
    b"\xFD\xFF\xFF\xFF",
    b"\xFC\xFF\xFF",
    b"caching_sha2_password\0",
    b"mysql_native_password\0",
    b"\0\0",
];

#[test]
fn fuzz_handshake() {
    run("handshake", &answers(), &WORDS, |bytes| match parse_answer(bytes) {
        Err(_) => 0,
        Ok(Answer::Tls(_)) => 1,
        Ok(Answer::Login(_, request)) => {
            assert!(describe(&request.attributes).len() <= 500);
            let shape =
                (request.user.len().min(3), request.response.len().min(40), request.plugin.map(|name| name.len()));
            outcome((shape, request.database.is_some(), request.attributes.len()))
        }
    });
}

#[test]
fn fuzz_change_user() {
    let seeds = [b"user\0\x04abcddb\0\x2D\0mysql_native_password\0\x09\x01a\x06abcdef".to_vec(), b"u\0\0\0".to_vec()];
    run("change_user", &seeds, &WORDS, |bytes| {
        let (flags, rest) = bytes.split_at(bytes.len().min(4));
        let mut bits = [0; 4];
        bits[..flags.len()].copy_from_slice(flags);
        let some = CapabilityFlags::from_bits_truncate(u32::from_le_bytes(bits));
        let request = |capabilities, bytes| {
            let parsed = parse_change_user(bytes, capabilities).ok();
            parsed.map(|request| (request.user.len().min(4), request.response.len().min(4), request.attributes.len()))
        };
        outcome((request(some, rest), request(server_capabilities(true, true), bytes)))
    });
}

/// What proves a password. Nothing made up does.
#[test]
fn fuzz_proofs() {
    let (stored, salt) = (Strangers::new().credential("nobody"), new_salt());
    run("proofs", &[vec![0; 32], vec![0; 20], b"password\0".to_vec()], &WORDS, |bytes| {
        let proofs =
            [check_sha2(&stored, &salt, bytes), check_native(&stored, &salt, bytes), check_clear(&stored, bytes)];
        assert_eq!(proofs, [false; 3]);
        outcome(bytes.len().min(40))
    });
}

#[test]
fn fuzz_execute() {
    let seeds: [&[u8]; 7] = [
        b"\x01\x00\x01\xFD\x00\x03abc",
        b"\x02\x01\x01\xFD\x00\x01\x00\x07",
        b"\x01\x00\x01\x0C\x00\x0B\xB2\x07\x01\x02\x03\x04\x05\x01\x02\x03\x04",
        b"\x01\x00\x01\x0B\x00\x0C\x01\x01\0\0\0\x01\x00\x00\x01\x02\x03\x04",
        b"\x03\x00\x01\x08\x80\x04\x00\x05\x00\x01\x02\x03\x04\x05\x06\x07\x08\0\0\xC0\x3F\0\0\0\0\0\0\0\0",
        b"\x09\x00\x00\x01\x01\0\x01\0\x01\0\x01\0\x01\0\x01\0\x01\0\x01\0\x01\x00123456789",
        b"\x01\x00\x00",
    ];
    run("execute", &seeds.map(<[u8]>::to_vec), &WORDS, |bytes| {
        let (count, bytes) = bytes.split_first().unwrap_or((&0, b""));
        let mut types = Vec::new();
        let long = BTreeMap::from([(0, vec![1])]);
        let mut parse = |long: &BTreeMap<u16, Vec<u8>>| {
            let values = params::parse(Input(bytes), usize::from(*count), &mut types, long);
            values.map(|values| values.iter().map(std::mem::discriminant).take(4).collect::<Vec<_>>()).ok()
        };
        outcome((parse(&BTreeMap::new()), parse(&long)))
    });
}

/// Frames as a stranger sends them and as a client that is in does: nothing is believed of a length that did not come.
#[test]
fn fuzz_frames() {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let seeds: [&[u8]; 5] = [
        b"\x01\0\0\0A\x02\0\0\x01BC",
        b"\x00\0\0\0\x03\0\0\x01\x03ab",
        b"\xFF\xFF\xFF\0a",
        b"\xFE\xFF\xFF\0a",
        b"\x05\0\0\x07abcde",
    ];
    run("frames", &seeds.map(<[u8]>::to_vec), &[b"\xFF\xFF\xFF", b"\x01\0\0", b"\0\0\0"], |bytes| {
        runtime.block_on(async {
            let mut came = Vec::new();
            for read_ahead in [false, true] {
                let (ours, mut theirs) = UnixStream::pair().expect("a socket pair");
                let mut channel = Channel::new(Stream::Unix(ours));
                if read_ahead {
                    channel.read_ahead();
                }
                let bytes_max = if read_ahead { 64 << 20 } else { STRANGER_BYTES_MAX };
                let write = async {
                    // What the reader does not want it does not wait for.
                    let _ = theirs.write_all(bytes).await;
                    drop(theirs);
                };
                let read = async {
                    let mut payload = Vec::new();
                    loop {
                        match channel.read_packet(&mut payload, bytes_max).await {
                            Ok(()) => came.push(payload.len().min(4)),
                            Err(ReadError::Closed) => break came.push(100),
                            Err(ReadError::Io(_)) => break came.push(101),
                            Err(ReadError::OutOfOrder) => break came.push(102),
                            Err(ReadError::TooLarge) => break came.push(103),
                        }
                    }
                    assert!(payload.capacity() <= 2 * bytes.len() + (64 << 10), "{} bytes", payload.capacity());
                    drop(channel);
                };
                tokio::join!(read, write);
            }
            came.truncate(6);
            outcome(came)
        })
    });
}
