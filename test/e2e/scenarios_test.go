package e2e

import (
	"testing"

	"sallyport/pkg/demo"
)

// TestScenarios runs what `sallyport demo` shows, A to H; every refusal in it
// is also checked for DNS queries and connections (G).
func TestScenarios(t *testing.T) {
	r := httpRig(t)
	for _, sc := range demo.Scenarios() {
		t.Run(sc.Name, func(t *testing.T) {
			runner := &demo.Runner{Stack: r.Stack, Log: r.log, Report: func(result demo.Result) {
				t.Logf("%-40s %s (%s)", result.Asked, result.Happened, result.Took)
				if result.Err != nil {
					t.Errorf("%s: expected %s: %v", result.Asked, result.Expected, result.Err)
				}
			}}
			if err := runner.Run(r.ctx, sc); err != nil {
				t.Error(err)
			}
		})
	}
}
