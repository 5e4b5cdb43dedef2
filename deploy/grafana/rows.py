"""The rows of the dashboard, each of which answers one question of an operator.

Ratios and estimates that alerts use as well are recorded by Prometheus (`deploy/prometheus/rules/recording.yml`), so
that each has one definition.
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
            about="Requests per second that got a response. `unrouted` ended before their task was known.",
            unit="reqps",
            queries=[Query(expr=f"sum by (task) ({rate('flashu_requests_total')})", legend="{{task}}")],
            stacked=True,
        ),
        Panel(
            title="Requests by status",
            about="400 and 429: client errors; 499: client left; 503: rejected; 504: timed out; 500: server error.",
            unit="reqps",
            queries=[Query(expr=f"sum by (status) ({rate('flashu_requests_total')}) > 0", legend="{{status}}")],
            stacked=True,
            alerts=["FlashURefusals", "FlashUDeadlinesMissed", "FlashUInternalErrors"],
        ),
        Panel(
            title="Rejected, timed out and failed share",
            about="Of all requests, over five minutes. Alerts: rejected or timed out above 5 %, failed above 1 %.",
            unit="percentunit",
            queries=[
                Query(expr=of("instance:flashu_requests_refused:ratio_rate5m"), legend="{{instance}} rejected (503)"),
                Query(expr=of("instance:flashu_requests_too_late:ratio_rate5m"), legend="{{instance}} timed out (504)"),
                Query(expr=of("instance:flashu_requests_failed:ratio_rate5m"), legend="{{instance}} failed (500)"),
            ],
            limit=0.05,
            alerts=["FlashURefusals", "FlashUDeadlinesMissed", "FlashUInternalErrors"],
        ),
        Panel(
            title="Tokens and images",
            about="Per second, of completed requests: text tokens read and generated, and images generated.",
            unit="none",
            queries=[
                Query(expr=f"sum by (kind) ({rate('flashu_tokens_total')})", legend="{{kind}} tokens"),
                Query(expr=f"sum ({rate('flashu_images_total')})", legend="images"),
            ],
        ),
    ),
)

_LATENCY = Row(
    name="latency",
    title="Latency and queue",
    panels=(
        Panel(
            title="Generation latency",
            about="From the request's headers to the end of the response, streams included; successful requests only.",
            unit="s",
            queries=percentiles("flashu_request_duration_seconds", task="generate"),
            limit=60,
            alerts=["FlashUPicturesSlow"],
        ),
        Panel(
            title="Understanding latency",
            about="The same for understanding requests.",
            unit="s",
            queries=percentiles("flashu_request_duration_seconds", task="vqa"),
            limit=10,
            alerts=["FlashUAnswersSlow"],
        ),
        Panel(
            title="Queue time",
            about="Until the first unit of work, of requests that completed; median and 95th percentile by task.",
            unit="s",
            queries=[
                Query(expr=quantile(0.5, "flashu_queue_time_seconds", by="task"), legend="{{task}} p50"),
                Query(expr=quantile(0.95, "flashu_queue_time_seconds", by="task"), legend="{{task}} p95"),
            ],
            limit=5,
            alerts=["FlashUQueueWaitLong"],
        ),
        Panel(
            title="Time to first token",
            about="From entering the engine's queue to the first token of an answer.",
            unit="s",
            queries=percentiles("flashu_time_to_first_token_seconds"),
            alerts=["FlashUAnswersSlow"],
        ),
        Panel(
            title="Time between tokens",
            about="Mean of each answer; other units of work run between its tokens.",
            unit="s",
            queries=percentiles("flashu_inter_token_seconds"),
            alerts=["FlashUAnswersSlow"],
        ),
        Panel(
            title="Denoising step of a batch",
            about="Duration of one step on the device. If it grows and the batch size does not, the device is slower.",
            unit="s",
            queries=percentiles("flashu_evaluation_seconds"),
            alerts=["FlashUPicturesSlow"],
        ),
    ),
)


def _per_request(task: str, component: str, by: str) -> str:
    """Mean seconds per request of the task, by a label; every such request has the component `component`."""
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
            title="Generation by component",
            about="Mean device seconds per request; the time of a batch counts for each of its requests.",
            unit="s",
            queries=[Query(expr=_per_request("generate", "backbone", "component"), legend="{{component}}")],
            stacked=True,
        ),
        Panel(
            title="Understanding by component",
            about="The same for understanding. `decode` grows with the answer, `prefill` with image and question.",
            unit="s",
            queries=[Query(expr=_per_request("vqa", "prefill", "component"), legend="{{component}}")],
            stacked=True,
        ),
        Panel(
            title="Generation by policy",
            about="All components together: what a policy saves under the current load.",
            unit="s",
            queries=[Query(expr=_per_request("generate", "backbone", "policy"), legend="{{policy}}")],
            alerts=["FlashUAccelerationLost"],
        ),
        Panel(
            title="Understanding by policy",
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
    "that ran (full and pruned), per generation request, over ten minutes. It does not include what fewer denoising "
    "steps, pruned neurons, skipped layers and the head cache save, and requests under `exact` bring it towards 0. For "
    "the whole effect compare policies, in *Where the time goes*.",
    panels=(
        Panel(
            title="Backbone passes by kind",
            about="Denoising steps per second: `full`, `pruned` neurons, or `not_needed` because the head is reused.",
            unit="ops",
            queries=[Query(expr=f"sum by (kind) ({rate('flashu_backbone_passes_total')})", legend="{{kind}}")],
            stacked=True,
            alerts=["FlashUAccelerationLost"],
        ),
        Panel(
            title="Head passes by kind",
            about="Denoising steps per second whose head was `computed`, or `reused` from an earlier step.",
            unit="ops",
            queries=[Query(expr=f"sum by (kind) ({rate('flashu_head_passes_total')})", legend="{{kind}}")],
            stacked=True,
            alerts=["FlashUAccelerationLost"],
        ),
        Panel(
            title="Backbone not needed, head reused",
            about="Share of denoising steps, over ten minutes. 0 under `flashu` means that acceleration is lost.",
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
            title="Layers skipped",
            about="Per backbone pass of generation, and per answer.",
            unit="none",
            queries=[
                Query(
                    expr=f"sum ({rate('flashu_layers_skipped_total', task='generate')})"
                    f" / (sum ({rate('flashu_backbone_passes_total', kind='full|pruned')}) > 0)",
                    legend="per generation pass",
                ),
                Query(
                    expr=f"sum ({rate('flashu_layers_skipped_total', task='vqa')})"
                    f" / (sum ({rate('flashu_queue_time_seconds_count', task='vqa')}) > 0)",
                    legend="per answer",
                ),
            ],
        ),
        Panel(
            title="Visual tokens",
            about="Image tokens of understanding per second: kept through all layers, and pruned after a shallow one.",
            unit="ops",
            queries=[Query(expr=f"sum by (kind) ({rate('flashu_visual_tokens_total')})", legend="{{kind}}")],
            stacked=True,
        ),
        Panel(
            title="Estimated seconds saved per image",
            about="An estimate, explained above, beside the device time per generation request.",
            unit="s",
            queries=[
                Query(expr=of("instance:flashu_saved_seconds_per_drawing:rate10m"), legend="{{instance}} saved"),
                Query(
                    expr=f"sum ({rate('flashu_component_seconds_sum', task='generate')}) / (sum ("
                    f"{rate('flashu_component_seconds_count', task='generate', component='backbone')}) > 0)",
                    legend="spent",
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
            title="Batch size",
            about="Images or answers in a unit of work: mean and 95th percentile.",
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
            title="Running and waiting requests",
            about="Requests that the engine has started, and requests that it has not.",
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
            about="Predicted wait of a small new request, by task; ratio of observed to predicted wait of "
            "requests that started.",
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
            about="Predicted seconds of work until all accepted requests are done.",
            unit="s",
            queries=[Query(expr=of("flashu_backlog_seconds"), legend="{{instance}}")],
        ),
        Panel(
            title="Admission by task",
            about="Requests per second, accepted, or rejected by reason: predicted wait, predicted wait if answers "
            "take their full length, queue length, cost of the request itself.",
            unit="reqps",
            queries=[
                Query(expr=f"sum by (task) ({rate('flashu_admission_accepted_total')})", legend="{{task}} accepted"),
                Query(
                    expr=f"sum by (task, reason) ({rate('flashu_admission_refused_total')}) > 0",
                    legend="{{task}} rejected: {{reason}}",
                ),
            ],
        ),
        Panel(
            title="Rejected or dropped by reason",
            about="Per second. States of the server (`loading`, ...) count requests rejected in that state; closed "
            "connections count too.",
            unit="reqps",
            queries=[Query(expr=f"sum by (reason) ({rate('flashu_rejected_total')}) > 0", legend="{{reason}}")],
            stacked=True,
            alerts=["FlashURefusals"],
        ),
        Panel(
            title="Units of work",
            about="Per second, by task. 0 while requests are running or waiting: the engine makes no progress.",
            unit="ops",
            queries=[Query(expr=f"sum by (task) ({rate('flashu_batch_size_count')})", legend="{{task}}")],
            alerts=["FlashUNoProgress"],
        ),
        Panel(
            title="Denoising steps saved by cancellation",
            about="Per second, not run because their request was cancelled.",
            unit="ops",
            queries=[
                Query(expr=f"sum ({rate('flashu_evaluations_saved_by_cancel_total')})", legend="steps"),
            ],
        ),
    ),
)

ROWS = (_TRAFFIC, _LATENCY, _COMPONENTS, _ACCELERATION, _SCHEDULER, PROCESSES)
