#!/usr/bin/env bash
# GRPO with credit per candidate in verl 0.9, on one machine with GPUs:
#   pip install verl==0.9.1 vllm . && TRAIN=train.parquet TEST=test.parquet examples/verl_shape_grpo/run.sh
# The prompts ask for a JSON list of answers. More options of verl may follow; `--cfg job` prints the configuration.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# the trainer of shapley_kernels, in the driver and in every worker of Ray; the estimator is loaded by itself
export VERL_USE_EXTERNAL_MODULES=shapley_kernels.adapters.verl_trainer

python -m verl.trainer.main_ppo \
    algorithm.adv_estimator=shapley_grpo \
    algorithm.use_kl_in_reward=False \
    trainer.v1.trainer_mode=shapley_sync \
    reward.reward_manager.source=importlib \
    reward.reward_manager.name=Rewards \
    reward.reward_manager.module.path="$here/rewards.py" \
    data.train_files="${TRAIN:-train.parquet}" \
    data.val_files="${TEST:-test.parquet}" \
    data.train_batch_size=128 \
    data.max_prompt_length=1024 \
    data.max_response_length=1024 \
    actor_rollout_ref.model.path="${MODEL:-Qwen/Qwen3-0.6B}" \
    actor_rollout_ref.rollout.name=vllm \
    actor_rollout_ref.rollout.n=8 \
    actor_rollout_ref.actor.optim.lr=1e-6 \
    actor_rollout_ref.actor.ppo_mini_batch_size=64 \
    actor_rollout_ref.actor.use_kl_loss=True \
    trainer.n_gpus_per_node="${GPUS:-1}" \
    trainer.total_epochs=1 \
    trainer.project_name=shapley_kernels \
    trainer.experiment_name=shape_grpo \
    "$@"
