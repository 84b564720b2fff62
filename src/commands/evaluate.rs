//! `evaluate`: contenders answer the held-out calls, and each task gets its verdict.
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use evaluate::{Divergent, Evaluate, Evidence, Judged, Rules, divergent, majority};
use gateway::Endpoint;
use model::Settings;
use record::{
    Adapter, Calibration, Candidate, Contender, Dropped, Fingerprint, Held, Part, Parts, Prediction, Predictor, Score, Step, Task, Train,
    Verdict,
};
use serde::{Deserialize, Serialize};
use store::Store;

use crate::cli::EvaluateArgs;
use crate::commands::finetune::{Trained, bases};
use crate::commands::{adapter, gates};
use crate::context::Context;
use crate::error::hinted;
use crate::models::Base;
use crate::tasks::choose;
use crate::{costs, parts, run, summary, teacher};

/// What judging one task leaves.
#[derive(Debug, Serialize, Deserialize)]
pub struct Evaluated {
    /// All contenders' scores.
    pub scores: Vec<Score>,
    /// The decision.
    pub verdict: Verdict,
    /// The held-out answers of the best contender beside the logged ones, where they differ.
    pub answers: Vec<Divergent>,
    /// Whose answers are the reference; empty where all are.
    pub teachers: Vec<String>,
}

/// What predictions depend on besides model and calls.
#[derive(Serialize)]
struct Predict {
    max_new_tokens: usize,
}

impl Step for Predict {
    const NAME: &'static str = "predict";
    const REVISION: u32 = 3;
}

pub fn command(context: &Context, args: &EvaluateArgs) -> anyhow::Result<ExitCode> {
    let store = context.open()?;
    let run = run::current(context, &store)?;
    let tasks: Vec<Task> = run::get(&store, Some(&run), "tasks")?;
    let chosen: Vec<Task> = choose(&tasks, &args.task)?.into_iter().cloned().collect();
    let external = external(context, args)?;
    let evaluated = match external {
        Some(mut predictor) => {
            chosen.iter().map(|task| judge_external(context, &store, task, predictor.as_mut())).collect::<Result<Vec<_>, _>>()?
        }
        None => {
            let candidates: Vec<Candidate> = run::get(&store, Some(&run), "candidates")?;
            let mut trained = adapter::in_force(context, &store, &run, &chosen)?;
            let here: Vec<Task> = chosen.iter().filter(|task| trained.iter().all(|t| t.adapter.task != task.task)).cloned().collect();
            trained.extend(crate::commands::finetune::step(context, &store, &here, &candidates)?);
            step(context, &store, &chosen, &candidates, &trained)?
        }
    };
    keep(&store, &run, &evaluated)?;
    let report = summary::report(context, &store, &run)?;
    run::put(&store, &run, "report", &report)?;
    context.ui.rows("verdicts", &evaluated, &["task", "candidate", "agreement", "verdict"], |one| {
        let name = chosen.iter().find(|t| t.task == one.verdict.task).map_or_else(String::new, |t| t.name.clone());
        let score = one.verdict.score.as_ref().and_then(|s| s.score).map_or_else(|| "–".into(), |s| format!("{s:.3}"));
        vec![name, one.verdict.candidate.clone().unwrap_or_else(|| "–".into()), score, one.verdict.decision.to_string()]
    })?;
    gates::pass(context, &args.gates, &report)
}

/// Keeps scores, verdicts and divergent answers of a run; those of tasks not judged now stay.
///
/// # Errors
/// When the store refuses.
pub fn keep(store: &Store, run: &str, evaluated: &[Evaluated]) -> anyhow::Result<()> {
    let judged = |task: &record::TaskId| evaluated.iter().any(|e| e.verdict.task == *task);
    let mut scores: Vec<Score> = run::own(store, run, "scores")?;
    scores.retain(|score| !judged(&score.task));
    scores.extend(evaluated.iter().flat_map(|e| e.scores.clone()));
    run::put(store, run, "scores", &scores)?;
    let mut verdicts: Vec<Verdict> = run::own(store, run, "verdicts")?;
    verdicts.retain(|verdict| !judged(&verdict.task));
    verdicts.extend(evaluated.iter().map(|e| e.verdict.clone()));
    run::put(store, run, "verdicts", &verdicts)?;
    let answers: Vec<_> = evaluated.iter().map(|e| serde_json::json!({"task": e.verdict.task, "rows": e.answers})).collect();
    run::put(store, run, "answers", &answers)
}

/// Judges every task's trained models, each task a unit of its own.
///
/// # Errors
/// When a model cannot answer at all; tasks judged before stay judged.
pub fn step(
    context: &Context,
    store: &Store,
    tasks: &[Task],
    candidates: &[Candidate],
    trained: &[Trained],
) -> anyhow::Result<Vec<Evaluated>> {
    let mut all = Vec::new();
    if context.config.device.0 != "cpu" {
        context.ui.status("evaluate  answers are generated on the CPU; `device` is where models are trained");
    }
    for task in tasks {
        let own: Vec<_> = trained.iter().filter(|t| t.adapter.task == task.task).collect();
        let one = Judge::new(context, store, task)?.trained(&own, candidates).with_context(|| format!("cannot judge `{}`", task.name))?;
        context.ui.status(&format!("evaluate  `{}`: {}, {}", task.name, one.verdict.decision, one.verdict.reason));
        all.push(one);
    }
    Ok(all)
}

/// One task while it is judged.
pub struct Judge<'a> {
    context: &'a Context,
    store: &'a Store,
    task: &'a Task,
    parts: Parts,
    rules: Rules,
    teachers: Vec<String>,
}

impl<'a> Judge<'a> {
    /// Loads the calls of a task that its teacher answered.
    ///
    /// # Errors
    /// When the store refuses.
    pub fn new(context: &'a Context, store: &'a Store, task: &'a Task) -> anyhow::Result<Self> {
        let all = parts::of_task(context, store, &task.task)?;
        let teachers = teacher::of(context, &all);
        let parts = teacher::answered(&all, &teachers);
        let rules = context.config.evaluate.rules(task, &parts.train);
        Ok(Self { context, store, task, parts, rules, teachers })
    }

    fn config(&self) -> &Evaluate {
        &self.context.config.evaluate
    }

    /// Successes and trials of a deployed adapter on held-out conversations stored after position
    /// `since`, one call of each.
    ///
    /// # Errors
    /// When the model cannot be loaded or the store refuses.
    pub fn fresh(&self, adapter: &Adapter, since: u64) -> anyhow::Result<(u64, u64)> {
        let mut new = std::collections::BTreeSet::new();
        for call in self.parts.held.iter() {
            if self.store.position_of(&call.source_id)?.is_some_and(|position| position > since) {
                new.insert(call.source_id.clone());
            }
        }
        let held = self.parts.held.filter(|call| new.contains(&call.source_id));
        let base = Base::named(self.context, &adapter.model)?;
        let folder = self.store.artifact_folder(&adapter.folder)?;
        let predictions = self.local(&base, Some(&(folder, adapter.fingerprint.clone())), &held)?;
        let judged = self.judge(&held, (&adapter.model, Contender::Tuned), &predictions)?;
        Ok(judged.per_conversation(self.config().seed))
    }

    /// Of calls of the train split those that a trained model answers otherwise than the log.
    ///
    /// # Errors
    /// When the model cannot be loaded or the store refuses.
    pub fn mistakes(&self, adapter: &Adapter, part: &Part<Train>) -> anyhow::Result<Part<Train>> {
        let base = Base::named(self.context, &adapter.model)?;
        let folder = self.store.artifact_folder(&adapter.folder)?;
        let predictions = self.local(&base, Some(&(folder, adapter.fingerprint.clone())), part)?;
        self.unlike(part, &predictions)
    }

    /// Of calls of the train split those whose predictions are not what the log has, as far as a verdict would count it.
    ///
    /// # Errors
    /// When there are not as many predictions as calls.
    pub fn unlike(&self, part: &Part<Train>, predictions: &[Prediction]) -> anyhow::Result<Part<Train>> {
        let judged = self.judge(part, ("train", Contender::External), predictions)?;
        let mut rows = judged.rows.iter();
        Ok(part.filter(|_| rows.next().is_some_and(|row| row.score < 1.0)))
    }

    fn trained(&self, trained: &[&Trained], candidates: &[Candidate]) -> anyhow::Result<Evaluated> {
        let inputs: Vec<_> = trained.iter().map(|t| &t.adapter.fingerprint).collect();
        let data = parts::fingerprint(&self.parts);
        let unit = Fingerprint::of(self.config(), &[&[&data][..], &inputs].concat());
        if let Some(value) = self.store.unit_value(&unit)? {
            return Ok(serde_json::from_value(value)?);
        }
        let label = format!("{} {}", self.task.task, parts::fingerprint_of(&self.parts.held).short());
        let looks = 1 + self.store.units(Evaluate::NAME)?.iter().filter(|done| done.label == label).count();
        let mut contenders = Vec::new();
        for one in trained {
            let base = Base::named(self.context, &one.adapter.model)?;
            let folder = self.store.artifact_folder(&one.adapter.folder)?;
            let how = if one.adapter.rank == 0 { "tuned whole" } else { "+ adapter" };
            let name = format!("{} {how} {}", base.name, one.adapter.fingerprint.short());
            contenders.push((name, base, Some((folder, one.adapter.fingerprint.clone()))));
        }
        let mut calibrated: Vec<Judged<Calibration>> = Vec::new();
        for (name, base, adapter) in &contenders {
            let predictions = self.local(base, adapter.as_ref(), &self.parts.calibration)?;
            calibrated.push(self.judge(&self.parts.calibration, (name, Contender::Tuned), &predictions)?);
        }
        let best = self.config().choose(&calibrated);
        let mut held = None;
        if let Some(index) = best {
            let (name, base, adapter) = &contenders[index];
            let predictions = self.local(base, adapter.as_ref(), &self.parts.held)?;
            let judged = self.judge(&self.parts.held, (name, Contender::Tuned), &predictions)?;
            held = Some((judged, predictions, base.clone(), trained[index].adapter.dropped.clone()));
        }
        let untouched = match &held {
            Some((_, _, base, _)) => Some(base.clone()),
            None => bases(self.context, self.task, candidates)?.into_iter().next(),
        };
        let mut baselines = Vec::new();
        if let Some(base) = untouched {
            let predictions = self.local(&base, None, &self.parts.held)?;
            let name = format!("{} untouched", base.name);
            baselines.push(self.judge(&self.parts.held, (&name, Contender::Base), &predictions)?.score);
        }
        baselines.push(self.majority()?);
        let certificate = best.and_then(|index| self.config().certify(&calibrated[index]));
        let evaluated = self.conclude(
            held.as_ref().map(|(judged, predictions, ..)| (judged, &predictions[..])),
            held.as_ref().map(|(_, _, base, dropped)| (base, dropped.as_ref())),
            certificate.as_ref(),
            baselines,
            (&vetoes(self.task, candidates), looks),
        );
        self.store.finish_unit(&unit, Evaluate::NAME, &label, &serde_json::to_value(&evaluated)?)?;
        Ok(evaluated)
    }

    fn conclude(
        &self,
        best: Option<(&Judged<Held>, &[Prediction])>,
        base: Option<(&Base, Option<&Dropped>)>,
        certificate: Option<&evaluate::Certificate>,
        baselines: Vec<Score>,
        (vetoes, looks): (&[String], usize),
    ) -> Evaluated {
        let floor = self.config().floor(self.task, &self.rules, &self.parts);
        let evidence = Evidence {
            task: self.task,
            held_conversations: parts::conversations(&self.parts.held),
            best: best.map(|(judged, _)| judged),
            certificate,
            floor: floor.as_ref(),
            baselines: &baselines,
            costs: costs::of(self.context, self.task, &self.parts, base.map(|(base, _)| base), base.and_then(|(_, dropped)| dropped)),
            vetoes,
            looks: u32::try_from(looks).unwrap_or(u32::MAX),
        };
        let verdict = self.config().verdict(&evidence);
        let scores = best.iter().map(|(judged, _)| judged.score.clone()).chain(baselines).chain(floor.map(|f| f.score)).collect();
        let answers = best.map(|(judged, predictions)| divergent(&self.parts.held, predictions, judged)).unwrap_or_default();
        Evaluated { scores, verdict, answers, teachers: self.teachers.clone() }
    }

    fn judge<S>(&self, part: &Part<S>, who: (&str, Contender), predictions: &[Prediction]) -> anyhow::Result<Judged<S>> {
        Ok(self.config().judge(self.task, &self.rules, part, who, predictions)?)
    }

    fn majority(&self) -> anyhow::Result<Score> {
        let mut majority = majority(&self.parts.train);
        let prompts: Vec<_> = self.parts.held.iter().map(record::Clean::prompt).collect();
        let predictions = majority.predict(&prompts, &record::Silent)?;
        Ok(self.judge(&self.parts.held, (&majority.name(), Contender::Majority), &predictions)?.score)
    }

    /// A local model's answers, from the store if it gave them before.
    fn local<S>(
        &self,
        base: &Base,
        adapter: Option<&(std::path::PathBuf, Fingerprint)>,
        part: &Part<S>,
    ) -> anyhow::Result<Vec<Prediction>> {
        let max_new_tokens = self.longest_answer(base)?;
        let model = Fingerprint::of_bytes(format!("{} {}", base.name, base.weights()?.fingerprint()?).as_bytes());
        let adapter_mark = adapter.map_or_else(|| Fingerprint(String::new()), |(_, mark)| mark.clone());
        let unit = Fingerprint::of(&Predict { max_new_tokens }, &[&model, &adapter_mark, &parts::fingerprint_of(part)]);
        if let Some(kept) = self.store.predictions(&unit)?.filter(|kept| kept.len() == part.len()) {
            return Ok(kept.into_iter().map(|(_, prediction)| prediction).collect());
        }
        let settings = Settings { max_new_tokens, ..Settings::default() };
        let mut predictor = base.predictor(adapter.map(|(folder, _)| folder.as_path()), settings)?;
        let prompts: Vec<_> = part.iter().map(record::Clean::prompt).collect();
        let predictions = predictor.predict(&prompts, &self.context.ui)?;
        let named: Vec<_> = prompts.iter().map(|p| p.source_id().to_owned()).zip(predictions.iter().cloned()).collect();
        self.store.put_predictions(&unit, &named)?;
        Ok(predictions)
    }

    /// Room for an answer: a quarter more than the longest of the train split, in the model's tokens.
    fn longest_answer(&self, base: &Base) -> anyhow::Result<usize> {
        let (chat, config) = (base.chat()?, base.config()?);
        let answers = self.parts.train.iter().filter_map(|call| call.response.message().map(|message| (call, message)));
        let lengths = answers.filter_map(|(call, message)| chat.example(&call.request, message.0).ok().map(|e| e.completion.len()));
        let longest = lengths.max().unwrap_or(64);
        Ok((longest + longest / 4 + 8).min(config.max_position_embeddings))
    }
}

/// The bearer token of an endpoint, which has no place in a configuration file.
#[expect(clippy::disallowed_methods, reason = "src owns the environment (law 2)")]
pub fn endpoint_key() -> Option<String> {
    std::env::var("SLM_MIGRATE_ENDPOINT_KEY").ok()
}

/// Why no model at hand may take a task, where all of them were rejected.
fn vetoes(task: &Task, candidates: &[Candidate]) -> Vec<String> {
    let at_hand: Vec<_> = candidates.iter().filter(|c| c.task == task.task && c.path.is_some()).collect();
    if at_hand.iter().any(|candidate| candidate.rank.is_some()) {
        return Vec::new();
    }
    at_hand.iter().map(|c| format!("{}: {}", c.model, c.reasons.join("; "))).collect()
}

/// The endpoint, folder or file that the command names instead of the trained models.
fn external(context: &Context, args: &EvaluateArgs) -> anyhow::Result<Option<Box<dyn Predictor>>> {
    if let Some(url) = &args.endpoint {
        let model =
            args.endpoint_model.clone().ok_or_else(|| hinted("an endpoint serves many models", "name one with `--endpoint-model NAME`"))?;
        let key = endpoint_key();
        let timeout = Duration::from_secs(120);
        return Ok(Some(Box::new(Endpoint { url: url.clone(), model, key, max_tokens: 1024, top_logprobs: 0, timeout, retries: 3 })));
    }
    if let Some(folder) = &args.model {
        let base = Base::at(context, &folder.to_string_lossy())?;
        let settings = Settings { max_new_tokens: 512, ..Settings::default() };
        return Ok(Some(Box::new(base.predictor(args.adapter.as_deref(), settings)?)));
    }
    let Some(path) = &args.predictions else { return Ok(None) };
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let (file, rejects) = evaluate::PredictionsFile::parse(&path.to_string_lossy(), &text);
    for reject in rejects.iter().take(5) {
        context
            .ui
            .status(&format!("rejected `{}` line {}: {} {} ({})", reject.file, reject.line, reject.field, reject.problem, reject.cure));
    }
    Ok(Some(Box::new(file)))
}

fn judge_external(context: &Context, store: &Store, task: &Task, predictor: &mut dyn Predictor) -> anyhow::Result<Evaluated> {
    let judge = Judge::new(context, store, task)?;
    let prompts: Vec<_> = judge.parts.held.iter().map(record::Clean::prompt).collect();
    let predictions = predictor.predict(&prompts, &context.ui)?;
    let judged = judge.judge(&judge.parts.held, (&predictor.name(), Contender::External), &predictions)?;
    let baselines = vec![judge.majority()?];
    Ok(judge.conclude(Some((&judged, &predictions)), None, None, baselines, (&[], 1)))
}
