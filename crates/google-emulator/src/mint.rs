//! Tokens that name their own grant under a message authentication code.
//!
//! The server stores grants and not tokens: ten thousand refreshes a second leave nothing behind in
//! memory, and a spent refresh token is recognised as such however long ago it was rotated out.

use aws_lc_rs::{constant_time::verify_slices_are_equal, hmac};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::random;

const ACCESS: &str = "ya29.emu-";
const REFRESH: &str = "1//emu-";
const TAG: usize = 32;

/// What an access token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AccessClaims {
    pub(crate) account: u32,
    /// The account's epoch when the token was issued: a revocation starts the next one.
    pub(crate) epoch: u32,
    pub(crate) scopes: u32,
    /// Unix time in milliseconds.
    pub(crate) expires: i64,
    /// Makes two tokens of the same second differ.
    pub(crate) serial: u64,
}

/// What a refresh token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RefreshClaims {
    pub(crate) grant: u64,
    /// Counts the rotations of the grant.
    pub(crate) generation: u32,
}

/// Writes and reads tokens.
pub(crate) struct Minter(hmac::Key);

impl Minter {
    pub(crate) fn new() -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &random::bytes::<32>()))
    }

    pub(crate) fn access(&self, claims: AccessClaims) -> String {
        let mut payload = Vec::with_capacity(28 + TAG);
        payload.extend(claims.account.to_le_bytes());
        payload.extend(claims.epoch.to_le_bytes());
        payload.extend(claims.scopes.to_le_bytes());
        payload.extend(claims.expires.to_le_bytes());
        payload.extend(claims.serial.to_le_bytes());
        self.seal(ACCESS, payload)
    }

    pub(crate) fn read_access(&self, token: &str) -> Option<AccessClaims> {
        let payload = self.open(ACCESS, token)?;
        let mut rest = payload.as_slice();
        let claims = AccessClaims {
            account: u32::from_le_bytes(take(&mut rest)?),
            epoch: u32::from_le_bytes(take(&mut rest)?),
            scopes: u32::from_le_bytes(take(&mut rest)?),
            expires: i64::from_le_bytes(take(&mut rest)?),
            serial: u64::from_le_bytes(take(&mut rest)?),
        };
        rest.is_empty().then_some(claims)
    }

    pub(crate) fn refresh(&self, claims: RefreshClaims) -> String {
        let mut payload = Vec::with_capacity(12 + TAG);
        payload.extend(claims.grant.to_le_bytes());
        payload.extend(claims.generation.to_le_bytes());
        self.seal(REFRESH, payload)
    }

    pub(crate) fn read_refresh(&self, token: &str) -> Option<RefreshClaims> {
        let payload = self.open(REFRESH, token)?;
        let mut rest = payload.as_slice();
        let grant = u64::from_le_bytes(take(&mut rest)?);
        let generation = u32::from_le_bytes(take(&mut rest)?);
        rest.is_empty().then_some(RefreshClaims { grant, generation })
    }

    fn seal(&self, prefix: &str, mut payload: Vec<u8>) -> String {
        let tag = self.tag(prefix, &payload);
        payload.extend_from_slice(tag.as_ref());
        let mut text = prefix.to_owned();
        BASE64_URL_SAFE_NO_PAD.encode_string(&payload, &mut text);
        text
    }

    fn open(&self, prefix: &str, token: &str) -> Option<Vec<u8>> {
        let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(token.strip_prefix(prefix)?).ok()?;
        let tag = bytes.split_off(bytes.len().checked_sub(TAG)?);
        verify_slices_are_equal(self.tag(prefix, &bytes).as_ref(), &tag).ok()?;
        Some(bytes)
    }

    fn tag(&self, prefix: &str, payload: &[u8]) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(prefix.as_bytes());
        context.update(payload);
        context.sign()
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_was_put_in_and_nothing_can_be_changed() {
        let minter = Minter::new();
        let claims = AccessClaims {
            account: 7,
            epoch: 1,
            scopes: 3,
            expires: 1_700_000_000,
            serial: 9,
        };
        let token = minter.access(claims);
        assert!(token.starts_with("ya29.emu-"));
        assert_eq!(minter.read_access(&token), Some(claims));

        let refresh = RefreshClaims {
            grant: 42,
            generation: 2,
        };
        let token = minter.refresh(refresh);
        assert!(token.starts_with("1//emu-"));
        assert_eq!(minter.read_refresh(&token), Some(refresh));
        assert_eq!(minter.read_access(&token), None);
        assert_eq!(Minter::new().read_refresh(&token), None, "another key");
        let (last, rest) = (token.chars().last().unwrap(), &token[..token.len() - 8]);
        assert_eq!(minter.read_refresh(&format!("{rest}AAAAAAA{last}")), None);
        assert_eq!(minter.read_refresh("1//emu-"), None);
    }
}
