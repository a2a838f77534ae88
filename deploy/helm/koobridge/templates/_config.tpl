{{/* The keys of koobridge.toml that a running bridge takes over: their change restarts no pod. Without ingress.deadline and
     ingress.head_timeout, which change the pod's time to stop. */}}
{{- define "koobridge.takenOver" -}}
ingress.allow
ingress.trusted_proxies
ingress.success_status
ingress.head_limit
ingress.body_limit
ingress.body_timeout
ingress.idle_timeout
ingress.connection_age
log.reports
{{- end -}}

{{/* The configuration as JSON: the values' configuration and the chart's own settings. */}}
{{- define "koobridge.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- range $key := list "ingress.listen" "ingress.channels" "ingress.tls" "admin.listen" "spool.directory" -}}
  {{- $path := splitList "." $key -}}
  {{- if hasKey (default dict (get $config (first $path))) (last $path) -}}
    {{- fail (printf "config.%s: the chart sets it itself: see ports, ipv6, secrets and spool" $key) -}}
  {{- end -}}
{{- end -}}
{{- range .Values.extraEnv -}}
  {{- if hasPrefix "KOOBRIDGE_" .name -}}
    {{- fail (printf "extraEnv: %s: put it into config, with which the chart reckons" .name) -}}
  {{- end -}}
{{- end -}}
{{- if eq (int .Values.ports.ingress) (int .Values.ports.admin) -}}
  {{- fail "ports: ingress and admin have to differ" -}}
{{- end -}}
{{- $any := ternary "[::]" "0.0.0.0" .Values.ipv6 -}}
{{- $ingress := dict "listen" (printf "%s:%v" $any .Values.ports.ingress) "channels" "/etc/koobridge/channels" -}}
{{- if .Values.secrets.tls -}}
  {{- $tls := dict "certificate" "/etc/koobridge/tls/tls.crt" "key" "/etc/koobridge/tls/tls.key" -}}
  {{- with .Values.secrets.clientCa -}}
    {{- $_ := set $tls "client_ca" (printf "/etc/koobridge/tls/%s" .) -}}
  {{- end -}}
  {{- $_ := set $ingress "tls" $tls -}}
{{- else if not (get $config.ingress "plain_http") -}}
  {{- fail "secrets.tls: name a Secret with tls.crt and tls.key, or set config.ingress.plain_http if a proxy ends TLS" -}}
{{- end -}}
{{- $own := dict "ingress" $ingress "admin" (dict "listen" (printf "%s:%v" $any .Values.ports.admin)) -}}
{{- if .Values.spool.enabled -}}
  {{- $_ := set $own "spool" (dict "directory" "/var/lib/koobridge/spool") -}}
{{- else -}}
  {{- $_ := unset $config "spool" -}}
{{- end -}}
{{- if not $config.kafka.flush_timeout -}}
  {{- $ends := and .Values.spool.enabled (eq .Values.form "sidecar") -}}
  {{- $_ := set $own "kafka" (dict "flush_timeout" (ternary "5m" "10s" $ends)) -}}
{{- end -}}
{{- if not (get $config.kafka.properties "bootstrap.servers") -}}
  {{- fail "config.kafka.properties: give bootstrap.servers, for example \"kafka-1:9093,kafka-2:9093\"" -}}
{{- end -}}
{{- mustMergeOverwrite $config $own | toJson -}}
{{- end -}}

{{/* The configuration, which is JSON, as TOML. */}}
{{- define "koobridge.toml" -}}
{{- range $name, $section := fromJson . -}}
{{- include "koobridge.table" (list $name $section) -}}
{{- end -}}
{{- end -}}

{{/* A table of TOML, of a list of its name and its values, and the tables in it. JSON's strings are TOML's. */}}
{{- define "koobridge.table" -}}
{{- $path := index . 0 -}}
{{- $lines := list -}}
{{- $tables := dict -}}
{{- range $name, $value := index . 1 -}}
  {{- $key := ternary $name (toJson $name) (regexMatch "^[A-Za-z0-9_-]+$" $name) -}}
  {{- if not (kindIs "map" $value) -}}
    {{- if not (kindIs "invalid" $value) -}}
      {{- $lines = append $lines (printf "%s = %s" $key (toJson $value)) -}}
    {{- end -}}
  {{- else if hasKey $value "from_file" -}}
    {{- $lines = append $lines (printf "%s = { from_file = %s }" $key (toJson $value.from_file)) -}}
  {{- else -}}
    {{- $_ := set $tables (printf "%s.%s" $path $key) $value -}}
  {{- end -}}
{{- end -}}
{{- if $lines -}}
[{{ $path }}]
{{ join "\n" $lines }}

{{ end -}}
{{- range $name, $table := $tables -}}
{{- include "koobridge.table" (list $name $table) -}}
{{- end -}}
{{- end -}}

{{/* A checksum of the settings that need a restart. */}}
{{- define "koobridge.checksum" -}}
{{- $config := include "koobridge.config" . | fromJson -}}
{{- range $key := include "koobridge.takenOver" . | splitList "\n" -}}
  {{- $path := splitList "." $key -}}
  {{- $_ := unset (default dict (get $config (first $path))) (last $path) -}}
{{- end -}}
{{- include "koobridge.toml" (toJson $config) | sha256sum -}}
{{- end -}}
