"""One table for the conversion, for messages and for docs/coming_from.md."""

from __future__ import annotations

import pytest
from foreign_tables import PAGE, written

from rlvr_cli import compose
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import foreign_names
from rlvr_cli.schema.foreign_names import Kind


def test_the_page_has_the_table() -> None:
    """`PYTHONPATH=.:tests/support python tests/support/foreign_tables.py` writes it anew."""
    assert written(PAGE.read_text()) == PAGE.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("framework", foreign_names.NAMES)
def test_the_rows(framework: str) -> None:
    """No spelling twice, a reason for whatever is not carried over, and keys of ours that exist."""
    spellings = [s for row in foreign_names.table(framework) for s in row.spellings]
    assert len(set(spellings)) == len(spellings)
    dump = compose.dump(compose.load("smoke", []))
    for row in foreign_names.table(framework):
        assert row.ours or row.note, row.key
        if row.kind is Kind.same and not row.ours.startswith("algorithm."):
            assert f"{row.ours.rpartition('.')[2]}:" in dump, row.ours
    assert len(spellings) > 10


@pytest.mark.slow
@pytest.mark.parametrize(
    ("key", "says"),
    [
        (
            "actor_rollout_ref.rollout.n=3",
            "unknown key 'actor_rollout_ref.rollout.n'; that is batch.group_size here (verl's",
        ),
        ("rollout.n=3", "that is batch.group_size here (verl's name)"),
        ("num_generations=8", "that is batch.group_size here (TRL's name)"),
        ("n_samples_per_prompt=8", "that is batch.group_size here (OpenRLHF's name)"),
        ("algorithm.adv_estimator=grpo", "that is algorithm/advantage here (verl's name"),
        ("trainer.epochs=3", "that is trainer.steps here"),
        ("trainer.total_epochs=3", "that is trainer.steps here (verl's name"),
        ("trainer.learning_rate=1e-6", "that is trainer.lr here (TRL's name)"),
        ("model.lora.r=8", "that is model.lora.rank here"),
        ("data.train_batch_size=8", "that is batch.prompts_per_step here (verl's name"),
        ("trainer.balance_batch=true", "verl's name, not needed here: sequences are always dealt by length"),
        ("data.shuffle=false", "verl's name, not carried over: the order is drawn anew for each pass"),
        ("critic.lrr=1", "did you mean 'critic.lr'?"),
        ("trainer.lrr=1", "did you mean 'trainer.lr'?"),
        ("lr=1", "did you mean 'trainer.lr'?"),
    ],
)
def test_a_key_of_theirs_is_answered_with_ours(key: str, says: str) -> None:
    with pytest.raises(UserError) as caught:
        compose.load("smoke", [key])
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_older_spellings_have_the_name_of_today() -> None:
    found = foreign_names.lookup("verl", "custom_reward_function.reward_kwargs.strict")
    assert found is not None and found[1] == "reward.custom_reward_function.reward_kwargs.strict"
    found = foreign_names.lookup("openrlhf", "rollout_batch_size")
    assert found is not None and found[1] == "rollout.batch_size"
