//! The packets before and around a login: greeting, the client's answer, COM_CHANGE_USER.
//!
//! Only forms of packets, no decisions: those are in `auth`.

use std::fmt::Write;

use mysql_common::constants::CapabilityFlags;

use super::bytes::{Input, Malformed};

pub const SHA2_PLUGIN: &str = "caching_sha2_password";
pub const NATIVE_PLUGIN: &str = "mysql_native_password";

/// The bytes of a scramble's salt.
pub const SALT_BYTES: usize = 20;
pub type Salt = [u8; SALT_BYTES];

/// The connection's attributes may not be more than this.
const ATTRIBUTES_MAX: usize = 64;

/// What a client says to log in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoginRequest {
    pub user: String,
    pub database: Option<String>,
    /// What proves the password, in the plugin's own form.
    pub response: Vec<u8>,
    /// The plugin that made the response. Clients of old name none and mean mysql_native_password.
    pub plugin: Option<String>,
    /// `_client_name`, `program_name` and the like, in the order sent.
    pub attributes: Vec<(String, String)>,
}

/// The client's answer to the greeting.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It wants TLS first, and will then answer once more.
    Tls(CapabilityFlags),
    Login(CapabilityFlags, LoginRequest),
}

/// Returns what this server can do.
pub fn server_capabilities(tls: bool, local_infile: bool) -> CapabilityFlags {
    let mut capabilities = CapabilityFlags::CLIENT_LONG_PASSWORD
        | CapabilityFlags::CLIENT_FOUND_ROWS
        | CapabilityFlags::CLIENT_LONG_FLAG
        | CapabilityFlags::CLIENT_CONNECT_WITH_DB
        | CapabilityFlags::CLIENT_IGNORE_SPACE
        | CapabilityFlags::CLIENT_PROTOCOL_41
        | CapabilityFlags::CLIENT_INTERACTIVE
        | CapabilityFlags::CLIENT_TRANSACTIONS
        | CapabilityFlags::CLIENT_RESERVED
        | CapabilityFlags::CLIENT_SECURE_CONNECTION
        | CapabilityFlags::CLIENT_MULTI_STATEMENTS
        | CapabilityFlags::CLIENT_MULTI_RESULTS
        | CapabilityFlags::CLIENT_PS_MULTI_RESULTS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH
        | CapabilityFlags::CLIENT_CONNECT_ATTRS
        | CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA
        | CapabilityFlags::CLIENT_DEPRECATE_EOF;
    capabilities.set(CapabilityFlags::CLIENT_SSL, tls);
    capabilities.set(CapabilityFlags::CLIENT_LOCAL_FILES, local_infile);
    capabilities
}

/// Writes the first packet of a connection.
pub fn put_greeting(
    out: &mut Vec<u8>,
    version: &str,
    connection_id: u32,
    salt: &Salt,
    capabilities: CapabilityFlags,
    status: u16,
) {
    let bits = capabilities.bits();
    out.push(10);
    out.extend_from_slice(version.as_bytes());
    out.push(0);
    out.extend_from_slice(&connection_id.to_le_bytes());
    out.extend_from_slice(&salt[..8]);
    out.push(0);
    out.extend_from_slice(&(bits as u16).to_le_bytes());
    // The collation's id has one byte here.
    out.push(super::result::UTF8MB4 as u8);
    out.extend_from_slice(&status.to_le_bytes());
    out.extend_from_slice(&((bits >> 16) as u16).to_le_bytes());
    out.push(SALT_BYTES as u8 + 1);
    out.extend_from_slice(&[0; 10]);
    out.extend_from_slice(&salt[8..]);
    out.push(0);
    out.extend_from_slice(SHA2_PLUGIN.as_bytes());
    out.push(0);
}

/// Writes the request to prove the password once more, by another plugin or for another salt.
pub fn put_auth_switch(out: &mut Vec<u8>, plugin: &str, salt: &Salt) {
    out.push(0xFE);
    out.extend_from_slice(plugin.as_bytes());
    out.push(0);
    out.extend_from_slice(salt);
    out.push(0);
}

/// Reads the client's answer to the greeting.
pub fn parse_answer(payload: &[u8]) -> Result<Answer, Malformed> {
    let mut input = Input(payload);
    let capabilities = CapabilityFlags::from_bits_truncate(input.u32()?);
    if !capabilities.contains(CapabilityFlags::CLIENT_PROTOCOL_41) {
        return Err(Malformed);
    }
    // The greatest packet, the collation and 23 bytes without meaning.
    input.bytes(4 + 1 + 23)?;
    if input.is_empty() && capabilities.contains(CapabilityFlags::CLIENT_SSL) {
        return Ok(Answer::Tls(capabilities));
    }
    let user = text(input.until_nul())?;
    let response = if capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH_LENENC_CLIENT_DATA) {
        input.lenenc_bytes()?
    } else if capabilities.contains(CapabilityFlags::CLIENT_SECURE_CONNECTION) {
        let length = input.u8()?;
        input.bytes(usize::from(length))?
    } else {
        input.until_nul()
    };
    let mut request = LoginRequest { user, response: response.to_vec(), ..LoginRequest::default() };
    if capabilities.contains(CapabilityFlags::CLIENT_CONNECT_WITH_DB) {
        request.database = Some(text(input.until_nul())?).filter(|name| !name.is_empty());
    }
    parse_plugin_and_attributes(&mut input, capabilities, &mut request)?;
    Ok(Answer::Login(capabilities, request))
}

/// Reads COM_CHANGE_USER after its first byte.
pub fn parse_change_user(payload: &[u8], capabilities: CapabilityFlags) -> Result<LoginRequest, Malformed> {
    let mut input = Input(payload);
    let user = text(input.until_nul())?;
    let response = if capabilities.contains(CapabilityFlags::CLIENT_SECURE_CONNECTION) {
        let length = input.u8()?;
        input.bytes(usize::from(length))?
    } else {
        input.until_nul()
    };
    let mut request = LoginRequest { user, response: response.to_vec(), ..LoginRequest::default() };
    request.database = Some(text(input.until_nul())?).filter(|name| !name.is_empty());
    if !input.is_empty() {
        // The collation.
        input.u16()?;
        parse_plugin_and_attributes(&mut input, capabilities, &mut request)?;
    }
    Ok(request)
}

/// Returns the attributes as one line for a log, without control characters.
pub fn describe(attributes: &[(String, String)]) -> String {
    let mut line = String::new();
    for (name, value) in attributes {
        let _ = write!(line, "{}={} ", name.escape_debug(), value.escape_debug());
    }
    line.truncate(line.floor_char_boundary(500));
    line
}

fn parse_plugin_and_attributes(
    input: &mut Input<'_>,
    capabilities: CapabilityFlags,
    request: &mut LoginRequest,
) -> Result<(), Malformed> {
    if capabilities.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH) && !input.is_empty() {
        request.plugin = Some(text(input.until_nul())?).filter(|name| !name.is_empty());
    }
    if capabilities.contains(CapabilityFlags::CLIENT_CONNECT_ATTRS) && !input.is_empty() {
        let mut attributes = Input(input.lenenc_bytes()?);
        while !attributes.is_empty() && request.attributes.len() < ATTRIBUTES_MAX {
            let [name, value] = [attributes.lenenc_bytes()?, attributes.lenenc_bytes()?];
            let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
            request.attributes.push((lossy(name), lossy(value)));
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String, Malformed> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Malformed)
}

/// Writes the answer that a client would give, for tests.
#[cfg(test)]
pub fn put_answer(out: &mut Vec<u8>, capabilities: CapabilityFlags, request: &LoginRequest) {
    use super::bytes::put_lenenc_bytes;

    out.extend_from_slice(&capabilities.bits().to_le_bytes());
    out.extend_from_slice(&(64_u32 << 20).to_le_bytes());
    out.push(45);
    out.extend_from_slice(&[0; 23]);
    out.extend_from_slice(request.user.as_bytes());
    out.push(0);
    put_lenenc_bytes(out, &request.response);
    if let Some(database) = &request.database {
        out.extend_from_slice(database.as_bytes());
        out.push(0);
    }
    if let Some(plugin) = &request.plugin {
        out.extend_from_slice(plugin.as_bytes());
        out.push(0);
    }
    if capabilities.contains(CapabilityFlags::CLIENT_CONNECT_ATTRS) {
        let mut attributes = Vec::new();
        for (name, value) in &request.attributes {
            put_lenenc_bytes(&mut attributes, name.as_bytes());
            put_lenenc_bytes(&mut attributes, value.as_bytes());
        }
        put_lenenc_bytes(out, &attributes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use strandline_fuzz::Random;

    fn sample() -> (CapabilityFlags, LoginRequest) {
        let request = LoginRequest {
            user: "account:user".to_owned(),
            database: Some("d".to_owned()),
            response: vec![1; 32],
            plugin: Some(SHA2_PLUGIN.to_owned()),
            attributes: vec![("_client_name".to_owned(), "test".to_owned())],
        };
        (server_capabilities(false, false), request)
    }

    #[test]
    fn answers_round_trip() {
        let (capabilities, request) = sample();
        let mut out = Vec::new();
        put_answer(&mut out, capabilities, &request);
        assert_eq!(parse_answer(&out), Ok(Answer::Login(capabilities, request)));
    }

    #[test]
    fn thirty_two_bytes_ask_for_tls() {
        let capabilities = server_capabilities(true, false);
        let mut out = capabilities.bits().to_le_bytes().to_vec();
        out.resize(32, 0);
        assert_eq!(parse_answer(&out), Ok(Answer::Tls(capabilities)));
    }

    #[test]
    fn cut_answers_are_malformed_or_shorter() {
        let (capabilities, request) = sample();
        let mut out = Vec::new();
        put_answer(&mut out, capabilities, &request);
        for cut in 0..out.len() {
            if let Ok(Answer::Login(_, other)) = parse_answer(&out[..cut]) {
                assert_ne!(other, request, "cut at {cut}");
            }
        }
    }

    #[test]
    fn any_bytes_do_no_harm() {
        let (capabilities, request) = sample();
        let mut good = Vec::new();
        put_answer(&mut good, capabilities, &request);
        let mut random = Random::new(2);
        for _ in 0..100_000 {
            let damaged = random.damaged(&good);
            let _ = parse_answer(&damaged);
            let _ = parse_change_user(&random.bytes(80), CapabilityFlags::from_bits_truncate(random.draw() as u32));
            let _ = parse_change_user(&damaged, capabilities);
        }
    }

    #[test]
    fn attributes_are_made_harmless_for_logs() {
        assert_eq!(describe(&[("a\n".to_owned(), "b\u{1b}".to_owned())]), "a\\n=b\\u{1b} ");
    }
}
