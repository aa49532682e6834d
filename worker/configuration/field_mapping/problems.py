"""Two ways in which a rule disappoints: it is wrong itself, or a value does not fit it."""

from worker.errors import BadRequest


class BadRule(BadRequest):
    """A rule that can't be used; the sentence names the rule, so that whoever wrote it can mend it."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_rule", message)


class Unfit(Exception):
    """A value that its rules refuse. `word` says which one; the value itself is personal and is not repeated."""

    def __init__(self, word: str) -> None:
        super().__init__(word)
        self.word = word
