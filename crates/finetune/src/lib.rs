//! Fine-tuning: the train split of a task and a base model become an adapter; also the loop that pre-trains a base.
//!
//! Knows how to learn, not where anything lies: weights come from `model`, checkpoints and exports leave as named
//! bytes, time is told by the caller.
mod agreement;
mod batches;
mod bench;
mod checkpoint;
mod clip;
mod demand;
mod error;
mod events;
mod examples;
mod export;
mod feedback;
mod guard;
mod handover;
mod learner;
mod merge;
mod optimizer;
mod plan;
mod pretrain;
mod run;
mod schedule;
mod settings;
mod shared;
mod sink;
mod soft;
mod spread;
mod sweep;
mod trainer;

pub use agreement::{Agreement, Tolerance};
pub use bench::{Measured, bench, throughput};
pub use demand::Demand;
pub use error::Error;
pub use events::EVENTS;
pub use examples::{Example, Examples};
pub use export::{ADAPTER_CONFIG, ADAPTER_WEIGHTS, Files, adapter, load_adapter};
pub use feedback::Feedback;
pub use handover::{HANDOVER, Manifest, Progressed, Subject, TRAIN, TRAINER_STATE, Trainer, accept};
pub use learner::{Gradients, Learner, Loss, Parameters, Sequence};
pub use plan::{Limit, Plan};
pub use pretrain::{Pretrain, pretrain};
pub use run::{OVER_BUDGET, Origin};
pub use schedule::Schedule;
pub use settings::{Batching, Finetune, Mode, PromptMode};
pub use sink::{CHECKPOINT, CheckpointSink, InMemory, METRICS, PLAN, SinkError};
pub use soft::Softened;
pub use sweep::{SWEEP, Sweep, Trial};
pub use trainer::{Outcome, Row, Stop};
