{{- define "leasehold.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "leasehold.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "leasehold.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "leasehold.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "leasehold.selector" -}}
app.kubernetes.io/name: {{ include "leasehold.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "leasehold.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "leasehold.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: leasehold
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "leasehold.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "leasehold.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "leasehold.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{- define "leasehold.secret" -}}
{{- default (include "leasehold.fullname" .) .Values.secrets.existingSecret -}}
{{- end -}}

{{- define "leasehold.redis" -}}
{{ include "leasehold.fullname" . }}-redis
{{- end -}}

{{- define "leasehold.redisSecret" -}}
{{- default (include "leasehold.redis" .) .Values.redis.existingSecret -}}
{{- end -}}

{{- /* A value that was given, else the one in the cluster, else a new one. Arguments: given, secret in the cluster, key, length. */ -}}
{{- define "leasehold.kept" -}}
{{- $data := dig "data" dict (default dict .secret) -}}
{{- if .given -}}
{{- .given | b64enc -}}
{{- else if hasKey $data .key -}}
{{- get $data .key -}}
{{- else -}}
{{- randAlphaNum (int .length) | b64enc -}}
{{- end -}}
{{- end -}}

{{- define "leasehold.hardened" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- /* What a container of the program needs to know, and where its files are. */ -}}
{{- define "leasehold.env" -}}
- name: LEASEHOLD_CONFIG
  value: /etc/leasehold/leasehold.toml
- name: LEASEHOLD_REDIS_URL_FILE
  value: /run/secrets/leasehold/redis-url
- name: LEASEHOLD_SECRET_FILE
  value: /run/secrets/leasehold/secret
- name: LEASEHOLD_ADMIN_KEY_FILE
  value: /run/secrets/leasehold/admin-key
{{- if or .Values.secrets.previousSecrets .Values.secrets.existingSecret }}
- name: LEASEHOLD_PREVIOUS_SECRETS_FILE
  value: /run/secrets/leasehold/previous-secrets
{{- end }}
{{- with .Values.redisTls.caSecret }}
- name: LEASEHOLD_REDIS_CA_FILE
  value: /run/secrets/redis-ca/ca.crt
{{- end }}
{{- with .Values.redisTls.clientSecret }}
- name: LEASEHOLD_REDIS_CERT_FILE
  value: /run/secrets/redis-client/tls.crt
- name: LEASEHOLD_REDIS_KEY_FILE
  value: /run/secrets/redis-client/tls.key
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: LEASEHOLD_TLS_CERT_FILE
  value: /run/secrets/tls/tls.crt
- name: LEASEHOLD_TLS_KEY_FILE
  value: /run/secrets/tls/tls.key
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "leasehold.mounts" -}}
- name: settings
  mountPath: /etc/leasehold
  readOnly: true
- name: secrets
  mountPath: /run/secrets/leasehold
  readOnly: true
{{- with .Values.redisTls.caSecret }}
- name: redis-ca
  mountPath: /run/secrets/redis-ca
  readOnly: true
{{- end }}
{{- with .Values.redisTls.clientSecret }}
- name: redis-client
  mountPath: /run/secrets/redis-client
  readOnly: true
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  mountPath: /run/secrets/tls
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "leasehold.volumes" -}}
- name: settings
  configMap:
    name: {{ include "leasehold.fullname" . }}
- name: secrets
  secret:
    secretName: {{ include "leasehold.secret" . }}
    defaultMode: 0440
{{- with .Values.redisTls.caSecret }}
- name: redis-ca
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.redisTls.clientSecret }}
- name: redis-client
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.tls.existingSecret }}
- name: tls
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "leasehold.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- /* The passwords of the Redis that the chart brings, the same however often they are asked for. */ -}}
{{- define "leasehold.redisPasswords" -}}
{{- if not (hasKey .Values "made") -}}
{{- $there := lookup "v1" "Secret" .Release.Namespace (include "leasehold.redisSecret" .) -}}
{{- $made := dict -}}
{{- range $key := list "NODES_PASSWORD" "OPERATORS_PASSWORD" "REPLICAS_PASSWORD" "SENTINEL_PASSWORD" -}}
{{- $_ := set $made $key (include "leasehold.kept" (dict "given" "" "secret" $there "key" $key "length" 40)) -}}
{{- end -}}
{{- $_ := set .Values "made" $made -}}
{{- end -}}
{{ toYaml .Values.made }}
{{- end -}}

{{- define "leasehold.redisUrl" -}}
{{- $redis := include "leasehold.redis" .root -}}
redis+sentinel://leasehold:{{ .nodes }}@{{ range $at := until 3 }}{{ if $at }},{{ end }}{{ $redis }}-{{ $at }}.{{ $redis }}{{ end }}/leasehold?sentinel_password={{ .sentinel }}
{{- end -}}

{{- /* A value in TOML, on one line. toToml makes 10000.0 of 10000, because values have no whole numbers. */ -}}
{{- define "leasehold.toml" -}}
{{- if kindIs "map" . -}}
{ {{- $more := false }}{{ range $name, $value := . }}{{ if not (kindIs "invalid" $value) }}{{ if $more }},{{ end }} {{ toJson $name }} = {{ include "leasehold.toml" $value }}{{ $more = true }}{{ end }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{ range $at, $value := . }}{{ if $at }}, {{ end }}{{ include "leasehold.toml" $value }}{{ end }}]
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}
