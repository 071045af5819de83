package message

import (
	"strings"
	"testing"
)

func TestEachField(t *testing.T) {
	var got []string
	EachField([]byte("A: 1\r\nno field\r\nB :\r\n 2\r\n\t3\r\n: x\r\nC:4\r\n\r\n"), func(name, value string) {
		got = append(got, name+"="+value)
	})
	if s := strings.Join(got, "|"); s != "A=1|B=2\t3|=x|C=4" {
		t.Errorf("%q", s)
	}
}

func TestAddresses(t *testing.T) {
	for value, want := range map[string]string{
		"ann@a.example":                                  "ann@a.example",
		"Ann <ann@a.example>":                            "ann@a.example",
		`"x@evil.test" <ann@a.example>`:                  "ann@a.example",
		"ann@a.example, Bob <bob@b.example>":             "ann@a.example bob@b.example",
		"team: ann@a.example, bob@b.example;":            "ann@a.example bob@b.example",
		"nobody:;":                                       "",
		"=?iso-2022-jp?B?GyRCJCIbKEI=?= <ann@a.example>": "ann@a.example",
		"=?x-unknown?Q?=E4?= <ann@a.example>":            "ann@a.example",
		"\xc4nn <ann@a.example>":                         "ann@a.example",
		"Änn <ann@a.example>":                            "ann@a.example",
		"Smith, Ann <ann@a.example>":                     "error",
		"ann@a.example <bob@b.example>":                  "error",
		"<ann@a.example> <bob@b.example>":                "error",
		"ann":                                            "error",
		"":                                               "error",
	} {
		all, err := Addresses(value)
		got := strings.Join(all, " ")
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%q: %q (%v), want %q", value, got, err, want)
		}
	}
}
