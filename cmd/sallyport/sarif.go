package main

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/lint"
)

// The part of SARIF 2.1.0 that is needed to show findings beside the lines they
// are about; see
// https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool     `json:"tool"`
		ColumnKind string        `json:"columnKind"`
		Results    []sarifResult `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name  string      `json:"name"`
		Rules []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID               string       `json:"id"`
		ShortDescription sarifMessage `json:"shortDescription"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations"`
		Related   []sarifLocation `json:"relatedLocations,omitempty"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
		Message  *sarifMessage `json:"message,omitempty"`
	}
	sarifPhysical struct {
		Artifact sarifArtifact `json:"artifactLocation"`
		Region   *sarifRegion  `json:"region,omitempty"`
	}
	sarifArtifact struct {
		URI string `json:"uri"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

// sarifOf is the findings about a directory. Files are named as one would from
// here, as the tools that read it take them to be in the work tree.
func sarifOf(dir string, findings []lint.Finding) sarifLog {
	codes := make([]string, len(findings))
	for i, f := range findings {
		codes[i] = f.Code
	}
	slices.Sort(codes)
	codes = slices.Compact(codes)
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "sallyport", Rules: []sarifRule{}}},
		ColumnKind: "unicodeCodePoints", // what diag.Position counts
		Results:    []sarifResult{},
	}
	for _, code := range codes {
		run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{code, sarifMessage{lint.Title(code)}})
	}
	for _, f := range findings {
		index, _ := slices.BinarySearch(codes, f.Code)
		r := sarifResult{
			RuleID: f.Code, RuleIndex: index, Level: f.Severity.String(), Message: sarifMessage{f.Message},
			Locations: []sarifLocation{{Physical: sarifPlace(dir, f.Pos)}},
		}
		for _, other := range f.Related {
			r.Related = append(r.Related, sarifLocation{sarifPlace(dir, other.Pos), &sarifMessage{other.Message}})
		}
		run.Results = append(run.Results, r)
	}
	return sarifLog{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}

func sarifPlace(dir string, p diag.Position) sarifPhysical {
	out := sarifPhysical{Artifact: sarifArtifact{fileURI(dir, p.File)}}
	if p.Line > 0 {
		out.Region = &sarifRegion{p.Line, p.Column}
	}
	return out
}

// fileURI names a file of a directory: relative to here, or if it is not below,
// as a file: URI.
func fileURI(dir, file string) string {
	path := filepath.Join(dir, filepath.FromSlash(file))
	if file == dir { // what could not be read is the directory itself
		path = filepath.Clean(dir)
	}
	if filepath.IsAbs(path) {
		if here, err := os.Getwd(); err == nil {
			if relative, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(relative) {
				path = relative
			}
		}
	}
	u := url.URL{Path: filepath.ToSlash(path)}
	if strings.HasPrefix(u.Path, "/") {
		return "file://" + u.EscapedPath()
	}
	return u.String()
}
