"""What msticpy's CrowdSec provider costs, in a virtual environment and process of its own.

Run by :mod:`tests.bench.goals.goal3_lookups` with the interpreter of ``.venv-msticpy``, in which
nothing of this project is installed. Reads one line of addresses for each round, and answers
with the CPU seconds that ``lookup_iocs`` took for them.
"""

from __future__ import annotations

import importlib
import sys
import time


def main(url: str) -> None:
    """Answer rounds until standard input ends."""
    provider_module = importlib.import_module("msticpy.context.tiproviders.crowdsec")
    provider_module.CrowdSec._BASE_URL = url
    provider = provider_module.CrowdSec(AuthKey="a-good-key")
    print("ready", flush=True)
    for line in sys.stdin:
        addresses = line.split()
        before = time.process_time()
        found = provider.lookup_iocs(addresses)
        spent = time.process_time() - before
        assert len(found) == len(addresses), found
        assert set(found["Status"]) <= {0, 404}, found
        print(spent, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
