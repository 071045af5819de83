package control

import (
	"errors"
	"slices"
	"testing"
)

func (f *fake) reload() (*Reloaded, error) {
	if f.reloaded == nil {
		return nil, &Problem{Code: CodeConfiguration, Text: "waypost.toml:1:1: bad"}
	}
	return f.reloaded, nil
}

func TestReload(t *testing.T) {
	f := &fake{}
	c, _ := connect(t, f)
	_, err := c.Reload(t.Context())
	if problem, ok := errors.AsType[*Problem](err); !ok || problem.Code != CodeConfiguration || problem.Text != "waypost.toml:1:1: bad" {
		t.Errorf("%v", err)
	}
	f.reloaded = &Reloaded{Changed: []string{"route"}, Restart: []string{"data_dir"}}
	got, err := c.Reload(t.Context())
	if err != nil || !slices.Equal(got.Changed, f.reloaded.Changed) || !slices.Equal(got.Restart, f.reloaded.Restart) {
		t.Errorf("%+v, %v", got, err)
	}
}
