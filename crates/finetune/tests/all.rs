//! The crate's integration tests, linked once.
mod choice;
mod fine_tuning;
mod handover;
mod parity;
mod peft;
mod sweep;
mod toy;
mod training_loop;
mod world;
