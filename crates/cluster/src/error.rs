//! What can go wrong while tasks are fitted.

/// Why no tasks could be fitted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The embedder could not read the texts it was given.
    #[error("the embedder failed on {texts} texts")]
    Embed {
        /// How many texts it was given.
        texts: usize,
        /// What it said.
        #[source]
        cause: model::Error,
    },
    /// The embedder answered with another number of vectors than it was given texts.
    #[error("the embedder gave {got} vectors for {expected} texts")]
    EmbedShape {
        /// Vectors expected.
        expected: usize,
        /// Vectors given.
        got: usize,
    },
    /// `linfa` refused its parameters or its data.
    #[error("k-means over {rows} rows into {clusters} clusters failed: {cause}")]
    KMeans {
        /// Rows given.
        rows: usize,
        /// Clusters asked for.
        clusters: usize,
        /// What it said.
        cause: String,
    },
    /// A setting is out of its range.
    #[error("`cluster.{setting}` is {got}: expected {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Value given.
        got: String,
        /// Range of values.
        expected: &'static str,
    },
}
