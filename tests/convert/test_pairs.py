"""Launches of preferences and reward models (TRL, OpenRLHF) become recipes that compose."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rlvr_cli import compose
from rlvr_cli.convert import convert as converting
from rlvr_cli.convert.convert import Converted
from rlvr_cli.convert.given import Given
from rlvr_cli.core.errors import UserError
from rlvr_cli.schema import PreferenceRecipe, RewardModelRecipe, foreign_names
from rlvr_cli.schema.foreign_names import Kind


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def convert(
    framework: str, text: str, name: str, rows: int | None = 1000, processes: int | None = None
) -> Converted:
    Path(name).write_text(text)
    return converting.convert(framework, [Path(name)], {}, rows=rows, processes=processes)


def recipe_of(made: Converted) -> Any:
    target = Path("converted.yaml")
    target.unlink(missing_ok=True)
    assert converting.write(made, target) == "", made.text
    return compose.load(str(target), [])


DPO = """
from datasets import load_dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer

model = AutoModelForCausalLM.from_pretrained("Qwen/Qwen2-0.5B-Instruct")
tokenizer = AutoTokenizer.from_pretrained("Qwen/Qwen2-0.5B-Instruct")
train_dataset = load_dataset("trl-lib/ultrafeedback_binarized", split="train")

training_args = DPOConfig(
    output_dir="Qwen2-0.5B-DPO",
    per_device_train_batch_size=2,
    gradient_accumulation_steps=8,
    learning_rate=5e-7,
    beta=0.05,
    loss_type=["sigmoid", "sft"],
    loss_weights=[0.8, 0.4],
    max_length=1536,
    max_prompt_length=512,
    num_train_epochs=2,
    warmup_ratio=0.1,
    logging_steps=10,
    eval_strategy="steps",
    eval_steps=50,
    bf16=True,
)
trainer = DPOTrainer(
    model=model,
    args=training_args,
    processing_class=tokenizer,
    train_dataset=train_dataset,
    peft_config=LoraConfig(r=16, lora_alpha=32, lora_dropout=0.05, target_modules=["q_proj", "v_proj"]),
)
trainer.train()
"""


@pytest.mark.slow
def test_a_dpo_script_of_trl() -> None:
    made = convert("trl", DPO, "dpo.py", rows=1000, processes=4)
    r = recipe_of(made)
    assert isinstance(r, PreferenceRecipe)
    p = r.algorithm.preference
    assert (r.algorithm.name, p.name, p.beta, p.label_smoothing) == ("dpo", "sigmoid", 0.05, 0)
    assert r.algorithm.sft_coef == pytest.approx(0.5)  # 0.4 / 0.8
    assert (r.algorithm.max_length, r.batch.examples_per_step) == (1536, 64)  # 2 * 4 * 8
    assert (r.trainer.ranks, r.trainer.lr, r.trainer.schedule.value) == (4, 5e-7, "linear")
    assert r.trainer.steps == 1000 // 64 * 2 and r.trainer.warmup_steps == 3
    assert (r.model.path, r.model.lora.rank, r.model.lora.alpha) == ("Qwen/Qwen2-0.5B-Instruct", 16, 32)
    assert r.model.lora.dropout == 0  # two passes of one policy are compared
    assert r.eval.source is not None
    assert r.data["train"].path == r.eval.source.path == "trl-lib/ultrafeedback_binarized"
    assert (r.eval.source.split, r.eval.every, r.name) == ("test", 50, "Qwen2-0.5B-DPO")
    lost = {line.partition("=")[0].rpartition(".")[2] for line in made.lists.lost}
    assert lost == {"max_prompt_length", "lora_dropout", "processing_class"} and made.lists.unknown == []


def test_how_adapters_start_and_are_scaled_is_carried_over() -> None:
    def adapters(given: str) -> tuple[Any, ...]:
        made = convert("trl", DPO.replace("r=16, ", f"r=16, {given}, "), "dpo.py", rows=1000, processes=4)
        found = tuple(made.draft.get(f"model.lora.{key}") for key in ("init", "rank_stabilised", "dora"))
        assert made.draft.get("model.lora.alpha") == 32 and made.lists.unknown == []
        return *found, [line for line in made.lists.settle if "init_lora_weights" in line]

    every = 'use_rslora=True, use_dora=True, init_lora_weights="pissa_niter_4"'
    assert adapters(every) == ("pissa", True, True, [])
    assert adapters("init_lora_weights=True, use_dora=False") == ("default", False, False, [])
    settle = ["init_lora_weights=olora: model.lora.init has default and pissa"]
    assert adapters('init_lora_weights="olora"') == ("default", False, False, settle)


def test_an_older_dpo_script_that_gives_the_trainer_what_its_configuration_has_now() -> None:
    old = (
        'from transformers import TrainingArguments\nargs = TrainingArguments("out", learning_rate=1e-5)\n'
        'DPOTrainer("m", model_ref, args=args, beta=0.3, max_length=256, loss_type="ipo")\n'
    )
    made = convert("trl", old, "old.py")
    assert made.draft.get("algorithm.preference.beta") == 0.3 and made.draft.get("trainer.lr") == 1e-5
    assert (made.draft.options["preference"][0], made.draft.get("algorithm.max_length")) == ("ipo", 256)


@pytest.mark.parametrize(
    ("said", "option", "fields"),
    [
        ("ipo", "ipo", {}),
        ("hinge", "hinge", {}),
        ("robust", "robust", {"label_smoothing": 0.2}),
        ("bco_pair", "bco", {}),
        ("nca_pair", "nca", {}),
        ("sppo_hard", "sppo", {}),
        ("exo_pair", "exo", {"label_smoothing": 0.2}),
        ("apo_zero", "apo_zero", {}),
        ("apo_down", "apo_down", {}),
        ("sigmoid", "sigmoid", {}),  # TRL's ignores label_smoothing
        ("sigmoid_norm", "sigmoid", {"length_normalised": True}),
    ],
)
def test_losses_of_dpo_trainer(said: str, option: str, fields: dict[str, Any]) -> None:
    text = f"model_name_or_path: m\ndataset_name: d\nloss_type: {said}\nlabel_smoothing: 0.2\n"
    draft = convert("trl", text, "dpo.yaml").draft
    assert draft.preset == "dpo" and draft.options["preference"][0] == option
    found = {path[2]: value for path, (value, _) in draft.values.items() if path[1:2] == ("preference",)}
    assert found == {"beta": 0.1} | fields


def test_the_weight_of_a_tail_of_dpo_trainer() -> None:
    text = "model_name_or_path: m\ndataset_name: d\nld_alpha: 0.4\nloss_type: "
    assert convert("trl", text + "sigmoid\n", "dpo.yaml").draft.get("algorithm.preference.tail_weight") == 0.4
    made = convert("trl", text + "ipo\n", "dpo.yaml")
    assert made.draft.get("algorithm.preference.tail_weight") is None
    assert any("ld_alpha" in line and "no weight of a tail" in line for line in made.lists.lost)


def test_losses_that_are_not_there_are_to_be_settled() -> None:
    made = convert("trl", "model_name_or_path: m\nrpo_alpha: 1.0\nloss_type: discopop\n", "dpo.yaml")
    assert any("discopop is not there; sigmoid is a guess" in line for line in made.lists.settle)
    assert made.draft.get("algorithm.sft_coef") == 1.0


@pytest.mark.slow
def test_kto_simpo_orpo_and_reward_models_of_trl() -> None:
    common = "--model_name_or_path m --dataset_name d --per_device_train_batch_size 4 --max_steps 7"
    made = convert("trl", f"accelerate launch trl kto {common} --undesirable_weight 1.5\n", "kto.sh")
    r = recipe_of(made)
    assert (r.algorithm.name, r.algorithm.preference.name) == ("kto", "kto")
    assert (r.algorithm.preference.desirable, r.algorithm.preference.undesirable) == (1.0, 1.5)
    assert (r.trainer.steps, r.batch.examples_per_step, r.trainer.lr) == (7, 4, 1e-6)
    simpo = f"python examples/cpo.py {common} --loss_type simpo --cpo_alpha 0 --simpo_gamma 1.0 --beta 2\n"
    r = recipe_of(convert("trl", simpo, "simpo.sh"))
    p = r.algorithm.preference
    assert (p.name, p.beta, p.gamma, r.algorithm.sft_coef) == ("simpo", 2, 1, 0)
    r = recipe_of(convert("trl", f"accelerate launch orpo.py {common}\n", "orpo.sh"))
    assert (r.algorithm.name, r.algorithm.preference.beta) == ("orpo", 0.1)
    text = f"trl reward {common} --center_rewards_coefficient 0.02 --max_length 2048\n"
    r = recipe_of(convert("trl", text, "reward.sh"))
    assert isinstance(r, RewardModelRecipe)
    assert (r.algorithm.centre, r.algorithm.max_length, r.trainer.lr) == (0.02, 2048, 1e-4)


RM = """set -x
read -r -d '' training_commands <<EOF
openrlhf.cli.train_rm \\
   --save_path ./checkpoint/llama3-8b-rm \\
   --save_steps -1 \\
   --logging_steps 1 \\
   --eval_steps -1 \\
   --train_batch_size 256 \\
   --micro_train_batch_size 1 \\
   --pretrain OpenRLHF/Llama-3-8b-sft-mixture \\
   --param_dtype bf16 \\
   --max_epochs 1 \\
   --max_len 8192 \\
   --zero_stage 3 \\
   --learning_rate 9e-6 \\
   --dataset OpenRLHF/preference_dataset_mixture2_and_safe_pku \\
   --apply_chat_template \\
   --chosen_key chosen \\
   --rejected_key rejected \\
   --packing_samples \\
   --gradient_checkpointing
EOF

if [[ ${1} != "slurm" ]]; then
    deepspeed --module $training_commands
fi
"""
DPO_OPENRLHF = """deepspeed --module openrlhf.cli.train_dpo \\
   --pretrain m --ref_pretrain m --dataset a.jsonl,b.jsonl --dataset_probs 0.8,0.2 \\
   --chosen_key good --rejected_key bad --apply_chat_template --max_len 1024 \\
   --train_batch_size 32 --micro_train_batch_size 2 --learning_rate 5e-6 --lr_warmup_ratio 0.1 \\
   --adam_betas 0.9 0.98 --beta 0.15 --label_smoothing 0.1 --nll_loss_coef 0.1 --kl_loss_coef 0.001 \\
   --lora_rank 64 --lora_alpha 128 --zero_stage 2 --adam_offload --use_wandb True --wandb_run_name mine \\
   --eval_dataset e.jsonl --eval_steps 20
"""


@pytest.mark.slow
def test_openrlhfs_reward_model_and_dpo() -> None:
    made = convert("openrlhf", RM, "rm.sh", rows=25600)
    r = recipe_of(made)
    assert isinstance(r, RewardModelRecipe)
    assert (r.batch.examples_per_step, r.algorithm.max_length, r.algorithm.centre) == (256, 8192, 0)
    assert (r.trainer.steps, r.trainer.lr, r.trainer.min_lr) == (100, 9e-6, pytest.approx(9e-7))
    assert (r.trainer.schedule.value, r.trainer.warmup_steps, r.trainer.zero_stage) == ("cosine", 3, 3)
    assert r.model.path == "OpenRLHF/Llama-3-8b-sft-mixture" and made.lists.unknown == []
    made = convert("openrlhf", DPO_OPENRLHF, "dpo.sh", rows=3200)
    r = recipe_of(made)
    p = r.algorithm.preference
    assert (p.name, p.beta, p.label_smoothing, r.algorithm.sft_coef) == ("sigmoid", 0.15, 0.1, 0.1)
    assert {name: s.weight for name, s in r.data.items()} == {"a": 0.8, "b": 0.2}
    assert r.data["a"].columns == {"chosen": "good", "rejected": "bad"}
    assert r.data["a"].chat.value == "always"
    assert (r.trainer.steps, r.trainer.betas, r.trainer.offload.value) == (100, [0.9, 0.98], "optimizer")
    assert (r.model.lora.rank, r.name, r.eval.source.path, r.eval.every) == (64, "mine", "e.jsonl", 20)
    assert [line.partition("=")[0] for line in made.lists.lost] == ["kl_loss_coef"]
    ipo = convert("openrlhf", DPO_OPENRLHF.replace("--label_smoothing 0.1", "--ipo"), "ipo.sh", rows=3200)
    p = recipe_of(ipo).algorithm.preference
    assert (p.name, p.length_normalised) == ("ipo", False)  # OpenRLHF takes sums


def test_steps_of_openrlhf_count_the_rows_it_would_take(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n' * 1000)
    command = "deepspeed --module openrlhf.cli.train_dpo --pretrain m --train_batch_size 10 --max_epochs 1"
    one = convert("openrlhf", f"{command} --dataset {tmp_path}/a.jsonl --max_samples 100", "one.sh", None)
    assert (one.draft.get("data.train.limit"), one.draft.get("trainer.steps")) == (100, 10)
    read_by = convert("openrlhf", f"{command} --dataset json@{tmp_path}/a.jsonl", "read_by.sh", None)
    assert (read_by.draft.get("data.train.path"), read_by.draft.get("trainer.steps")) == (
        f"{tmp_path}/a.jsonl",
        100,
    )
    two = f"{command} --dataset {tmp_path}/a.jsonl,{tmp_path}/b.jsonl --max_samples 300"
    made = convert("openrlhf", two, "two.sh", None)
    assert made.draft.get("trainer.steps") == 60
    assert any("max_samples is of all sources together" in line for line in made.lists.settle)
    told = convert("openrlhf", f"{command} --dataset d --max_samples 100", "told.sh", rows=1000)
    assert told.draft.get("trainer.steps") == 10
    whole = convert("openrlhf", f"{command} --dataset d --adam_offload --zero_stage 0", "whole.sh")
    assert any("it needs trainer.zero_stage of 1 or more" in line for line in whole.lists.lost)


def test_what_trl_leaves_to_its_defaults_or_switches_off() -> None:
    def draft_of(said: str) -> Converted:
        return convert("trl", f'args = DPOConfig("out", {said})\nDPOTrainer("m", args=args)\n', "dpo.py")

    least = draft_of('lr_scheduler_type="cosine_with_min_lr", lr_scheduler_kwargs={"min_lr_rate": 0.1}').draft
    assert least.get("trainer.lr") == 1e-6 and least.get("trainer.min_lr") == pytest.approx(1e-7)
    alone = draft_of('loss_type=["sigmoid", "sft"], loss_weights=[0.0, 1.0]')
    assert any("rlvr sft" in line for line in alone.lists.settle)
    assert any("loss_weights" in line for line in alone.lists.lost)


def test_other_trainers_are_refused_in_one_line() -> None:
    with pytest.raises(UserError, match="there is none of GRPOTrainer, DPOTrainer") as caught:
        convert("trl", "from trl import SFTTrainer\nSFTTrainer(model='m')\n", "sft.py")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="no command in it starts train_ppo_ray, train_dpo or train_rm"):
        convert("openrlhf", "deepspeed --module openrlhf.cli.train_sft --pretrain m\n", "sft.sh")


def test_every_derived_key_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row that says `derived`, and that no line of the conversion reads, would be dropped silently."""
    asked: dict[str, set[str]] = {"trl_pairs": set(), "openrlhf_pairs": set()}

    def noting(name: str) -> None:
        original = getattr(Given, name)

        def noted(self: Given, key: str) -> Any:
            asked[self.framework].add(key)
            return original(self, key)

        monkeypatch.setattr(Given, name, noted)

    for name in ("get", "has", "under"):
        noting(name)
    convert("trl", DPO, "dpo.py", processes=4)
    for more in (
        "rpo_alpha: 1\nloss_type: robust\nuse_peft: true\nlr_scheduler_kwargs: {min_lr: 1.0e-7}\n",
        "undesirable_weight: 2\nwarmup_steps: 3\nmodel_init_kwargs: {revision: a}\nreport_to: wandb\n",
        "cpo_alpha: 1\nloss_type: simpo\nbf16: false\n",
        "center_rewards_coefficient: 0.1\n",
    ):
        convert("trl", f"model_name_or_path: m\ndataset_name: d\n{more}", "more.yaml")
    convert("openrlhf", RM, "rm.sh")
    convert("openrlhf", DPO_OPENRLHF, "dpo.sh")
    convert("openrlhf", DPO_OPENRLHF.replace("e.jsonl", "org/set"), "hub.sh")
    for section, seen in asked.items():
        derived = [row for row in foreign_names.table(section) if row.kind is Kind.derived]
        assert len(derived) > 15
        missing = [
            row.key
            for row in derived
            for key in foreign_names.expanded(row.key)
            if not any(each == key or (key.endswith("*") and each.startswith(key[:-1])) for each in seen)
        ]
        assert not missing, (section, missing)
