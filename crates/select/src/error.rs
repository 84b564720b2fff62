//! What can go wrong while candidates are selected or prices read.

/// Why a catalogue, a price list or a setting could not be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is no catalogue.
    #[error("`{name}` is no model catalogue: {cause}")]
    Catalogue {
        /// Name of the file.
        name: String,
        /// What the parser said.
        cause: serde_json::Error,
    },
    /// The text is no price list.
    #[error("`{name}` is no price list: {cause}")]
    Prices {
        /// Name of the file.
        name: String,
        /// What the parser said.
        cause: String,
    },
    /// A size of memory cannot be read.
    #[error("`{got}` is no size: expected a number of bytes or one with a unit, such as `8GiB` or `500MB`")]
    Size {
        /// The text.
        got: String,
    },
    /// A setting is out of its range.
    #[error("`select.{setting}` is {got}: expected {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Value given.
        got: String,
        /// Range of values.
        expected: &'static str,
    },
}
