"""What each need asks of a strategy, and why. Data only."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.core.strategy import Need, NetworkPolicy, RolloutKind, StrategyRule

NEEDS: Mapping[Need, tuple[StrategyRule, ...]] = {
    Need.USER_FACING: (
        StrategyRule("serving.replica_floor", 2, "people wait: one machine may fail or be replaced without them noticing"),
        StrategyRule("watch.fast_window_s", 300.0, "people notice within minutes; an alert has to be as quick"),
        StrategyRule("security.is_encrypted_in_transit", value=True, because="answers about people travel over networks"),
        StrategyRule("security.network", NetworkPolicy.PRIVATE, "other machines ask it; it reaches out to nobody that is not configured"),
    ),
    Need.REGULATED: (
        StrategyRule("security.is_signing_required", value=True, because="what serves has to be what was approved"),
        StrategyRule("security.is_approver_required", value=True, because="nobody releases alone what has to be accounted for"),
        StrategyRule("security.is_encrypted_at_rest", value=True, because="models and observations hold what was learned from people"),
        StrategyRule("security.is_encrypted_in_transit", value=True, because="requests hold what people said of themselves"),
        StrategyRule("security.is_audited", value=True, because="who released what, when and on what evidence is asked years later"),
        StrategyRule("rollout.gates", ("error_rate", "disagreement"), "a version that decides otherwise has to be looked at first"),
    ),
    Need.OFFLINE: (
        StrategyRule("security.network", NetworkPolicy.ISOLATED, "there is no way out; nothing may wait for one"),
        StrategyRule(
            "security.is_signing_required", value=True, because="a version comes by hand or by stick: only its signature says from whom"
        ),
        StrategyRule("rollout.is_automatic", value=False, because="nobody outside sees the gates; a person on site goes on or back"),
    ),
    Need.EDGE: (
        StrategyRule("rollout.kind", RolloutKind.BLUE_GREEN, "one small machine runs one version at a time"),
        StrategyRule("rollout.steps", (), "there is no traffic to share out"),
        StrategyRule("rollout.shadow_ratio", 0.0, "a second model beside the first takes the time that the first needs"),
        StrategyRule("watch.twin_ratio", 0.0, "the original does not fit beside it"),
        StrategyRule("serving.replica_floor", 1, "there is one machine"),
        StrategyRule("batching.rows_limit", 1, "requests come one by one"),
        StrategyRule("batching.delay_ms", 0.0, "and none waits for company"),
        StrategyRule("watch.observation_ratio", 0.1, "storage is small: one request in ten is kept"),
        StrategyRule("retention.version_count", 2, "storage is small: the version that runs and the one before"),
    ),
}
