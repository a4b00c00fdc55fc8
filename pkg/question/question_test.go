package question_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/question"
	"sallyport/policy/model"
)

func TestCheck(t *testing.T) {
	const who = "spiffe://cluster.local/ns/default/sa/sleep-us"
	for _, c := range []struct {
		asked question.Question
		host  string
		wrong string
	}{
		{question.Question{Principal: who, Host: "en.wikipedia.org"}, "en.wikipedia.org", ""},
		{question.Question{Principal: "cluster.local/ns/default/sa/sleep-us", Host: "x"}, "x", ""},
		{question.Question{Host: "x"}, "x", ""},
		{question.Question{Principal: who, Host: "X.example.com", Way: model.WayConnect}, "x.example.com:443", ""},
		{question.Question{Principal: who, Host: "x.example.com:8443", Way: model.WayHTTP}, "x.example.com:8443", ""},
		{question.Question{Principal: who, Host: "x y", Logged: true}, "x y", ""},
		{question.Question{Principal: "nonsense", Host: "x"}, "", question.Principal},
		{question.Question{Principal: "nonsense", Host: "x", Logged: true}, "", question.Principal},
		{question.Question{Principal: who}, "", question.Host},
		{question.Question{Principal: who, Host: "x:443"}, "", question.Host},
		{question.Question{Principal: who, Host: "x:0", Way: model.WayConnect}, "", question.Host},
		{question.Question{Principal: who, Host: "1.2.3.4", Way: model.WayHTTP}, "", question.Host},
	} {
		got, err := c.asked.Check()
		if c.wrong != "" {
			var wrong *question.Error
			require.ErrorAs(t, err, &wrong, "%+v", c.asked)
			require.Equal(t, c.wrong, wrong.Part)
			continue
		}
		require.NoError(t, err, "%+v", c.asked)
		require.Equal(t, c.host, got.Host)
		if c.asked.Principal != "" {
			require.Equal(t, who, got.Principal)
		}
	}
}
