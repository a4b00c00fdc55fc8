package syntax

import (
	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

// CheckFile says what is wrong with a file on its own. What takes other files to
// know is left out: names that are taken, and namespaces that a kustomization
// gives.
func (d *Decoder) CheckFile(f source.File) diag.List {
	if d.language == nil {
		d.language = newLanguage()
	}
	diags := d.language.decodeWhole(f).diags
	diags.Sort()
	return diags
}
