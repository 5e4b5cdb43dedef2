"""The dashboard's last row: the server's processes, their memory and the accelerator."""

from __future__ import annotations

from deploy.grafana.panels import Panel, Query, Row, of, rate

PROCESSES = Row(
    name="worker",
    title="Worker and accelerator",
    panels=(
        Panel(
            title="Server up, model loaded",
            about="1 if the server is scraped and its worker has reported a loaded model, 0 if it has not; no line "
            "without a target.",
            unit="none",
            queries=[
                Query(
                    expr=f"count by (instance) ({of('flashu_accelerator_memory_bytes', kind='weights')})"
                    f" or 0 * sum by (instance) ({of('up')})",
                    legend="{{instance}}",
                ),
            ],
            alerts=["FlashUTargetDown", "FlashUTargetMissing", "FlashUModelNotLoaded"],
        ),
        Panel(
            title="Worker restarts",
            about="Workers started in place of one that died, since the server started.",
            unit="none",
            queries=[Query(expr=of("flashu_worker_restarts_total"), legend="{{instance}}")],
            alerts=["FlashUWorkerRestarted", "FlashUWorkerRestartLoop"],
        ),
        Panel(
            title="Time since last progress",
            about="Seconds since a unit of work ended; 0 while no request is running or waiting.",
            unit="s",
            queries=[
                Query(
                    expr=f"(time() - {of('flashu_worker_last_progress_timestamp_seconds')})"
                    f" * ({of('flashu_requests_running')} + {of('flashu_requests_waiting')} > bool 0)",
                    legend="{{instance}}",
                ),
            ],
            limit=60,
            alerts=["FlashUNoProgress"],
        ),
        Panel(
            title="Accelerator memory",
            about="After the last unit of work: weights, caches of running requests, and on a GPU what torch has "
            "allocated and reserved.",
            unit="bytes",
            queries=[
                Query(expr=f"sum by (kind) ({of('flashu_accelerator_memory_bytes')})", legend="{{kind}}"),
            ],
            alerts=["FlashUMemoryReserved"],
        ),
        Panel(
            title="Unexplained memory",
            about="Allocated by torch beyond weights and caches after a unit of work; GPU only. Steady growth: a leak.",
            unit="bytes",
            queries=[
                Query(expr=of("instance:flashu_accelerator_memory_unexplained:bytes"), legend="{{instance}}"),
            ],
            limit=2 * 2**30,
            alerts=["FlashUMemoryUnexplained"],
        ),
        Panel(
            title="Servers by version and model",
            about="Number of servers by version and model: more than one line only during a rollout. An empty model is "
            "not loaded yet.",
            unit="none",
            queries=[
                Query(expr=f"count by (version, model) ({of('flashu_build_info')})", legend="{{version}} {{model}}")
            ],
            stacked=True,
        ),
        Panel(
            title="CPU per process",
            about="CPU seconds per second. With the front end near 1, the front end limits the server, not the model.",
            unit="none",
            queries=[
                Query(expr=rate("process_cpu_seconds_total"), legend="{{instance}} front end"),
                Query(expr=rate("flashu_worker_process_cpu_seconds_total"), legend="{{instance}} worker"),
            ],
        ),
        Panel(
            title="Resident memory per process",
            about="The front end holds request bodies; on a CPU the worker holds the model.",
            unit="bytes",
            queries=[
                Query(expr=of("process_resident_memory_bytes"), legend="{{instance}} front end"),
                Query(expr=of("flashu_worker_process_resident_memory_bytes"), legend="{{instance}} worker"),
            ],
        ),
        Panel(
            title="Dropped log lines",
            about="Per second: the reader of the server's standard error is slower than the server writes.",
            unit="ops",
            queries=[
                Query(expr=f"sum by (instance) ({rate('flashu_log_lines_dropped_total')})", legend="{{instance}}")
            ],
        ),
        Panel(
            title="Images waiting",
            about="For a decoding or encoding process: there are too few of them, or the images are too large.",
            unit="none",
            queries=[Query(expr=f"sum by (kind) ({of('flashu_images_waiting')})", legend="{{kind}}")],
        ),
        Panel(
            title="Image process replacements",
            about="Per second: killed because an image took too long, or crashed. A sign of hostile images.",
            unit="ops",
            queries=[
                Query(
                    expr=f"sum by (kind, reason) ({rate('flashu_image_processes_replaced_total')})",
                    legend="{{kind}} {{reason}}",
                )
            ],
        ),
        Panel(
            title="GPU utilisation",
            about="Share of time with a kernel running, from NVML; only with the extra `nvml`.",
            unit="percentunit",
            queries=[Query(expr=of("flashu_gpu_utilization_ratio"), legend="{{instance}} {{gpu}}")],
        ),
    ),
)
