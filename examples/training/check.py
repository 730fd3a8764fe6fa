"""Loads a model that an example trained into PyTorch, and compares logits, loss and gradients with the example's.

    pip install torch numpy        # any recent PyTorch 2, CPU is enough
    python examples/training/check.py runs/train-char-lm
    python examples/training/check.py runs/train-local

The folder is the example's --out: model.safetensors has the weights, check.safetensors a batch and what came of it.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

sys.dont_write_bytecode = True  # tensors.py lies among files that are kept
import tensors  # noqa: E402

# Of the largest value: float32 sums of a few hundred terms in another order, through a few layers.
TOLERANCE = 1e-4


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm2 = nn.LayerNorm(width)
        self.widen = nn.Linear(width, 4 * width)
        self.narrow = nn.Linear(4 * width, width)

    def forward(self, x, blocked):
        h = self.norm1(x)
        x = x + self.attention(h, h, h, attn_mask=blocked, need_weights=False)[0]
        return x + self.narrow(F.gelu(self.widen(self.norm2(x))))


class Transformer(nn.Module):
    """examples/training/transformer.mjs, with the same names in the state dict."""

    def __init__(self, vocabulary, length, width, layers, heads, positions=None, windowSize=None, dropout=0.0):
        """What the example dropped in training plays no part: it compares without dropout."""
        super().__init__()
        self.window = windowSize
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(positions or length, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens):
        at = torch.arange(tokens.shape[1])
        behind = at[:, None] - at[None, :]
        blocked = behind < 0 if self.window is None else (behind < 0) | (behind > self.window // 2)
        x = self.tokens(tokens) + self.positions(at % self.positions.num_embeddings)
        for block in self.blocks:
            x = block(x, blocked)
        return self.head(self.norm(x))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('folder', type=Path, help="the example's --out")
    folder = parser.parse_args().folder

    weights, metadata = tensors.read(folder / 'model.safetensors')
    check, _ = tensors.read(folder / 'check.safetensors')
    model = Transformer(**json.loads(metadata['config'])).double()
    model.load_state_dict(weights)

    logits = model(check['tokens'].long())
    loss = F.cross_entropy(logits.flatten(0, 1), check['targets'].long().flatten())
    loss.backward()

    pairs = {'logits': (check['logits'], logits), 'loss': (check['loss'], loss.reshape(check['loss'].shape))}
    for name, parameter in model.named_parameters():
        pairs[f'gradient.{name}'] = (check[f'gradient.{name}'], parameter.grad)
    print(f'{len(weights)} tensors loaded; loss {loss.item():.6f} here, {check["loss"].item():.6f} there')

    wrong = 0
    for name, (theirs, ours) in pairs.items():
        error = (theirs.double() - ours).abs().max().item() / ours.abs().max().item()
        is_right = error <= TOLERANCE  # false for NaN
        wrong += not is_right
        print(f'{"ok   " if is_right else "WRONG"} {error:.1e}  {name}')
    print(f'{len(pairs) - wrong} of {len(pairs)} agree with PyTorch {torch.__version__} in float64, within {TOLERANCE:g}')
    sys.exit(wrong > 0)


if __name__ == '__main__':
    main()
