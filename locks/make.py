"""Write cpu.txt and gpu.txt anew: a version stays while it may, and each file of it has its SHA-256.

`make lock` runs this. uv asks the registry what fits Linux, macOS and Windows and Python 3.11 to 3.13;
the hashes are the registry's own. To raise a version: `make lock ARGS="--upgrade-package NAME"`."""
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

HEADS = {"cpu": """\
# The exact set that the reference results were made with, for Linux, macOS and Windows, Python 3.11.5 to 3.13. `make lock` wrote it, `make` installs it:
#     python -m pip install --require-hashes --only-binary :all: --no-deps -r locks/cpu.txt
# torch has two builds on Linux. The CPU build satisfies its line where pip finds one; pip takes the CUDA build elsewhere, which runs on a CPU as well and
# wants what gpu.txt adds. pip would ask for NVIDIA's libraries beside either, hence --no-deps; `pip check` says afterwards whether anything is missing.
""", "gpu": """\
# The exact set for one NVIDIA GPU on Linux (CUDA 13): cpu.txt and what torch's CUDA build needs. `make lock` wrote it.
# FlashAttention-2 is compiled against the installed torch, so it comes after this file:
#     pip install --no-build-isolation flash-attn==2.8.3.post2
-r cpu.txt
"""}
CUDA = re.compile(r"(nvidia-|cuda-|triton==)")
# The registry lacks torch's CPU builds for Linux; these are the hashes in PyTorch's own index. The first was computed from the file as well,
# the others found alike in independent public locks. A wrong one would only be refused.
CPU_BUILDS = """\
6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b  torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl
84453b69508ec79902f899c5ed9495acb9e2bbe9fda5f1d5d6f19e3c3842e1a7  torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_aarch64.whl
4ca4a9394b0c771238a4f73590fdbbc4debad85ed0fa63d026ae1b085da7d6e2  torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_x86_64.whl
6f307c2c32d764ffc6ff6893b801fad6d4752f3e67966cb8abf1843427c02604  torch-2.13.0+cpu-cp312-cp312-manylinux_2_28_aarch64.whl
3fbf9c9d1f3c10c2d59d04aca426dee9ccc6ceb32d255c61e93acc3b4f75fae6  torch-2.13.0+cpu-cp313-cp313-manylinux_2_28_x86_64.whl
0b8f7d0423027ae8b90c7977c627f3379f325363a08224dffad9b4b2d684a83d  torch-2.13.0+cpu-cp313-cp313-manylinux_2_28_aarch64.whl
"""

folder = Path(__file__).resolve().parent
with TemporaryDirectory() as scratch:
    both = Path(scratch, "both.txt")  # uv prefers the versions that the file to write already names; no hash is taken over
    both.write_text("".join(line + "\n" for name in HEADS for line in re.findall(r"(?m)^\w[^\\\n]*", (folder / f"{name}.txt").read_text("utf-8"))), "utf-8")
    subprocess.run(["uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11.5", "--generate-hashes", "--no-annotate", "--no-header",
                    "--extra", "dev", "--output-file", both, *sys.argv[1:], folder.parent / "pyproject.toml"], check=True)
    pins = re.findall(r"(?m)^\S.*\n(?:\s+--hash.*\n)+", both.read_text("utf-8"))
version = next(re.match(r"torch==(\S+)", pin)[1] for pin in pins if pin.startswith("torch=="))
builds = [line.split()[0] for line in CPU_BUILDS.splitlines() if f"-{version}+" in line]
if not builds: print(f"no hash of a CPU build of torch {version} is known here; add them to CPU_BUILDS in {__file__}", file=sys.stderr)
added = "".join(f" \\\n    --hash=sha256:{digest}" for digest in builds)
pins = [pin.rstrip() + (added if pin.startswith("torch==") else "") + "\n" for pin in pins]
for name, head in HEADS.items():
    (folder / f"{name}.txt").write_text(head + "".join(pin for pin in pins if bool(CUDA.match(pin)) is (name == "gpu")), "utf-8", newline="\n")
