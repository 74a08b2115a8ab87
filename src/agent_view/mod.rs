//! What one agent may see, and its renderings: `env`, `status.json`, credential files, messages.

pub(crate) mod adc;
pub(crate) mod message;
pub(crate) mod render;
