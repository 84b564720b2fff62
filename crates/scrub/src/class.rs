//! What kinds of personal data and secrets there are, how they were found, and what is done with them.
use serde::{Deserialize, Serialize};

/// A kind of personal data or secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A block of a PEM private key.
    PrivateKey,
    /// `user:password` in an address.
    UrlCredentials,
    /// A signed token (RFC 7519).
    Jwt,
    /// A key of a known service.
    ApiKey,
    /// A password or token known by its key.
    Password,
    /// A payment card number.
    Card,
    /// An international bank account number.
    Iban,
    /// A US social security number.
    Ssn,
    /// An e-mail address.
    Email,
    /// An IP address that can belong to somebody.
    Ip,
    /// A telephone number.
    Phone,
    /// Street and house number.
    Street,
    /// A city in a postal address.
    City,
    /// A postal code.
    Zip,
    /// A date of birth.
    BirthDate,
    /// A person's name, or a user name made of one.
    Name,
}

impl Class {
    /// Name in counts and labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::PrivateKey => "private_key",
            Self::UrlCredentials => "url_credentials",
            Self::Jwt => "jwt",
            Self::ApiKey => "api_key",
            Self::Password => "password",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Ssn => "ssn",
            Self::Email => "email",
            Self::Ip => "ip",
            Self::Phone => "phone",
            Self::Street => "street",
            Self::City => "city",
            Self::Zip => "zip",
            Self::BirthDate => "birth_date",
            Self::Name => "name",
        }
    }

    /// Whether it opens a door. Secrets get a fixed dummy: random text would teach a model to invent keys.
    #[must_use]
    pub const fn is_secret(self) -> bool {
        matches!(self, Self::PrivateKey | Self::UrlCredentials | Self::Jwt | Self::ApiKey | Self::Password)
    }

    /// Whether a value found once is replaced wherever it stands in the conversation. A city is not: elsewhere it is
    /// what the talk is about.
    pub(crate) const fn spreads(self) -> bool {
        !matches!(self, Self::City)
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// How a value was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Its JSON key says so.
    Key,
    /// Its shape, and check digits or ranges hold.
    Checksum,
    /// Its shape alone.
    Pattern,
    /// Its shape and the words before it.
    Context,
    /// It was found elsewhere in the conversation.
    Copy,
}

impl Method {
    /// Name in counts and labels.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Checksum => "checksum",
            Self::Pattern => "pattern",
            Self::Context => "context",
            Self::Copy => "copy",
        }
    }

    /// How sure the method is, 0 to 1.
    pub(crate) const fn score(self) -> f64 {
        match self {
            Self::Checksum => 1.0,
            Self::Key => 0.95,
            Self::Pattern => 0.9,
            Self::Copy => 0.85,
            Self::Context => 0.8,
        }
    }
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.label())
    }
}

/// What is done with a value that was found. Secrets are never surrogates: they become a fixed dummy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Policy {
    /// A made-up value of the same shape, the same for the whole conversation.
    #[default]
    Surrogate,
    /// A numbered tag: `[[EMAIL_1]]`.
    Tag,
    /// Stars for letters and digits.
    Mask,
    /// Left as it is.
    Keep,
}
