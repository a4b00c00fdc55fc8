package syntax

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"sallyport/policy/model"
)

// rollout is how an edit reaches the gateways of the group.
func rollout() object[model.Rollout] {
	return object[model.Rollout]{
		what: "rollout",
		start: func() model.Rollout {
			return model.Rollout{Pause: time.Second, Timeout: 5 * time.Minute}
		},
		fields: []field[model.Rollout]{
			bind("first", "The part of the group that is given an edit first: how many gateways, for example 3, or which share of them, for example 10%. At least one is.",
				portion("first"), func(r *model.Rollout, p model.Rollout, _ *node) { r.Count, r.Percent = p.Count, p.Percent }).must(),
			bind("pause", "How long all of these must have had it, without one of them rejecting it, before the others are given it. Envoy asks for a listener's certificates and routes when it has accepted the listener.",
				duration("pause", true), func(r *model.Rollout, d time.Duration, _ *node) { r.Pause = d }).or("1s"),
			bind("timeout", "How long the first may take to accept it, besides the pause. Then it is taken back from them.",
				duration("timeout", false), func(r *model.Rollout, d time.Duration, _ *node) { r.Timeout = d }).or("5m"),
		},
	}
}

// portion is a number of gateways, or a share of them. The rest of the rollout that
// it is read into is not set.
func portion(what string) value[model.Rollout] {
	const most = 1<<32 - 1
	number := regexp.MustCompile(`^[1-9][0-9]*$`)
	share := regexp.MustCompile(`^([1-9][0-9]?|100)%$`)
	return value[model.Rollout]{
		what: what,
		schema: func() jsonSchema {
			return jsonSchema{"oneOf": []jsonSchema{
				{"type": "integer", "minimum": 1, "maximum": most},
				{"type": "string", "pattern": share.String()},
			}}
		},
		read: func(r *reader, n *node) (model.Rollout, bool) {
			if !r.scalar(n, what) {
				return model.Rollout{}, false
			}
			if share.MatchString(n.value) {
				percent, err := strconv.ParseUint(strings.TrimSuffix(n.value, "%"), 10, 8)
				return model.Rollout{Percent: uint8(percent)}, err == nil
			}
			if !n.quoted && number.MatchString(n.value) {
				if count, err := strconv.ParseUint(n.value, 10, 32); err == nil {
					return model.Rollout{Count: uint32(count)}, true
				}
			}
			r.errorf(n, "bad-value", "%s is a number of gateways, 1 or more, or a share of them from 1%% to 100%%, not %s", what, r.describe(n))
			return model.Rollout{}, false
		},
	}
}
