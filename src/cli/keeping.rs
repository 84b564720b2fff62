//! Arguments of what tends the store itself: forgetting, keys, retention.
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use serde::Serialize;

use super::DryRun;

/// Arguments of `forget`.
#[derive(Debug, Args)]
#[command(
    group = ArgGroup::new("subject").required(true),
    after_help = "Removed are the calls with their raw and clean bodies, columns and predictions, rejected rows whose text holds the ID as a word, and \
    quotes of these calls in kept results; then the database file is written anew, so that no byte of it is left there. Later imports keep out \
    what was forgotten, and new calls of the same person, conversation or client too. \
    Adapters and exported datasets that were made from these calls are listed and left as they are, as are backups and copies of the store. \
    Needs the curator and the collector key."
)]
pub struct ForgetArgs {
    /// Every call that names this person in a field (`client_id`; `user`, `safety_identifier`, `metadata.user_id` of the request; tags such as `user_id`, `end_user` or `customer_id`), each with its whole conversation. A name in the text of somebody else's call is not looked for: scrub replaces those
    #[arg(long, value_name = "ID", group = "subject")]
    pub person: Option<String>,
    /// One conversation (`conversation_id`)
    #[arg(long, value_name = "ID", group = "subject")]
    pub conversation: Option<String>,
    /// Every call made for this client (`client_id`: tenant, user, API key)
    #[arg(long, value_name = "ID", group = "subject")]
    pub client: Option<String>,
    /// Whether to write
    #[command(flatten)]
    pub dry: DryRun,
}

/// Arguments of `key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do
    #[command(subcommand)]
    pub what: KeyCommand,
}

/// What can be done with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Prints who reads what: the public keys that bodies are sealed for, the origin secrets by name, and which key files are here
    List,
    /// Makes a new secret for hashing origins, conversations and source ids; what is stored is still found by the older ones
    Rotate,
    /// Lets one more age public key read what a role reads, and seals everything stored anew for it
    Add {
        /// Whose bodies it may read
        #[arg(value_enum)]
        role: Reader,
        /// Its public key (`age1…`; `# public key:` in the reader's key file)
        key: String,
    },
    /// Takes a key from a role's readers and seals everything stored anew without it; copies made before stay readable for its holder
    Remove {
        /// Whose bodies it must read no more
        #[arg(value_enum)]
        role: Reader,
        /// Its public key
        key: String,
    },
    /// Writes `collector.key` (public keys and origin secrets: appends, reads nothing) for a machine that only collects
    Export {
        /// The folder to write it to
        folder: PathBuf,
    },
}

/// A role that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Reader {
    /// Raw and clean calls, rejects, results
    Curator,
    /// Clean calls and results
    Trainer,
    /// The audit trail, what is written of it from now on
    Auditor,
}

/// Arguments of `compact`.
#[derive(Debug, Args)]
pub struct CompactArgs {
    /// How long raw text is kept
    #[command(flatten)]
    pub flags: CompactFlags,
    /// Drops old raw calls even where no clean copy was ever made of them
    #[arg(long)]
    pub even_unscrubbed: bool,
    /// Whether to write
    #[command(flatten)]
    pub dry: DryRun,
}

/// Flags of the section `store`.
#[derive(Clone, Debug, Default, Args, Serialize)]
pub struct CompactFlags {
    /// Days that raw calls and rejected rows stay in the store after they came; 0 keeps them for ever
    #[arg(long, value_name = "DAYS")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_raw_days: Option<u32>,
}
