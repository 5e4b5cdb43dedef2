"""The dashboard's last row: the server's processes and what they hold. It is data, as `rows`."""

from __future__ import annotations

from deploy.grafana.panels import Panel, Query, Row, of, rate

PROCESSES = Row(
    name="worker",
    title="Worker and accelerator",
    panels=(
        Panel(
            title="Reached, with a model",
            about="1 where the server is scraped and its process has told of a loaded model, 0 where it has not; "
            "nothing where there is no target.",
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
            title="Restarts of the worker",
            about="Processes that replaced one that died, since the server started.",
            unit="none",
            queries=[Query(expr=of("flashu_worker_restarts_total"), legend="{{instance}}")],
            alerts=["FlashUWorkerRestarted", "FlashUWorkerRestartLoop"],
        ),
        Panel(
            title="Age of the last progress",
            about="Seconds since a unit of work ended; 0 while nothing is to be done.",
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
            title="Memory of the accelerator",
            about="After the last unit: weights, what begun requests hold in caches, and on a GPU what torch has "
            "allocated and reserved.",
            unit="bytes",
            queries=[
                Query(expr=f"sum by (kind) ({of('flashu_accelerator_memory_bytes')})", legend="{{kind}}"),
            ],
            alerts=["FlashUMemoryReserved"],
        ),
        Panel(
            title="Memory that is neither weights nor caches",
            about="Of what torch has allocated after a unit; only on a GPU. If it grows without end, something leaks.",
            unit="bytes",
            queries=[
                Query(expr=of("instance:flashu_accelerator_memory_unexplained:bytes"), legend="{{instance}}"),
            ],
            limit=2 * 2**30,
            alerts=["FlashUMemoryUnexplained"],
        ),
        Panel(
            title="Servers by version and model",
            about="How many servers run which version and model: more than one only during a rollout. No model is one "
            "that is not loaded yet.",
            unit="none",
            queries=[
                Query(expr=f"count by (version, model) ({of('flashu_build_info')})", legend="{{version}} {{model}}")
            ],
            stacked=True,
        ),
        Panel(
            title="Processors of the two processes",
            about="Processor seconds a second. The front end near 1 is what limits the server, not the model.",
            unit="none",
            queries=[
                Query(expr=rate("process_cpu_seconds_total"), legend="{{instance}} front end"),
                Query(expr=rate("flashu_worker_process_cpu_seconds_total"), legend="{{instance}} worker"),
            ],
        ),
        Panel(
            title="Memory of the two processes",
            about="Resident. Request bodies are in the front end's, the model on a CPU in the worker's.",
            unit="bytes",
            queries=[
                Query(expr=of("process_resident_memory_bytes"), legend="{{instance}} front end"),
                Query(expr=of("flashu_worker_process_resident_memory_bytes"), legend="{{instance}} worker"),
            ],
        ),
        Panel(
            title="Lines that the log lost",
            about="A second: whoever reads the server's standard error is slower than it writes.",
            unit="ops",
            queries=[
                Query(expr=f"sum by (instance) ({rate('flashu_log_lines_dropped_total')})", legend="{{instance}}")
            ],
        ),
        Panel(
            title="Pictures that wait for a process",
            about="To be decoded or encoded; the processes are too few, or pictures too large.",
            unit="none",
            queries=[Query(expr=f"sum by (kind) ({of('flashu_images_waiting')})", legend="{{kind}}")],
        ),
        Panel(
            title="Image processes that were replaced",
            about="A second: killed because a picture took too long, or dead. Somebody sends what is hostile.",
            unit="ops",
            queries=[
                Query(
                    expr=f"sum by (kind, reason) ({rate('flashu_image_processes_replaced_total')})",
                    legend="{{kind}} {{reason}}",
                )
            ],
        ),
        Panel(
            title="Utilisation of the GPUs",
            about="Share of time with a kernel running, as NVML tells; only with the extra `nvml`.",
            unit="percentunit",
            queries=[Query(expr=of("flashu_gpu_utilization_ratio"), legend="{{instance}} {{gpu}}")],
        ),
    ),
)
