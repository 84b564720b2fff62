//! What every step of the pipeline is: its own configuration.
use serde::Serialize;

/// A step. Its fields are its configuration section; with its input they decide its output.
pub trait Step: Serialize {
    /// Subcommand, configuration section and crate.
    const NAME: &'static str;
    /// Raised when results change for the same configuration and input.
    const REVISION: u32;
}
