package configs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// must loads a configuration that has to be valid.
func must(t *testing.T, text string, environ ...string) *Config {
	t.Helper()
	c, err := load("waypost.toml", environ, etc(t).with("waypost.toml", []byte(text)))
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	return c
}

func TestNothingGivenIsTheDefault(t *testing.T) {
	got, err := Load("", os.Environ())
	if err != nil {
		t.Fatal(err)
	}
	got.Warnings, got.places = nil, nil // they depend on this host's name and environment
	want := Default()
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("Load gives %+v\nDefault gives %+v", *got, want)
	}
	if err := want.Validate(); err != nil {
		t.Errorf("the default is not valid: %v", err)
	}
}

func TestDefaultListener(t *testing.T) {
	want := Listener{Address: "127.0.0.1:2525", Mode: ModeRelay, TLS: TLSNone, Auth: AuthNone, TLSProfile: ProfileModern}
	if got := must(t, "").Listeners; !reflect.DeepEqual(got, []Listener{want}) {
		t.Errorf("listeners %+v, want %+v", got, want)
	}
	want.TLS = TLSStartTLS
	text := "[tls]\ncertificate = '/etc/waypost/tls.crt'\nkey = '/etc/waypost/tls.key'\n"
	if got := must(t, text).Listeners; !reflect.DeepEqual(got, []Listener{want}) {
		t.Errorf("listeners with a certificate %+v, want %+v", got, want)
	}
	want = Listener{Address: ":25", Mode: ModeSubmission, TLS: TLSNone, Auth: AuthNone, TLSProfile: ProfileModern}
	if got := must(t, text+"[[listener]]\naddress = ':25'\nmode = 'submission'\ntls = 'none'").Listeners; !reflect.DeepEqual(got, []Listener{want}) {
		t.Errorf("listeners of the file %+v, want %+v", got, want)
	}
}

func TestEveryWayToWriteAKey(t *testing.T) {
	for _, tt := range []struct{ name, text string }{
		{"tables", "[limits]\nrecipients = 1_000_0\nmessage_size = 1000\n[queue]\nretry = ['1m', '1d12h']\njitter = 0\n[[route]]\nto = '*'\nvia = ['mx:']"},
		{"dots", "limits.recipients = 10000\nlimits.message_size = '1kB'\nqueue.retry = ['1m', '36h']\nqueue.jitter = 0.0\nroute = [{ to = '*', via = ['mx:'] }]"},
		{"inline", "limits = { recipients = 0x2710, message_size = '1000' }\nqueue = { retry = [\n'60s',\n'1d12h', # two\n], jitter = 0e0 }\n[[route]]\n'to' = \"*\"\n\"via\" = [\"\"\"mx:\"\"\"]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := must(t, tt.text)
			if c.Limits.Recipients != 10000 || c.Limits.MessageSize != 1000 || c.Queue.Jitter != 0 {
				t.Errorf("recipients %d, size %v, jitter %v; want 10000, 1kB, 0", c.Limits.Recipients, c.Limits.MessageSize, c.Queue.Jitter)
			}
			if want := []Duration{minute, 36 * hour}; !slices.Equal(c.Queue.Retry, want) {
				t.Errorf("retry %v, want %v", c.Queue.Retry, want)
			}
			if want := []Route{{To: "*", Via: Legs("mx:"), TLS: TLSOpportunistic}}; !reflect.DeepEqual(c.Routes, want) {
				t.Errorf("routes %+v, want %+v", c.Routes, want)
			}
		})
	}
}

func TestEnvironmentOverridesTheFile(t *testing.T) {
	c := must(t, `
[queue]
lifetime = "1d"
retry = ["1h"]
[[route]]
to = "example.org"
via = ["smtp://10.0.0.5"]
`,
		"WAYPOST_QUEUE_LIFETIME=2d",
		"WAYPOST_QUEUE_RETRY=1m, 5m ,1h",
		"WAYPOST_QUEUE_JITTER=0.5",
		"WAYPOST_METRICS_ADDRESS=",
		"WAYPOST_RELAY_NETWORKS=",
		"WAYPOST_LISTENER_0_ADDRESS=0.0.0.0:25",
		"WAYPOST_LISTENER_1_ADDRESS=0.0.0.0:587",
		"WAYPOST_LISTENER_1_MODE=submission",
		"WAYPOST_ROUTE_0_VIA=smtp://10.0.0.6:2525,mx:",
		"WAYPOST_ROUTE_1_VIA=mx:",
		"WAYPOST_ROUTE_1_TO=*",
		"WAYPOST_LIMITS_MESSAGE_SIZE=10MiB",
		"WAYPOST_LIMITS_RECIPIENTS=100",
		"WAYPOST_LIMITS_RECIPIENTS=200", // the last one counts
	)
	if c.Queue.Lifetime != 48*hour || c.Queue.Jitter != 0.5 || !slices.Equal(c.Queue.Retry, []Duration{minute, 5 * minute, hour}) {
		t.Errorf("queue %+v", c.Queue)
	}
	if c.Metrics.Address != "" || len(c.Relay.Networks) != 0 {
		t.Errorf("metrics %q and networks %q, want both empty", c.Metrics.Address, c.Relay.Networks)
	}
	if c.Limits.MessageSize != 10<<20 || c.Limits.Recipients != 200 {
		t.Errorf("limits %+v", c.Limits)
	}
	listeners := []Listener{
		{Address: "0.0.0.0:25", Mode: ModeRelay, TLS: TLSNone, Auth: AuthNone, TLSProfile: ProfileModern},
		{Address: "0.0.0.0:587", Mode: ModeSubmission, TLS: TLSNone, Auth: AuthNone, TLSProfile: ProfileModern},
	}
	if !reflect.DeepEqual(c.Listeners, listeners) {
		t.Errorf("listeners %+v, want %+v", c.Listeners, listeners)
	}
	routes := []Route{
		{To: "example.org", Via: Legs("smtp://10.0.0.6:2525", "mx:"), TLS: TLSOpportunistic},
		{To: "*", Via: Legs("mx:"), TLS: TLSOpportunistic},
	}
	if !reflect.DeepEqual(c.Routes, routes) {
		t.Errorf("routes %+v, want %+v", c.Routes, routes)
	}
}

// TestManyTablesInTheEnvironment needs them taken by number and not by name.
func TestManyTablesInTheEnvironment(t *testing.T) {
	var environ []string
	for i, domain := range strings.Fields("a b c d e f g h i j k l") {
		environ = append(environ, newSchema().variable("route.to", i)+"="+domain+".example", newSchema().variable("route.via", i)+"=mx:")
	}
	c := must(t, "", environ...)
	if len(c.Routes) != 12 || c.Routes[2].To != "c.example" || c.Routes[11].To != "l.example" {
		t.Errorf("routes %+v, want a.example to l.example", c.Routes)
	}
}

// TestEnvironmentNamesAreUnambiguous sets each key by its variable alone.
func TestEnvironmentNamesAreUnambiguous(t *testing.T) {
	s := newSchema()
	for _, key := range s.keys {
		name := s.variable(key, 7)
		got, indexes, ok := s.lookUp(name)
		if !ok || got != key || strings.Contains(name, "_7_") && indexes[0] != 7 {
			t.Errorf("%s sets %q of number %v, want %q of 7", name, got, indexes, key)
		}
	}
}

func TestFileOfTheEnvironment(t *testing.T) {
	fs := memory{}.
		with("/a.toml", []byte(`hostname = "a.example.org"`)).
		with("/b.toml", []byte(`hostname = "b.example.org"`))
	environ := []string{"WAYPOST_CONFIG=/b.toml", "HOME=/home/user"}
	for path, want := range map[string]string{"": "b.example.org", "/a.toml": "a.example.org"} {
		c, err := load(path, environ, fs)
		if err != nil {
			t.Fatal(err)
		}
		if c.Hostname != want {
			t.Errorf("load(%q) has the host name %q, want %q", path, c.Hostname, want)
		}
	}
}

func TestFileThatCannotBeRead(t *testing.T) {
	_, err := Load(filepath.Join(t.TempDir(), "missing.toml"), nil)
	if _, isProblems := errors.AsType[Problems](err); !errors.Is(err, fs.ErrNotExist) || isProblems {
		t.Errorf("error %v (%T), want one that wraps fs.ErrNotExist and is not Problems", err, err)
	}
}

// TestOddFiles: a file without an end is refused, and a byte order mark is none
// of its text.
func TestOddFiles(t *testing.T) {
	if _, err := Load("/dev/zero", nil); err == nil || !strings.Contains(err.Error(), "/dev/zero has more than 16 MB") {
		t.Errorf("a file without an end: %v", err)
	}
	path := filepath.Join(t.TempDir(), "bom.toml")
	if err := os.WriteFile(path, []byte("\ufeffhostname = \"mail.example.org\"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if c, err := Load(path, nil); err != nil || c.Hostname != "mail.example.org" {
		t.Errorf("with a byte order mark: %v", err)
	}
}

// TestRealFiles loads from the disk what the other tests load from memory.
func TestRealFiles(t *testing.T) {
	dir := t.TempDir()
	for name, file := range etc(t) {
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), file.Data, file.Mode); err != nil {
			t.Fatal(err)
		}
	}
	text := strings.ReplaceAll(`
hostname = "mail.example.org"
data_dir = "/var/lib/waypost"
[tls]
certificate = "DIR/tls.crt"
key = "DIR/tls.key"
[[route]]
to = "*"
via = ["smtp://mail.example.org"]
username = "user"
password_file = "DIR/password"
tls = "verified"
`, "DIR", dir)
	path := filepath.Join(dir, "waypost.toml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(text)
	c, err := Load(path, nil)
	if err != nil || len(c.Warnings) > 0 {
		t.Fatalf("load: %v, warnings %v", err, c.Warnings)
	}
	if secret, err := ReadSecret(c.Routes[0].PasswordFile); secret != "secret" || err != nil {
		t.Errorf("ReadSecret: %q, %v; want %q", secret, err, "secret")
	}
	write(strings.ReplaceAll(strings.ReplaceAll(text, "/password", "/readable"), "/tls.key", "/other.key"))
	_, err = Load(path, nil)
	if err == nil || !strings.Contains(err.Error(), path+":6:1: tls.key: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("error %v, want one of %s:6:1 and the key", err, path)
	}
}

func TestValidateOfAConfigurationInCode(t *testing.T) {
	c := Default()
	c.Hostname = "mail"
	if err := c.Validate(); err != nil || len(c.Warnings) != 1 || c.Warnings[0].Key != "hostname" {
		t.Errorf("error %v and warnings %v, want one warning of the host name", err, c.Warnings)
	}
	c.Queue.Lifetime = 0
	c.Routes = []Route{newRoute()}
	c.Routes[0].Via = Legs("mx:")
	problems, ok := errors.AsType[Problems](c.Validate())
	want := []Problem{
		{Key: "queue.lifetime", Text: "queue.lifetime: must be at least 1s, not 0s"},
		{Key: "route[0].to", Text: `route[0].to: must be set: a domain, ".domain", "user@domain", or "*"`},
	}
	if !ok || !slices.Equal(problems, want) {
		t.Errorf("problems %+v, want %+v", problems, want)
	}
}

func TestHostname(t *testing.T) {
	hosts := filepath.Join(t.TempDir(), "hosts")
	text := "127.0.0.1 localhost\n# 10.0.0.1 mail.commented.example\n10.0.0.1\n10.0.0.2 mailer.example.org mailer\n10.0.0.3 mail Mail.example.org # mail.late.example\n"
	if err := os.WriteFile(hosts, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, own string
		err       error
		hosts     string
		want      string
	}{
		{"full", "mx.example.net", nil, hosts, "mx.example.net"},
		{"full with a dot", "mx.example.net.", nil, hosts, "mx.example.net"},
		{"short, in hosts", "mail", nil, hosts, "Mail.example.org"},
		{"short, not in hosts", "web", nil, hosts, "web"},
		{"no hosts", "mail", nil, hosts + ".missing", "mail"},
		{"no name", "", nil, hosts, "localhost"},
		{"error", "mail", errors.New("no"), hosts, "localhost"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := hostname(func() (string, error) { return tt.own, tt.err }, tt.hosts); got != tt.want {
				t.Errorf("host name %q, want %q", got, tt.want)
			}
		})
	}
}

func TestDataDir(t *testing.T) {
	for _, tt := range []struct {
		name string
		env  environment
		home string
		want string
	}{
		{"systemd", environment{"STATE_DIRECTORY": "/var/lib/waypost", "XDG_STATE_HOME": "/x"}, "/h", "/var/lib/waypost"},
		{"systemd with two", environment{"STATE_DIRECTORY": "/var/lib/waypost:/var/lib/other"}, "/h", "/var/lib/waypost"},
		{"XDG", environment{"XDG_STATE_HOME": "/x/state"}, "/h", "/x/state/waypost"},
		{"XDG must be absolute", environment{"XDG_STATE_HOME": "state"}, "/h", "/h/.local/state/waypost"},
		{"home", environment{}, "/h", "/h/.local/state/waypost"},
		{"nothing", environment{}, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := dataDir(tt.env, func(environment) string { return tt.home }); got != tt.want {
				t.Errorf("data directory %q, want %q", got, tt.want)
			}
		})
	}
	if got := homeDir(environment{"HOME": "/home/user"}); got != "/home/user" {
		t.Errorf("home %q, want that of the environment", got)
	}
	if got := homeDir(environment{}); !filepath.IsAbs(got) {
		t.Errorf("home %q, want that of the user database", got)
	}
}

// FuzzLoad has any file and any variable give a configuration or problems, and
// never a panic, a problem without a text, or one outside the file.
func FuzzLoad(f *testing.F) {
	f.Add(string(Reference), "WAYPOST_QUEUE_LIFETIME=2d")
	f.Add("[[route]]\nto='*'\nvia=['mx:']\n[route.x]\n[[listener]]\n[listener]", "WAYPOST_ROUTE_0_TO=x")
	f.Add("route=[{to='*',via=[{}]},{}]\nqueue={retry=[1]}\n[relay]\nnetworks=[['']]", "WAYPOST_LISTENER_9999_TLS=")
	f.Fuzz(func(t *testing.T, text, variable string) {
		c, err := load("waypost.toml", []string{"HOME=/h", variable, "WAYPOST_HOSTNAME=mail.example.org"}, memory{}.with("waypost.toml", []byte(text)))
		problems, _ := errors.AsType[Problems](err)
		switch {
		case err == nil && c != nil:
			problems = c.Warnings
		case err == nil || c != nil || len(problems) == 0:
			t.Fatalf("configuration %v and error %v", c, err)
		}
		rows := strings.Count(text, "\n") + 1
		for _, p := range problems {
			if p.Text == "" || p.Row > rows || p.Column < 0 || strings.Contains(p.String(), "\n") && !strings.Contains(text+variable, "\n") {
				t.Errorf("problem %+v of a file with %d rows", p, rows)
			}
		}
	})
}

func TestDurationsAreGos(t *testing.T) {
	if d := time.Duration(must(t, "[queue]\nlifetime = '1d1h1m1s'").Queue.Lifetime); d != 25*time.Hour+time.Minute+time.Second {
		t.Errorf("lifetime %v", d)
	}
}
