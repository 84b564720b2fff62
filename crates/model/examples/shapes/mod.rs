//! Shapes that the speed programs measure.
use model::Config;

/// The configuration of a shape by its name.
///
/// # Errors
/// When there is none of that name.
pub fn config(name: &str) -> Result<Config, Box<dyn std::error::Error>> {
    let (vocabulary, hidden, inner, layers, heads, keys, head) = match name {
        "nano" => (2048, 192, 512, 5, 6, 2, 32),
        "smollm" => (49152, 576, 1536, 30, 9, 3, 64),
        other => return Err(format!("`{other}` is neither `nano` nor `smollm`").into()),
    };
    let text = format!(
        r#"{{"model_type": "llama", "vocab_size": {vocabulary}, "hidden_size": {hidden}, "intermediate_size": {inner},
        "num_hidden_layers": {layers}, "num_attention_heads": {heads}, "num_key_value_heads": {keys}, "head_dim": {head},
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": true}}"#
    );
    Ok(Config::from_json(text.as_bytes(), name)?)
}
