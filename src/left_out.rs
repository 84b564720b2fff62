//! What of a task's train calls was not learnt from, in words. Knows counts, not calls.
use finetune::{Examples, Plan};
use record::{Adapter, TooLong, Unseen};
use report::number;

/// Everything that is known of it.
pub struct LeftOut<'a> {
    /// Calls by reason.
    reasons: &'a [(String, u64)],
    too_long: Option<&'a TooLong>,
    over_budget: Option<&'a Unseen>,
    repeats: u64,
}

impl<'a> LeftOut<'a> {
    /// Of a finished run.
    pub fn of(adapter: &'a Adapter) -> Self {
        let Adapter { left_out, too_long, over_budget, repeats, .. } = adapter;
        Self { reasons: left_out, too_long: too_long.as_ref(), over_budget: over_budget.as_ref(), repeats: *repeats }
    }

    /// Of a planned one.
    pub fn planned(examples: &'a Examples, plan: &'a Plan) -> Self {
        let Examples { left_out, too_long, repeats, .. } = examples;
        Self { reasons: left_out, too_long: too_long.as_ref(), over_budget: Some(&plan.over_budget), repeats: *repeats }
    }

    /// A sentence for each thing worth knowing, without its full stop.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for (why, count) in self.reasons.iter().filter(|(why, count)| *count > 0 && why != finetune::OVER_BUDGET) {
            words.push(format!("{} train calls {why} were not trained on", number(*count)));
        }
        words.extend(self.too_long.map(ToString::to_string));
        if let Some(unseen) = self.over_budget.filter(|unseen| unseen.calls > 0) {
            words.push(format!(
                "the budget leaves {} calls unseen: {} tokens, and all of {} conversations",
                number(unseen.calls),
                number(unseen.tokens),
                number(unseen.conversations)
            ));
        }
        if self.repeats > 0 {
            words.push(format!(
                "{} of the calls learnt nearly repeat prompts that are held out or calibrated on, which is most of them: the task's traffic \
                 repeats itself, and its agreement is that on such traffic",
                number(self.repeats)
            ));
        }
        words
    }
}
