"""Optuna's TPE sampler as a process that is asked and told: run by exhaustive.py with the interpreter of an environment that has optuna.

    PYTHON optuna_asker.py SEED '{"name": count, ...}'

Each line of input asks for the next choice (an empty line), or tells what one was worth ({"number": 3, "value": 1.5}, less is better). An
answer to asking is {"number": 3, "choice": {"name": index, ...}}.
"""

from __future__ import annotations

import json
import sys

import optuna


def main() -> None:
    seed, counts = int(sys.argv[1]), json.loads(sys.argv[2])
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    asked = {}
    print(json.dumps({"version": optuna.__version__}), flush=True)
    for line in sys.stdin:
        if line.strip():
            told = json.loads(line)
            study.tell(asked.pop(told["number"]), told["value"])
            continue
        trial = study.ask()
        asked[trial.number] = trial
        choice = {name: trial.suggest_categorical(name, list(range(count))) for name, count in counts.items()}
        print(json.dumps({"number": trial.number, "choice": choice}), flush=True)


if __name__ == "__main__":
    main()
