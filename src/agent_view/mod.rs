//! What one agent may see, as one document, and its renderings: `env`, `status.json`, credential files, messages.

pub(crate) mod adc;
pub(crate) mod document;
pub(crate) mod message;
mod plain;
pub(crate) mod render;
pub(crate) mod view;
pub(crate) mod wire;
