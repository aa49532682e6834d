"""Who masks what: documents of an integration by its own personal fields too, all others by the rules alone."""

from collections import Counter
from collections.abc import Mapping, Sequence

from tasks.masking.documents import UNKNOWN, Masker
from tasks.masking.operators import Tokens
from tasks.masking.rules import Rule, RuleSet


class Maskers:
    """Maskers that count together. `nodes` are the personal fields of answers, by the id of their integration."""

    def __init__(self, rules: Sequence[Rule], nodes: Mapping[int, Sequence[Rule]], tokens: Tokens) -> None:
        self.counts: Counter[int] = Counter()
        self.general = Masker(RuleSet(rules), tokens, self.counts)
        self._of = {id_: Masker(RuleSet(rules, own), tokens, self.counts) for id_, own in nodes.items()}
        own = [node for some in nodes.values() for node in some]
        self._labels = {UNKNOWN.id: UNKNOWN.pattern} | {rule.id: rule.label for rule in (*rules, *own)}

    def of(self, integration_id: int) -> Masker:
        """The one for an integration's requests and their results."""
        return self._of.get(integration_id, self.general)

    def told(self, before: Counter[int]) -> dict[str, int]:
        """How many values each rule has changed since `counts` was `before`, by the rule's label."""
        return {self._labels[id_]: number for id_, number in sorted((self.counts - before).items())}
