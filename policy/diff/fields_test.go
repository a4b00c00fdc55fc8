package diff_test

import (
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/model"
)

// What the model gains, the comparison must look at: a field that is not in this
// list fails the test, until somebody has decided what a difference in it means.
// After each stands where it is compared, or why it is not.
func TestEveryFieldIsConsidered(t *testing.T) {
	for _, tc := range []struct {
		of     any
		fields []string
	}{
		{model.Model{}, []string{
			"Gateways",
			"Expiries", // of the verdicts of another moment
		}},
		{model.Gateway{}, []string{
			"Name", "Origin", // which, and where
			"TrustDomain", "Listeners", "Nodes", "Certificates", // settings
			"AllowAny", "DefaultAction", "HasAllowPolicy", // verdicts
			"AuditOnly",                                                       // settings
			"DNS", "Addresses", "Limits", "AccessLog", "LogStream", "Rollout", // settings
			"Entries",
			"Audit",               // settings
			"HasAuditAllowPolicy", // follows from policies whose rules are in Audit
			"entries", "audit", "rules",
		}},
		{model.Entry{}, []string{
			"Pattern", "Registered", "ExportTo", "Rules", // verdicts
			"RegisteredAt", "RegisteredBy", // shown
			"Dial",
			"Overlapping", // decides nothing here
		}},
		{model.Dial{}, []string{"Port", "Host", "Addresses", "AllowPrivate", "Originate"}},
		{model.Originate{}, []string{"Roots", "SubjectAltNames"}},
		{model.Rule{}, []string{
			"ID", "Action", "From", "Who", "Via", "Origin",
			"To",                         // is in Entry.Rules
			"Registers",                  // is in Entry.Registered
			"Owner", "Reason", "Expires", // decide nothing
			"Audit", "NoteOnly", // in audits
		}},
		{model.PrincipalMatch{}, []string{"Kind", "Value"}},
		{model.PrincipalTerm{}, []string{"All", "Not"}},
		{model.Listener{}, []string{"Name", "Address", "Port", "Protocol", "Sources", "ResumeSessions"}},
		{model.Source{}, []string{"Prefix", "Principal"}},
		{model.DNS{}, []string{"Resolvers", "Family"}},
		{model.Addresses{}, []string{"Refuse", "Allow"}},
		{model.Limits{}, []string{"Connections", "Hosts", "ConnectTimeout", "IdleTimeout", "MaxDuration"}},
		{model.Certificates{}, []string{"Certificate", "Key", "CA", "SPIRE", "SPIREIdentity", "Roots"}},
	} {
		of := reflect.TypeOf(tc.of)
		var names []string
		for i := range of.NumField() {
			names = append(names, of.Field(i).Name)
		}
		require.ElementsMatch(t, tc.fields, names, of.Name())
	}
}
