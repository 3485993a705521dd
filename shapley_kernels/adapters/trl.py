"""TRL: GRPOTrainers whose advantages belong to candidates, or to rollouts as players of their group. For trl>=1.0,<2;
1.15.0 trains on a GPU only."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from shapley_kernels.adapters._arguments import check_allocator, check_rollouts, needed, parameters, supported
from shapley_kernels.rl import RewardAllocator, SetScorer, diagnostics, rollout_advantages, scatter_to_tokens
from shapley_kernels.rl.allocator import agreed
from shapley_kernels.rl.ranks import ALONE, Ranks
from shapley_kernels.rl.scorer import Scored

OWNER, ROLLOUT_OWNER = "ShapeGRPOTrainer", "RolloutGRPOTrainer"
VERSION = supported(OWNER, "trl>=1.0,<2", "1.")

import torch  # noqa: E402
from trl import GRPOTrainer  # noqa: E402

_NOT_COLUMNS = ("completions", "log_extra", "log_metric", "trainer_state")


class ShapeGRPOMixin:
    """Stands before a class of GRPO trainers: each sampled token gets the advantage of its candidate.

    Candidates are found in the token ids that the model sampled, never in decoded text, nor in what tools or an
    environment wrote. What a set is worth, `set_reward`, becomes the first reward function, so TRL logs the reward
    curve of plain GRPO, and beside it "shapley/..." (`diagnostics`, and the metrics of `Scored`). Groups may be spread
    over ranks.

    Args:
        model, reward_funcs and all others: as of GRPOTrainer. Reward functions given here are for the log only:
            with reward_weights=[1.0, 0.0, ...], the first for set_reward.
        scorer: gives the candidates rewards. Its score gets those of `prompts`, `environments` and the columns of the
            dataset and of rollout_func that are parameters of it; all of them if it takes **columns. With
            `rl.segments` for a parser, the candidates are the turns of the model. Rollouts that it does not count
            (truncated="abstain") are left out of the statistics of their group.
        allocator: None: `RewardAllocator(scorer.utility, scale=args.scale_rewards)`. Another one must have this utility
            and scale, since the log is about these.

    Raises:
        TypeError, ValueError: arguments that do not fit together; a trainer with a loss of its own, which may not take
            one advantage per token, unless the class says `takes_token_advantages = True`; while training, masks or ids
            that are not those of the sampled tokens, and what scorer and allocator raise; on all ranks what one raises.

    Cost: two all_gather_object over the ranks, of the rewards [rollouts, K] and of counts, which also carry what went
        wrong on one; then O(rollouts (K log K + tokens)) on the CPU.
    Source: ShapE-GRPO, arXiv 2603.29871.
    """

    takes_token_advantages = False
    """Of a trainer with a `_compute_loss` of its own, whether it takes advantages [rollouts, tokens]."""

    # Of TRL; what is used of it beyond its constructor.
    accelerator: Any
    model: Any
    num_generations: int
    num_generations_eval: int
    max_completion_length: int | None
    scale_rewards: str
    reward_weights: Any
    reward_func_names: list[str]
    importance_sampling_level: str
    processing_class: Any
    _metrics: dict[str, Any]

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        *args: Any,
        scorer: SetScorer | None = None,
        allocator: RewardAllocator | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(scorer, SetScorer):
            raise TypeError(
                f"{OWNER}: scorer must be a SetScorer, got {scorer!r}; it takes the place of reward functions: "
                "rl.SetScorer(score, rl.json_list(), tokenizer)"
            )
        check_allocator(OWNER, allocator)
        self.scorer, self._columns = scorer, parameters(scorer.score)
        self._check_loss()
        # of a batch, 1 for tokens of the model and 0 for those of tools or an environment, where there are any
        self._own_tokens: list[list[int]] | None = None
        self._scored: tuple[list[list[int]], Scored] | None = None
        self._everyone: list[tuple[np.ndarray, ...]] = []
        others = reward_funcs if isinstance(reward_funcs, list | tuple) else [reward_funcs]
        reward_funcs = [self.set_reward, *(f for f in others if f is not None)]
        classes = args[4] if len(args) > 4 else kwargs.get("reward_processing_classes")
        if classes is not None:  # of the others; they stand in the order of the functions
            classes = [None, *(classes if isinstance(classes, list | tuple) else [classes])]
            if len(args) > 4:
                args = (*args[:4], classes, *args[5:])
            else:
                kwargs["reward_processing_classes"] = classes
        super().__init__(model, reward_funcs, *args, **kwargs)  # type: ignore[call-arg]
        self.allocator = allocator or RewardAllocator(scorer.utility, scale=self.scale_rewards)
        self._check_options()
        self._check_columns()

    def set_reward(self, prompts: list[Any], completion_ids: list[list[int]], **columns: Any) -> list[float]:
        """What each set is worth, as TRL asks reward functions; the candidates are kept for the advantages."""
        columns = {name: column for name, column in columns.items() if name not in _NOT_COLUMNS} | {"prompts": prompts}
        if self._columns is not None:
            columns = {name: column for name, column in columns.items() if name in self._columns}
        limit, ends = self.max_completion_length or float("inf"), self._ends()
        finished = [len(row) < limit or row[-1] in ends for row in completion_ids]
        ranks = self._ranks()
        with ranks or ALONE:  # before TRL gathers the rewards
            scored = self.scorer(completion_ids, self._own_tokens, finished=finished, **columns)
            own = scored.rewards, scored.mask, scored.stopped, scored.counted
            self._everyone = [own] if ranks is None else ranks.exchange(own)
        self._scored = completion_ids, scored
        return [float(reward) for reward in scored.set_rewards]

    def _generate(self, prompts: Any) -> Any:
        generated = super()._generate(prompts)  # type: ignore[misc]
        self._own_tokens = generated[2]
        return generated

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        self._scored = self._own_tokens = None
        batch = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        ranks = self._ranks()
        with ranks or ALONE:
            if self._scored is None:
                raise RuntimeError(f"{OWNER}: TRL {VERSION} called no set_reward for a batch; use a version that does")
            sampled, scored = self._scored
            _check_batch(batch, sampled, self._own_tokens)
            advantages, numbers = self._token_advantages(scored, batch["completion_ids"].shape[1])
            trained = batch["completion_mask"] * batch.get("tool_mask", 1)
            batch["advantages"] = advantages.to(batch["advantages"]) * trained
            counts = [scored.metrics] if ranks is None else ranks.exchange(scored.metrics)
        self._log(numbers | {name: sum(count[name] for count in counts) for name in scored.metrics})
        return batch

    def _ranks(self) -> Ranks | None:
        """The ranks that groups may be spread over, all with one allocator; None for a single one."""
        if self.accelerator.num_processes == 1:
            return None
        ranks = Ranks(OWNER, torch.distributed.group.WORLD)
        with ranks:
            ranks.compare(**agreed(self.allocator))
        return ranks

    def _token_advantages(self, scored: Scored, tokens: int) -> tuple[Any, dict[str, float]]:
        """[rollouts of this rank, tokens], from the rewards of all ranks, and numbers for the log."""
        generations = self.num_generations if self.model.training else self.num_generations_eval
        rewards, mask, stopped, counted = self._over_ranks()
        own = slice(*(len(scored.ids) * (self.accelerator.process_index + i) for i in (0, 1)))
        kept = np.flatnonzero(counted)
        groups = kept // generations

        def of_own(x: np.ndarray) -> np.ndarray:
            everyone = np.zeros((len(counted), *x.shape[1:]), x.dtype)
            everyone[kept] = x
            return everyone[own]

        advantages, outside = self.allocator.for_tokens(
            rewards[kept], mask[kept], group_ids=groups, stopped=stopped[kept]
        )
        outside = outside if isinstance(outside, str) else of_own(outside)
        ids = np.pad(scored.ids, ((0, 0), (0, tokens - scored.ids.shape[1])))
        on_tokens = scatter_to_tokens(of_own(advantages), ids, outside=outside, length=self.allocator.length)
        numbers = diagnostics(
            rewards[kept], mask[kept], advantages=advantages, utility=self.allocator.utility, group_ids=groups
        )
        return torch.from_numpy(on_tokens), numbers

    def _over_ranks(self) -> tuple[np.ndarray, ...]:
        """Of the rollouts of all ranks, in the order of ranks: rewards and mask [rollouts, K] with the largest K; and
        [rollouts], whether each chose to stop, and whether it counts."""
        rewards, masks, stopped, counted = zip(*self._everyone, strict=True)
        width = max(mask.shape[1] for mask in masks)

        def joined(parts: tuple[np.ndarray, ...]) -> np.ndarray:
            return np.concatenate([np.pad(part, ((0, 0), (0, width - part.shape[1]))) for part in parts])

        return joined(rewards), joined(masks), np.concatenate(stopped), np.concatenate(counted)

    def _log(self, numbers: dict[str, float]) -> None:
        mode = "train" if self.model.training else "eval"
        for name, number in numbers.items():
            self._metrics[mode][name].append(number)

    def _ends(self) -> set[int]:
        """Tokens that end a rollout."""
        tokenizer = getattr(self.processing_class, "tokenizer", self.processing_class)
        ends = self.model.generation_config.eos_token_id
        return {tokenizer.eos_token_id, tokenizer.pad_token_id, *(ends if isinstance(ends, list) else [ends])}

    def _check_options(self) -> None:
        weights = self.reward_weights.tolist()
        if weights != [1.0] + [0.0] * (len(weights) - 1):
            raise ValueError(
                f"{OWNER}: reward_weights must be 1 for set_reward and 0 for {self.reward_func_names[1:]}, "
                f"got {weights}; put what else is to be trained into the scorer's score, which may take `environments`"
            )
        for name, ours, theirs, remedy in (
            ("utility", self.allocator.utility, self.scorer.utility, "of the scorer; pass the same object to both"),
            ("scale", self.allocator.scale, self.scale_rewards, "of the GRPOConfig's scale_rewards; set both"),
        ):
            if ours != theirs:
                raise ValueError(f"{OWNER}: {name} of the allocator must be {theirs!r}, that {remedy}; got {ours!r}")
        if getattr(self, "use_liger_kernel", False):  # of TRL before 1.15
            raise ValueError(
                f"{OWNER}: use_liger_kernel must be False with TRL {VERSION}, got True; the loss of Liger takes one "
                "advantage per rollout"
            )
        if self.importance_sampling_level != "token":
            warnings.warn(
                f"{OWNER}: importance_sampling_level={self.importance_sampling_level!r} gives all tokens of a rollout "
                "one gradient, the sum over its candidates; use 'token' for credit per candidate",
                stacklevel=4,
            )

    def _check_loss(self) -> None:
        owner = next((c for c in type(self).__mro__ if "_compute_loss" in vars(c)), None)
        if owner is None or not (issubclass(GRPOTrainer, owner) or self.takes_token_advantages):
            raise TypeError(
                f"{OWNER}: the loss must be that of GRPOTrainer, which takes one advantage per token, got "
                f"{owner and owner.__name__}._compute_loss; if that takes advantages [rollouts, tokens], say so in "
                "your trainer class by takes_token_advantages = True"
            )

    def _check_columns(self) -> None:
        if getattr(self, "rollout_func", None) is not None:  # whose columns are known with the first batch
            return
        known = getattr(getattr(self, "train_dataset", None), "column_names", None)
        if known and (missing := needed(self.scorer.score) - {"prompts", "environments", *known}):
            raise ValueError(
                f"{OWNER}: score must take columns of the dataset, which has {sorted(known)}, and prompts; "
                f"got a function that needs {sorted(missing)}, too"
            )


class RolloutGRPOMixin:
    """Stands before a class of GRPO trainers: each rollout gets its share of what the rollouts of its prompt are worth.

    Any reward functions will do, and everything else is TRL's: the weighted sum of the rewards of all ranks goes
    through `rl.rollout_advantages` instead of the mean and standard deviation of its group. A rollout for which all
    functions give None takes no part.

    Args:
        rollouts: `rl.rollout_advantages`, or functools.partial of it, such as with value=sk.Stratum(4). Its scale is
            used; scale_rewards is not, which would make plain GRPO of rewards of 0 and 1.
        data: names of reward functions whose numbers the utility gets by name, such as the label of a cluster; with
            reward_weights of 0 they are no rewards.
        all others: as of GRPOTrainer.

    Raises:
        TypeError, ValueError: options that do not fit together; while training, what rollouts raises.
    """

    # Of TRL; what is used of it beyond its constructor.
    accelerator: Any
    model: Any
    num_generations: int
    num_generations_eval: int
    reward_weights: Any
    reward_func_names: list[str]

    def __init__(
        self,
        *args: Any,
        rollouts: Callable[..., Any] = rollout_advantages,
        data: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        check_rollouts(ROLLOUT_OWNER, rollouts)
        self.rollouts, self.data = rollouts, data
        self._rewards: Any = None
        super().__init__(*args, **kwargs)
        how = getattr(self, "multi_objective_aggregation", "sum_then_normalize")
        if how != "sum_then_normalize":
            raise ValueError(
                f"{ROLLOUT_OWNER}: multi_objective_aggregation must be 'sum_then_normalize', got {how!r}; the utility "
                "is of one reward per rollout"
            )
        if isinstance(data, str) or (unknown := set(data) - set(self.reward_func_names)):
            got = repr(data) if isinstance(data, str) else sorted(unknown)
            raise ValueError(
                f"{ROLLOUT_OWNER}: data must be a list of names of reward functions, of {self.reward_func_names}, "
                f"got {got}"
            )

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        self._rewards = super()._calculate_rewards(*args, **kwargs)  # type: ignore[misc]
        return self._rewards

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        self._rewards = None
        batch: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        shape = None if self._rewards is None else tuple(self._rewards.shape)
        rollouts = len(batch["completion_ids"])
        wanted = (rollouts * self.accelerator.num_processes, len(self.reward_func_names))
        if shape != wanted or tuple(batch["advantages"].shape) != (rollouts,):
            raise RuntimeError(
                f"{ROLLOUT_OWNER}: _calculate_rewards must give {wanted} [rollouts of all ranks, functions], and "
                f"advantages have shape {(rollouts,)}, got {shape} and {tuple(batch['advantages'].shape)}; "
                f"TRL {VERSION} is not supported"
            )
        first = rollouts * self.accelerator.process_index
        batch["advantages"] = self._advantages()[first : first + rollouts].to(batch["advantages"])
        return batch

    def _advantages(self) -> Any:
        """[rollouts of all ranks]."""
        scored = ~self._rewards.isnan().all(1)
        return self.rollouts(
            (self._rewards * self.reward_weights.to(self._rewards)).nansum(1),
            mask=None if scored.all() else scored,
            num_generations=self.num_generations if self.model.training else self.num_generations_eval,
            **{name: self._rewards[:, self.reward_func_names.index(name)] for name in self.data},
        )


class ShapeGRPOTrainer(ShapeGRPOMixin, GRPOTrainer):
    """TRL's GRPOTrainer with credit per candidate; see `ShapeGRPOMixin`."""


class RolloutGRPOTrainer(RolloutGRPOMixin, GRPOTrainer):
    """TRL's GRPOTrainer with the rollouts of a prompt as players; see `RolloutGRPOMixin`."""


def _check_batch(batch: dict[str, Any], sampled: list[list[int]], own: list[list[int]] | None) -> None:
    """ValueError unless the tensors that go into the loss are those of the rollouts that were scored."""
    shape = (len(sampled), max(map(len, sampled), default=0))
    ids, mask = (batch[name].cpu().numpy() for name in ("completion_ids", "completion_mask"))
    for name, wanted, got in (
        ("advantages", shape[:1], tuple(batch["advantages"].shape)),
        ("completion_ids", (shape[0], max(ids.shape[-1], shape[1])), ids.shape),
        ("completion_mask", ids.shape, mask.shape),
    ):
        if got != wanted:
            raise ValueError(f"{OWNER}: {name} must have shape {wanted}, got {got}; TRL {VERSION} is not supported")
    tools = batch["tool_mask"].cpu().numpy() if "tool_mask" in batch else np.ones(ids.shape)
    for i, row in enumerate(sampled):
        wanted = [1] * len(row) if own is None else own[i]
        if tools[i].any() and tools[i, : len(row)].tolist() != wanted:
            raise ValueError(
                f"{OWNER}: tool_mask {tools.shape} must be 1 on the tokens of row {i} that were searched, "
                f"and 0 on others; TRL {VERSION} is not supported"
            )
        length = int(mask[i].sum())
        if length not in (0, len(row)) or not mask[i, :length].all():  # 0: mask_truncated_completions
            raise ValueError(
                f"{OWNER}: completion_mask {mask.shape} must be 1 on the {len(row)} sampled tokens of row {i} and 0 "
                f"behind (or 0 on all), got {length} ones, the last at {int(np.flatnonzero(mask[i])[-1])}"
            )
        if (wrong := np.flatnonzero(ids[i, : len(row)] != np.asarray(row))).size:
            at = int(wrong[0])
            raise ValueError(
                f"{OWNER}: completion_ids {ids.shape} must be the ids that set_reward was given, "
                f"got {ids[i, at]} for {row[at]} at row {i}, token {at}; rows must keep their order"
            )
