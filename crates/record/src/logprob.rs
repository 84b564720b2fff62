//! What a model expected while it wrote: the tokens of an answer with their log-probabilities, where a log has them.
use serde_json::{Value, json};

/// A token of an answer, in the model's own tokenizer.
#[derive(Clone, Debug, PartialEq)]
pub struct Logprob {
    /// Its bytes, which need be no whole characters.
    pub bytes: Vec<u8>,
    /// Logarithm of its probability, in nats.
    pub logprob: f64,
    /// The likeliest tokens in its place, as far as they were asked for, itself often among them: bytes and logarithm.
    pub top: Vec<(Vec<u8>, f64)>,
}

impl Logprob {
    /// Reads an entry of OpenAI's `logprobs.content`; where `bytes` are missing, `token` is the text.
    #[must_use]
    pub fn from_openai(value: &Value) -> Option<Self> {
        let tops = value.get("top_logprobs").and_then(Value::as_array);
        let top = tops.map(Vec::as_slice).unwrap_or_default().iter().map(entry).collect::<Option<_>>()?;
        let (bytes, logprob) = entry(value)?;
        Some(Self { bytes, logprob, top })
    }

    /// As an entry of OpenAI's `logprobs.content`. Bytes that are no text show as `�` in `token`.
    #[must_use]
    pub fn to_openai(&self) -> Value {
        let entry = |bytes: &[u8], logprob: f64| json!({"token": String::from_utf8_lossy(bytes), "bytes": bytes, "logprob": logprob});
        let mut value = entry(&self.bytes, self.logprob);
        value["top_logprobs"] = self.top.iter().map(|(bytes, logprob)| entry(bytes, *logprob)).collect();
        value
    }
}

/// Bytes and logarithm of a token.
fn entry(value: &Value) -> Option<(Vec<u8>, f64)> {
    let logprob = value.get("logprob")?.as_f64()?;
    let byte = |value: &Value| u8::try_from(value.as_u64()?).ok();
    let bytes = match value.get("bytes") {
        Some(Value::Array(bytes)) => bytes.iter().map(byte).collect::<Option<_>>()?,
        _ => value.get("token")?.as_str()?.as_bytes().to_vec(),
    };
    Some((bytes, logprob))
}

#[cfg(test)]
mod tests {
    use super::Logprob;
    use serde_json::json;

    #[test]
    fn entries_are_read_with_and_without_bytes_and_written_as_they_came() {
        let value = json!({"token": "\u{fffd}", "bytes": [226, 130], "logprob": -0.5,
            "top_logprobs": [{"token": " a", "bytes": [32, 97], "logprob": -0.5}]});
        let read = Logprob::from_openai(&value).expect("a whole entry");
        assert_eq!((&read.bytes[..], &read.top[..]), (&[226, 130][..], &[(b" a".to_vec(), -0.5)][..]));
        assert_eq!(read.to_openai(), value);
        let text = Logprob::from_openai(&json!({"token": " a", "bytes": null, "logprob": -1})).map(|read| read.bytes);
        assert_eq!(text, Some(b" a".to_vec()));
        for broken in [json!({"token": "a"}), json!({"logprob": -1.0}), json!({"token": "a", "bytes": [300], "logprob": -1.0})] {
            assert_eq!(Logprob::from_openai(&broken), None, "{broken}");
        }
    }
}
