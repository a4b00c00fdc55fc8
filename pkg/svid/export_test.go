package svid

// LookNow looks at the files, whenever the last look was.
func LookNow(f *Files) { f.files.Look() }
