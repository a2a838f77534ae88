{{/* A duration as koobridge takes it ("5s", "4500ms", "1m 30s", "1d") in milliseconds, of a list of it and its name. */}}
{{- define "koobridge.milliseconds" -}}
{{- $text := toString (index . 0) -}}
{{- if not (regexMatch "^ *([0-9]+(ms|s|m|h|d) *)+$" $text) -}}
  {{- fail (printf "%s: %q is not a duration; write for example \"5s\", \"500ms\" or \"2m\"" (index . 1) $text) -}}
{{- end -}}
{{- $units := dict "ms" 1 "s" 1000 "m" 60000 "h" 3600000 "d" 86400000 -}}
{{- $sum := 0 -}}
{{- range $part := regexFindAll "[0-9]+(ms|s|m|h|d)" $text -1 -}}
  {{- $unit := regexFind "[a-z]+" $part -}}
  {{- $sum = add $sum (mul (trimSuffix $unit $part | atoi) (get $units $unit)) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{/* A size as koobridge or Kubernetes writes it ("1 GiB", "1280Mi") in MiB, of a list of it and its name. */}}
{{- define "koobridge.mebibytes" -}}
{{- $text := toString (index . 0) -}}
{{- if not (regexMatch "^[0-9]+ ?[MGT]iB?$" $text) -}}
  {{- fail (printf "%s: %q is not a size; write for example \"512 MiB\", \"1280Mi\" or \"2Gi\"" (index . 1) $text) -}}
{{- end -}}
{{- $units := dict "M" 1 "G" 1024 "T" 1048576 -}}
{{- mul (regexFind "^[0-9]+" $text | atoi) (get $units (regexFind "[MGT]" $text)) -}}
{{- end -}}

{{/* The most time that a stop takes after SIGTERM, in milliseconds: docs/configuration.md has the sum. */}}
{{- define "koobridge.stop" -}}
{{- $config := include "koobridge.config" . | fromJson -}}
{{- $time := dict -}}
{{- range $key := list "ingress.drain_delay" "ingress.deadline" "ingress.head_timeout" "kafka.flush_timeout" -}}
  {{- $path := splitList "." $key -}}
  {{- $value := get (get $config (first $path)) (last $path) -}}
  {{- $_ := set $time (last $path) (include "koobridge.milliseconds" (list $value (printf "config.%s" $key)) | atoi) -}}
{{- end -}}
{{- $heads := max $time.deadline $time.head_timeout -}}
{{- /* 2 s for the last answers; 5 s more if the spool's disk does not answer, 3 s if a thread or the log is stuck. */ -}}
{{- /* 2 s for the last spans if there are traces. */ -}}
{{- $spans := ternary 2000 0 (include "koobridge.traces" (list . $config) | eq "true") -}}
{{- add $time.drain_delay $time.deadline $heads 2000 $time.flush_timeout 8000 $spans -}}
{{- end -}}

{{/* "true" if the configuration or a variable names a collector of traces. Of a list of the root and the configuration. */}}
{{- define "koobridge.traces" -}}
{{- $named := dig "traces" "endpoint" "" (index . 1) -}}
{{- range (index . 0).Values.extraEnv -}}
  {{- if regexMatch "^OTEL_EXPORTER_OTLP_(TRACES_)?ENDPOINT$" .name -}}
    {{- $named = .name -}}
  {{- end -}}
{{- end -}}
{{- ternary "true" "false" (not (empty $named)) -}}
{{- end -}}

{{- define "koobridge.grace" -}}
{{- $stop := include "koobridge.stop" . | atoi -}}
{{- $seconds := div (add $stop 999) 1000 | add .Values.preStopSeconds -}}
{{- if eq .Values.form "sidecar" -}}
  {{- $seconds = add $seconds .Values.sidecar.stopSeconds -}}
{{- end -}}
{{- with .Values.terminationGracePeriodSeconds -}}
  {{- if lt (int .) (int $seconds) -}}
    {{- fail (printf "terminationGracePeriodSeconds: %v s is too short: a stop takes up to %v s with these values" (int64 .) $seconds) -}}
  {{- end -}}
{{- end -}}
{{- default $seconds .Values.terminationGracePeriodSeconds | int64 -}}
{{- end -}}

{{/* The size of the spool's volume. A full volume is no limit that koobridge can keep to. */}}
{{- define "koobridge.spoolSize" -}}
{{- $is_sidecar := eq .Values.form "sidecar" -}}
{{- $size := default (ternary "1280Mi" "2Gi" $is_sidecar) .Values.spool.size -}}
{{- $spool := get (include "koobridge.config" . | fromJson) "spool" -}}
{{- $least := include "koobridge.mebibytes" (list $spool.disk_limit "config.spool.disk_limit") | atoi -}}
{{- /* The free space of an emptyDir's file system is the node's. */ -}}
{{- if not $is_sidecar -}}
  {{- $least = include "koobridge.mebibytes" (list $spool.free_space "config.spool.free_space") | atoi | add $least -}}
{{- end -}}
{{- if le (include "koobridge.mebibytes" (list $size "spool.size") | atoi) (int $least) -}}
  {{- fail (printf "spool.size: %v is too small: make it larger than config.spool.disk_limit%s, %v MiB" $size (ternary "" " and free_space together" $is_sidecar) $least) -}}
{{- end -}}
{{- $size -}}
{{- end -}}
