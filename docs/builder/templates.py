"""The one template syntax: named blocks between HTML comments, rendered in place.

    <!-- begin table2 -->
    ...
    <!-- end table2 -->

A block within a line holds one value: `<!-- begin pooled -->1.162<!-- end pooled -->`.
What stands between the comments is rendered and committed, so that a page reads the same on a git
host; what stands outside is written by hand. The first word names the block, the others are its
arguments; a block about results takes a profile's name, or none for the largest that is committed.
"""
import posixpath
import re
from collections.abc import Callable

from dimabsa_nb.core import UserError

BLOCK = re.compile(r"(<!-- begin ([\w-]+)([^>\n]*?) -->)(.*?)(<!-- end \2 -->)", re.S)
COMMENT = re.compile(r"<!-- (?:begin|end) [\w-]+[^>\n]*? -->")
LINK = re.compile(r"(\]\()([^)\s#]+)((?:#[^)]*)?\))")


def rebased(text: str, old: str, new: str) -> str:
    """Markdown with its links, relative to folder `old` before, relative to folder `new`."""
    def move(link: re.Match) -> str:
        target = link[2]
        if "://" in target or target.startswith(("/", "mailto:")): return link[0]
        path = posixpath.relpath(posixpath.normpath(posixpath.join(old, target)), new or ".")
        return f"{link[1]}{path}{link[3]}"
    return text if old == new else LINK.sub(move, text)


def render(text: str, blocks: dict[str, Callable[..., str]], where: str) -> str:
    """A page with every block as it is now; `where` is the page's path, for links and errors.

    Raises UserError for an unknown block, or one that cannot be rendered with its arguments."""
    folder = posixpath.dirname(where)
    if (marks := len(COMMENT.findall(text))) != 2 * len(BLOCK.findall(text)):
        raise UserError(f"{where}: {marks} block comments, not all of them in pairs")

    def fill(block: re.Match) -> str:
        begin, name, arguments, old, end = block.groups()
        if name not in blocks:
            raise UserError(f"{where}: no block is called {name!r}; there are: {', '.join(blocks)}")
        try:
            new = rebased(blocks[name](*arguments.split()).strip(), "", folder)
        except (KeyError, IndexError, TypeError, ValueError, OSError) as error:
            raise UserError(f"{where}: {begin} cannot be rendered ({error!r})") from None
        if not old.startswith("\n"): return f"{begin}{new}{end}"
        return f"{begin}\n{new}\n{end}" if new else f"{begin}\n{end}"
    return BLOCK.sub(fill, text)


def differing(committed: str, rendered: str) -> list[str]:
    """The blocks whose text differs, as they are called on the page."""
    pairs = zip(BLOCK.finditer(committed), BLOCK.finditer(rendered))
    return [" ".join((old[2] + old[3]).split()) for old, new in pairs if old[4] != new[4]]


def without_comments(text: str) -> str:
    """A page as the site shows it."""
    return COMMENT.sub("", text)
