"""What an operator sees: the rows of the dashboard, each the answer to one question. They are data.

Ratios and estimates that alerts use too are Prometheus's recorded series (`deploy/prometheus/rules/recording.yml`), so
that they have one definition.
"""

from __future__ import annotations

from deploy.grafana.panels import Panel, Query, Row, of, percentiles, quantile, rate
from deploy.grafana.processes import PROCESSES

_TRAFFIC = Row(
    name="traffic",
    title="Traffic and errors by task",
    panels=(
        Panel(
            title="Requests by task",
            about="Answered requests a second. `unrouted` are those that ended before their task was known.",
            unit="reqps",
            queries=[Query(expr=f"sum by (task) ({rate('flashu_requests_total')})", legend="{{task}}")],
            stacked=True,
        ),
        Panel(
            title="Requests by status",
            about="400 and 429 are clients' doing, 499 are clients that left, 503 refusals, 504 missed deadlines, "
            "500 faults.",
            unit="reqps",
            queries=[Query(expr=f"sum by (status) ({rate('flashu_requests_total')}) > 0", legend="{{status}}")],
            stacked=True,
            alerts=["FlashURefusals", "FlashUDeadlinesMissed", "FlashUInternalErrors"],
        ),
        Panel(
            title="Shares refused, too late, failed",
            about="Of all requests, over five minutes. Refusals and missed deadlines alert above 5 %, faults above 1.",
            unit="percentunit",
            queries=[
                Query(expr=of("instance:flashu_requests_refused:ratio_rate5m"), legend="{{instance}} refused (503)"),
                Query(expr=of("instance:flashu_requests_too_late:ratio_rate5m"), legend="{{instance}} too late (504)"),
                Query(expr=of("instance:flashu_requests_failed:ratio_rate5m"), legend="{{instance}} failed (500)"),
            ],
            limit=0.05,
            alerts=["FlashURefusals", "FlashUDeadlinesMissed", "FlashUInternalErrors"],
        ),
        Panel(
            title="Tokens and pictures",
            about="A second, of results: tokens of text read and generated, and pictures drawn.",
            unit="none",
            queries=[
                Query(expr=f"sum by (kind) ({rate('flashu_tokens_total')})", legend="{{kind}} tokens"),
                Query(expr=f"sum ({rate('flashu_images_total')})", legend="pictures"),
            ],
        ),
    ),
)

_LATENCY = Row(
    name="latency",
    title="Latency and queue",
    panels=(
        Panel(
            title="A picture, from the headers to the answer",
            about="Of requests that got what they asked for, streams to their end. Refusals are counted above.",
            unit="s",
            queries=percentiles("flashu_request_duration_seconds", task="generate"),
            limit=60,
            alerts=["FlashUPicturesSlow"],
        ),
        Panel(
            title="An answer, from the headers to the answer",
            about="As beside it, for questions.",
            unit="s",
            queries=percentiles("flashu_request_duration_seconds", task="vqa"),
            limit=10,
            alerts=["FlashUAnswersSlow"],
        ),
        Panel(
            title="Time in the queue",
            about="Until the first unit of work, of requests that came to a result. 95 % by task.",
            unit="s",
            queries=[
                Query(expr=quantile(0.5, "flashu_queue_time_seconds", by="task"), legend="{{task}} p50"),
                Query(expr=quantile(0.95, "flashu_queue_time_seconds", by="task"), legend="{{task}} p95"),
            ],
            limit=5,
            alerts=["FlashUQueueWaitLong"],
        ),
        Panel(
            title="First token",
            about="From the engine's queue to an answer's first token.",
            unit="s",
            queries=percentiles("flashu_time_to_first_token_seconds"),
            alerts=["FlashUAnswersSlow"],
        ),
        Panel(
            title="Between tokens",
            about="The mean of each answer; other units of work come between its tokens.",
            unit="s",
            queries=percentiles("flashu_inter_token_seconds"),
            alerts=["FlashUAnswersSlow"],
        ),
        Panel(
            title="One evaluation of a batch",
            about="A unit of drawing as the device ran it. If this grows and batches do not, the device is slower.",
            unit="s",
            queries=percentiles("flashu_evaluation_seconds"),
            alerts=["FlashUPicturesSlow"],
        ),
    ),
)


def _per_request(task: str, component: str, by: str) -> str:
    """Mean seconds that a request of the task spent, by a label; `component` is one that every such request has."""
    spent = rate("flashu_component_seconds_sum", task=task)
    finished = rate("flashu_component_seconds_count", task=task, component=component)
    if by == "policy":
        return f"sum by (policy) ({spent}) / (sum by (policy) ({finished}) > 0)"
    return f"sum by ({by}) ({spent}) / on () group_left () (sum ({finished}) > 0)"


_COMPONENTS = Row(
    name="components",
    title="Where the time goes",
    panels=(
        Panel(
            title="A drawing, by component",
            about="Mean seconds of device time in each part; what a batch takes counts for each of its requests.",
            unit="s",
            queries=[Query(expr=_per_request("generate", "backbone", "component"), legend="{{component}}")],
            stacked=True,
        ),
        Panel(
            title="An answer, by component",
            about="As beside it. Decoding grows with the length of answers, `prefill` with pictures and questions.",
            unit="s",
            queries=[Query(expr=_per_request("vqa", "prefill", "component"), legend="{{component}}")],
            stacked=True,
        ),
        Panel(
            title="A drawing, by policy",
            about="All components together: what a policy really buys under today's load.",
            unit="s",
            queries=[Query(expr=_per_request("generate", "backbone", "policy"), legend="{{policy}}")],
            alerts=["FlashUAccelerationLost"],
        ),
        Panel(
            title="An answer, by policy",
            about="All components together.",
            unit="s",
            queries=[Query(expr=_per_request("vqa", "prefill", "policy"), legend="{{policy}}")],
        ),
    ),
)

_ACCELERATION = Row(
    name="acceleration",
    title="Acceleration",
    note="**Seconds saved are an estimate**: backbone passes that were not needed, times the mean seconds of those "
    "that ran (full and pruned ones mixed), per drawing, over ten minutes. What shorter time grids, pruned neurons, "
    "layers left out and the head's cache save is not in it, and drawings under `exact` bring it towards 0. The full "
    "measure is to compare policies, in *Where the time goes*.",
    panels=(
        Panel(
            title="Backbone passes by kind",
            about="Evaluations a second: `full`, `pruned` neurons, `not_needed` because nothing reads the result.",
            unit="ops",
            queries=[Query(expr=f"sum by (kind) ({rate('flashu_backbone_passes_total')})", legend="{{kind}}")],
            stacked=True,
            alerts=["FlashUAccelerationLost"],
        ),
        Panel(
            title="Head passes by kind",
            about="Evaluations a second whose head was `computed`, or `reused` from an earlier one.",
            unit="ops",
            queries=[Query(expr=f"sum by (kind) ({rate('flashu_head_passes_total')})", legend="{{kind}}")],
            stacked=True,
            alerts=["FlashUAccelerationLost"],
        ),
        Panel(
            title="Shares not needed and reused",
            about="Of all evaluations, over ten minutes. At 0 while flashu draws, acceleration is lost.",
            unit="percentunit",
            queries=[
                Query(
                    expr=of("instance:flashu_backbone_passes_not_needed:ratio_rate10m"),
                    legend="{{instance}} backbone not needed",
                ),
                Query(expr=of("instance:flashu_head_passes_reused:ratio_rate10m"), legend="{{instance}} head reused"),
            ],
            alerts=["FlashUAccelerationLost"],
        ),
        Panel(
            title="Layers left out",
            about="Per backbone pass that ran while drawing, and per answer.",
            unit="none",
            queries=[
                Query(
                    expr=f"sum ({rate('flashu_layers_skipped_total', task='generate')})"
                    f" / (sum ({rate('flashu_backbone_passes_total', kind='full|pruned')}) > 0)",
                    legend="per drawing pass",
                ),
                Query(
                    expr=f"sum ({rate('flashu_layers_skipped_total', task='vqa')})"
                    f" / (sum ({rate('flashu_queue_time_seconds_count', task='vqa')}) > 0)",
                    legend="per answer",
                ),
            ],
        ),
        Panel(
            title="Visual tokens of questions",
            about="Image tokens a second that all layers saw, and those that left behind a shallow one.",
            unit="ops",
            queries=[Query(expr=f"sum by (kind) ({rate('flashu_visual_tokens_total')})", legend="{{kind}}")],
            stacked=True,
        ),
        Panel(
            title="Estimated seconds saved per drawing",
            about="An estimate; the text above says of what. Beside it the device time that a drawing took.",
            unit="s",
            queries=[
                Query(expr=of("instance:flashu_saved_seconds_per_drawing:rate10m"), legend="{{instance}} saved"),
                Query(
                    expr=f"sum ({rate('flashu_component_seconds_sum', task='generate')}) / (sum ("
                    f"{rate('flashu_component_seconds_count', task='generate', component='backbone')}) > 0)",
                    legend="taken",
                ),
            ],
            alerts=["FlashUAccelerationLost"],
        ),
    ),
)

_SCHEDULER = Row(
    name="scheduler",
    title="Scheduler",
    panels=(
        Panel(
            title="Size of batches",
            about="Pictures or answers in a unit of work: the mean, and the 95th percentile.",
            unit="none",
            queries=[
                Query(
                    expr=f"sum by (task) ({rate('flashu_batch_size_sum')})"
                    f" / (sum by (task) ({rate('flashu_batch_size_count')}) > 0)",
                    legend="{{task}} mean",
                ),
                Query(expr=quantile(0.95, "flashu_batch_size", by="task"), legend="{{task}} p95"),
            ],
        ),
        Panel(
            title="Requests inside",
            about="Those that the engine works on, and those that it has not come to.",
            unit="none",
            queries=[
                Query(expr=f"sum ({of('flashu_requests_running')})", legend="running"),
                Query(expr=f"sum ({of('flashu_requests_waiting')})", legend="waiting"),
            ],
            stacked=True,
            alerts=["FlashUNoProgress"],
        ),
        Panel(
            title="Predicted wait",
            about="What a small request that comes now would wait, by task; and what begun requests really waited, for "
            "each second that was predicted of them.",
            unit="s",
            queries=[
                Query(expr=f"max by (task) ({of('flashu_predicted_wait_seconds')})", legend="{{task}}"),
                Query(
                    expr=f"sum by (task) ({rate('flashu_admission_observed_wait_seconds_total')})"
                    f" / (sum by (task) ({rate('flashu_admission_predicted_wait_seconds_total')}) > 0)",
                    legend="{{task}}, observed / predicted",
                ),
            ],
            limit=8,
            alerts=["FlashUBacklogLong"],
        ),
        Panel(
            title="Backlog",
            about="Predicted seconds of work until all that was accepted is done.",
            unit="s",
            queries=[Query(expr=of("flashu_backlog_seconds"), legend="{{instance}}")],
        ),
        Panel(
            title="Admission, by task",
            about="Requests a second that were accepted, and that were refused by reason: their wait, their wait if "
            "answers take their full length, the number that waits, their own price.",
            unit="reqps",
            queries=[
                Query(expr=f"sum by (task) ({rate('flashu_admission_accepted_total')})", legend="{{task}} accepted"),
                Query(
                    expr=f"sum by (task, reason) ({rate('flashu_admission_refused_total')}) > 0",
                    legend="{{task}} refused: {{reason}}",
                ),
            ],
        ),
        Panel(
            title="Refused or dropped, by reason",
            about="A second. States of the server (`loading`, ...) are work that it refused in them; connections that "
            "were cut off are counted too.",
            unit="reqps",
            queries=[Query(expr=f"sum by (reason) ({rate('flashu_rejected_total')}) > 0", legend="{{reason}}")],
            stacked=True,
            alerts=["FlashURefusals"],
        ),
        Panel(
            title="Units of work",
            about="A second, by task. None while requests are inside means that nothing moves.",
            unit="ops",
            queries=[Query(expr=f"sum by (task) ({rate('flashu_batch_size_count')})", legend="{{task}}")],
            alerts=["FlashUNoProgress"],
        ),
        Panel(
            title="Evaluations saved by cancelling",
            about="A second, not run because nobody wanted their picture any more.",
            unit="ops",
            queries=[
                Query(expr=f"sum ({rate('flashu_evaluations_saved_by_cancel_total')})", legend="evaluations"),
            ],
        ),
    ),
)

ROWS = (_TRAFFIC, _LATENCY, _COMPONENTS, _ACCELERATION, _SCHEDULER, PROCESSES)
