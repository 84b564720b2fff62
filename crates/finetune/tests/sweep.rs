//! The learning rate is chosen by short runs that leave nothing behind but their losses.
use crate::toy::{Fault, Toy, walk};
use crate::world::{call, chat, config, model, train_split};
use finetune::{ADAPTER_WEIGHTS, CheckpointSink, Error, Examples, Finetune, InMemory, Outcome, Plan, SinkError, Sweep, adapter};
use model::train::TrainModel;
use record::Silent;

fn settings(learning_rate: f64) -> Finetune {
    let learning_rate = Some(learning_rate);
    Finetune { rank: 8, alpha: 16.0, learning_rate, epochs: 100.0, batch_size: 8, checkpoint_every: 8, sweep: true, ..Finetune::default() }
}

/// Calls whose answers follow from their prompts, and the plan of a run over them.
fn given(settings: &Finetune) -> (Examples, Plan) {
    let part = train_split((0..40).map(|c| call(c, 0, c % 4)));
    let settings = Finetune { validation_share: 0.2, ..settings.clone() };
    let examples = settings.examples(&part, &(), &chat(), &config()).expect("usable calls");
    let plan = settings.plan(&examples, &config(), None).expect("a plan");
    (examples, plan)
}

fn weights(learner: &TrainModel) -> Vec<u8> {
    adapter(learner, "tiny").expect("an adapter").remove(ADAPTER_WEIGHTS).expect("weights are among the files")
}

fn swept(settings: &Finetune, sink: &mut dyn CheckpointSink) -> Result<(Sweep, Outcome, Vec<u8>), Error> {
    let (examples, plan) = given(settings);
    let learner = model(settings.trainable());
    let sweep = settings.choose_rate(&learner, &examples, &plan, sink, &Silent)?;
    let (settled, plan) = sweep.settled(settings);
    let outcome = settled.train(&learner, &examples, &plan, sink, &Silent)?;
    Ok((sweep, outcome, weights(&learner)))
}

#[test]
fn the_rate_of_lowest_loss_is_chosen_and_the_run_is_one_with_it_configured() {
    let (sweep, outcome, bytes) = swept(&settings(1e-3), &mut InMemory::default()).expect("a healthy run");
    let rates: Vec<f64> = sweep.trials.iter().map(|trial| trial.learning_rate).collect();
    assert_eq!(rates, [1e-3, 1e-3 * 0.3, 1e-3 * 3.0]);
    assert_eq!(sweep.steps, 20);
    let best = sweep.trials.iter().min_by(|a, b| a.validation_loss.partial_cmp(&b.validation_loss).expect("numbers"));
    assert_eq!(sweep.learning_rate, best.map(|trial| trial.learning_rate));
    assert_eq!(sweep.learning_rate, Some(1e-3 * 3.0), "twenty steps at a low rate learn little");

    let configured = Finetune { learning_rate: sweep.learning_rate, sweep: false, ..settings(1e-3) };
    let (examples, plan) = given(&configured);
    let learner = model(configured.trainable());
    let alone = configured.train(&learner, &examples, &plan, &mut InMemory::default(), &Silent).expect("a healthy run");
    assert_eq!((alone, weights(&learner)), (outcome, bytes));
}

#[test]
fn a_sweep_killed_at_a_write_goes_on_to_the_same_bytes() {
    /// Dies at one of its writes.
    struct Dying(InMemory, u32);
    impl CheckpointSink for Dying {
        fn save(&mut self, name: &str, bytes: &[u8]) -> Result<(), SinkError> {
            self.1 = self.1.checked_sub(1).ok_or("killed")?;
            self.0.save(name, bytes)
        }
        fn load(&mut self, name: &str) -> Result<Option<Vec<u8>>, SinkError> {
            self.0.load(name)
        }
    }
    let mut calm = Dying(InMemory::default(), u32::MAX);
    let whole = swept(&settings(1e-3), &mut calm).expect("a healthy run");
    let writes = u32::MAX - calm.1;
    assert!(writes > 25, "{writes}");
    for survived in (0..writes).step_by(3) {
        let mut dying = Dying(InMemory::default(), survived);
        swept(&settings(1e-3), &mut dying).expect_err("killed");
        let again = swept(&settings(1e-3), &mut dying.0).expect("a healthy run");
        assert_eq!(again, whole, "after {survived} writes");
        assert_eq!(dying.0.0, calm.0.0, "after {survived} writes");
    }
}

#[test]
fn a_rate_that_diverges_is_noted_and_not_chosen() {
    let settings = settings(0.1);
    let (mut examples, plan) = given(&settings);
    for (start, example) in (0..).zip(examples.train.iter_mut().chain(&mut examples.validation)) {
        example.sequence = walk(start, 6);
    }
    // two trials of twenty steps are healthy
    let learner = Toy::new(Fault::NotANumber(45));
    let before = learner.bits();
    let sweep = settings.choose_rate(&learner, &examples, &plan, &mut InMemory::default(), &Silent).expect("a sweep");
    let healthy: Vec<bool> = sweep.trials.iter().map(|trial| trial.validation_loss.is_some()).collect();
    assert_eq!(healthy, [true, true, false]);
    assert_eq!(sweep.learning_rate, Some(0.1));
    assert_eq!(learner.bits(), before);
}

#[test]
fn without_a_validation_part_the_rate_stays() {
    let settings = settings(1e-3);
    let (mut examples, plan) = given(&settings);
    examples.validation.clear();
    let sweep = settings.choose_rate(&model(settings.trainable()), &examples, &plan, &mut InMemory::default(), &Silent).expect("no trial");
    assert_eq!((sweep.trials.len(), sweep.learning_rate), (0, Some(1e-3)));
    let refused = Finetune { validation_share: 0.0, ..settings }.check().expect_err("nothing to choose by");
    assert!(refused.to_string().contains("`sweep`"), "{refused}");
}

#[test]
fn minutes_pay_for_the_trials_too() {
    let settings = Finetune { train_minutes: Some(1.0), epochs: 1e4, ..settings(1e-3) };
    let (examples, _) = given(&Finetune { train_minutes: None, epochs: 1.0, ..settings.clone() });
    let steps = |settings: &Finetune| settings.plan(&examples, &config(), Some(1e3)).expect("a plan").steps;
    let (with, without) = (steps(&settings), steps(&Finetune { sweep: false, ..settings.clone() }));
    assert!((with * 8).abs_diff(without * 5) <= 8, "{with} of {without}");
}
