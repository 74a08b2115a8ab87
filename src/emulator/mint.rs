//! Tokens that name their own grant under a message authentication code.
//!
//! The server stores grants and not tokens: ten thousand refreshes a second leave nothing behind in
//! memory, and a spent refresh token is recognised as such however long ago it was rotated out.

use aws_lc_rs::hmac;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

use crate::{
    entropy::Entropy,
    secret::{AccessToken, RefreshToken},
};

const ACCESS: &str = "ya29.emu-";
const REFRESH: &str = "1//emu-";
const TAG: usize = 32;

/// What an access token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AccessClaims {
    pub(super) account: u32,
    /// The account's epoch when the token was issued: a revocation starts the next one.
    pub(super) epoch: u32,
    pub(super) scopes: u32,
    /// Unix time in milliseconds.
    pub(super) expires: i64,
    /// Makes two tokens of the same second differ.
    pub(super) serial: u64,
}

/// What a refresh token says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RefreshClaims {
    pub(super) grant: u64,
    /// Counts the rotations of the grant.
    pub(super) generation: u32,
}

/// Writes and reads tokens.
pub(super) struct Minter(hmac::Key);

impl Minter {
    pub(super) fn new(entropy: &dyn Entropy) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, &entropy.bytes::<32>()))
    }

    pub(super) fn access(&self, claims: AccessClaims) -> AccessToken {
        let mut payload = Vec::with_capacity(28 + TAG);
        payload.extend(claims.account.to_le_bytes());
        payload.extend(claims.epoch.to_le_bytes());
        payload.extend(claims.scopes.to_le_bytes());
        payload.extend(claims.expires.to_le_bytes());
        payload.extend(claims.serial.to_le_bytes());
        AccessToken::from(self.seal(ACCESS, payload))
    }

    pub(super) fn read_access(&self, token: &str) -> Option<AccessClaims> {
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

    pub(super) fn refresh(&self, claims: RefreshClaims) -> RefreshToken {
        let mut payload = Vec::with_capacity(12 + TAG);
        payload.extend(claims.grant.to_le_bytes());
        payload.extend(claims.generation.to_le_bytes());
        RefreshToken::from(self.seal(REFRESH, payload))
    }

    pub(super) fn read_refresh(&self, token: &str) -> Option<RefreshClaims> {
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
        let good: bool = subtle::ConstantTimeEq::ct_eq(self.tag(prefix, &bytes).as_ref(), &tag[..]).into();
        good.then_some(bytes)
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
    use crate::entropy::SystemEntropy;

    #[test]
    fn a_token_says_what_was_put_in_and_nothing_can_be_changed() {
        let minter = Minter::new(&SystemEntropy);
        let claims = AccessClaims {
            account: 7,
            epoch: 1,
            scopes: 3,
            expires: 1_700_000_000,
            serial: 9,
        };
        let token = minter.access(claims);
        assert!(token.expose().starts_with("ya29.emu-"));
        assert_eq!(minter.read_access(token.expose()), Some(claims));

        let refresh = RefreshClaims {
            grant: 42,
            generation: 2,
        };
        let token = minter.refresh(refresh).expose().to_owned();
        assert!(token.starts_with("1//emu-"));
        assert_eq!(minter.read_refresh(&token), Some(refresh));
        assert_eq!(minter.read_access(&token), None);
        assert_eq!(
            Minter::new(&SystemEntropy).read_refresh(&token),
            None,
            "another key"
        );
        let (last, rest) = (token.chars().last().unwrap(), &token[..token.len() - 8]);
        assert_eq!(minter.read_refresh(&format!("{rest}AAAAAAA{last}")), None);
        assert_eq!(minter.read_refresh("1//emu-"), None);
    }
}
