package policy

import (
	"time"

	"sallyport/policy/source"
)

// Next is Load for a directory that was read.
func (l *Loader) Next(tree source.Tree, now time.Time) Result { return l.load(tree, nil, now) }
