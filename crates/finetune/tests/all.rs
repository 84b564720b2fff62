//! The crate's integration tests, linked once.
mod choice;
mod fine_tuning;
mod handover;
mod parity;
mod peft;
mod shared;
mod soft;
mod sweep;
mod toy;
mod training_loop;
mod world;
