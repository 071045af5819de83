//go:build interop

package main_test

import (
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/textproto"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"waypost/relay/relaytest"
)

// TestNginxAsProxy has a real nginx stand before the program: it says for whom it
// speaks by XCLIENT, with the login that it has checked, or by the PROXY protocol.
func TestNginxAsProxy(t *testing.T) {
	sink := relaytest.NewSink(t, "127.0.0.1:0")
	p := start(t, build(t), writeConfig(t, settings{
		nextHop: sink.Address(), more: "[[listener]]\naddress = '127.0.0.1:0'\nxclient_from = ['127.0.0.1']\n" +
			"[[listener]]\naddress = '127.0.0.1:0'\nproxy_protocol_from = ['127.0.0.1']\n[relay]\nnetworks = ['127.0.0.7']\n",
	}))
	const xclient, proxy = 1, 2
	doors := map[int]string{xclient: freeAddress(t), proxy: freeAddress(t)}
	startNginx(t, doors[xclient], p.smtp[xclient], "xclient on; proxy_protocol off;", doors[proxy], p.smtp[proxy], "xclient off; proxy_protocol on;")
	login := "AUTH PLAIN " + base64.StdEncoding.EncodeToString([]byte("\x00app\x00secret"))
	for _, tc := range []struct {
		name  string
		door  int
		from  string
		login bool
		trace string // none: it may not relay
	}{
		{"XCLIENT", xclient, "127.0.0.7", false, "([127.0.0.7])"},
		{"XCLIENT for a stranger", xclient, "127.0.0.8", false, ""},
		{"XCLIENT with a login", xclient, "127.0.0.8", true, "with ESMTPA id"},
		{"PROXY", proxy, "127.0.0.7", false, "([127.0.0.7])"},
		{"PROXY for a stranger", proxy, "127.0.0.8", false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(tc.from)}, Timeout: patience}
			conn, err := d.Dial("tcp", doors[tc.door])
			if err != nil {
				t.Fatal(err)
			}
			c := &client{conn: conn, text: textproto.NewConn(conn)}
			defer conn.Close()
			say := func(code int, line string) {
				t.Helper()
				if _, err := c.command(code, "%s", line); err != nil {
					t.Fatalf("%s: %v", line, err)
				}
			}
			if _, err := c.reply(220); err != nil {
				t.Fatal(err)
			}
			say(250, "EHLO client.example")
			if tc.login {
				say(235, login)
			}
			say(250, "MAIL FROM:<sender@a.example>")
			if tc.trace == "" {
				say(550, "RCPT TO:<rcpt@b.example>")
				return
			}
			say(250, "RCPT TO:<rcpt@b.example>")
			m := finish(t, c, sink, sink.Count(), "Subject: x\r\n\r\nx\r\n")
			if trace, _, err := cutTrace(m.Content); err != nil || !strings.Contains(trace, tc.trace) {
				t.Errorf("trace %q, %v, want %s", trace, err, tc.trace)
			}
		})
	}
	p.waitEmpty()
	p.stop()
}

// startNginx starts an nginx that listens at doors, each followed by who is behind
// it and how that hears of the client. Whoever it asks knows everybody.
func startNginx(t *testing.T, doors ...string) {
	program := tool(t, "nginx", "nginx-light")
	asked := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, port, err := net.SplitHostPort(strings.TrimPrefix(r.URL.Path, "/"))
		if user := r.Header.Get("Auth-User"); err != nil || user != "" && (user != "app" || r.Header.Get("Auth-Pass") != "secret") {
			w.Header().Set("Auth-Status", "Invalid login or password")
			return
		}
		w.Header().Set("Auth-Status", "OK")
		w.Header().Set("Auth-Server", host)
		w.Header().Set("Auth-Port", port)
	}))
	t.Cleanup(asked.Close)
	dir := openDir(t)
	var servers strings.Builder
	for i := 0; i < len(doors); i += 3 {
		fmt.Fprintf(&servers, "server { listen %s; protocol smtp; auth_http %s/%s; %s }\n", doors[i], strings.TrimPrefix(asked.URL, "http://"), doors[i+1], doors[i+2])
	}
	config := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(config, []byte(fmt.Sprintf(`load_module /usr/lib/nginx/modules/ngx_mail_module.so;
daemon off;
master_process off;
pid %[1]s/pid;
error_log stderr info;
events {}
mail {
  server_name nginx.example;
  smtp_auth plain none;
  smtp_capabilities 8BITMIME;
  proxy on;
  %[2]s
}
`, dir, servers.String())), 0o644); err != nil {
		t.Fatal(err)
	}
	runBackground(t, program, "-c", config, "-p", dir)
	waitFor(t, "nginx", func() bool { return listens(doors[0]) })
}
