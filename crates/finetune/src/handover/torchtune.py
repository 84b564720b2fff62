"""What torchtune's recipes are given of this task: its rows, the course of the learning rate, how the adapter is saved. See README.md."""
import json
import math
import random

from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import Dataset
from torchtune.training import FullModelHFCheckpointer, ModelType


class Rows(Dataset):
    """As many rows as the run sees: all of them, epoch after epoch, each in an order drawn from the seed.

    A row's `tokens` and `labels` are as long as each other, -100 where nothing is learnt; the recipe shifts the labels.
    """

    def __init__(self, tokenizer, path, draws, seed, shuffle):
        with open(path, encoding="utf-8") as file:
            self.rows = [json.loads(line) for line in file]
        source = random.Random(seed)
        self.order = []
        while len(self.order) < draws:
            epoch = list(range(len(self.rows)))
            if shuffle:
                source.shuffle(epoch)
            self.order += epoch
        del self.order[draws:]

    def __len__(self):
        return len(self.order)

    def __getitem__(self, place):
        return self.rows[self.order[place]]


class Tokenizer:
    """Nothing is left to tokenize; recipes ask for the token that fills batches, of which one row has none."""

    def __init__(self):
        self.pad_id = 0


def cosine(optimizer, num_warmup_steps, num_training_steps, last_epoch=-1):
    """Linear warm-up whose first step learns, then half a cosine down to a tenth at the last step."""

    def share(done):
        step = done + 1
        if step < num_warmup_steps:
            return step / num_warmup_steps
        fall = num_training_steps - num_warmup_steps
        part = min((step - num_warmup_steps) / fall, 1.0) if fall > 0 else float(step > num_warmup_steps)
        return 0.1 + 0.9 * 0.5 * (1.0 + math.cos(math.pi * part))

    return LambdaLR(optimizer, share, last_epoch)


class Checkpointer(FullModelHFCheckpointer):
    """Saves the adapter as PEFT reads it: with the base model's name, and with Qwen2's rows as they are.

    torchtune 0.6.1 reorders the rows of queries and keys in every adapter it saves, for it reordered Llama's weights when it read
    them; Qwen2's it did not. Heads of width 2 have nothing to reorder.
    """

    def __init__(self, base, **named):
        super().__init__(**named)
        self.repo_id = base

    def save_checkpoint(self, *arguments, **named):
        config = self._config
        if self._model_type == ModelType.QWEN2:
            pairs = config["hidden_size"] // config["num_attention_heads"] // 2
            heads = {key: config[key] * pairs for key in ["num_attention_heads", "num_key_value_heads"]}
            self._config = {**config, **heads, "head_dim": 2}
        try:
            super().save_checkpoint(*arguments, **named)
        finally:
            self._config = config
