//! What a person reads beside the files: launch lines, the way back, and what the trainer cannot be told. Words only.
use std::fmt::Write as _;

use super::{Given, HANDOVER, Manifest, Trainer, axolotl, torchtune, trl};

/// The text, in Markdown. `template` is the source of the model's chat template.
pub(super) fn text(manifest: &Manifest, given: &Given<'_>, template: &str) -> String {
    let Manifest { name, model, train, validation, .. } = manifest;
    let mut text = format!(
        "# `{name}` on `{model}`\n\n\
         {train} calls to learn from and {validation} that only validate, scrubbed, none of them held out or calibrated on. The assistant's \
         answer of each call is learnt, and nothing of its prompt: earlier answers in it neither.\n\n\
         ## Launch\n\nIn this folder, with {needs}:\n\n```sh\n",
        needs = match manifest.trainer {
            Trainer::Trl => "`pip install trl peft`",
            Trainer::Axolotl => "`pip install axolotl`",
            Trainer::Torchtune =>
                "`pip install torchtune==0.6.1 torchao==0.10.0 torchdata` (the last release of each that fits the others)",
        },
    );
    for line in launch(manifest.trainer, given) {
        let _ = writeln!(text, "{line}");
    }
    let (gpus, batch) = (given.gpus(), given.settings.batch_size);
    let _ = write!(
        text,
        "```\n\nEach line is for {gpus} GPUs of one node and keeps {batch} answers a step; with another number of GPUs, \
         `gradient_accumulation_steps` times GPUs is {batch}. The base model is looked for at `{place}`: on another machine, name the \
         same model there. What a Ray job leaves in `{result}/` has to be copied from the cluster, or `output_dir` set to a shared place.\n\n\
         ## Back\n\n```sh\nslm-migrate adapter import {result} --task {name} --model {model}\nslm-migrate evaluate --task {name}\n```\n\n\
         `{HANDOVER}` is our manifest: it has to lie in the folder that is imported or one of the two around it. Do not change the data: \
         an adapter beside other rows than these is refused.\n\n\
         ## What is different from `slm-migrate finetune`\n\n",
        place = given.subject.place,
        result = manifest.trainer.result(),
    );
    for line in differences(manifest, given, template) {
        let _ = writeln!(text, "* {line}");
    }
    text
}

/// torchrun, Ray, SLURM.
fn launch(trainer: Trainer, given: &Given<'_>) -> [String; 3] {
    let gpus = given.gpus();
    let share = given.settings.batch_size / gpus;
    let run = match trainer {
        Trainer::Trl => {
            format!("torchrun --nproc-per-node {gpus} -m trl.scripts.sft --config {} --gradient_accumulation_steps {share}", trl::CONFIG)
        }
        Trainer::Axolotl => {
            format!("torchrun --nproc-per-node {gpus} -m axolotl.cli.train {} --gradient_accumulation_steps {share}", axolotl::CONFIG)
        }
        // it starts torchrun by itself
        Trainer::Torchtune => format!(
            "tune run --nproc-per-node {gpus} lora_finetune_distributed --config {} gradient_accumulation_steps={share}",
            torchtune::CONFIG
        ),
    };
    [
        run.clone(),
        format!("ray job submit --working-dir . --entrypoint-num-gpus {gpus} -- {run}"),
        format!("sbatch --nodes 1 --ntasks-per-node 1 --gpus-per-node {gpus} --wrap \"{run}\""),
    ]
}

/// What the trainer cannot be told, and what of these calls it learns otherwise.
fn differences(manifest: &Manifest, given: &Given<'_>, template: &str) -> Vec<String> {
    let mut lines =
        vec!["Every call is a row of its own: what calls have in common is computed once for each, and takes as much longer.".to_owned()];
    let validates = manifest.validation > 0;
    let kept =
        "The weights with the lowest validation loss are kept; here, the last that answer the validation part about as well as the best.";
    // transformers' schedule begins before the first step
    let warms = "The first step of the warm-up has a learning rate of 0; in `finetune` it learns already. Both fall along half a cosine to a tenth.";
    match manifest.trainer {
        Trainer::Trl => {
            lines.push(warms.to_owned());
            if validates {
                lines.push(kept.to_owned());
                lines.push("TRL's script does not stop early: `finetune.patience` is not in force.".to_owned());
                lines
                    .push("Its `eval_loss` is the mean of the rows' means, the validation loss here that of all learnt tokens.".to_owned());
            }
            lines.push(format!(
                "`{}` is the model's own template, but for blanks behind the last turn, which TRL would learn.",
                trl::TEMPLATE
            ));
        }
        Trainer::Axolotl => {
            lines.push(warms.to_owned());
            if validates {
                lines.push(kept.to_owned());
            }
            lines.push("The rows are texts: messages and tools are already rendered by the model's template.".to_owned());
        }
        Trainer::Torchtune => {
            lines.push("The rows are tokens: texts are already rendered and cut by the model's own template and tokenizer.".to_owned());
            lines.push("It does not validate: the last weights are kept, and `finetune.patience` is not in force. The calls that validate stay here.".to_owned());
            lines.push("`dtype: bf16` is that of the adapter and its optimiser too, here they are f32; `dtype=fp32` behind the launch line makes it so.".to_owned());
        }
    }
    if !given.settings.shuffle && manifest.trainer != Trainer::Torchtune {
        lines.push("`finetune.shuffle` is off here; the trainer draws an order of its own all the same.".to_owned());
    }
    if given.settings.sweep {
        lines.push("`finetune.sweep` is not run: the learning rate is that of the rule, or the one that was set.".to_owned());
    }
    if given.settings.train_minutes.is_some() {
        lines.push("`finetune.train_minutes` is left out: minutes are those of the machine that counts them.".to_owned());
    }
    if let Some([whole, left]) = given.prompt_tokens {
        lines.push(format!("The rows are without the beginning that prompts share: {left:.0} tokens a prompt of {whole:.0}. They are served without it too."));
    }
    // rows that are tokens are of the day that they were made for
    if template.contains("strftime_now") && manifest.trainer == Trainer::Trl {
        lines.push("The template states today's date: the trainer's is that of the day it runs on, here always the same.".to_owned());
    }
    let Manifest { unlike, train, validation, .. } = manifest;
    lines.push(match unlike {
        0 if manifest.trainer == Trainer::Torchtune => "Tokens and loss mask of every row are those of a run here.".to_owned(),
        0 => "Tokens and loss mask of every row were compared with those of a run here: they are the same.".to_owned(),
        _ => format!("Of {unlike} of {} rows the trainer makes other tokens, or learns others, than a run here.", train + validation),
    });
    lines
}
