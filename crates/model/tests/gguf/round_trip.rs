//! What is written is what is read.
use std::fs::File;
use std::io::BufWriter;

use candle_core::quantized::{GgmlDType, QTensor, gguf_file};
use candle_core::{Device, Tensor};
use model::gguf::{Gguf, Quant, write_adapter};
use model::{Decoder, Lora, Weights};

use super::{Model, fixtures, numbers};

fn print(weights: &Weights) -> String {
    weights.fingerprint().expect("cpu tensors").0
}

#[test]
fn in_32_bits_nothing_is_lost() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let families = ["qwen2", "qwen3"].map(|family| (family, Model::of_family(family)));
    for (name, model) in [("nano", Model::nano()), ("tiny", Model::tiny()), ("wide", Model::wide())].into_iter().chain(families) {
        let path = folder.path().join("model.gguf");
        let written = model.write(&path, Quant::F32);
        assert!(written.fallbacks.is_empty(), "{name}");
        let file = Gguf::open(&path).expect("our own file");
        let config = file.config().expect("our own keys");
        let apart = (config.eos_token_ids.clone(), config.pad_token_id);
        assert_eq!(config, model::Config { eos_token_ids: apart.0, pad_token_id: apart.1, ..model.config.clone() }, "{name}");
        assert_eq!(print(&file.weights().expect("our own tensors")), print(&model.weights), "{name}");
        let chat = file.chat().expect("our own tokenizer");
        assert_eq!(chat.ends(), model.chat.ends(), "{name}");
        assert_eq!(chat.template().source(), model.chat.template().source(), "{name}");
    }
}

#[test]
fn in_16_bits_a_weight_is_off_by_half_a_step_at_most() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let (model, path) = (Model::nano(), folder.path().join("model.gguf"));
    model.write(&path, Quant::F16);
    let read = Gguf::open(&path).and_then(|file| file.weights()).expect("our own file");
    for (name, tensor) in &model.weights.tensors {
        for (ours, theirs) in numbers(tensor).iter().zip(numbers(&read.tensors[name])) {
            // half a step of a normal number, or of the smallest ones
            let step = (ours.abs() * 2_f32.powi(-11)).max(2_f32.powi(-25));
            assert!((ours - theirs).abs() <= step, "{name}: {ours} became {theirs}");
        }
    }
}

#[test]
fn quantised_weights_are_those_of_candle_in_our_order() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("model.gguf");
    let of = |name: &str, quant| match (quant, name) {
        (_, name) if name.contains("norm") => GgmlDType::F32,
        (Quant::Q8_0, _) => GgmlDType::Q8_0,
        (_, "model.embed_tokens.weight") => GgmlDType::Q6K,
        (Quant::Q4_0, _) => GgmlDType::Q4_0,
        // of two layers, both are among the last eighth or the first third
        (_, name) if name.starts_with("model.layers.1.") && (name.contains("v_proj") || name.contains("down_proj")) => GgmlDType::Q6K,
        _ => GgmlDType::Q4K,
    };
    let model = Model::wide();
    for quant in [Quant::Q8_0, Quant::Q4_0, Quant::Q4KM] {
        assert!(model.write(&path, quant).fallbacks.is_empty());
        let read = Gguf::open(&path).and_then(|file| file.weights()).expect("our own file");
        for (name, tensor) in &model.weights.tensors {
            // rows are quantised each for itself, so their order does not matter
            let expected = QTensor::quantize(tensor, of(name, quant)).and_then(|tensor| tensor.dequantize(&Device::Cpu));
            assert_eq!(numbers(&expected.expect("whole blocks")), numbers(&read.tensors[name]), "{} {name}", quant.name());
        }
    }
}

#[test]
fn what_does_not_fit_a_block_is_kept_wider_and_said() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("model.gguf");
    let said = |model: &Model, quant| {
        model.write(&path, quant).fallbacks.iter().map(|(from, to, count)| format!("{from} {to} {count}")).collect::<Vec<_>>()
    };
    assert_eq!(said(&Model::nano(), Quant::Q4KM), ["Q6_K Q8_0 5", "Q4_K Q5_0 31"]);
    assert_eq!(said(&Model::nano(), Quant::Q8_0), Vec::<String>::new());
    // widths 48, 72 and 80 are no multiples of 32
    assert_eq!(said(&Model::tiny(), Quant::Q8_0), ["Q8_0 F16 23"]);
}

#[test]
fn an_adapter_merges_to_the_same_bits() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("lora.gguf");
    let model = Model::tiny();
    let peft = fixtures().join("golden/infer/tiny-llama-lora");
    let lora = Lora::load(&peft).expect("a golden adapter");
    write_adapter(&mut BufWriter::new(File::create(&path).expect("a scratch file")), "lora", &model.config, &lora)
        .expect("a plain adapter");
    let merged = |from| {
        let mut weights = model.weights.clone();
        weights.tune(from, &model.config).expect("it fits");
        weights
    };
    let (ours, theirs) = (merged(&peft), merged(&path));
    assert_eq!(print(&ours), print(&theirs));
    assert_ne!(print(&ours), print(&model.weights));
}

#[test]
fn an_adapter_is_written_as_llama_cpp_wants_it() {
    let model = Model::tiny();
    let lora = Lora::load(&fixtures().join("golden/infer/tiny-llama-lora")).expect("a golden adapter");
    let mut out = std::io::Cursor::new(Vec::new());
    write_adapter(&mut out, "lora", &model.config, &lora).expect("a plain adapter");
    out.set_position(0);
    let content = gguf_file::Content::read(&mut out).expect("our own file");
    let text = |key: &str| content.metadata[key].to_string().expect("a text").as_str();
    assert_eq!((text("general.architecture"), text("general.type"), text("adapter.type")), ("llama", "adapter", "lora"));
    // llama.cpp divides alpha by the rank itself
    assert_eq!(content.metadata["adapter.lora.alpha"].to_f32().expect("a number"), 6.0);
    let peft = Weights::load_file(
        &fixtures().join("golden/infer/tiny-llama-lora/adapter_model.safetensors"),
        candle_core::DType::F32,
        &Device::Cpu,
    );
    let peft = peft.expect("a golden adapter");
    let mut compared = 0;
    for (module, theirs) in [("self_attn.q_proj", "attn_q"), ("self_attn.k_proj", "attn_k"), ("self_attn.v_proj", "attn_v")] {
        let ours = |part: &str| peft.tensors.get(&format!("base_model.model.model.layers.0.{module}.lora_{part}.weight"));
        let (Some(down), Some(up)) = (ours("A"), ours("B")) else { continue };
        let mut read = |part: &str| {
            let tensor = content.tensor(&mut out, &format!("blk.0.{theirs}.weight.lora_{part}"), &Device::Cpu);
            tensor.and_then(|tensor| tensor.dequantize(&Device::Cpu)).expect("our own tensor")
        };
        let (a, b) = (read("a"), read("b"));
        assert_eq!((a.dims(), numbers(&a)), (down.dims(), numbers(down)));
        assert_eq!(b.dims(), up.dims());
        // row 2 i + h of a head of 12 is row i + 6 h in Hugging Face's order; values keep theirs
        let row = |tensor: &Tensor, row: usize| tensor.get(row).and_then(|row| row.to_vec1::<f32>()).expect("a row");
        for to in 0..up.dims()[0] {
            let (head, place) = (to / 12, to % 12);
            let from = if theirs == "attn_v" { to } else { head * 12 + place / 2 + 6 * (place % 2) };
            assert_eq!(row(&b, to), row(up, from), "{theirs} row {to}");
        }
        compared += 1;
    }
    assert!(compared >= 2, "{compared}");
}

#[test]
fn a_file_of_another_program_is_read_in_all_float_types() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("model.gguf");
    let model = Model::tiny();
    let rounded = |tensor: &Tensor| QTensor::quantize(tensor, GgmlDType::BF16).expect("any width");
    model.write(&path, Quant::F32);
    // the same file, as another program may write it: bf16, and no key that has a default
    let mut reader = std::io::BufReader::new(File::open(&path).expect("written above"));
    let content = gguf_file::Content::read(&mut reader).expect("our own file");
    let mut tensors = Vec::new();
    for name in content.tensor_infos.keys() {
        let tensor = content.tensor(&mut reader, name, &Device::Cpu).expect("our own tensor");
        let plain = tensor.dequantize(&Device::Cpu).expect("f32");
        tensors.push((name.as_str(), if plain.rank() == 2 { rounded(&plain) } else { tensor }));
    }
    let defaults = ["llama.vocab_size", "llama.attention.value_length", "tokenizer.ggml.token_type"];
    let keys: Vec<_> = content.metadata.iter().filter(|(key, _)| !defaults.contains(&key.as_str())).collect();
    let keys: Vec<_> = keys.into_iter().map(|(key, value)| (key.as_str(), value)).collect();
    let tensors: Vec<_> = tensors.iter().map(|(name, tensor)| (*name, tensor)).collect();
    let other = folder.path().join("other.gguf");
    gguf_file::write(&mut BufWriter::new(File::create(&other).expect("a scratch file")), &keys, &tensors).expect("written");
    let file = Gguf::open(&other).expect("a good file");
    let decoder = Decoder::new(&file.config().expect("keys"), &file.weights().expect("tensors")).expect("a decoder");
    let mut expected = model.weights.clone();
    for tensor in expected.tensors.values_mut().filter(|tensor| tensor.rank() == 2) {
        *tensor = rounded(tensor).dequantize(&Device::Cpu).expect("f32");
    }
    let ours = Decoder::new(&model.config, &expected).expect("a decoder");
    assert_eq!(decoder.logits(&[5, 6, 7]).expect("logits"), ours.logits(&[5, 6, 7]).expect("logits"));
}
