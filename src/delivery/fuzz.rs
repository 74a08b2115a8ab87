//! What bytes from agents reach first, for the fuzzers in `fuzz/`.

use crate::{agent_api::http, net::h2_authority, provider::google::fuzz::PROVIDERS};

/// The query of a request for a token.
pub fn query(text: &str) {
    let _ = http::parse_query(text, &PROVIDERS);
}

/// The beginning of a connection: in whatever pieces it comes, the same passes, and nothing changes its length.
pub fn connection(bytes: &[u8]) {
    let whole = h2_authority::passed([bytes]);
    assert_eq!(whole.len(), bytes.len(), "as many bytes come out as go in");
    let single = h2_authority::passed(bytes.chunks(1));
    assert_eq!(whole, single, "the pieces do not matter");
}
