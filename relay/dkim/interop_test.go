//go:build interop

package dkim

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"waypost/resolver/dnstest"
)

// verifier is dkimpy, with the records that it is given: it prints how many of the
// signatures of each file are good.
const verifier = `
import dkim, json, sys
zone = json.load(open(sys.argv[1]))
def txt(name, timeout=5):
    return zone.get(name.decode().rstrip('.').lower(), '').encode()
for name in sys.argv[2:]:
    d = dkim.DKIM(open(name, 'rb').read())
    n = sum(1 for h in d.headers if h[0].lower() == b'dkim-signature')
    print(sum(1 for i in range(n) if d.verify(idx=i, dnsfunc=txt)))
`

// TestOthersVerify has dkimpy, in Python, and libopendkim, in C, verify what is
// hard to sign.
func TestOthersVerify(t *testing.T) {
	s, z := both(t, nil)
	dir := t.TempDir()
	records := map[string]string{}
	for name, texts := range z {
		records[name] = texts[0]
	}
	text, err := json.Marshal(records)
	if err != nil {
		t.Fatal(err)
	}
	zoneFile := filepath.Join(dir, "zone.json")
	if err := os.WriteFile(zoneFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	var names, files []string
	all := contents()
	all["in 8 bits"] = "From: Änn <ann@a.example>\r\nDate: Fri, 2 Jan 2026 03:04:05 +0000\r\n\r\nGrüße\r\n"
	for _, unreadable := range []string{"folded fields", "no field"} {
		delete(all, unreadable) // dkimpy knows no blank before a colon, and no line that is no field
	}
	for name, content := range all {
		out, _ := sign(t, s, content, 1000, Content{EightBit: name == "in 8 bits"})
		if !strings.Contains(out, "\r\n\r\n") {
			out = strings.TrimSuffix(out, "\r\n") + "\r\n\r\n"
		}
		file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-")+".eml")
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		names, files = append(names, name), append(files, file)
	}
	t.Run("dkimpy", func(t *testing.T) {
		out, err := exec.Command("/usr/bin/python3", append([]string{"-c", verifier, zoneFile}, files...)...).CombinedOutput()
		counts := strings.Fields(string(out))
		if err != nil || len(counts) != len(files) {
			t.Fatalf("%v: %s", err, out)
		}
		for i, name := range names {
			if counts[i] != "2" {
				t.Errorf("%s: %s signatures are good", name, counts[i])
			}
		}
	})
	t.Run("opendkim", func(t *testing.T) { opendkim(t, z, names, files) })
}

// opendkim knows no Ed25519, and asks the DNS at its own port: the server gets
// that port on an address of loopback, and a resolv.conf that only it sees.
func opendkim(t *testing.T, z zone, names, files []string) {
	server := dnstest.New(t)
	for name, texts := range z {
		server.Add(strings.NewReplacer("\n", " ", "IN TXT", "60 IN TXT").Replace(Zone(name, texts[0])))
	}
	const address = "127.0.0.77"
	relayed := &dns.Server{Addr: address + ":53", Net: "udp", Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		reply, _, err := (&dns.Client{Net: "tcp"}).Exchange(q, server.Addr)
		if err == nil {
			_ = w.WriteMsg(reply)
		}
	})}
	ready := make(chan struct{})
	relayed.NotifyStartedFunc = func() { close(ready) }
	go relayed.ListenAndServe()
	<-ready
	defer relayed.Shutdown()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver "+address+"\noptions timeout:5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		if name == "twice a field" || name == "many fields" {
			continue // two fields To are against RFC 5322 §3.6, and it reads no further
		}
		content, err := os.ReadFile(files[i])
		if err != nil {
			t.Fatal(err)
		}
		// It reads lines that end in LF alone.
		text := strings.ReplaceAll(string(content), "\r\n", "\n")
		if out, err := testmsg(conf, text); err != nil || len(out) > 0 {
			t.Errorf("%s: %v: %s", name, err, out)
		}
		if out, err := testmsg(conf, strings.Replace(text, "From: ", "From: x ", 1)); err == nil {
			t.Errorf("%s, changed: it verifies: %s", name, out)
		}
	}
}

func testmsg(conf, content string) (string, error) {
	c := exec.Command("unshare", "-m", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec opendkim-testmsg`, conf)
	c.Stdin = strings.NewReader(content)
	out, err := c.CombinedOutput()
	return string(out), err
}
