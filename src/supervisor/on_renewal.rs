//! What a new token means for a command that runs.

use rustix::process::Signal;

use super::signals;

/// What to do with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnRenewal {
    Nothing,
    Signal(Signal),
    Restart,
}

impl OnRenewal {
    /// Reads `nothing`, `signal`, `signal:USR1` or `restart`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "nothing" => Ok(Self::Nothing),
            None if text == "signal" => Ok(Self::Signal(Signal::HUP)),
            None if text == "restart" => Ok(Self::Restart),
            Some(("signal", name)) => signals::parse(name).map(Self::Signal),
            _ => Err("write `nothing`, `signal`, `signal:NAME` or `restart`".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_to_do_on_renewal_is_read_as_it_is_typed() {
        for (text, expected) in [
            ("nothing", OnRenewal::Nothing),
            ("signal", OnRenewal::Signal(Signal::HUP)),
            ("signal:HUP", OnRenewal::Signal(Signal::HUP)),
            ("signal:sigusr1", OnRenewal::Signal(Signal::USR1)),
            ("restart", OnRenewal::Restart),
        ] {
            assert_eq!(OnRenewal::parse(text), Ok(expected), "{text}");
        }
        for wrong in [
            "",
            "restart:HUP",
            "signal:",
            "signal:KILL",
            "signal:FOO",
            "reload",
        ] {
            assert!(OnRenewal::parse(wrong).is_err(), "{wrong}");
        }
        let told = OnRenewal::parse("signal:FOO").unwrap_err();
        assert!(told.contains("FOO") && told.contains("USR1"), "{told}");
    }
}
