"""The table of docs/reference/games.md from the docstrings of the games.

python docs/make_games.py            # writes it
python docs/make_games.py --check    # fails when it is stale
"""

import inspect
import re
import sys
from pathlib import Path

from shapley_kernels.games import GAMES

PAGE = Path(__file__).parent / "reference" / "games.md"
MARKED = re.compile(r"(?<=<!-- made by docs/make_games.py -->\n).*?(?=\n<!-- end -->)", re.DOTALL)


def page() -> str:
    """The page, its table made anew."""
    rows = ["| game | worth of S | cost |", "|---|---|---|"]
    for game in GAMES:
        doc = inspect.getdoc(game) or ""
        worth = " ".join(re.split(r"\n\s*\n|Arguments as in", doc)[0].split()).removesuffix(".").replace("|", "\\|")
        rows.append(f"| `{game.__name__}({arguments(game)})` | {worth} | {cost(game)} |")
    table = "\n".join(rows)
    return MARKED.sub(lambda _: table, PAGE.read_text(encoding="utf-8"))


def arguments(game: type) -> str:
    """As in a call, with the defaults; annotations left out."""
    signature = inspect.signature(game)
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))[1:-1]


def cost(game: type) -> str:
    """What follows "Cost:" in the docstring of the game or of the classes it is made from, to the next paragraph."""
    for owner in game.__mro__:
        found = re.search(r"Cost: (.*?)(?:\n\s*\n|\n[A-Z]\w+:|$)", inspect.cleandoc(owner.__doc__ or ""), re.DOTALL)
        if found:
            return " ".join(found[1].split()).removesuffix(".").replace("|", "\\|")
    return ""


def main() -> int:
    if "--check" not in sys.argv:
        PAGE.write_text(page(), encoding="utf-8")
        return 0
    if PAGE.read_text(encoding="utf-8") == page():
        return 0
    print("docs/reference/games.md is stale: run python docs/make_games.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
