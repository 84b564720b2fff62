//! What another trainer is given learns what a run here would; what comes back is taken only if it is what was asked for.
use std::collections::HashMap;

use finetune::{
    ADAPTER_CONFIG, ADAPTER_WEIGHTS, Error, Files, Finetune, HANDOVER, Manifest, Mode, Progressed, Subject, TRAIN, Trainer, accept,
    adapter, load_adapter,
};
use model::train::{TrainModel, Trainable};
use model::{Chat, ChatTemplate, Config};
use record::{Fingerprint, TaskId};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde_json::{Value, json};

use crate::world::{call, chat, config, model, train_split};

fn settings() -> Finetune {
    Finetune { rank: 4, alpha: 8.0, batch_size: 12, max_steps: Some(15), ..Finetune::default() }
}

/// A log of forty conversations of two calls; the second has an answer of the assistant in its prompt.
fn written(trainer: Trainer, settings: &Finetune) -> Result<Files, Error> {
    written_for(trainer, settings, &config())
}

/// The same for a model of another shape, or of another family.
fn written_for(trainer: Trainer, settings: &Finetune, config: &Config) -> Result<Files, Error> {
    let second = |c: usize| {
        let mut call = call(c, 1, c + 3);
        let messages = call.request.0["messages"].as_array_mut().expect("a list");
        messages.insert(1, json!({"role": "assistant", "content": "to w3"}));
        messages.insert(1, json!({"role": "developer", "content": [{"type": "text", "text": "route this"}]}));
        call
    };
    let part = train_split((0..40).flat_map(|c| [call(c, 0, c), second(c)]));
    let (task, base) = (TaskId("t-1".into()), Fingerprint("base".into()));
    let weights = ["model.safetensors".to_owned()];
    let subject = Subject { task: &task, name: "route", model: "tiny", place: "/models/tiny", weights: &weights, base: &base };
    settings.hand_over(trainer, subject, &part, &(), &chat(), config)
}

fn text(files: &Files, name: &str) -> String {
    String::from_utf8(files[name].clone()).expect("text")
}

fn rows(files: &Files, name: &str) -> Vec<Value> {
    text(files, name).lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect()
}

/// Tokens and the first that is learnt, as a run here has them, in the order of the text.
fn ours(chat: &Chat) -> Vec<(Vec<u32>, usize)> {
    let files = written(Trainer::Axolotl, &settings()).expect("a good log");
    let segments = rows(&files, "data/train.jsonl").into_iter().map(|row| {
        let of = |at: usize, label: bool| {
            assert_eq!(row["segments"][at]["label"], label);
            chat.tokenizer().encode(row["segments"][at]["text"].as_str().expect("text"), false).expect("known words")
        };
        let (prompt, answer) = (of(0, false), of(1, true));
        ([prompt.clone(), answer].concat(), prompt.len())
    });
    segments.collect()
}

#[test]
fn trl_and_axolotl_are_given_the_answers_of_the_calls_and_nothing_else_to_learn() {
    let (chat, files) = (chat(), written(Trainer::Trl, &settings()).expect("a good log"));
    let manifest = Manifest::parse(&files[HANDOVER]).expect("ours");
    assert_eq!((manifest.train, manifest.validation, manifest.unlike), (72, 8, 0));
    let template = ChatTemplate::new(&text(&files, "template.jinja"), chat.template().specials().clone()).expect("a template");
    // the parsed rows, rendered and tokenized as TRL does it
    let learnt = rows(&files, "data/train.jsonl").into_iter().map(|row| {
        let list = |key: &str| row[key].as_array().expect("a list of messages").clone();
        let encode = |text: String| chat.tokenizer().encode(&text, false).expect("known words");
        let prompt = encode(template.render(&list("prompt"), &[], true).expect("rendered"));
        let whole = encode(template.render(&[list("prompt"), list("completion")].concat(), &[], false).expect("rendered"));
        assert!(whole.starts_with(&prompt) && list("completion").len() == 1);
        (whole, prompt.len())
    });
    let learnt: Vec<_> = learnt.collect();
    assert_eq!(learnt, ours(&chat));
    let two_answers = learnt.iter().filter(|(tokens, from)| tokens[..*from].iter().filter(|id| **id == 4).count() == 2);
    assert_eq!(two_answers.count(), 36, "half of the prompts hold an answer, which is not learnt");
    assert!(learnt.iter().all(|(tokens, from)| tokens[*from..].len() == 3 && tokens.ends_with(&[1])), "`to`, a word, the end");
}

#[test]
fn configurations_carry_our_settings() {
    let expected = [
        ("lora_r: 4", "lora_r: 4"),
        ("lora_alpha: 8", "lora_alpha: 8"),
        ("max_steps: 15", "max_steps: 15"),
        ("warmup_steps: 1", "warmup_steps: 1"),
        ("max_grad_norm: 1", "max_grad_norm: 1"),
        ("seed: 7", "seed: 7"),
        ("gradient_accumulation_steps: 12", "gradient_accumulation_steps: 12"),
        ("learning_rate: 0.00", "learning_rate: 0.00"),
        ("model_name_or_path: \"/models/tiny\"", "base_model: \"/models/tiny\""),
        ("lr_scheduler_type: \"cosine_with_min_lr\"", "cosine_min_lr_ratio: 0.1"),
        ("completion_only_loss: true", "train_on_inputs: false"),
        ("max_length: ", "sequence_len: "),
        ("load_best_model_at_end: true", "early_stopping_patience: 5"),
    ];
    let (trl, axolotl) = (written(Trainer::Trl, &settings()), written(Trainer::Axolotl, &settings()));
    let (trl, axolotl) = (trl.expect("a good log"), axolotl.expect("a good log"));
    for (first, second) in expected {
        assert!(text(&trl, "sft.yaml").contains(&format!("\n{first}")), "{first}");
        assert!(text(&axolotl, "axolotl.yaml").contains(&format!("\n{second}")), "{second}");
    }
    let readme = text(&trl, "README.md");
    for launch in ["torchrun --nproc-per-node 6 ", "ray job submit ", "sbatch ", "--gradient_accumulation_steps 2"] {
        assert!(readme.contains(launch), "{readme}");
    }
    let epochs = written(Trainer::Trl, &Finetune { max_steps: None, ..settings() }).expect("a good log");
    let length: Vec<String> =
        text(&epochs, "sft.yaml").lines().filter(|line| line.contains("epochs") || line.contains("max_steps")).map(Into::into).collect();
    assert_eq!(length, ["max_steps: 18"], "epochs too are given in steps, which no trainer rounds its own way");
    let refused = [
        Finetune { mode: Mode::Full, ..settings() },
        Finetune { init_adapter: Some("here".into()), ..settings() },
        Finetune { alpha: 8.5, ..settings() },
    ];
    for refused in refused {
        assert!(matches!(written(Trainer::Trl, &refused), Err(Error::Setting { .. })));
    }
}

#[test]
fn torchtune_is_given_tokens_and_a_model_that_it_can_build() {
    let (chat, files) = (chat(), written(Trainer::Torchtune, &settings()).expect("a good log"));
    let manifest = Manifest::parse(&files[HANDOVER]).expect("ours");
    assert_eq!((manifest.train, manifest.validation, manifest.unlike), (72, 8, 0));
    let numbers = |value: &Value| -> Vec<i64> { value.as_array().expect("a list").iter().map(|n| n.as_i64().expect("whole")).collect() };
    let learnt = rows(&files, TRAIN).into_iter().map(|row| {
        let (tokens, labels) = (numbers(&row["tokens"]), numbers(&row["labels"]));
        let prompt = labels.iter().take_while(|label| **label == -100).count();
        assert!(tokens.len() == labels.len() && labels[prompt..] == tokens[prompt..]);
        (tokens.iter().map(|token| u32::try_from(*token).expect("a token")).collect(), prompt)
    });
    assert_eq!(learnt.collect::<Vec<_>>(), ours(&chat));
    let lines = |files: &Files, expected: &[&str]| {
        let text = text(files, "torchtune.yaml");
        expected.iter().for_each(|line| assert!(text.contains(&format!("\n{line}\n")), "{line}: {text}"));
    };
    let settings_lines =
        ["  lora_rank: 4", "  lora_alpha: 8", "  draws: 180", "epochs: 1", "gradient_accumulation_steps: 12", "clip_grad_norm: 1"];
    let model_lines = ["  embed_dim: 48", "  num_kv_heads: 2", "  scale_factor: 1", "  tie_word_embeddings: true", "  model_type: LLAMA3"];
    lines(&files, &settings_lines);
    lines(&files, &model_lines);
    lines(&files, &["  num_warmup_steps: 1", "  checkpoint_files: [\"model.safetensors\"]", "  _component_: slm_migrate_rows.Rows"]);
    assert!(files.contains_key("slm_migrate_rows.py") && text(&files, "README.md").contains("adapter import adapter/epoch_0 "));
    // a fraction of an alpha is told to it, and no clipping is
    let other = Finetune { alpha: 8.5, clip: 0.0, ..settings() };
    lines(&written(Trainer::Torchtune, &other).expect("a good log"), &["  lora_alpha: 8.5", "clip_grad_norm: null"]);

    let shaped = |change: &[(&str, Value)]| {
        let mut shape: Value = serde_json::from_str(&config().to_json()).expect("JSON");
        change.iter().for_each(|(key, value)| shape[*key] = value.clone());
        let config = Config::from_json(shape.to_string().as_bytes(), "config.json").expect("a good configuration");
        written_for(Trainer::Torchtune, &settings(), &config)
    };
    let stretched = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    lines(&shaped(&[("rope_scaling", stretched.clone())]).expect("Llama 3.2"), &["  scale_factor: 32"]);
    let qwen = shaped(&[("model_type", json!("qwen2"))]).expect("Qwen2");
    lines(&qwen, &["  _component_: torchtune.models.qwen2.lora_qwen2", "  model_type: QWEN2"]);
    assert!(!text(&qwen, "torchtune.yaml").contains("scale_factor"), "its builder has none");
    lines(&shaped(&[("model_type", json!("mistral")), ("sliding_window", json!(64))]).expect("Mistral"), &["  model_type: LLAMA3"]);
    let mut other = stretched;
    other["original_max_position_embeddings"] = json!(4096);
    let refused = [
        vec![("model_type", json!("qwen3"))],
        vec![("model_type", json!("phi3"))],
        vec![("model_type", json!("granite"))],
        vec![("model_type", json!("mistral")), ("sliding_window", json!(4))],
        vec![("attention_bias", json!(true))],
        vec![("head_dim", json!(16))],
        vec![("rope_scaling", other)],
    ];
    for change in refused {
        assert!(matches!(shaped(&change), Err(Error::Unbuilt { .. })), "{change:?}");
    }
}

/// An adapter as PEFT would save it, in bf16 as trainers often do, after `change`.
fn returned(model: &TrainModel, change: impl Fn(&mut Value)) -> (Vec<u8>, Vec<u8>) {
    let files = adapter(model, "somewhere/tiny").expect("an adapter");
    let mut config: Value = serde_json::from_slice(&files[ADAPTER_CONFIG]).expect("JSON");
    change(&mut config);
    (config.to_string().into_bytes(), files[ADAPTER_WEIGHTS].clone())
}

/// A model whose adapter says something.
fn learnt(rank: usize) -> TrainModel {
    let model = model(Trainable::Lora { rank, alpha: 8.0 });
    for (name, var) in model.parameters() {
        if name.contains("lora_B") {
            var.set(&(var.as_detached_tensor() + 0.5).expect("numbers")).expect("the same shape");
        }
    }
    model
}

/// The weights with one tensor changed: other numbers, another name.
fn with(weights: &[u8], name: &str, rename: &str, value: Option<f32>) -> Vec<u8> {
    let file = SafeTensors::deserialize(weights).expect("ours");
    let name = format!("base_model.model.{name}");
    let tensors = file.tensors().into_iter().map(|(key, view)| {
        let mut bytes = view.data().to_vec();
        if let Some(value) = value.filter(|_| key == name) {
            bytes[..4].copy_from_slice(&value.to_le_bytes());
        }
        (if key == name { key.replace(&name, rename) } else { key }, view.shape().to_vec(), bytes)
    });
    let tensors: Vec<_> = tensors.collect();
    let views = tensors
        .iter()
        .map(|(name, shape, bytes)| (name.as_str(), TensorView::new(Dtype::F32, shape.clone(), bytes).expect("the same shape")));
    safetensors::serialize(views, Some(HashMap::new())).expect("a file")
}

fn manifest() -> Manifest {
    Manifest::parse(&written(Trainer::Trl, &settings()).expect("a good log")[HANDOVER]).expect("ours")
}

#[test]
fn a_good_adapter_comes_back_bit_by_bit() {
    let (manifest, trained) = (manifest(), learnt(4));
    let (config_file, weights) = returned(&trained, |_| {});
    let files = accept(&manifest, &config(), &config_file, &weights).expect("it is what was asked for");
    let again = model(Trainable::Lora { rank: 4, alpha: 8.0 });
    load_adapter(&again, &files[ADAPTER_WEIGHTS]).expect("our own layout");
    let numbers = |model: &TrainModel| {
        let of = |var: &candle_core::Var| var.flatten_all().and_then(|flat| flat.to_vec1::<f32>()).expect("numbers");
        model.parameters().values().flat_map(of).collect::<Vec<_>>()
    };
    assert_eq!(numbers(&again), numbers(&trained));
    assert_eq!(text(&files, ADAPTER_CONFIG), text(&adapter(&trained, "tiny").expect("an adapter"), ADAPTER_CONFIG));
}

#[test]
fn whatever_was_not_asked_for_is_refused_by_file_and_field() {
    let (manifest, good) = (manifest(), learnt(4));
    let refused = |(config_file, weights): (Vec<u8>, Vec<u8>)| match accept(&manifest, &config(), &config_file, &weights) {
        Err(Error::Returned { file, field, cure, .. }) if !cure.is_empty() => (file, field),
        other => panic!("{other:?}"),
    };
    let keys: [(&str, Value); 15] = [
        ("peft_type", json!("LOHA")),
        ("use_dora", json!(true)),
        ("use_rslora", json!(true)),
        ("modules_to_save", json!(["lm_head"])),
        ("bias", json!("all")),
        ("rank_pattern", json!({"q_proj": 2})),
        ("layers_to_transform", json!([0])),
        ("init_lora_weights", json!("pissa")),
        ("lora_alpha", json!(16)),
        ("target_modules", json!(["q_proj", "v_proj"])),
        ("target_modules", json!("all-linear")),
        ("kasa_config", json!({"beta": 0.1})),
        ("what_nobody_knows_yet", json!(true)),
        ("base_model_name_or_path", json!(null)),
        ("base_model_name_or_path", json!("other/model")),
    ];
    for (key, value) in keys {
        assert_eq!(refused(returned(&good, |config| config[key] = value.clone())), (ADAPTER_CONFIG, key.to_owned()));
    }
    assert_eq!(refused(returned(&learnt(8), |_| {})), (ADAPTER_CONFIG, "r".to_owned()));
    let (config_file, weights) = returned(&good, |_| {});
    let one = "model.layers.1.mlp.up_proj.lora_B.weight";
    let full = format!("base_model.model.{one}");
    let odd = with(&returned(&learnt(8), |_| {}).1, one, &full, None);
    assert_eq!(refused((config_file.clone(), odd)).0, ADAPTER_WEIGHTS);
    assert_eq!(refused((config_file.clone(), with(&weights, one, &full, Some(f32::NAN)))), (ADAPTER_WEIGHTS, full.clone()));
    assert_eq!(refused((config_file.clone(), with(&weights, one, "base_model.model.lm_head.weight", None))), (ADAPTER_WEIGHTS, full));
    let untrained = returned(&model(Trainable::Lora { rank: 4, alpha: 8.0 }), |_| {});
    assert_eq!(refused(untrained), (ADAPTER_WEIGHTS, "lora_B".to_owned()));
    assert_eq!(refused((b"{".to_vec(), weights.clone())).0, ADAPTER_CONFIG);
    assert_eq!(refused((config_file.clone(), weights[..100].to_vec())).0, ADAPTER_WEIGHTS);
    // the same bytes, said to be whole numbers
    let text = String::from_utf8_lossy(&weights[8..]).find("F32").expect("a header") + 8;
    let whole = [&weights[..text], b"I32".as_slice(), &weights[text + 3..]].concat();
    assert_eq!(refused((config_file, whole)).0, ADAPTER_WEIGHTS);
}

#[test]
fn a_manifest_belongs_to_one_task_one_model_and_its_calls() {
    let manifest = manifest();
    let (task, base) = (TaskId("t-1".into()), Fingerprint("base".into()));
    assert!(manifest.is_of(&task, "tiny", &base).is_ok() && manifest.learnt(&manifest.data).is_ok());
    let field = |result: Result<(), Error>| match result {
        Err(Error::Returned { file: HANDOVER, field, .. }) => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(manifest.is_of(&TaskId("t-2".into()), "tiny", &base)), "task");
    assert_eq!(field(manifest.is_of(&task, "large", &base)), "model");
    assert_eq!(field(manifest.is_of(&task, "tiny", &Fingerprint("other".into()))), "base");
    assert_eq!(field(manifest.learnt(&Fingerprint("other".into()))), "data");
    assert!(Manifest::parse(b"{}").is_err());
    let older = br#"{"schema": 1, "a field that is gone": 0}"#;
    assert_eq!(field(Manifest::parse(older).map(|_| ())), "schema", "another version is told from a damaged file");
    let files = written(Trainer::Trl, &settings()).expect("a good log");
    assert!(manifest.untouched(&files[TRAIN]).is_ok());
    let fewer = files[TRAIN].iter().position(|byte| *byte == b'\n').expect("lines") + 1;
    assert!(matches!(manifest.untouched(&files[TRAIN][fewer..]), Err(Error::Returned { file: TRAIN, .. })));
}

#[test]
fn the_notes_of_a_trainer_become_steps() {
    let notes = json!({"global_step": 2, "best_global_step": 1, "log_history": [
        {"step": 1, "loss": 2.0, "learning_rate": 0.1, "grad_norm": 1.5}, {"step": 1, "eval_loss": 1.5},
        {"step": 2, "loss": 1.0, "learning_rate": 0.05, "grad_norm": 1.0}, {"step": 2, "train_runtime": 9.0}]});
    let read = Progressed::parse(notes.to_string().as_bytes()).expect("as transformers writes it");
    assert_eq!((read.steps, read.best_step, read.rows.len()), (Some(2), Some(1), 2));
    assert_eq!((read.rows[0].validation_loss, read.rows[1].validation_loss), (Some(1.5), None));
    assert!(Progressed::parse(b"[]").is_err());
}
