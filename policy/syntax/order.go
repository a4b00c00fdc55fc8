package syntax

// fieldOrder is where a schema keeps the order of an object's fields, which
// JSON does not. It is never shown.
const fieldOrder = "x-order"

// Order is the order in which the language describes the fields of an object,
// and the one to write them in.
type Order struct {
	Fields []string
	// Of has the orders of the fields that are objects, or lists of them.
	Of map[string]*Order
}

// Orders returns the order of the fields of our own kinds, by kind.
func Orders() map[string]*Order {
	out := make(map[string]*Order)
	for _, k := range newLanguage().kinds {
		out[k.name] = orderOf(k.schema())
	}
	return out
}

func orderOf(schema any) *Order {
	s, _ := schema.(jsonSchema)
	if items, ok := s["items"]; ok {
		return orderOf(items)
	}
	names, ok := s[fieldOrder].([]string)
	if !ok {
		return nil
	}
	o := &Order{Fields: names, Of: make(map[string]*Order)}
	properties, _ := s["properties"].(jsonSchema)
	for name, of := range properties {
		if inner := orderOf(of); inner != nil {
			o.Of[name] = inner
		}
	}
	return o
}

// withoutOrder is the schema as others may see it.
func withoutOrder(schema jsonSchema) jsonSchema {
	delete(schema, fieldOrder)
	for _, v := range schema {
		switch v := v.(type) {
		case jsonSchema:
			withoutOrder(v)
		case []any:
			for _, element := range v {
				if s, ok := element.(jsonSchema); ok {
					withoutOrder(s)
				}
			}
		}
	}
	return schema
}
