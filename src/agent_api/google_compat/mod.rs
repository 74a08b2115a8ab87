//! What Google's own client libraries ask when nobody told them about a broker: a GCE metadata server, and the
//! token endpoint that a credential file names.
//!
//! Both follow what the libraries do, as their sources say it. A refusal is worded and numbered so that they fail
//! with our sentence instead of asking on.

pub(crate) mod metadata;
mod metadata_port;
mod metadata_tree;
mod token_endpoint;
mod wanted;

pub use metadata_port::{MetadataSource, serve as serve_metadata};
pub(crate) use metadata_port::{alone, port_objection};
pub use token_endpoint::serve as serve_token_endpoint;
