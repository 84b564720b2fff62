//! finetune
