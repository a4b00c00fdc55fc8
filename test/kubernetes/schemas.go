//go:build schemas

package kubernetes

// Of this module the tests read the files with the API's schemas, and compile nothing.
import _ "sigs.k8s.io/kubectl-validate/pkg/utils"
