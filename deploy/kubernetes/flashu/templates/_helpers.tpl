{{- define "flashu.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "flashu.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "flashu.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "flashu.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "flashu.release" -}}
app.kubernetes.io/name: {{ include "flashu.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "flashu.selector" -}}
{{ include "flashu.release" . }}
app.kubernetes.io/component: server
{{- end -}}

{{- define "flashu.labels" -}}
{{ include "flashu.selector" . }}
{{ include "flashu.origin" . }}
{{- end -}}

{{- define "flashu.origin" -}}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "flashu.account" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "flashu.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "flashu.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "flashu.claim" -}}
{{- default (printf "%s-cache" (include "flashu.fullname" .)) .Values.cache.existingClaim -}}
{{- end -}}

{{- define "flashu.keySecret" -}}
{{- if .Values.keys.existingSecret -}}
{{ .Values.keys.existingSecret }}
{{- else if .Values.keys.values -}}
{{ include "flashu.fullname" . }}-keys
{{- end -}}
{{- end -}}

{{/* Whether the server itself fetches its model: a hub id has no slash at its front, a folder on a volume has. */}}
{{- define "flashu.downloads" -}}
{{- $model := default "" .Values.settings.model -}}
{{- if and (not .Values.hub.offline) $model (not (hasPrefix "/" $model)) -}}true{{- end -}}
{{- end -}}

{{/* A setting as the text of a variable. YAML numbers are floats: printed plainly, 20971520 would be 2.097152e+07. */}}
{{- define "flashu.text" -}}
{{- if kindIs "string" . -}}{{ . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- end -}}

{{/* Whole periods of 10 s in which the startup probe may fail: loading, rounded up, and a minute for the front end to act on
its own limit first. */}}
{{- define "flashu.startupFailures" -}}
{{- div (add (int (ceil .Values.settings.load_timeout_s)) 69) 10 -}}
{{- end -}}

{{/* preStop, then SIGTERM and the time of requests in flight, then 15 s for the worker and the process to end. */}}
{{- define "flashu.graceSeconds" -}}
{{- add (int .Values.preStopSeconds) (int .Values.settings.shutdown_timeout_s) 15 -}}
{{- end -}}

{{- define "flashu.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ int .Values.user }}
runAsGroup: {{ int .Values.user }}
fsGroup: {{ int .Values.user }}
fsGroupChangePolicy: OnRootMismatch # tens of GiB are not walked through at every start
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "flashu.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* Writable folders of libraries. */}}
{{- define "flashu.places" -}}
- name: HOME
  value: /cache
- name: HF_HOME
  value: /cache/huggingface
- name: HF_HUB_DISABLE_TELEMETRY
  value: "1"
{{- end -}}

{{- define "flashu.token" -}}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      name: {{ .Values.hub.tokenSecret.name }}
      key: {{ .Values.hub.tokenSecret.key }}
{{- end -}}

{{/* Checks of values that depend on each other, which a schema cannot express. */}}
{{- define "flashu.check" -}}
{{- $ways := list -}}
{{- if .Values.keys.existingSecret }}{{ $ways = append $ways "existingSecret" }}{{ end -}}
{{- if .Values.keys.values }}{{ $ways = append $ways "values" }}{{ end -}}
{{- if .Values.keys.open }}{{ $ways = append $ways "open" }}{{ end -}}
{{- if ne (len $ways) 1 -}}
{{- fail (printf "keys: %d of existingSecret, values and open are set; set one" (len $ways)) -}}
{{- end -}}
{{- $scaled := ne .Values.autoscaling.kind "none" -}}
{{- $most := ternary .Values.autoscaling.maxReplicas .Values.replicas $scaled | int -}}
{{- if eq .Values.strategy.type "RollingUpdate" }}{{ $most = add $most .Values.strategy.maxSurge | int }}{{ end -}}
{{- if and .Values.cache.enabled (gt $most 1) (ne .Values.cache.accessMode "ReadWriteMany") -}}
{{- fail (printf "cache.accessMode: %s holds a cache for one node, and there may be %d pods at a time; set ReadWriteMany, or cache.enabled=false" .Values.cache.accessMode $most) -}}
{{- end -}}
{{- if $scaled -}}
{{- if gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas) -}}
{{- fail (printf "autoscaling.minReplicas: %d is more than maxReplicas, %d" (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- end -}}
{{- if ge (float64 .Values.autoscaling.backlogSeconds) (float64 .Values.settings.max_queue_seconds) -}}
{{- fail (printf "autoscaling.backlogSeconds: %v is never passed, because requests are refused at settings.max_queue_seconds, %v; set less" .Values.autoscaling.backlogSeconds .Values.settings.max_queue_seconds) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.monitoring.serviceMonitor.enabled (eq (toString .Values.settings.open_metrics) "false") (include "flashu.keySecret" .) (not .Values.monitoring.serviceMonitor.bearerSecret.name) -}}
{{- fail "monitoring.serviceMonitor.bearerSecret.name: settings.open_metrics is false, so Prometheus needs a key; name a Secret that holds one" -}}
{{- end -}}
{{- if and (eq .Values.strategy.type "RollingUpdate") (eq (int .Values.strategy.maxSurge) 0) (eq (int .Values.strategy.maxUnavailable) 0) -}}
{{- fail "strategy: maxSurge and maxUnavailable are both 0, so no pod could ever be replaced; set one of them" -}}
{{- end -}}
{{- if and .Values.convert.enabled (not .Values.cache.enabled) -}}
{{- fail "convert.enabled: without cache.enabled there is no place to keep what is converted" -}}
{{- end -}}
{{- end -}}
