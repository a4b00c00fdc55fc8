package flows

import "sallyport/policy/model"

// Read is Parse and Attribute for one line of the log of any gateway of the
// model. It reports false for a line that tells of no decision; see PassedOn.
// The model may be nil, if there is none yet.
func Read(line []byte, m *model.Model) (Flow, bool, error) {
	r, err := Parse(line)
	if err != nil || r.PassedOn() {
		return Flow{}, false, err
	}
	var g *model.Gateway
	if m != nil {
		g = m.FindGateway(r.Gateway)
	}
	return Attribute(r, g), true, nil
}
