"""Rates over groups and steps, against their closed forms."""

import math

import numpy as np
import pytest
import torch

from pets.config import StageConfig, Target
from pets.errors import ConfigError
from pets.training.rates import check_steps, planned, schedule, spread
from tests.conftest import train_config


def stage(**changes: object) -> StageConfig:
    values = {"freeze_to": 0, "epochs": 1, "lr": 1e-3, "schedule": "one_cycle"}
    return StageConfig.model_validate(
        {**values, "pct_start": 0.3, "div": 25.0, "size": None, **changes}
    )


def one_cycle(step: int, steps: int, lr: float, pct: float, div: float) -> tuple[float, float]:
    """The closed form: rate and momentum at a step, two halves of a cosine."""

    def cosine(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    top = pct * steps - 1
    if step <= top:
        return cosine(lr / div, lr, step / top), cosine(0.95, 0.85, step / top)
    share = (step - top) / (steps - 1 - top)
    return cosine(lr, lr / div / 1e4, share), cosine(0.85, 0.95, share)


def test_spread() -> None:
    assert spread(3e-3, 3) == [3e-3] * 3
    assert spread((1e-6, 1e-4), 3) == pytest.approx([1e-6, 1e-5, 1e-4])
    assert spread((1e-6, 1e-4), 1) == [1e-4]
    assert spread((1e-4, 1e-4), 2) == [1e-4, 1e-4]


@pytest.mark.parametrize(
    ("steps", "pct", "div"), [(100, 0.3, 25.0), (104, 0.99, 25.0), (40, 0.3, 5.0), (10, 0.1, 25.0)]
)
def test_one_cycle_is_the_closed_form_in_every_group(steps: int, pct: float, div: float) -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1e-6, 1e-4)]
    optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.99))
    plan = schedule(optimizer, stage(pct_start=pct, div=div), steps)
    assert plan is not None
    for step in range(steps):
        for group, lr in zip(optimizer.param_groups, (1e-6, 1e-4), strict=True):
            rate, momentum = one_cycle(step, steps, lr, max(pct, 2 / steps), div)
            assert group["lr"] == pytest.approx(rate, rel=1e-6)
            assert group["betas"][0] == pytest.approx(momentum, rel=1e-6)
        optimizer.step()
        if step < steps - 1:
            plan.step()
    assert optimizer.param_groups[1]["lr"] == pytest.approx(1e-4 / div / 1e4)


def test_sgd_cycles_its_momentum_and_plain_sgd_has_none() -> None:
    parameter = [torch.nn.Parameter(torch.zeros(1))]
    with_momentum = torch.optim.SGD(parameter, lr=0.1, momentum=0.9)
    schedule(with_momentum, stage(), 10)
    assert with_momentum.param_groups[0]["momentum"] == 0.95
    plain = torch.optim.SGD(parameter, lr=0.1)
    schedule(plain, stage(), 10)
    assert plain.param_groups[0]["lr"] == pytest.approx(0.1 / 25)


def test_constant_has_no_schedule() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
    assert schedule(optimizer, stage(schedule="constant"), 10) is None


def test_too_short_a_cycle_is_refused() -> None:
    config = train_config("plan.epochs=1", "trainer.accumulate_grad_batches=3")
    check_steps(config, 10)
    with pytest.raises(ConfigError) as caught:
        check_steps(config, 9)
    assert str(caught.value) == (
        "plan.stages.head.epochs=1: one_cycle over 3 steps cannot rise and fall (batches in an "
        "epoch: 9); expected at least 4: more epochs, a smaller data.batch_size, or "
        "plan.stages.head.schedule=constant"
    )
    check_steps(train_config("plan=constant", "plan.epochs=1"), 1)


def test_auto_is_a_unit_that_the_finder_fills_in() -> None:
    for lr, rates, ratios, at in (
        ("auto", 1.0, 1.0, 0.00123),
        ("auto/10", 0.1, 1.0, 0.000123),
        ("auto*2.5", 2.5, 1.0, 0.00309),
        (("auto/100", "auto"), (0.01, 1.0), (0.01, 1.0), (1.23e-5, 1.23e-3)),
        (("auto/100", "auto/10"), (0.01, 0.1), (0.1, 1.0), (1.23e-5, 1.23e-4)),
    ):
        result = stage(lr=lr)
        assert result.auto
        assert result.rates == rates
        assert result.ratios == pytest.approx(ratios)
        assert result.at(0.0012346) == at
    for lr, ratios in ((3e-3, 1.0), ((1e-6, 1e-4), (0.01, 1.0))):
        given = stage(lr=lr)
        assert not given.auto
        assert given.rates == lr
        assert given.ratios == pytest.approx(ratios)


def test_the_plan_of_a_stage_is_its_schedule() -> None:
    adamw = train_config().optimizer
    values = planned(adamw, stage(lr=(1e-6, 1e-4)), 40)
    closed = [one_cycle(step, 40, 1e-4, 0.3, 25.0) for step in range(40)]
    assert np.array(values) == pytest.approx(np.array(closed), rel=1e-6), "the head's rates"
    constant = planned(adamw, stage(schedule="constant"), 3)
    assert [rate for rate, _ in constant] == [1e-3] * 3
    sgd = Target.model_validate({"_target_": "torch.optim.SGD"})
    assert all(math.isnan(momentum) for _, momentum in planned(sgd, stage(), 10))
