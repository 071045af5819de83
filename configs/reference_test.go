package configs

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// withoutDefault are the keys whose default depends on the host, or that have
// none. What the reference gives for them is an example.
func withoutDefault() []keyPath {
	return []keyPath{"hostname", "data_dir", "certificate.certificate", "certificate.key", "login.name", "dkim.domain", "dkim.selector", "dkim.key_file", "class.name", "route.to", "route.via", "route.via.to", "reply.name", "pace.name"}
}

func TestReferenceIsTheDefault(t *testing.T) {
	c := must(t, string(Reference), "HOME=/h")
	want := must(t, "", "HOME=/h")
	c.places, want.places = nil, nil
	if !reflect.DeepEqual(c, want) {
		t.Errorf("the reference as it stands gives %+v, want the default %+v", c, want)
	}
}

// TestReferenceHasEveryKey takes the "#" from every default of the reference, and
// then the "##" from what is another way to write the same.
func TestReferenceHasEveryKey(t *testing.T) {
	text := regexp.MustCompile(`(?m)^#(\[\[|[a-z0-9_]+ = )`).ReplaceAllString(string(Reference), "$1")
	other := regexp.MustCompile(`(?m)^##`).ReplaceAllString(regexp.MustCompile(`(?m)^via = .*$`).ReplaceAllString(text, ""), "")
	one, long := readReference(t, text), readReference(t, other)
	s := newSchema()
	for _, key := range s.keys {
		c := one
		if strings.HasPrefix(key, "route.via.") {
			c, text = long, other
		}
		if c.counts[key] != 1 {
			t.Errorf("the reference has %s %d times, want once", key, c.counts[key])
		}
		if got := regexp.MustCompile(`(?m)^`+key[strings.LastIndex(key, ".")+1:]+" = ").FindAllString(text, -1); len(got) == 0 {
			t.Errorf("the reference has no line of its own for %s", key)
		}
		if slices.Contains(withoutDefault(), key) {
			continue
		}
		if got, want := at(t, c.config, key), at(t, complete(), key); got != want {
			t.Errorf("the reference gives %s the default %s, want %s", key, got, want)
		}
	}
}

// written is a reference as it was read.
type written struct {
	config Config
	counts map[keyPath]int // of the lines for each key
}

func readReference(t *testing.T, text string) written {
	t.Helper()
	d := newDraft(defaults(environment{}))
	if !d.read("waypost.toml", []byte(text)) || len(d.problems) > 0 {
		t.Fatalf("the reference with all its keys is not valid: %v", Problems(d.problems))
	}
	index := regexp.MustCompile(`\[[0-9]+\]`)
	out := written{counts: map[keyPath]int{}}
	for path := range d.places {
		if !strings.HasSuffix(path, "]") {
			out.counts[index.ReplaceAllString(path, "")]++
		}
	}
	got, err := d.finish(etc(t))
	if err != nil {
		t.Fatalf("the reference with all its keys is not valid: %v", err)
	}
	out.config = *got
	return out
}

// complete is the default with one table in each list.
func complete() Config {
	c := Default()
	c.Replies, c.Paces = []Reply{{}}, []Pace{newPace()}
	c.Certificates, c.Logins, c.Classes, c.Routes = []TLS{{}}, []Login{newLogin()}, []Class{newClass()}, []Route{newRoute()}
	c.Routes[0].Via = []Leg{{}}
	c.DKIM = []DKIM{newDKIM()}
	return c
}

// at is a key's value, as a file writes it.
func at(t *testing.T, c Config, key keyPath) string {
	t.Helper()
	here := reflect.ValueOf(&c).Elem()
	for name := range strings.SplitSeq(key, ".") {
		if isTableList(here.Type()) {
			here = here.Index(0)
		}
		next, ok := child(here, name)
		if !ok {
			t.Fatalf("the configuration has no %s", key)
		}
		here = next
	}
	if isEmptyList(here) {
		return "[]"
	}
	// Lists, texts and numbers look alike in JSON and TOML, but for a space.
	text, err := json.Marshal(here.Interface())
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(text), `","`, `", "`)
}

func isEmptyList(v reflect.Value) bool { return v.Kind() == reflect.Slice && v.Len() == 0 }

// entry is what README.md says of one key.
type entry struct{ unit, fallback, example, variable string }

func readmeEntries(t *testing.T) map[keyPath]entry {
	t.Helper()
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	form := regexp.MustCompile("(?s)^([a-z0-9_.]+)`\n\n.+\n\n- Unit: ([^\n]+)\n- Default: ([^\n]+)\n- Example: `([^\n]+)`\n- Environment: `([A-Z0-9_]+)`\n")
	entries := map[keyPath]entry{}
	for _, section := range strings.Split(string(text), "\n### `")[1:] {
		m := form.FindStringSubmatch(section)
		if m == nil {
			t.Errorf("README.md: this entry lacks a part: %.80q", section)
			continue
		}
		if _, twice := entries[m[1]]; twice {
			t.Errorf("README.md has %s twice", m[1])
		}
		entries[m[1]] = entry{unit: m[2], fallback: m[3], example: m[4], variable: m[5]}
	}
	return entries
}

func TestReadmeHasEveryKey(t *testing.T) {
	s := newSchema()
	entries := readmeEntries(t)
	for key := range entries {
		if !slices.Contains(s.keys, key) {
			t.Errorf("README.md describes %s, which does not exist", key)
		}
	}
	for _, key := range s.keys {
		e, ok := entries[key]
		if !ok {
			t.Errorf("README.md does not describe %s", key)
			continue
		}
		fallback := "`" + at(t, complete(), key) + "`"
		switch key {
		case "hostname", "data_dir":
			fallback = "computed"
		case "certificate.certificate", "certificate.key", "login.name", "dkim.domain", "dkim.selector", "dkim.key_file", "class.name", "route.to", "route.via", "route.via.to", "reply.name", "pace.name":
			fallback = "none; it must be set"
		}
		if e.fallback != fallback {
			t.Errorf("README.md gives %s the default %s, want %s", key, e.fallback, fallback)
		}
		if want := s.variable(key, 0); e.variable != want {
			t.Errorf("README.md gives %s the variable %s, want %s", key, e.variable, want)
		}
		checkExample(t, key, e.example)
	}
}

// checkExample wants a valid example that shows something else than the default.
func checkExample(t *testing.T, key keyPath, example string) {
	t.Helper()
	table, name := "", key
	if cut := strings.LastIndex(key, "."); cut >= 0 {
		table, name = key[:cut], key[cut+1:]
	}
	if !strings.HasPrefix(example, name+" = ") {
		t.Errorf("README.md: the example of %s does not set it: %s", key, example)
		return
	}
	text := example + "\n"
	switch {
	case table == "":
	case slices.Contains(newSchema().lists, table):
		text = fmt.Sprintf("[[%s]]\n%s", table, text)
		if in, _, nested := strings.Cut(table, "."); nested {
			text = fmt.Sprintf("[[%s]]\n%s", in, text)
		}
	default:
		text = fmt.Sprintf("[%s]\n%s", table, text)
	}
	d := newDraft(defaults(environment{}))
	if !d.read("README.md", []byte(text)) || len(d.problems) > 0 {
		t.Errorf("README.md: the example of %s is not valid: %v", key, Problems(d.problems))
		return
	}
	if len(d.config.Certificates) == 0 {
		d.config.Certificates = []TLS{{}}
	}
	if len(d.config.Logins) == 0 {
		d.config.Logins = []Login{newLogin()}
	}
	if len(d.config.DKIM) == 0 {
		d.config.DKIM = []DKIM{newDKIM()}
	}
	if len(d.config.Classes) == 0 {
		d.config.Classes = []Class{newClass()}
	}
	if len(d.config.Routes) == 0 {
		d.config.Routes = []Route{newRoute()}
	}
	d.config.fill()
	same := at(t, d.config, key) == at(t, complete(), key)
	if key == "listener.tls" {
		same = false // its default depends on the certificate
	}
	if same {
		t.Errorf("README.md: the example of %s is its default", key)
	}
	// What the example leaves out is not what is examined here.
	v := validation{config: &d.config, files: etc(t), places: d.places}
	v.all()
	for _, p := range v.problems {
		if p.Row > 0 && strings.HasPrefix(strings.ReplaceAll(p.Key, "[0]", ""), key) && !strings.Contains(p.Text, "needs") {
			t.Errorf("README.md: the example of %s is not valid: %v", key, p)
		}
	}
}

func TestExamples(t *testing.T) {
	names, err := filepath.Glob("examples/*.toml")
	if err != nil || len(names) != 3 {
		t.Fatalf("examples %v (%v), want three", names, err)
	}
	for _, name := range names {
		t.Run(filepath.Base(name), func(t *testing.T) {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			c := must(t, string(text))
			if len(c.Warnings) > 0 {
				t.Errorf("warnings: %v", c.Warnings)
			}
			// The lines that are commented out show defaults, so they change nothing.
			form := regexp.MustCompile(`(?m)^# (\[[a-z]+\]|[a-z_]+ += .*)$`)
			again := must(t, form.ReplaceAllString(string(text), "$1"))
			c.places, again.places = nil, nil
			if !reflect.DeepEqual(again, c) {
				t.Errorf("with the defaults set it is %+v\nwithout %+v", again, c)
			}
			if strings.Contains(string(text), "\n# ") && !form.Match(text) {
				t.Error("it shows no default")
			}
		})
	}
}

// TestContainerExampleByEnvironment reads the variables from the comments of the
// example and compares.
func TestContainerExampleByEnvironment(t *testing.T) {
	text, err := os.ReadFile("examples/container.toml")
	if err != nil {
		t.Fatal(err)
	}
	var environ []string
	for _, m := range regexp.MustCompile(`(?m)^# +(WAYPOST_.+)$`).FindAllStringSubmatch(string(text), -1) {
		environ = append(environ, m[1])
	}
	want, got := must(t, string(text)), must(t, "", environ...)
	if got.Hostname != want.Hostname || got.DataDir != want.DataDir || !reflect.DeepEqual(got.Listeners, want.Listeners) ||
		!reflect.DeepEqual(got.Relay, want.Relay) || !reflect.DeepEqual(got.Routes, want.Routes) || got.Metrics != want.Metrics {
		t.Errorf("by environment %+v\nby file %+v", got, want)
	}
}
