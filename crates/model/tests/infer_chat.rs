//! Chat templates against transformers, and requests to tokens and back. Goldens and their maker: fixtures/golden/infer.
use std::path::Path;

use model::{Chat, ChatFiles, ChatTemplate, Config};
use record::{Request, Time};
use serde_json::{Map, Value, json};

#[test]
fn templates_render_as_transformers_renders_them() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/infer/templates.json");
    let cases: Vec<Value> = serde_json::from_slice(&std::fs::read(file).expect("a committed golden file")).expect("golden JSON");
    assert!(cases.len() > 10);
    for case in &cases {
        let list = |key: &str| case[key].as_array().cloned().unwrap_or_default();
        let source = case["template"].as_str().expect("a text");
        let specials = case["specials"].as_object().expect("an object").clone();
        let template = ChatTemplate::new(source, specials).expect("a template");
        let text = template.render(&list("messages"), &list("tools"), case["generate"] == true).expect("a rendering");
        assert_eq!(text, case["text"].as_str().expect("a text"), "{}", case["name"]);
    }
}

const CHATML: &str = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.tool_calls %}{% for c in m.tool_calls %}\
    {{ '<tool_call>' + (c.function | tojson) + '</tool_call>' }}{% endfor %}{% else %}{{ m.content }}{% endif %}{{ '<|im_end|>\n' }}\
    {% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

/// A tokenizer of single bytes with the special tokens of ChatML.
fn tokenizer() -> Vec<u8> {
    let mut letters: Vec<char> = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet().into_iter().collect();
    letters.sort_unstable();
    let vocabulary: Map<String, Value> = letters.iter().enumerate().map(|(i, c)| (c.to_string(), json!(i))).collect();
    let added = |id: usize, content: &str, special: bool| json!({"id": id, "content": content, "special": special, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false});
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let value = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [added(256, "<|im_start|>", true), added(257, "<|im_end|>", true), added(258, "<tool_call>", true)],
        "pre_tokenizer": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [], "unk_token": null, "byte_fallback": false}
    });
    value.to_string().into_bytes()
}

fn chat(template: &str) -> Chat {
    let config = r#"{"model_type": "llama", "vocab_size": 260, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "eos_token_id": 257}"#;
    let config = Config::from_json(config.as_bytes(), "config.json").expect("a small configuration");
    let files = ChatFiles {
        tokenizer: &tokenizer(),
        tokenizer_config: br#"{"eos_token": {"content": "<|im_end|>"}}"#,
        template: Some(template),
        generation_config: Some(br#"{"eos_token_id": [257, 256]}"#),
    };
    Chat::from_bytes(&files, &config).expect("a small chat")
}

fn request() -> Request {
    Request(
        json!({"messages": [{"role": "developer", "content": [{"type": "text", "text": "Be brief."}]}, {"role": "user", "content": "Hi ü"}]}),
    )
}

#[test]
fn an_example_is_the_prompt_and_the_answer_up_to_its_end() {
    let chat = chat(CHATML);
    let example = chat.example(&request(), &json!({"role": "assistant", "content": "Hello"})).expect("an example");
    assert_eq!(example.prompt, chat.prompt(&request()).expect("a prompt"));
    let text = |tokens: &[u32]| chat.tokenizer().decode(tokens).expect("a text");
    assert_eq!(text(&example.prompt), "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi ü<|im_end|>\n<|im_start|>assistant\n");
    assert_eq!(text(&example.completion), "Hello<|im_end|>");
    assert_eq!(chat.ends(), [256, 257]);
}

#[test]
fn a_tool_call_survives_the_way_to_tokens_and_back() {
    let chat = chat(CHATML);
    let calls = json!([{"id": "x", "type": "function", "function": {"name": "f", "arguments": "{\"b\": 1, \"a\": [2.5]}"}}]);
    let example = chat.example(&request(), &json!({"role": "assistant", "content": null, "tool_calls": calls})).expect("an example");
    let answer = chat.answer(&example.completion[..example.completion.len() - 1], &request()).expect("an answer");
    assert_eq!(answer["tool_calls"][0]["function"], json!({"name": "f", "arguments": "{\"b\":1,\"a\":[2.5]}"}));
    assert_eq!(answer["content"], Value::Null);
}

#[test]
fn a_template_that_rewrites_the_prompt_is_refused() {
    let counting = format!("{{{{ messages | length }}}}{CHATML}");
    let error = chat(&counting).example(&request(), &json!({"role": "assistant", "content": "Hello"})).err();
    let text = error.map(|e| e.to_string()).unwrap_or_default();
    assert!(text.contains("rendered differently once it is answered: `2<|im_start|>"), "{text}");
}

#[test]
fn an_answer_without_a_written_end_gets_one() {
    let bare =
        "{% for m in messages %}{{ m.role + ': ' + m.content + '\n' }}{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}";
    let example = chat(bare).example(&request(), &json!({"role": "assistant", "content": "Yes"})).expect("an example");
    assert_eq!(example.completion.last(), Some(&257));
}

#[test]
fn refusals_and_dates_reach_the_template() {
    let refusing = chat("{{ raise_exception('roles must alternate') }}").prompt(&request());
    assert!(refusing.is_err_and(|e| e.to_string().contains("roles must alternate")));
    let dated = ChatTemplate::new("{{ strftime_now('%d %b %Y') }}", Map::new()).expect("a template");
    assert_eq!(dated.render(&[], &[], false).expect("a date"), "26 Jul 2024");
    assert_eq!(dated.at(Time(1_700_000_000_000)).render(&[], &[], false).expect("a date"), "14 Nov 2023");
    assert!(ChatTemplate::from_config(b"{}", None).is_err_and(|e| e.to_string().contains("no chat template")));
}
