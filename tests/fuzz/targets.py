"""All targets, by the names that `make fuzz` and failures call them."""

from tests.fuzz import test_files, test_games, test_rl, test_text, test_tokens, test_values
from tests.fuzz.rig import Target

TARGETS: dict[str, Target] = {
    **test_games.TARGETS,
    **test_values.TARGETS,
    **test_rl.TARGETS,
    **test_tokens.TARGETS,
    **test_text.TARGETS,
    **test_files.TARGETS,
}
