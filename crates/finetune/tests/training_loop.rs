//! The loop on a learner of a few numbers: it learns, resumes bit by bit, and stops where it must.
#![expect(clippy::cast_possible_truncation, clippy::cast_precision_loss, reason = "small numbers of a test")]
use crate::toy::{Fault, Toy, walk};
use finetune::{CHECKPOINT, CheckpointSink, Error, InMemory, Learner, Outcome, Pretrain, Schedule, Sequence, pretrain};
use record::Silent;

fn windows(step: u64) -> Vec<Sequence> {
    (0..6).map(|i| walk((step * 11 + i * 5) as u32, 4 + (i as usize * 3 + step as usize) % 7)).collect()
}

fn settings(steps: u64) -> Pretrain {
    let schedule = Schedule::WarmupStableDecay { warmup: 5, decay_from: 40, steps: 60 };
    Pretrain { learning_rate: 0.1, schedule, checkpoint_every: 7, weight_decay: 0.0, micro_tokens: 20, ..Pretrain::new(steps) }
}

fn run(learner: &Toy, steps: u64, sink: &mut dyn CheckpointSink) -> Result<Outcome, Error> {
    pretrain(learner, &mut windows, &[walk(3, 9)], &settings(steps), sink, &Silent)
}

#[test]
fn it_learns_what_can_be_learnt() {
    let learner = Toy::new(Fault::None);
    let outcome = run(&learner, 60, &mut InMemory::default()).expect("a healthy run");
    let (first, last) = (outcome.rows[0].loss, outcome.train_loss);
    assert!((first - (crate::toy::VOCABULARY as f64).ln()).abs() < 1e-5, "an untrained table guesses evenly: {first}");
    assert!(last < 0.3, "{last}");
    assert!(outcome.validation_loss < outcome.first_validation_loss);
}

#[test]
fn a_resumed_run_ends_in_the_same_bytes() {
    let (whole, broken) = (Toy::new(Fault::None), Toy::new(Fault::None));
    let mut kept = InMemory::default();
    let unbroken = run(&whole, 20, &mut kept).expect("a healthy run");

    let mut sink = InMemory::default();
    run(&broken, 10, &mut sink).expect("the first half");
    let fresh = Toy::new(Fault::None);
    let resumed = run(&fresh, 20, &mut sink).expect("the second half");

    assert_eq!(fresh.bits(), whole.bits());
    // the run that stopped at 10 looked at its validation part there; all else is the same
    assert_eq!(
        resumed.rows.iter().map(|row| row.loss.to_bits()).collect::<Vec<_>>(),
        unbroken.rows.iter().map(|row| row.loss.to_bits()).collect::<Vec<_>>()
    );
    assert_eq!(resumed.metrics().lines().count(), 20);
}

#[test]
fn a_run_killed_between_checkpoints_loses_only_the_steps_since() {
    /// Fails like a full disk on the third checkpoint.
    struct Failing(InMemory, u32);
    impl CheckpointSink for Failing {
        fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), finetune::SinkError> {
            self.1 += u32::from(name == CHECKPOINT);
            if self.1 == 3 { Err("the disk is full".into()) } else { self.0.save(name, bytes) }
        }
        fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, finetune::SinkError> {
            self.0.load(name)
        }
    }
    let mut failing = Failing(InMemory::default(), 0);
    let error = run(&Toy::new(Fault::None), 30, &mut failing).expect_err("the sink fails");
    assert!(matches!(&error, Error::Sink { name, .. } if name == CHECKPOINT), "{error}");

    let (whole, resumed) = (Toy::new(Fault::None), Toy::new(Fault::None));
    run(&whole, 30, &mut InMemory::default()).expect("a healthy run");
    run(&resumed, 30, &mut failing.0).expect("goes on from step 14");
    assert_eq!(resumed.bits(), whole.bits());
}

#[test]
fn micro_batches_change_no_result_but_rounding() {
    let one = Toy::new(Fault::None);
    let many = Toy::new(Fault::None);
    let all = Pretrain { micro_tokens: 1_000_000, ..settings(15) };
    let few = Pretrain { micro_tokens: 1, ..settings(15) };
    let a = pretrain(&one, &mut windows, &[], &all, &mut InMemory::default(), &Silent).expect("a healthy run");
    let b = pretrain(&many, &mut windows, &[], &few, &mut InMemory::default(), &Silent).expect("a healthy run");
    let worst = a.rows.iter().zip(&b.rows).map(|(a, b)| (a.loss - b.loss).abs()).fold(0.0, f64::max);
    assert!(worst < 1e-4, "{worst}");
}

#[test]
fn a_hidden_gradient_fails_the_run_by_name() {
    let error = run(&Toy::new(Fault::Hidden), 20, &mut InMemory::default()).expect_err("A never learns");
    assert!(matches!(&error, Error::MissingGradient { name, step: 2 } if name == "table.lora_A.weight"), "{error}");
}

#[test]
fn overflow_and_explosion_stop_with_a_cause() {
    let error = run(&Toy::new(Fault::NotANumber(9)), 20, &mut InMemory::default()).expect_err("the loss is no number");
    assert!(matches!(error, Error::NotFinite { what: "loss", .. }), "{error}");
    assert!(error.to_string().contains("learning_rate"), "{error}");

    let wild = Pretrain { learning_rate: 30.0, clip: 0.0, ..settings(60) };
    let learner = Toy::new(Fault::None);
    let error = pretrain(&learner, &mut windows, &[], &wild, &mut InMemory::default(), &Silent).expect_err("far too fast");
    assert!(matches!(error, Error::Exploded { .. } | Error::NotFinite { .. }), "{error}");
}

#[test]
fn a_damaged_checkpoint_is_named() {
    let mut sink = InMemory::default();
    run(&Toy::new(Fault::None), 10, &mut sink).expect("a healthy run");
    let bytes = sink.0.get_mut(CHECKPOINT).expect("a checkpoint was kept");
    bytes.truncate(bytes.len() / 2);
    assert!(run(&Toy::new(Fault::None), 20, &mut sink).is_err());
}

#[test]
fn parameters_are_trained_at_all() {
    let learner = Toy::new(Fault::None);
    let before = learner.bits();
    run(&learner, 3, &mut InMemory::default()).expect("a healthy run");
    let changed = before.iter().zip(learner.bits()).filter(|(a, b)| *a != b).count();
    assert!(changed > before.len() / 2, "{changed} of {}", learner.parameters().values().map(|v| v.elem_count()).sum::<usize>());
}
