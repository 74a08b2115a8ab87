{{/* The pod, which is the same for both modes but for its rights and its volumes. */}}
{{- define "token-broker.pod" -}}
{{- $name := include "token-broker.fullname" . -}}
{{- $csi := include "token-broker.csi" . -}}
{{- $remote := include "token-broker.remote" . -}}
{{- $admin := include "token-broker.admin" . -}}
{{- $central := eq .Values.mode "central" -}}
metadata:
  annotations:
    kubectl.kubernetes.io/default-container: token-broker
    # The daemon reads config.toml when it starts, so a change has to start it again.
    checksum/config: {{ include "token-broker.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "token-broker.selectorLabels" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ $name }}
  # For what it asks the API server, if anything.
  automountServiceAccountToken: {{ if or (include "token-broker.reviews" .) (include "token-broker.startupTaint" .) }}true{{ else }}false{{ end }}
  # A service called token-broker would otherwise fill the environment with TOKEN_BROKER_… of its own.
  enableServiceLinks: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName | default ($central | ternary "" "system-node-critical") }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.tolerations }}
  tolerations:
    {{- toYaml .Values.tolerations | nindent 4 }}
  {{- else if not $central }}
  # It has to be wherever a pod may be that needs it, and may not go before them.
  tolerations:
    - operator: Exists
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  # Grants may come with the answers that the provider still owes: 70 seconds at most.
  terminationGracePeriodSeconds: 90
  securityContext:
    {{- if $central }}
    runAsNonRoot: true
    runAsUser: 65532
    runAsGroup: 65532
    fsGroup: 65532
    # Not at each start: it would open the state folder to the group again.
    fsGroupChangePolicy: OnRootMismatch
    {{- end }}
    seccompProfile:
      type: RuntimeDefault
  containers:
    - name: token-broker
      image: "{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args: [serve]
      env:
        {{- if not $central }}
        - name: TOKEN_BROKER_KUBERNETES_NODE_NAME
          valueFrom:
            fieldRef:
              fieldPath: spec.nodeName
        {{- end }}
        - name: TOKEN_BROKER_GOOGLE_CLIENT_ID
          valueFrom:
            secretKeyRef:
              name: {{ .Values.existingSecret }}
              key: client_id
        {{- if include "token-broker.startupTaint" . }}
        - name: TOKEN_BROKER_KUBERNETES_STARTUP_TAINT
          value: {{ .Values.startupTaint.key }}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: http
          containerPort: 8420
        {{- if $remote }}
        - name: https
          containerPort: 8443
        {{- end }}
        {{- if $admin }}
        - name: admin
          containerPort: 8444
        {{- end }}
      startupProbe:
        httpGet:
          path: /healthz
          port: http
        periodSeconds: 1
        failureThreshold: 60
      livenessProbe:
        httpGet:
          path: /healthz
          port: http
        periodSeconds: 10
        timeoutSeconds: 5
      readinessProbe:
        httpGet:
          path: /readyz
          port: http
        periodSeconds: 5
        timeoutSeconds: 5
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- if $csi }}
        # Kubernetes allows Bidirectional mounts to privileged containers alone (csi.enabled=false does without).
        privileged: true
        {{- else }}
        allowPrivilegeEscalation: false
        capabilities:
          drop: [ALL]
          {{- if not $central }}
          # Agents' files are given to the uid that each manifest names.
          add: [CHOWN]
          {{- end }}
        {{- end }}
        readOnlyRootFilesystem: true
        {{- if not $central }}
        runAsUser: 0
        runAsGroup: 0
        {{- end }}
      volumeMounts:
        - name: config
          mountPath: /etc/token-broker
          readOnly: true
        # A directory, and no subPath: that would never see a change.
        - name: agents
          mountPath: /etc/token-broker/agents.d
          readOnly: true
        - name: secret
          mountPath: /run/secrets/token-broker
          readOnly: true
        {{- if $remote }}
        - name: tls
          mountPath: /run/secrets/token-broker-tls
          readOnly: true
        {{- end }}
        - name: state
          mountPath: /var/lib/token-broker
        - name: runtime
          mountPath: /run/token-broker
        {{- if $csi }}
        - name: plugin
          mountPath: {{ .Values.csi.kubeletDir }}/plugins/{{ .Values.csi.driver }}
        - name: registration
          mountPath: {{ .Values.csi.kubeletDir }}/plugins_registry
        # What the daemon mounts for a pod has to show on the node.
        - name: pods
          mountPath: {{ .Values.csi.kubeletDir }}/pods
          mountPropagation: Bidirectional
        {{- end }}
        {{- if $admin }}
        - name: admin-tls
          mountPath: /run/secrets/token-broker-admin-tls
          readOnly: true
        {{- end }}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ $name }}-config
    - name: agents
      configMap:
        name: {{ $name }}-agents
        optional: true
    - name: secret
      secret:
        secretName: {{ .Values.existingSecret }}
        # The daemon refuses keys that others could read, and Kubernetes' default is 0644.
        defaultMode: 0400
        items:
          - key: master.key
            path: master.key
          - key: client_secret
            path: client_secret
    {{- if $remote }}
    - name: tls
      secret:
        secretName: {{ .Values.remote.existingSecret }}
        defaultMode: 0400
    {{- end }}
    {{- if $central }}
    - name: runtime
      emptyDir:
        medium: Memory
        sizeLimit: 64Mi
    {{- else }}
    - name: state
      hostPath:
        path: {{ .Values.hostPaths.state }}
        type: DirectoryOrCreate
    - name: runtime
      hostPath:
        path: {{ .Values.hostPaths.runtime }}
        type: DirectoryOrCreate
    {{- end }}
    {{- if $csi }}
    - name: plugin
      hostPath:
        path: {{ .Values.csi.kubeletDir }}/plugins/{{ .Values.csi.driver }}
        type: DirectoryOrCreate
    - name: registration
      hostPath:
        path: {{ .Values.csi.kubeletDir }}/plugins_registry
        type: Directory
    - name: pods
      hostPath:
        path: {{ .Values.csi.kubeletDir }}/pods
        type: Directory
    {{- end }}
    {{- if $admin }}
    - name: admin-tls
      secret:
        secretName: {{ .Values.admin.existingSecret }}
        defaultMode: 0400
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
