# GRPO with TRL: two reward functions, LoRA, vLLM beside the trainer.
import re

from datasets import load_dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer
from trl.rewards import accuracy_reward

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"
SYSTEM = "Think first, between <think> and </think>, then answer in a box."


def closes_thinking(completions, **kwargs):
    texts = [completion[0]["content"] for completion in completions]
    return [1.0 if re.match(r"<think>.*</think>", text, re.DOTALL) else 0.0 for text in texts]


def as_messages(example):
    return {
        "prompt": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": example["problem"]}]
    }


def main():
    dataset = load_dataset("math-problems", split="train").map(as_messages)
    config = GRPOConfig(
        output_dir="runs/trl",
        learning_rate=2e-6,
        lr_scheduler_type="cosine",
        warmup_ratio=0.1,
        max_steps=400,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=4,
        steps_per_generation=8,
        num_generations=8,
        max_completion_length=1024,
        beta=0.01,
        epsilon_high=0.28,
        loss_type="dr_grpo",
        scale_rewards=False,
        use_vllm=True,
        vllm_mode="colocate",
        top_k=50,
        save_steps=100,
        logging_steps=10,
        report_to="none",
        reward_weights=[1.0, 0.2],
    )
    trainer = GRPOTrainer(
        model=MODEL,
        args=config,
        reward_funcs=[accuracy_reward, closes_thinking],
        train_dataset=dataset,
        peft_config=LoraConfig(r=32, lora_alpha=64, target_modules=["q_proj", "v_proj"]),
    )
    trainer.train()


if __name__ == "__main__":
    main()
