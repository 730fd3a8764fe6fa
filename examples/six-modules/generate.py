"""Writes six-modules.safetensors: weights, inputs and PyTorch's results for the six modules that `npm start` runs.

    pip install torch numpy        # any recent PyTorch 2, CPU is enough
    python examples/six-modules/generate.py

Weights and inputs are rounded to float16 first; the results are computed by PyTorch in float64 from exactly those values
and stored as float32. Two runs give the same bytes. README.md beside this file says what the attention maps should show.
"""

import argparse
import json
import math
import struct
from pathlib import Path

import torch
import torch.nn.functional as F

SEED = 20250117
EMBED_DIM, NUM_HEADS = 512, 8
HEAD_DIM = EMBED_DIM // NUM_HEADS
WINDOW_SIZE = 16  # LocalAttention attends where |i - j| <= WINDOW_SIZE // 2

# x = [word part | position part]
WORD_DIM = 384
POSITION_DIM = EMBED_DIM - WORD_DIM

HEAD_ROLES = ['same word', 'same position', 'previous position', 'next position'] + ['as initialised'] * 4
# Scores of equal words, and at the sought position, are about 8 * GAIN**2 = 5; of others about 0.
GAIN = 0.8
# PyTorch's own initialisation gives scores with a standard deviation of 0.5; this widens both factors to reach 1.7.
INITIALISED_GAIN = 1.85

SENTENCES = ['the cat sat on the mat and the cat slept', 'a rose is a rose is a rose is a']
QUESTIONS = ['where did the cat sit', 'is a daisy a rose']
LOOKUPS = ['cat dog fish dog mat', 'one two three two one']
DICTIONARIES = ['the dog saw the cat and fish', 'three one two one three two four']
TRANSLATIONS = ['der Hund sah die Katze und Fisch', 'trois un deux un trois deux quatre']

generator = torch.Generator().manual_seed(SEED)


def normal(*shape):
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def as_float16(tensor):
    """The nearest float16 values, in float64."""
    return tensor.to(torch.float16).to(torch.float64)


class Embedding:
    """Each word is one random vector [WORD_DIM], drawn when the word is first met."""

    def __init__(self):
        self.words = {}

    def word(self, word):
        if word not in self.words:
            self.words[word] = normal(WORD_DIM)
        return self.words[word]

    def __call__(self, sentences):
        """Sentences of equal length n -> [batch, n, EMBED_DIM]."""
        batch = [s.split() for s in sentences]
        words = torch.stack([torch.stack([self.word(w) for w in s]) for s in batch])
        positions = position_features(torch.arange(words.shape[1]).double())
        return as_float16(torch.cat([words, positions.expand(len(batch), -1, -1)], dim=-1))


def frequencies():
    """Evenly spaced, so that features of different positions are nearly orthogonal: [POSITION_DIM / 2]."""
    n = POSITION_DIM // 2
    return (torch.arange(n).double() + 0.5) * (0.7 * math.pi / n)


def position_features(positions):
    """[n] -> [n, POSITION_DIM]: sin(f p), cos(f p) of each frequency in turn, with unit variance."""
    angles = positions[:, None] * frequencies()
    return math.sqrt(2) * torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def position_projection(shift):
    """[HEAD_DIM, EMBED_DIM]: takes every other frequency of the position part, turned to position + shift."""
    weight = torch.zeros(HEAD_DIM, EMBED_DIM, dtype=torch.float64)
    for row, f in enumerate(range(0, POSITION_DIM // 2, 2)):
        angle = float(frequencies()[f]) * shift
        sine, cosine = WORD_DIM + 2 * f, WORD_DIM + 2 * f + 1
        weight[2 * row, sine], weight[2 * row, cosine] = math.cos(angle), math.sin(angle)
        weight[2 * row + 1, sine], weight[2 * row + 1, cosine] = -math.sin(angle), math.cos(angle)
    return weight


def word_projection():
    """[HEAD_DIM, EMBED_DIM]: orthonormal rows in the word part."""
    basis = torch.linalg.qr(normal(WORD_DIM, HEAD_DIM)).Q.T
    return F.pad(basis, (0, POSITION_DIM))


def projections():
    """The module's state dict: as PyTorch initialises it, except query and key rows of the first four heads, and the biases."""
    torch.manual_seed(SEED)
    module = torch.nn.MultiheadAttention(EMBED_DIM, NUM_HEADS, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        query, key, _ = module.in_proj_weight.view(3, NUM_HEADS, HEAD_DIM, EMBED_DIM)
        query.mul_(INITIALISED_GAIN)
        key.mul_(INITIALISED_GAIN)
        query[0] = key[0] = GAIN * word_projection()
        for head, shift in [(1, 0), (2, -1), (3, 1)]:
            query[head] = GAIN * position_projection(shift)
            key[head] = GAIN * position_projection(0)
        module.in_proj_bias.copy_(0.1 * normal(3 * EMBED_DIM))
        module.out_proj.bias.copy_(0.1 * normal(EMBED_DIM))
        for parameter in module.parameters():
            parameter.copy_(as_float16(parameter))
    return module


def sdpa_inputs():
    """q [2,3,128], k [2,4,128], v [2,4,64]: query i is one key, or the middle of two, as `wanted` lists."""
    wanted = [[(2,), (0,), (1, 3)], [(3,), (1, 2), (0,)]]
    k = normal(2, 4, 128)
    q = torch.stack([torch.stack([k[b, list(w)].mean(0) for w in wanted[b]]) for b in range(2)])
    return as_float16(0.4 * q), as_float16(k), as_float16(normal(2, 4, 64))


def flash_inputs():
    """q, k, v [2,1024,64]: a text of 1024 words out of 32, plus noise; equal words attract each other."""
    words = normal(32, 64)
    text = torch.randint(32, (2, 1024), generator=generator)
    q, k = (words[text] + 0.5 * normal(2, 1024, 64) for _ in range(2))
    return as_float16(q), as_float16(k), as_float16(normal(2, 1024, 64))


def write_safetensors(path, tensors, metadata):
    """By hand, because the order in which the safetensors package writes metadata differs from run to run."""
    header, payload = {'__metadata__': metadata}, b''
    # Wide elements first, so that every tensor is aligned to its element.
    for name, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        data = tensor.contiguous().numpy().tobytes()
        header[name] = {
            'dtype': {torch.float16: 'F16', torch.float32: 'F32'}[tensor.dtype],
            'shape': list(tensor.shape),
            'data_offsets': [len(payload), len(payload) + len(data)],
        }
        payload += data
    text = json.dumps(header, separators=(',', ':')).encode()
    text += b' ' * (-len(text) % 8)
    path.write_bytes(struct.pack('<Q', len(text)) + text + payload)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--output', type=Path, default=Path(__file__).with_name('six-modules.safetensors'))
    output_path = parser.parse_args().output

    # One thread and PyTorch's plain path: the same sums in the same order on every run.
    torch.set_num_threads(1)
    torch.backends.mha.set_fastpath_enabled(False)

    module, embed = projections(), Embedding()
    tensors, runs = {}, []
    for name, value in module.state_dict().items():
        tensors[f'projections/{name}'] = value.to(torch.float16)

    def add_run(name, inputs, output, weights=None, **details):
        for key, value in inputs.items():
            tensors[f'{name}/{key}'] = value.to(torch.float16)
        results = {'output': output} if weights is None else {'output': output, 'weights': weights}
        for key, value in results.items():
            tensors[f'{name}/{key}'] = value.to(torch.float32)
        runs.append({'name': name, 'inputs': list(inputs), 'outputs': list(results), **details})

    def attend(query, key, value, **options):
        output, weights = module(query, key, value, average_attn_weights=False, **options)
        return output, weights

    def words(sentences):
        return [s.split() for s in sentences]

    shared = {'embedDim': EMBED_DIM, 'numHeads': NUM_HEADS}
    with torch.no_grad():
        q, k, v = sdpa_inputs()
        scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
        add_run(
            'ScaledDotProductAttention',
            {'q': q, 'k': k, 'v': v},
            F.scaled_dot_product_attention(q, k, v),
            scores.softmax(-1),
            queryLabels=[['key 2', 'key 0', 'key 1 + key 3'], ['key 3', 'key 1 + key 2', 'key 0']],
            keyLabels=[[f'key {j}' for j in range(4)]] * 2,
        )

        sentence = embed(SENTENCES)
        add_run(
            'SelfAttention',
            {'x': sentence},
            *attend(sentence, sentence, sentence),
            options=shared,
            queryLabels=words(SENTENCES),
            keyLabels=words(SENTENCES),
            headLabels=HEAD_ROLES,
        )

        query, key, value = embed(LOOKUPS), embed(DICTIONARIES), embed(TRANSLATIONS)
        add_run(
            'MultiHeadAttention',
            {'query': query, 'key': key, 'value': value},
            *attend(query, key, value),
            options=shared,
            queryLabels=words(LOOKUPS),
            keyLabels=words(DICTIONARIES),
            headLabels=HEAD_ROLES,
        )

        question = embed(QUESTIONS)
        add_run(
            'CrossAttention',
            {'x': question, 'context': sentence},
            *attend(question, sentence, sentence),
            options=shared,
            queryLabels=words(QUESTIONS),
            keyLabels=words(SENTENCES),
            headLabels=HEAD_ROLES,
        )

        q, k, v = flash_inputs()
        add_run('FlashAttention', {'q': q, 'k': k, 'v': v}, F.scaled_dot_product_attention(q, k, v))

        long_text = embed([' '.join([s] * 10) for s in SENTENCES])
        index = torch.arange(long_text.shape[1])
        outside = (index[:, None] - index[None, :]).abs() > WINDOW_SIZE // 2
        output, _ = attend(long_text, long_text, long_text, attn_mask=outside)
        add_run('LocalAttention', {'x': long_text}, output, options={**shared, 'windowSize': WINDOW_SIZE})

    metadata = {
        'about': 'the six modules of webgpu-attention: f16 weights and inputs, f32 results of PyTorch in float64',
        'torch': torch.__version__.split('+')[0],
        'seed': str(SEED),
        'runs': json.dumps(runs, separators=(',', ':')),
    }
    write_safetensors(output_path, tensors, metadata)
    print(f'{output_path}: {output_path.stat().st_size} bytes, {len(tensors)} tensors')


if __name__ == '__main__':
    main()
