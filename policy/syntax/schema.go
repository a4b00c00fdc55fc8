package syntax

import (
	"bytes"
	"encoding/json"
)

// SchemaID names the schema. It is a name, not an address.
const SchemaID = "https://sallyport.dev/schemas/v1.json"

// Schema returns a JSON Schema (draft 2020-12) of one policy document, for
// editors: they complete fields, show their descriptions and mark mistakes
// while one types. It is made from the tables that the decoder works with. The
// decoder refuses more: what takes more than one document, or more than
// patterns, to see.
func Schema() ([]byte, error) {
	var kinds []any
	for _, k := range newLanguage().kinds {
		kinds = append(kinds, withoutOrder(k.schema()))
	}
	var buf bytes.Buffer
	e := json.NewEncoder(&buf)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(jsonSchema{
		"$schema": "https://json-schema.org/draft/2020-12/schema",
		"$id":     SchemaID,
		"title":   "A sallyport policy document",
		"oneOf":   kinds,
	})
	return buf.Bytes(), err
}
