//! A tiny decoder, a word tokenizer and a log, all made on the spot.
use candle_core::{DType, Device};
use model::train::{TrainModel, Trainable};
use model::{Chat, ChatFiles, Config, Weights};
use record::{Call, Clean, Part, Request, Response, Shares, Train, split};
use serde_json::{Value, json};

const SPECIALS: [&str; 5] = ["<unk>", "<end>", "<system>", "<user>", "<assistant>"];
const TEMPLATE: &str =
    "{% for m in messages %}<{{ m.role }}> {{ m.content }} <end> {% endfor %}{% if add_generation_prompt %}<assistant> {% endif %}";

pub fn config() -> Config {
    let text = json!({"model_type": "llama", "vocab_size": 128, "hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "eos_token_id": 1,
        "tie_word_embeddings": true});
    Config::from_json(text.to_string().as_bytes(), "config.json").expect("a good configuration")
}

pub fn chat() -> Chat {
    let mut vocabulary = serde_json::Map::new();
    let mut add = |word: &str| {
        let id = vocabulary.len();
        vocabulary.insert(word.to_owned(), id.into());
    };
    SPECIALS.into_iter().for_each(&mut add);
    ["route", "this", "to", "which", "please"].into_iter().for_each(&mut add);
    (0..80).for_each(|i| add(&format!("w{i}")));
    let added: Vec<Value> = (0..5).map(|id| json!({"id": id, "content": SPECIALS[id], "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": true})).collect();
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"}})
    .to_string();
    let tokenizer_config = json!({"eos_token": "<end>", "chat_template": TEMPLATE}).to_string();
    let files = ChatFiles {
        tokenizer: tokenizer.as_bytes(),
        tokenizer_config: tokenizer_config.as_bytes(),
        template: None,
        generation_config: None,
    };
    Chat::from_bytes(&files, &config()).expect("a good tokenizer and template")
}

pub fn model(trainable: Trainable) -> TrainModel {
    let random = TrainModel::random(&config(), 11, DType::F32, &Device::Cpu).expect("a small model");
    let mut tensors = random.merged().expect("its weights");
    // fresh embeddings are so short that a frozen head could not be sure of anything
    let embedding = tensors.get_mut("model.embed_tokens.weight").expect("every decoder has one");
    *embedding = (&*embedding * 10.0).expect("plain numbers");
    let weights = Weights { tensors };
    TrainModel::new(&config(), weights, trainable, 5).expect("the same model to train")
}

/// A call of conversation `c`: the first word asked about decides the answer.
pub fn call(c: usize, step: u32, asked: usize) -> Call {
    let question = format!("which w{} w{} please", asked % 40, (asked * 7 + asked / 40) % 40);
    Call {
        source_id: format!("{c}-{step}"),
        conversation_id: format!("conversation {c}"),
        step,
        timestamp: None,
        workload_id: None,
        client_id: None,
        request: Request(
            json!({"model": "teacher", "messages": [{"role": "system", "content": "route this"}, {"role": "user", "content": question}]}),
        ),
        response: Response::from_message(&json!({"role": "assistant", "content": format!("to w{}", 40 + (asked * 13) % 40)})),
        latency_ms: None,
        cost_usd: None,
        feedback: serde_json::Map::new(),
        tags: serde_json::Map::new(),
        lossy: Vec::new(),
    }
}

/// The train split of a log. No conversation is held out, so that counts are simple.
#[expect(clippy::disallowed_methods, reason = "the log is made up: there is nothing to scrub")]
pub fn train_split(calls: impl IntoIterator<Item = Call>) -> Part<Train> {
    split(calls.into_iter().map(Clean::vouch), 7, Shares { calibration: 0.0, held: 0.0 }).train
}
