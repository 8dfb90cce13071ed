"""The sensor that starts a run which a person asked for elsewhere, in Telegram or by ending a pause.

Belongs here: turning that wish into run requests, once. Does not belong here: the wish itself (`pipeline.switches`),
or runs that start in the process of whoever asks (`mediapipe_assets.cli.run`).
"""

import dagster as dg

from jobs.chain import A_PERSON, chain_job, requests_for
from jobs.recovery import fail_runs_without_a_lease
from pipeline.switches import pause_in_words, paused_since, run_asked_at

TICK_SECONDS = 15


def asked_run_sensor(gap_days: int) -> dg.SensorDefinition:
    """Returns the sensor.

    Args:
        gap_days: See `pipeline.planning.merge_dates`.
    """

    @dg.sensor(
        name="asked_run_sensor",
        job=chain_job,
        minimum_interval_seconds=TICK_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts what a person asked for by /run in Telegram or `mediapipe-assets resume`: a run over "
        "whatever is pending.",
        required_resource_keys={"platform"},
    )
    def watch(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with context.resources.platform.opened() as platform:
            with platform.engine.connect() as connection:
                asked, paused = run_asked_at(connection), paused_since(connection)
            if asked is None or asked.isoformat() == context.cursor:
                return dg.SkipReason("Nobody has asked for a run.")
            if paused is not None and paused > asked:
                return dg.SkipReason(pause_in_words(paused))
            platform.clean_up()
            fail_runs_without_a_lease(context.instance, platform)
            days = platform.due_dates(aged=False)
        # By its key a wish is granted once, also when the tick ends before its cursor is written down.
        requests = list(requests_for(context.instance, days, gap_days, A_PERSON, key=asked.isoformat()))
        nothing = "A run for these days is under way." if days else "Nothing is due."
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(nothing),
            cursor=asked.isoformat(),
        )

    return watch
