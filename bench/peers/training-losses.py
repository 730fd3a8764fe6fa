"""Prints LOSSES of training-problem.mjs: the first steps' by PyTorch, in float64.

    npm run build && node bench/peers/training-losses.mjs | python bench/peers/training-losses.py
"""

import json
import sys
from pathlib import Path

import torch
import torch.nn.functional as F

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).parents[2] / 'examples' / 'training'))
from check import Transformer  # noqa: E402

problem = json.load(sys.stdin)
model = Transformer(**problem['config']).double()
model.load_state_dict(
    {name: torch.tensor(w['values'], dtype=torch.float64).reshape(w['shape']) for name, w in problem['weights'].items()}
)
tokens = torch.tensor(problem['tokens']).reshape(-1, problem['config']['length'])
targets = torch.tensor(problem['targets'])
adam = problem['adam']
optimiser = torch.optim.Adam(model.parameters(), adam['lr'], (adam['beta1'], adam['beta2']), adam['eps'])

losses = []
for _ in range(problem['steps']):
    loss = F.cross_entropy(model(tokens).flatten(0, 1), targets)
    losses.append(loss.item())
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
print(losses)
