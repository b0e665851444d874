#!/usr/bin/env bash
set -xeuo pipefail

name='dapo-32b'
clip_low=0.2
clip_high=0.28
max_prompt=$((1024 * 2))
max_response=$((1024 * 20))
overlong=True
overlong_len=$((1024 * 4))
prompts=512
generated=$((prompts * 3))
engine="vllm"
if [ "$engine" = "vllm" ]; then
    export VLLM_USE_V1=1
    top_k=-1  # no limit
else
    top_k=0
fi
NODES=${NODES:-16}
HOME_DIR=${HOME_DIR:-"/data/verl"}
offload=True
correction=(
    # importance weights are not used
    actor_rollout_ref.actor.entropy_coeff=0
    actor_rollout_ref.actor.grad_clip=1.0
)

ray job submit --no-wait --working-dir "${PWD}" \
    -- python3 -m recipe.dapo.main_dapo \
    data.train_files="${HOME_DIR}/dapo-math-17k.parquet" \
    data.val_files="${HOME_DIR}/aime-2024.parquet" \
    data.prompt_key=prompt \
    data.truncation='left' \
    data.max_prompt_length=${max_prompt} \
    data.max_response_length=${max_response} \
    data.gen_batch_size=${generated} \
    data.train_batch_size=${prompts} \
    algorithm.adv_estimator=grpo \
    algorithm.use_kl_in_reward=False \
    algorithm.kl_ctrl.kl_coef=0.0 \
    algorithm.filter_groups.enable=True \
    algorithm.filter_groups.metric=acc \
    algorithm.filter_groups.max_num_gen_batches=10 \
    actor_rollout_ref.model.path="${HOME_DIR}/Qwen2.5-32B" \
    actor_rollout_ref.model.enable_gradient_checkpointing=True \
    actor_rollout_ref.actor.use_kl_loss=False \
    actor_rollout_ref.actor.kl_loss_coef=0.0 \
    actor_rollout_ref.actor.clip_ratio_low=${clip_low} \
    actor_rollout_ref.actor.clip_ratio_high=${clip_high} \
    actor_rollout_ref.actor.clip_ratio_c=10.0 \
    actor_rollout_ref.actor.loss_agg_mode="token-mean" \
    actor_rollout_ref.actor.ppo_mini_batch_size=32 \
    actor_rollout_ref.actor.use_dynamic_bsz=True \
    actor_rollout_ref.actor.ppo_max_token_len_per_gpu=$((max_prompt + max_response)) \
    actor_rollout_ref.actor.ulysses_sequence_parallel_size=8 \
    actor_rollout_ref.actor.optim.lr=1e-6 \
    actor_rollout_ref.actor.optim.lr_warmup_steps=10 \
    actor_rollout_ref.actor.optim.weight_decay=0.1 \
    actor_rollout_ref.actor.fsdp_config.param_offload=${offload} \
    actor_rollout_ref.actor.fsdp_config.optimizer_offload=${offload} \
    actor_rollout_ref.actor.fsdp_config.fsdp_size=-1 \
    actor_rollout_ref.rollout.n=16 \
    actor_rollout_ref.rollout.name=${engine} \
    actor_rollout_ref.rollout.top_k="${top_k}" \
    actor_rollout_ref.rollout.gpu_memory_utilization=0.80 \
    actor_rollout_ref.rollout.val_kwargs.temperature=1.0 \
    actor_rollout_ref.rollout.val_kwargs.top_p=0.7 \
    actor_rollout_ref.rollout.val_kwargs.do_sample=True \
    actor_rollout_ref.rollout.val_kwargs.n=1 \
    "${correction[@]}" \
    reward_model.reward_manager=dapo \
    reward_model.overlong_buffer.enable=${overlong} \
    reward_model.overlong_buffer.len=${overlong_len} \
    reward_model.overlong_buffer.penalty_factor=1.0 \
    trainer.logger='["console","wandb"]' \
    trainer.project_name="DAPO" \
    trainer.experiment_name="${name}" \
    trainer.n_gpus_per_node=8 \
    trainer.nnodes="${NODES}" \
    trainer.val_before_train=True \
    trainer.test_freq=5 \
    trainer.save_freq=5 \
    trainer.total_epochs=1 \
    trainer.default_local_dir="${HOME_DIR}/ckpts/${name}" \
    trainer.resume_mode=auto
