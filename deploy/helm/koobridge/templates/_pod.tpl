{{/* The common parts of the pods of both forms. */}}
{{- define "koobridge.podMetadata" -}}
labels:
  {{- /* Without the chart's version, or each new chart would restart every pod. */}}
  {{- include "koobridge.selector" . | fromYaml | merge (deepCopy .Values.podLabels) .Values.labels | toYaml | nindent 2 }}
annotations:
  {{- set (deepCopy .Values.podAnnotations) "checksum/config" (include "koobridge.checksum" .) | toYaml | nindent 2 }}
{{- end -}}

{{- define "koobridge.podSpec" -}}
serviceAccountName: {{ include "koobridge.serviceAccount" . }}
automountServiceAccountToken: {{ .Values.serviceAccount.automountToken }}
{{- /* koobridge needs none of the KOOBRIDGE_* variables that would stand for the Services. */}}
enableServiceLinks: false
terminationGracePeriodSeconds: {{ include "koobridge.grace" . }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.topologySpread.keys }}
topologySpreadConstraints:
  {{- range . }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: {{ $.Values.topologySpread.whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        {{- include "koobridge.selector" $ | nindent 8 }}
  {{- end }}
{{- end }}
securityContext:
  {{- /* Secrets and the spool's volume are this group's. Once is enough: each time anew, all files of the spool would
         be opened to the group. */}}
  fsGroup: {{ int64 .Values.user }}
  fsGroupChangePolicy: OnRootMismatch
{{- end -}}

{{- define "koobridge.preStop" -}}
{{- if gt (int .Values.preStopSeconds) 0 -}}
lifecycle:
  preStop:
    sleep:
      seconds: {{ .Values.preStopSeconds }}
{{- end -}}
{{- end -}}

{{- define "koobridge.container" -}}
name: koobridge
image: {{ include "koobridge.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if eq .Values.form "sidecar" }}
{{- /* This makes it a sidecar: it starts before the adapter, and goes on beside it. */}}
restartPolicy: Always
{{- end }}
args: [serve, --config, /etc/koobridge/config/koobridge.toml]
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
ports:
  - { name: ingress, containerPort: {{ .Values.ports.ingress }} }
  - { name: admin, containerPort: {{ .Values.ports.admin }} }
startupProbe:
  httpGet: { path: /startupz, port: admin }
  periodSeconds: 1
  failureThreshold: 60
livenessProbe:
  httpGet: { path: /livez, port: admin }
  periodSeconds: 10
  timeoutSeconds: 5
{{- /* In a sidecar it counts for the whole pod, the adapter's Service too. */}}
readinessProbe:
  httpGet: { path: /readyz, port: admin }
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 2
{{- include "koobridge.preStop" . | nindent 0 }}
resources:
  {{- include "koobridge.resources" . | nindent 2 }}
securityContext:
  runAsNonRoot: true
  runAsUser: {{ int64 .Values.user }}
  runAsGroup: {{ int64 .Values.user }}
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: { drop: [ALL] }
  seccompProfile: { type: RuntimeDefault }
{{- /* Whole directories: with subPath, changes would not arrive. */}}
volumeMounts:
  - { name: koobridge-config, mountPath: /etc/koobridge/config, readOnly: true }
  {{- range $name, $secret := pick .Values.secrets "channels" "tls" "kafka" }}
  {{- if $secret }}
  - { name: koobridge-{{ $name }}, mountPath: /etc/koobridge/{{ $name }}, readOnly: true }
  {{- end }}
  {{- end }}
  {{- if .Values.spool.enabled }}
  - { name: koobridge-spool, mountPath: /var/lib/koobridge }
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* A spool on the node's disk, and the logs, count for the pod's share of it. A request alone: the kubelet holds all of
     the pod, whatever its adapter writes too, to the sum of its containers' limits, and evicts it. */}}
{{- define "koobridge.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- if and .Values.spool.enabled (eq .Values.form "sidecar") -}}
  {{- $disk := include "koobridge.mebibytes" (list (include "koobridge.spoolSize" .) "spool.size") | atoi | add 256 -}}
  {{- $share := dict "ephemeral-storage" (printf "%vMi" $disk) -}}
  {{- $resources = merge $resources (dict "requests" $share) -}}
{{- end -}}
{{- toYaml $resources -}}
{{- end -}}

{{- define "koobridge.volumes" -}}
- name: koobridge-config
  configMap: { name: {{ include "koobridge.fullname" . }} }
{{- range $name, $secret := pick .Values.secrets "channels" "tls" "kafka" }}
{{- if $secret }}
- name: koobridge-{{ $name }}
  secret: { secretName: {{ $secret }}, defaultMode: 0440 }
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}
