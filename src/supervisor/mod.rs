//! Runs another program with an agent's token: in this process's place, or as a child that is supervised as an init does
//! it.

mod child;
mod echo;
mod interpreter;
mod on_renewal;
mod process_one;
mod renewals;
mod signals;
mod supervise;

pub(crate) use child::replace;
pub(crate) use echo::Echoes;
pub(crate) use on_renewal::OnRenewal;
pub(crate) use process_one::end_by_signals;
pub(crate) use signals::Signals;
pub(crate) use supervise::{Orders, supervise};
