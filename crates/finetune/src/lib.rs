//! Fine-tuning: the train split of a task and a base model become an adapter; also the loop that pre-trains a base.
//!
//! Knows how to learn, not where anything lies: weights come from `model`, checkpoints and exports leave as named
//! bytes, time is told by the caller.
mod batches;
mod checkpoint;
mod clip;
mod error;
mod guard;
mod learner;
mod optimizer;
mod pretrain;
mod schedule;
mod sink;
mod trainer;

pub use error::Error;
pub use learner::{Gradients, Learner, Loss, Parameters, Sequence};
pub use pretrain::{Pretrain, pretrain};
pub use schedule::Schedule;
pub use sink::{CHECKPOINT, CheckpointSink, InMemory, METRICS, PLAN, SinkError};
pub use trainer::{Outcome, Row, Stop};
