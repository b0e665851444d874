#!/bin/bash
# REINFORCE++-baseline with a reward function.

set -x
SAVE="${SAVE:-./exp/qwen3_4b}"

MODEL=(
   --actor.model_name_or_path Qwen/Qwen3-4B-Thinking-2507
   --reward.remote_url reward_function.py
   --ckpt.output_dir ${SAVE}
   --ckpt.path "${SAVE}/ckpt"
   --ckpt.save_hf
   --ckpt.max_num 3
   --ckpt.save_steps 10
)
ROLLOUT=(
   --data.prompt_dataset dapo-math-17k
   --data.input_key prompt
   --data.label_key label
   --data.max_len 74240
   --rollout.max_new_tokens 64000
   --data.apply_chat_template
   --ds.packing_samples

   --rollout.batch_size 128
   --rollout.n_samples_per_prompt 8
   --train.batch_size 1024
   --algo.dynamic_filtering_enable
   --algo.dynamic_filtering_range 0.0 1.0
   --train.dynamic_batch_enable
   --train.max_tokens_per_gpu 16192
   --rollout.max_tokens_per_gpu 32768
   --train.micro_batch_size 1
   --data.max_samples 128000
   --train.max_epochs 1
   --train.num_episodes 1
)
ENGINE=(
   --ref.num_nodes 1
   --ref.num_gpus_per_node 4
   --actor.num_nodes 1
   --actor.num_gpus_per_node 4
   --vllm.num_engines 2
   --vllm.tensor_parallel_size 2
   --vllm.gpu_memory_utilization 0.7
   --train.colocate_all
   --ds.enable_sleep
   --vllm.enforce_eager
   --ds.zero_stage 3
   --actor.gradient_checkpointing_enable
   # --ds.adam_offload
   --ds.ring_attn_size 2
   --ds.param_dtype bf16
)
LOSS=(
   --algo.advantage.estimator reinforce_baseline
   --actor.adam.lr 5e-7
   --actor.entropy_coef 0.0
   --algo.kl.init_coef 1e-5
   --algo.kl.use_loss
   --algo.kl.estimator k2
   --algo.advantage.is_correction_enable
   --algo.advantage.is_correction_type icepop
)

ray job submit --address="http://127.0.0.1:8265" \
   -- python3 -m openrlhf.cli.train_ppo_ray \
   ${MODEL[@]} \
   ${ROLLOUT[@]} \
   ${ENGINE[@]} \
   ${LOSS[@]} \
   --logger.logging_steps 1 \
   --eval.steps -1
