#!/usr/bin/env bash
# Checks the files for Prometheus, Alertmanager and Grafana with Debian's tools (prometheus, prometheus-alertmanager),
# and says what it checked. PYTHON is the interpreter of the project's environment.
set -euo pipefail
cd "$(dirname "$0")/.."
for tool in promtool amtool; do
    if ! command -v "$tool" > /dev/null; then
        echo "$tool is missing; apt-get install --no-install-recommends prometheus prometheus-alertmanager" >&2
        exit 1
    fi
done
echo "== configuration of Prometheus, and its rules"
promtool check config deploy/prometheus/prometheus.yml
echo "== what the rules compute, and when alerts fire"
promtool test rules deploy/prometheus/tests/*.yml
echo "== configuration of Alertmanager"
amtool check-config deploy/prometheus/alertmanager.yml
echo "== dashboards"
"${PYTHON:-.venv/bin/python}" -m deploy.grafana.dashboards --check
