"""Coverage-guided fuzzing of one harness, in this process: ``python -m tests.fuzz.run HARNESS SECONDS|FILE``.

With a file, that input alone is run, to look at a finding. Without arguments, the names are printed.
``scripts/fuzz`` sees to the rest.
"""

import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[2] / ".fuzz"
_LONGEST_RUN: Final = 10  # seconds that one input may take
_MOST_MEMORY: Final = 1024  # MiB of the process


def _save_seeds(corpus: Path, seeds: Sequence[bytes]) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        (corpus / hashlib.sha256(seed).hexdigest()[:40]).write_bytes(seed)


def _fuzz(name: str, seconds: str) -> None:
    """Fuzz until the time is over; libFuzzer ends the process, with a code other than 0 on a finding."""
    import atheris

    with atheris.instrument_imports(include=["securechat"]):  # what is imported here tells which branches ran
        from tests.fuzz.table import HARNESSES
    harness = HARNESSES[name]
    corpus, findings = _ROOT / "corpus" / name, _ROOT / "findings"
    _save_seeds(corpus, harness.seeds)
    findings.mkdir(exist_ok=True)
    options = {
        "max_total_time": seconds,
        "max_len": harness.most,
        "timeout": _LONGEST_RUN,
        "rss_limit_mb": _MOST_MEMORY,
        "artifact_prefix": f"{findings}/{name}-",
        "print_final_stats": 1,
        "verbosity": 0,
    }
    atheris.Setup([sys.argv[0], *(f"-{key}={value}" for key, value in options.items()), str(corpus)], harness.run)
    atheris.Fuzz()


def main(arguments: list[str]) -> None:
    """Do as the command line says."""
    match arguments:
        case [name, seconds] if seconds.isdecimal():
            _fuzz(name, seconds)
        case [name, file]:
            from tests.fuzz.table import HARNESSES

            HARNESSES[name].run(Path(file).read_bytes())
        case _:
            from tests.fuzz.table import HARNESSES

            print(*HARNESSES, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
