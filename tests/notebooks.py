"""Execute library notebooks: write their outputs (`make notebooks`), or compare text outputs with the committed ones.

    python tests/notebooks.py --write [NOTEBOOK ...]
    python tests/notebooks.py NOTEBOOK ...

Examples run on one thread, in float32 unless DIMABSA_DTYPE says otherwise; outputs are then compared in float32 alone.
"""
import argparse
import json
import os
import re
import subprocess
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "DIMABSA_TOUR": "tiny", "MPLCONFIGDIR": os.environ.get("MPLCONFIGDIR", ""), "TQDM_DISABLE": "1"}


def library_notebooks():
    """The tour and the chapters: all notebooks that are committed with their outputs."""
    return sorted(path for path in (REPOSITORY / "nbs").glob("*.ipynb") if re.match(r"index|[012]\d_", path.name))


def read(path):
    return json.loads(Path(path).read_text("utf-8"))


def execute(path):
    """The notebook with fresh outputs; what an example raises is raised here."""
    from execnb.shell import CaptureShell
    notebook, shell = read(path), CaptureShell(Path(path), mpl_format="png")
    os.chdir(Path(path).parent)
    for number, cell in enumerate(notebook["cells"]):
        code = "".join(cell["source"])
        if cell["cell_type"] != "code" or re.search(r"^#\|\s*eval:\s*false", code, re.M):
            continue
        outputs = shell.run(code)
        if shell.exc:
            lines = traceback.format_exception(shell.exc)
            raise SystemExit(f"{Path(path).name}, cell {number}:\n{code}\n\n{''.join(lines[-6:])}")
        cell["outputs"] = [tidy(output) for output in outputs if output.get("name") != "stderr"]
        cell["execution_count"] = None
    return notebook


def tidy(output):
    """An output without what changes from run to run: counts, addresses, the size that Jupyter shows images in."""
    output = {key: value for key, value in output.items() if key in ("output_type", "name", "text", "data", "metadata")}
    if output["output_type"] == "execute_result":
        output["execution_count"] = None
    if "data" in output:
        output["data"] = {kind: value for kind, value in output["data"].items() if kind in ("text/plain", "text/html", "image/png")}
        output["metadata"] = {}
        if "image/png" in output["data"]:
            output["data"].pop("text/plain", None)
    return output


def shown_text(notebook):
    """What each cell prints and returns, as text."""
    for number, cell in enumerate(notebook["cells"]):
        for output in cell.get("outputs", []):
            text = output["text"] if "text" in output else output["data"].get("text/plain", "")
            if "".join(text):
                yield number, "".join(text)


def write(path, notebook):
    Path(path).write_text(json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")


def differences(committed, fresh):
    before, now = dict(shown_text(committed)), dict(shown_text(fresh))
    return [f"cell {number}: committed {before.get(number)!r}, now {now.get(number)!r}"
            for number in sorted({*before, *now}) if before.get(number) != now.get(number)]


def run(path, *options):
    """Execute one notebook in a process of its own."""
    defaults = {"DIMABSA_DTYPE": "float32"} | dict(os.environ)
    environment = {name: value for name, value in (defaults | ENVIRONMENT).items() if value}
    command = [sys.executable, str(Path(__file__).resolve()), "--here", *options, str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("notebooks", nargs="*", type=Path)
    parser.add_argument("--write", action="store_true", help="write the outputs into the notebooks")
    parser.add_argument("--here", action="store_true", help="execute in this process")
    arguments = parser.parse_args()
    paths = [path.resolve() for path in arguments.notebooks] or library_notebooks()
    if not arguments.here:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            answers = list(pool.map(lambda path: run(path, *["--write"] * arguments.write), paths))
        failed = [(path.name, answer.stdout + answer.stderr) for path, answer in zip(paths, answers) if answer.returncode]
        print("\n".join(f"{name}: {text}" for name, text in failed) or f"{len(paths)} notebooks executed")
        return bool(failed)
    for path in paths:
        committed, fresh = read(path), execute(path)
        if arguments.write:
            write(path, fresh)
        elif os.environ.get("DIMABSA_DTYPE") == "float32" and (found := differences(committed, fresh)):
            print(f"{path.name}: outputs differ from the committed ones; `make notebooks` writes them anew\n" + "\n".join(found))
            return True
    return False


if __name__ == "__main__":
    sys.exit(main())
