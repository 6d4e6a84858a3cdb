"""Many rows: `dimabsa predict` and `dimabsa score` keep their memory but for IDs and numbers, and the time of both is in proportion; the explorer opens at once."""
import json
import os
import random
import subprocess
import sys

import pytest

# 500 rows at a time in place of 4,000 show the models' part in small; with an empty pass for the models, all the rest is shown at size
WHOLE, EMPTY = (500, 1_500), (50_000, 100_000, 200_000)
WORDS = "the lid battery keyboard is stiff warm good bad loud fan and but screen price awful great never again bought".split()
RUN = "from dimabsa_nb.cli import app; app()"
SMALL = "from dimabsa_nb import corpus; corpus._input_pieces.__defaults__ = (500,); " + RUN
HOLLOW = "import numpy; from unittest.mock import patch; patch('dimabsa_nb.encoder._predict_guided', lambda system, rows: numpy.full((len(rows), 2), 5.0)).start(); " + RUN


def write_rows(path, count):
    """Reviews of two aspects each, invented."""
    draw = random.Random(0)
    path.parent.mkdir()
    with open(path, "w", encoding="utf-8") as file:
        for number in range(count // 2):
            labels = [{"Aspect": aspect, "VA": f"{draw.uniform(1, 9):.2f}#{draw.uniform(1, 9):.2f}"} for aspect in ("lid", "fan")]
            file.write(json.dumps({"ID": str(number), "Text": " ".join(draw.choices(WORDS, k=10)), "Aspect_VA": labels}) + "\n")


# the kernel's own count of a child starts with its parent's
LAST = "import atexit, re; atexit.register(lambda: open('peak', 'w').write(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])); "


def cost(folder, code, *arguments):
    """CPU seconds and peak memory in MB of a command in a process of its own."""
    process = subprocess.Popen([sys.executable, "-c", LAST + code, *map(str, arguments)], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return {"seconds": round(usage.ru_utime + usage.ru_stime, 1), "peak_memory_mb": round(int((folder / "peak").read_text()) / 1024)}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux counts it")
def test_memory_and_time_of_many_rows(system, tmp_path, tally, measured, times):
    empty = times(EMPTY, (20_000, 40_000))
    for what, code, counts in (("predict, 500 at a time", SMALL, WHOLE), ("predict, but the models", HOLLOW, empty), ("score", RUN, empty)):
        for count in counts:
            gold, said = (tmp_path / str(count) / name for name in ("eng_laptop_test.jsonl", "pred_eng_laptop.jsonl"))
            if not gold.exists(): write_rows(gold, count)
            with tally("Load", f"{what}, {count:,} rows: memory within its bound"):
                costs = measured.setdefault(what, [])
                costs.append({"rows": count, **cost(tmp_path, code, *([what, gold, said] if what == "score" else ["predict", system, gold, "-o", said]))})
                first, last = costs[0]["peak_memory_mb"], costs[-1]["peak_memory_mb"]
                assert last <= (first + (count - counts[0]) * 0.4 / 1024 if what == "score" else first * 1.1), costs
