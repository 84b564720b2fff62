//! Bodies of the APIs of large models, turned into OpenAI chat bodies. Knows requests and answers, no log around them.
pub mod anthropic;
pub mod chat;
pub mod converse;
pub mod gemini;
pub mod loose;
pub mod openai;
pub mod responses;
pub mod stream;
