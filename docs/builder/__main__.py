"""python docs/builder site|pages|check"""
import sys
from pathlib import Path

# as a script, this folder is first on the path; `builder` is found beside it
sys.path[0] = str(Path(__file__).resolve().parents[1])


def main(command: str = "") -> int:
    """Run one command; what is wrong is said in one line each, and the exit code is 1 or 2."""
    from dimabsa_nb.core import UserError
    try:
        if command == "site":
            from builder.site import build_site
            print(f"open {build_site()}")
        elif command == "pages":
            from builder.blocks import write_pages
            print(*write_pages() or ["every page is up to date"], sep="\n")
        elif command == "check":
            from builder.blocks import stale
            problems = stale()
            print(*problems or ["tables, figures and pages are what their records say"], sep="\n")
            return 1 if problems else 0
        else:
            print(__doc__)
            return 2
    except UserError as error:
        print(error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
