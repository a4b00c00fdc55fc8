package control

import (
	"time"

	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// Policy is the policy in force with what it was made of, all of one moment. Nothing
// in it may be changed.
type Policy struct {
	// Model is nil before the first policy, and then the rest is zero.
	Model *model.Model
	// Tree are the files, and Documents what they say. After Status.Curtailed they say
	// more than the model has.
	Tree      source.Tree
	Documents *syntax.Documents
	// At is when the files came into force.
	At time.Time
	// Refused are the files of the directory as it is now, as far as they could be
	// read, if Status.Errors are about them; empty if nothing is wrong.
	Refused source.Tree
}

// Policy returns the policy in force.
func (c *Controller) Policy() Policy {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy
}

// refusedFiles notes the files that are not put in force.
func (c *Controller) refusedFiles(tree source.Tree) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policy.Refused = tree
}
