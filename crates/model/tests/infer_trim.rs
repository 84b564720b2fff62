//! Prompts without the head that a task's prompts share: by our own trimming, and by templates that others load. Goldens by Jinja of
//! Python and their maker: fixtures/golden/infer.
use std::path::{Path, PathBuf};

use model::{Chat, ChatFiles, ChatTemplate, Config, Error, trimming};
use record::{Request, Shared};
use serde_json::{Map, Value, json};

/// Templates as they are found: tools beside the first message, a system message of the template's own, blanks at the beginning.
const TEMPLATES: [(&str, &str); 3] = [
    (
        "tools in the system message",
        "{%- set first = messages[0] if messages and messages[0].role == 'system' else none -%}\n{%- if first or tools -%}\n\
         {{- '<s>' -}}{%- if first -%}{{- first.content -}}{%- endif -%}\n{%- for tool in tools or [] -%}{{- '\\n' + tool | tojson -}}{%- endfor -%}\n\
         {{- '</s>' -}}\n{%- endif -%}\n{%- for m in messages -%}{%- if not (loop.first and m.role == 'system') -%}\n\
         {{- '<' + m.role + '>' + m.content -}}\n{%- endif -%}{%- endfor -%}\n{%- if add_generation_prompt -%}{{- '<assistant>' -}}{%- endif -%}",
    ),
    (
        "a system message of its own",
        "{% if messages[0].role == 'system' %}{% set own = messages[0].content %}{% set messages = messages[1:] %}\
         {% else %}{% set own = 'You help.' %}{% endif %}\n[{{ own }}]\n{% for m in messages %}\n  {{ m.role }}: {{ m.content | trim }}\n\
         {% endfor %}{% if tools %}{{ tools | length }} tools{% endif %}",
    ),
    ("blanks first", "\n  {% for m in messages %}{{ m.content }};{% endfor %}{{ tools is none }}\n\n"),
];

/// A text with everything that a literal has to survive.
const AWKWARD: &str = "Say \"it's\" {{ no }} {% if %} {# #} %} \\n\n\ttab, ü, 漢, 😀, a[::-1], \\u0041 </s>";

fn tool(name: &str, parameters: &Value) -> Value {
    json!({"type": "function", "function": {"name": name, "description": "does \"it\"", "parameters": parameters}})
}

fn tools() -> Vec<Value> {
    let schema = json!({"type": "object", "properties": {"x": {"type": "number", "minimum": -0.5, "default": null}}, "required": [], "strict": true});
    vec![tool("f", &schema), tool("g", &json!({}))]
}

fn heads() -> [(&'static str, Shared); 3] {
    let head = |system: &[&str], tools| Shared { system: system.iter().map(|text| (*text).to_owned()).collect(), tools };
    [("short", head(&["be brief"], Vec::new())), ("long", head(&["be brief"], tools())), ("two", head(&[AWKWARD, "and kind"], Vec::new()))]
}

fn system(text: &str) -> Value {
    json!({"role": "system", "content": text})
}

fn requests() -> Vec<Value> {
    let user = json!({"role": "user", "content": " hi "});
    let mut without_descriptions = tools();
    without_descriptions[1] = json!({"type": "function", "function": {"name": "g"}});
    vec![
        json!({"messages": [system("be brief"), user]}),
        json!({"messages": [system("be brief"), user, system("late"), user], "tools": tools()}),
        json!({"messages": [system("be brief"), user], "tools": without_descriptions}),
        json!({"messages": [system("be brief ."), user], "tools": tools()}),
        json!({"messages": [user, system("be brief")]}),
        json!({"messages": [system(AWKWARD), system("and kind"), user]}),
        json!({"messages": [system(AWKWARD), user]}),
    ]
}

/// What `drop_shared` may be: nothing, a task, no task.
const NAMES: [Option<&str>; 4] = [None, Some("short"), Some("two"), Some("")];

/// What our own trimming makes of a request, by the name that it carries; none where it is refused.
fn shown(request: &Request, name: Option<&str>) -> Option<Request> {
    let heads = heads();
    match name {
        // the longest head that fits
        None => Some(["two", "long", "short"].iter().find_map(|name| shown(request, Some(name))).unwrap_or_else(|| request.clone())),
        Some("") => Some(request.clone()),
        Some(name) => heads.iter().find(|(own, _)| *own == name).and_then(|(_, shared)| shared.trim(request)),
    }
}

fn render(source: &str, name: Option<&str>, request: &Request) -> Result<String, Error> {
    // a request's variables and the special tokens reach a template alike
    let variables: Map<String, Value> = name.map(|name| (Shared::TASK.to_owned(), Value::from(name))).into_iter().collect();
    ChatTemplate::new(source, variables).expect("a template").render_request(request, None)
}

fn trimming_template(source: &str) -> String {
    let heads = heads();
    trimming(source, &heads.each_ref().map(|(name, shared)| (Some(*name), shared)))
}

#[test]
fn a_template_that_trims_renders_what_is_left_of_a_trimmed_request() {
    let mut refused = 0;
    for (what, source) in TEMPLATES {
        for request in requests().into_iter().map(Request) {
            for name in NAMES {
                let found = render(&trimming_template(source), name, &request);
                match shown(&request, name) {
                    Some(left) => {
                        let right = render(source, None, &left).expect("a rendering");
                        assert_eq!(found.expect("a rendering"), right, "{what}, {name:?}, {request:?}");
                    }
                    None => {
                        refused += 1;
                        let text = found.expect_err("a head that is not there").to_string();
                        assert!(text.contains("does not begin with the constant prompt"), "{text}");
                    }
                }
            }
        }
    }
    assert!(refused > 20, "{refused}");
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/infer")
}

fn cases() -> Vec<Value> {
    let mut cases = Vec::new();
    for (what, source) in TEMPLATES {
        for (i, request) in requests().into_iter().enumerate() {
            for name in NAMES {
                let case = format!("{what}, request {i}, {}", name.unwrap_or("no name"));
                let template = trimming_template(source);
                let mark = blake3::hash(template.as_bytes()).to_hex().to_string();
                cases.push(json!({"name": case, "mark": mark, "template": template, "messages": request["messages"],
                    "tools": request.get("tools"), "drop_shared": name}));
            }
        }
    }
    cases
}

#[test]
fn jinja_of_python_renders_the_same() {
    let bytes = std::fs::read(golden().join("trimming.json")).expect("a committed golden file");
    let goldens: Vec<Value> = serde_json::from_slice(&bytes).expect("golden JSON");
    let cases = cases();
    assert_eq!(cases.len(), goldens.len());
    for (case, golden) in cases.iter().zip(&goldens) {
        let name = case["name"].as_str().expect("a text");
        let template = case["template"].as_str().expect("a text");
        assert_eq!(golden["mark"], case["mark"], "{name}: the template has changed since: make the goldens again");
        let request = Request(json!({"messages": case["messages"], "tools": case["tools"]}));
        let text = render(template, case["drop_shared"].as_str(), &request).ok();
        assert_eq!(json!(text), golden["text"], "{name}");
    }
}

#[test]
#[ignore = "writes trimming-cases.json for fixtures/golden/infer/make.py"]
#[expect(clippy::disallowed_methods, reason = "a chore that writes a fixture")]
fn writes_the_cases_for_python() {
    let text = serde_json::to_string_pretty(&cases()).expect("plain JSON");
    std::fs::write(golden().join("trimming-cases.json"), text).expect("the fixtures can be written");
}

#[test]
fn a_chat_shows_what_is_left_and_exports_a_template_that_does() {
    let config = r#"{"model_type": "llama", "vocab_size": 260, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
        "num_attention_heads": 1, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "eos_token_id": 1}"#;
    let config = Config::from_json(config.as_bytes(), "config.json").expect("a small configuration");
    let tokenizer = json!({"version": "1.0", "truncation": null, "padding": null, "normalizer": null, "post_processor": null,
        "added_tokens": [], "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": null,
        "model": {"type": "WordLevel", "vocab": {"<unk>": 0, "<end>": 1, "be": 2, "brief": 3, "hi": 4}, "unk_token": "<unk>"}})
    .to_string();
    let template = "{% for m in messages %}{{ m.content }} {% endfor %}";
    let tokenizer_config = br#"{"eos_token": "<end>"}"#;
    let files = ChatFiles { tokenizer: tokenizer.as_bytes(), tokenizer_config, template: Some(template), generation_config: None };
    let whole = Chat::from_bytes(&files, &config).expect("a small chat");
    let trimming = whole.clone().without(Some(heads()[0].1.clone()));
    let request = Request(json!({"messages": [system("be brief"), {"role": "user", "content": "hi"}]}));
    let other = Request(json!({"messages": [{"role": "user", "content": "hi"}]}));
    let answer = json!({"role": "assistant", "content": "brief"});
    assert_eq!(whole.prompt(&request).expect("a prompt"), [2, 3, 4]);
    assert_eq!(trimming.prompt(&request).expect("a prompt"), [4]);
    assert_eq!(trimming.example(&request, &answer).expect("an example").prompt, [4]);
    assert!(matches!(trimming.prompt(&other), Err(Error::Head)) && matches!(trimming.example(&other, &answer), Err(Error::Head)));
    let exported = trimming.exported().expect("a template");
    assert_eq!(exported.prompt(&request).expect("a prompt"), [4]);
    assert_eq!(exported.prompt(&other).expect("a prompt"), [4], "without a name, other requests stay whole");
    assert_eq!(whole.exported().expect("a template").template().source(), template);
}
