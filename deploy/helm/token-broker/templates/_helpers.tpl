{{- define "token-broker.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "token-broker.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- $name := include "token-broker.name" . }}
{{- if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}
{{- end }}

{{- define "token-broker.selectorLabels" -}}
app.kubernetes.io/name: {{ include "token-broker.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: {{ .Values.mode }}
{{- end }}

{{- define "token-broker.labels" -}}
{{ include "token-broker.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{/* Whether there is a CSI driver, a listener for sidecars, a question to the Kubernetes API. */}}
{{- define "token-broker.csi" -}}
{{- if and (eq .Values.mode "node") .Values.csi.enabled }}true{{ end }}
{{- end }}
{{- define "token-broker.remote" -}}
{{- if or (eq .Values.mode "central") .Values.remote.enabled }}true{{ end }}
{{- end }}
{{- define "token-broker.admin" -}}
{{- if .Values.admin.enabled }}
{{- if ne .Values.mode "central" }}{{ fail "admin.enabled needs mode=central: with mode=node each node has a daemon of its own, whose socket a platform calls" }}{{ end -}}
true{{ end }}
{{- end }}
{{- define "token-broker.startupTaint" -}}
{{- if and (eq .Values.mode "node") .Values.startupTaint.enabled }}true{{ end }}
{{- end }}
{{- define "token-broker.reviews" -}}
{{- if or (include "token-broker.csi" .) (include "token-broker.remote" .) }}true{{ end }}
{{- end }}

{{- define "token-broker.config" -}}
{{- $central := eq .Values.mode "central" -}}
# `google.client_id` comes from the Secret, with the client's secret and the master key.
{{- if $central }}
# Folders in the volumes: their own roots cannot be closed to what Kubernetes lets in there.
{{- end }}
state_dir = {{ $central | ternary "/var/lib/token-broker/state" "/var/lib/token-broker" | quote }}
runtime_dir = {{ $central | ternary "/run/token-broker/broker" "/run/token-broker" | quote }}
http_listen = "0.0.0.0:8420"
public_url = {{ .Values.publicUrl | quote }}

[key]
source = "file:/run/secrets/token-broker/master.key"

[google]
client_secret_file = "/run/secrets/token-broker/client_secret"
client_type = {{ .Values.google.clientType | quote }}

[log]
format = {{ .Values.log.format | quote }}
level = {{ .Values.log.level | quote }}
{{- if include "token-broker.csi" . }}

[csi]
driver = {{ .Values.csi.driver | quote }}
endpoint = {{ printf "%s/plugins/%s/csi.sock" .Values.csi.kubeletDir .Values.csi.driver | quote }}
registration = {{ printf "%s/plugins_registry/%s-reg.sock" .Values.csi.kubeletDir .Values.csi.driver | quote }}
{{- end }}
{{- if include "token-broker.remote" . }}

[remote]
listen = "0.0.0.0:8443"
certificate_file = "/run/secrets/token-broker-tls/tls.crt"
key_file = "/run/secrets/token-broker-tls/tls.key"
audience = {{ .Values.remote.audience | quote }}
{{- end }}
{{- if include "token-broker.admin" . }}

[admin]
listen = "0.0.0.0:8444"
certificate_file = "/run/secrets/token-broker-admin-tls/tls.crt"
key_file = "/run/secrets/token-broker-admin-tls/tls.key"
client_ca_file = "/run/secrets/token-broker-admin-tls/ca.crt"
{{- range .Values.admin.clients }}

[[admin.clients]]
name = {{ .name | quote }}
{{- with .role }}
role = {{ . | quote }}
{{- end }}
{{- with .owner }}
owner = {{ . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraConfig }}

{{ . | trim }}
{{- end }}
{{ end }}
