package relay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypost/configs"
	"waypost/resolver/dnstest"
)

// TestProbeOfTheName asks a real DNS server for our name, there and back.
func TestProbeOfTheName(t *testing.T) {
	dns := dnstest.New(t,
		"good.example. 60 IN A 192.0.2.1", "1.2.0.192.in-addr.arpa. 60 IN PTR GOOD.example.",
		"other.example. 60 IN A 192.0.2.1",
		"half.example. 60 IN A 192.0.2.1", "half.example. 60 IN A 192.0.2.2",
		"six.example. 60 IN AAAA 2001:db8::1", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa. 60 IN PTR six.example.",
		"empty.example. 60 IN TXT x",
	)
	for name, want := range map[string]string{
		"good.example":    "",
		"six.example":     "",
		"other.example":   "hostname: of other.example, 192.0.2.1 resolves back to good.example: many hosts refuse mail from an address without its own name",
		"half.example":    "192.0.2.2 does not resolve back to any name",
		"empty.example":   "hostname: empty.example resolves to no address, and many hosts refuse mail from such a name",
		"missing.example": "hostname: missing.example resolves to no address, and many hosts refuse mail from such a name",
	} {
		c := configs.Default()
		c.Hostname, c.Resolver.Servers = name, []string{dns.Addr}
		p := &probe{config: &c}
		p.hostname(t.Context())
		var got []string
		for _, w := range p.warnings {
			got = append(got, w.Text)
		}
		if text := strings.Join(got, "\n"); (text == "") != (want == "") || !strings.Contains(strings.ToLower(text), strings.ToLower(want)) || p.problems != nil {
			t.Errorf("%s: got %q, want %q", name, text, want)
		}
	}
}

func TestProbeOfTheDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		dir           string
		floor         configs.Size
		problem, warn string
	}{
		{dir: filepath.Join(dir, "made", "later")},
		{dir: dir, floor: 1 << 60, warn: "no mail is taken"},
		{dir: filepath.Join(dir, "file"), problem: "is no directory"},
		{dir: filepath.Join(dir, "file", "below"), problem: "not a directory"},
		{dir: "/proc/waypost"},
	} {
		c := configs.Default()
		c.DataDir, c.Queue.MinFree = test.dir, test.floor
		p := &probe{config: &c}
		p.directory()
		wantOne(t, test.dir, p.problems, test.problem)
		wantOne(t, test.dir, p.warnings, test.warn)
	}
}

// wantOne wants one problem that says something, or none.
func wantOne(t *testing.T, where string, got configs.Problems, want string) {
	t.Helper()
	if want == "" && len(got) == 0 || want != "" && len(got) == 1 && strings.Contains(got[0].Text, want) {
		return
	}
	t.Errorf("%s: got %v, want %q", where, got, want)
}
