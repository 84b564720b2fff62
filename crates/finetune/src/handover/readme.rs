//! What a person reads beside the files: launch lines, the way back, and what the trainer cannot be told. Words only.
use std::fmt::Write as _;

use super::{Given, HANDOVER, Manifest, RESULT, Trainer, axolotl, trl};

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
         same model there. What a Ray job leaves in `{RESULT}/` has to be copied from the cluster, or `output_dir` set to a shared place.\n\n\
         ## Back\n\n```sh\nslm-migrate adapter import {RESULT} --task {name} --model {model}\nslm-migrate evaluate --task {name}\n```\n\n\
         `{HANDOVER}` is our manifest: it has to lie in the folder that is imported or in the one around it. Do not change the data: \
         what was trained on other calls is refused.\n\n\
         ## What is different from `slm-migrate finetune`\n\n",
        place = given.subject.place,
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
    let (module, config) = match trainer {
        Trainer::Trl => ("trl.scripts.sft --config", trl::CONFIG),
        Trainer::Axolotl => ("axolotl.cli.train", axolotl::CONFIG),
    };
    let run = format!("torchrun --nproc-per-node {gpus} -m {module} {config} --gradient_accumulation_steps {share}");
    [
        run.clone(),
        format!("ray job submit --working-dir . --entrypoint-num-gpus {gpus} -- {run}"),
        format!("sbatch --nodes 1 --ntasks-per-node 1 --gpus-per-node {gpus} --wrap \"{run}\""),
    ]
}

/// What the trainer cannot be told, and what of these calls it learns otherwise.
fn differences(manifest: &Manifest, given: &Given<'_>, template: &str) -> Vec<String> {
    let mut lines = vec![
        "Every call is a row of its own: what calls have in common is computed once for each, and takes as much longer.".to_owned(),
        "The first step of the warm-up has a learning rate of 0; in `finetune` it learns already. Both fall along half a cosine to a tenth.".to_owned(),
    ];
    if manifest.validation > 0 {
        lines.push("The weights with the lowest validation loss are kept; here, the last that answer the validation part about as well as the best.".to_owned());
    }
    if manifest.trainer == Trainer::Trl && manifest.validation > 0 {
        lines.push("TRL's script does not stop early: `finetune.patience` is not in force.".to_owned());
    }
    if manifest.trainer == Trainer::Trl {
        lines.push(format!("`{}` is the model's own template, but for blanks behind the last turn, which TRL would learn.", trl::TEMPLATE));
    } else {
        lines.push("The rows are texts: messages and tools are already rendered by the model's template.".to_owned());
    }
    if !given.settings.shuffle {
        lines.push("`finetune.shuffle` is off here; the trainer draws an order of its own all the same.".to_owned());
    }
    if given.settings.train_minutes.is_some() {
        lines.push("`finetune.train_minutes` is left out: minutes are those of the machine that counts them.".to_owned());
    }
    if let Some([whole, left]) = given.prompt_tokens {
        lines.push(format!("The rows are without the beginning that prompts share: {left:.0} tokens a prompt of {whole:.0}. They are served without it too."));
    }
    if template.contains("strftime_now") {
        lines.push("The template states today's date: the trainer's is that of the day it runs on, here always the same.".to_owned());
    }
    let Manifest { unlike, train, validation, .. } = manifest;
    lines.push(match unlike {
        0 => "Tokens and loss mask of every row were compared with those of a run here: they are the same.".to_owned(),
        _ => format!("Of {unlike} of {} rows the trainer makes other tokens, or learns others, than a run here.", train + validation),
    });
    lines
}
