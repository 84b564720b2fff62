//! x
mod world;
use finetune::*;
#[test]
fn explore() {
    for (mode, lr, epochs) in [
        (Mode::Lora, 3e-3, 100.0),
        (Mode::Lora, 5e-3, 100.0),
        (Mode::Lora, 8e-3, 100.0),
        (Mode::Lora, 5e-3, 200.0),
        (Mode::Full, 3e-3, 40.0),
        (Mode::Full, 5e-3, 40.0),
    ] {
        let s = Finetune {
            mode,
            learning_rate: Some(lr),
            rank: 16,
            alpha: 32.0,
            epochs,
            batch_size: 8,
            validation_share: 0.0,
            ..Finetune::default()
        };
        let m = world::model(s.trainable());
        let ex = s.examples(&world::train_split((0..32).map(|c| world::call(c, 0, c))), &world::chat(), &world::config()).unwrap();
        let plan = s.plan(&ex, &world::config(), None).unwrap();
        let o = s.train(&m, &ex, &plan, &mut InMemory::default(), &record::Silent);
        match o {
            Ok(o) => eprintln!("{mode:?} {lr} {epochs}: {} -> {} steps {}", o.rows[0].loss, o.train_loss, o.steps),
            Err(e) => eprintln!("{mode:?} {lr}: {e}"),
        }
    }
}
