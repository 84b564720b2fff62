//! The nouns of slm-migrate and the seams between its steps.
//!
//! Every other crate speaks in these types. Nothing here reads a disk, a clock or a socket, and no
//! type does more than keep its own invariants: what a clean call is, to which split a conversation
//! belongs, when two artifacts are the same.
mod adapter;
mod call;
mod candidate;
mod clean;
mod fingerprint;
mod left_out;
mod logprob;
mod message;
mod reject;
mod route;
mod score;
mod seam;
mod shared;
mod split;
mod step;
mod task;
mod time;

pub use adapter::Adapter;
pub use call::{Call, Request, Response, Usage};
pub use candidate::Candidate;
pub use clean::{Clean, Prompt};
pub use fingerprint::Fingerprint;
pub use left_out::{TooLong, Unseen};
pub use logprob::Logprob;
pub use message::{Message, Tool, ToolCall};
pub use reject::Reject;
pub use route::{Route, RoutingTable, Target};
pub use score::{Contender, Decision, Metric, Score, Verdict};
pub use seam::{Assigner, PredictError, Prediction, Predictor, Progress, Recorder, Silent, Withheld};
pub use shared::{Dropped, Shared, tool_identity};
pub use split::{Calibration, Held, Part, Parts, Shares, Split, Train, split};
pub use step::Step;
pub use task::{Assignment, Task, TaskId, TaskKind};
pub use time::Time;
