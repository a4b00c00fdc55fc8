//go:build unix && !linux

package source

// isOpenForWriting cannot be known here.
func isOpenForWriting(int) bool { return false }
