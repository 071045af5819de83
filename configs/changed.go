package configs

import (
	"reflect"
	"slices"
)

// Changed lists the keys that have another value in other, and the tables of
// which there can be many that are not all the same.
func (c *Config) Changed(other *Config) []string {
	var all []string
	differ(&all, "", reflect.ValueOf(c).Elem(), reflect.ValueOf(other).Elem())
	return all
}

func differ(all *[]string, prefix string, a, b reflect.Value) {
	for field := range a.Type().Fields() {
		name := tag(field)
		if name == "" {
			continue
		}
		path, x, y := join(prefix, name), a.FieldByIndex(field.Index), b.FieldByIndex(field.Index)
		switch {
		case field.Type.Kind() == reflect.Struct:
			differ(all, path, x, y)
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			*all = append(*all, path)
		}
	}
}

// With returns a copy that has the values of other for some keys, such as those
// that Changed lists.
func (c *Config) With(other *Config, keys []string) *Config {
	merged := *c
	take("", keys, reflect.ValueOf(&merged).Elem(), reflect.ValueOf(other).Elem())
	return &merged
}

func take(prefix string, keys []string, into, from reflect.Value) {
	for field := range into.Type().Fields() {
		name := tag(field)
		if name == "" {
			continue
		}
		path, x, y := join(prefix, name), into.FieldByIndex(field.Index), from.FieldByIndex(field.Index)
		switch {
		case field.Type.Kind() == reflect.Struct:
			take(path, keys, x, y)
		case slices.Contains(keys, path):
			x.Set(y)
		}
	}
}
