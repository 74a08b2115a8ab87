//go:build tools

// The programs that the tests run beside this one, so that go.mod pins them.
package main

import (
	_ "helm.sh/helm/v3/cmd/helm"
	_ "sigs.k8s.io/kustomize/kustomize/v5"
)
