package account

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// provider is a token endpoint.
type provider struct {
	*httptest.Server
	mu      sync.Mutex
	forms   []url.Values
	refresh string // the refresh token that counts; each use replaces it
	life    any
	fail    func(w http.ResponseWriter) bool
}

func newProvider(t *testing.T) *provider {
	p := &provider{refresh: "r0", life: 3600}
	p.Server = httptest.NewServer(http.HandlerFunc(p.serve))
	t.Cleanup(p.Close)
	return p
}

func (p *provider) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if r.ParseForm() != nil || r.Method != http.MethodPost {
		http.Error(w, "bad request", http.StatusBadRequest)
		return
	}
	p.forms = append(p.forms, r.PostForm)
	if p.fail != nil && p.fail(w) {
		return
	}
	answer := map[string]any{"access_token": fmt.Sprintf("t%d", len(p.forms)), "expires_in": p.life, "token_type": "Bearer"}
	if r.PostForm.Get("grant_type") == "refresh_token" {
		if r.PostForm.Get("refresh_token") != p.refresh {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "invalid_grant", "error_description": "token is void"})
			return
		}
		p.refresh = fmt.Sprintf("r%d", len(p.forms))
		answer["refresh_token"] = p.refresh
	}
	_ = json.NewEncoder(w).Encode(answer) // the client may have gone
}

func (p *provider) asked() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.forms)
}

// secrets are files.
func secrets(t *testing.T, contents map[string]string) (dir string, read func(string) (string, error)) {
	dir = t.TempDir()
	for name, content := range contents {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir, func(name string) (string, error) {
		b, err := os.ReadFile(filepath.Join(dir, name))
		return strings.TrimSpace(string(b)), err
	}
}

func login(t *testing.T, a *Account) Login {
	t.Helper()
	l, err := a.Login(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestRotation: a changed password counts at once.
func TestRotation(t *testing.T) {
	dir, read := secrets(t, map[string]string{"password": "first"})
	a := New(Options{Username: "u", PasswordFile: "password", Mechanism: "PLAIN", Read: read})
	if l := login(t, a); l != (Login{Username: "u", Password: "first", Mechanism: "PLAIN"}) || a.Refused(l) {
		t.Errorf("%+v", l)
	}
	if err := os.WriteFile(filepath.Join(dir, "password"), []byte("second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if l := login(t, a); l.Password != "second" {
		t.Errorf("%+v", l)
	}
	if err := os.Remove(filepath.Join(dir, "password")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Login(t.Context()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// TestClientCredentials: a token is kept until it was refused, or its time is
// nearly over; those who need one together ask once.
func TestClientCredentials(t *testing.T) {
	p := newProvider(t)
	_, read := secrets(t, map[string]string{"secret": "s3cret"})
	a := New(Options{Username: "u", Read: read, OAuth: &OAuth{TokenURL: p.URL, ClientID: "id", ClientSecretFile: "secret", Scope: "mail"}})
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			if l, err := a.Login(t.Context()); err != nil || l.Token != "t1" || l.Password != "" {
				t.Errorf("%+v, %v", l, err)
			}
		})
	}
	all.Wait()
	form := p.forms[0]
	if p.asked() != 1 || form.Get("grant_type") != "client_credentials" || form.Get("client_id") != "id" ||
		form.Get("client_secret") != "s3cret" || form.Get("scope") != "mail" {
		t.Errorf("asked %d times: %v", p.asked(), form)
	}
	old := login(t, a)
	if !a.Refused(old) || a.Refused(old) {
		t.Error("a refused token is not forgotten once")
	}
	if l := login(t, a); l.Token != "t2" || a.Refused(old) {
		t.Errorf("%+v", l)
	}
	a.expires = time.Now().Add(-time.Second)
	p.life = "120"
	if l := login(t, a); l.Token != "t3" {
		t.Errorf("%+v", l)
	}
	if left := time.Until(a.expires); left > time.Minute || left < 50*time.Second {
		t.Errorf("a token of two minutes is used for %v", left)
	}
}

// TestRefreshToken: one that was replaced is kept over a restart, until somebody
// puts another one there.
func TestRefreshToken(t *testing.T) {
	p := newProvider(t)
	dir, read := secrets(t, map[string]string{"refresh": "r0"})
	options := Options{Username: "u", Read: read, OAuth: &OAuth{
		TokenURL: p.URL, ClientID: "id", RefreshTokenFile: "refresh", StateFile: filepath.Join(dir, "state", "token"),
	}}
	for i := range 3 {
		a := New(options) // as after a restart
		if l := login(t, a); l.Token != fmt.Sprintf("t%d", i+1) {
			t.Errorf("%+v", l)
		}
	}
	if info, err := os.Stat(options.OAuth.StateFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	p.refresh = "other"
	_, err := New(options).Login(t.Context())
	if err == nil || !strings.Contains(err.Error(), "invalid_grant") || strings.Contains(err.Error(), "r3") {
		t.Errorf("%v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "refresh"), []byte("other"), 0o600); err != nil {
		t.Fatal(err)
	}
	login(t, New(options))
}

// TestProviderTrouble: a provider in trouble is not asked by every connection.
func TestProviderTrouble(t *testing.T) {
	p := newProvider(t)
	_, read := secrets(t, nil)
	for name, fail := range map[string]func(http.ResponseWriter) bool{
		"500":      func(w http.ResponseWriter) bool { w.WriteHeader(500); return true },
		"no JSON":  func(w http.ResponseWriter) bool { fmt.Fprint(w, "<html>"); return true },
		"no token": func(w http.ResponseWriter) bool { fmt.Fprint(w, "{}"); return true },
		"bad token": func(w http.ResponseWriter) bool {
			fmt.Fprint(w, `{"access_token":"a\r\nb"}`)
			return true
		},
		"redirect": func(w http.ResponseWriter) bool {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(307)
			return true
		},
	} {
		p.fail = fail
		a := New(Options{Username: "u", Read: read, OAuth: &OAuth{TokenURL: p.URL, ClientID: "id"}})
		before := p.asked()
		for range 3 {
			if l, err := a.Login(t.Context()); err == nil {
				t.Errorf("%s: %+v", name, l)
			}
		}
		if n := p.asked() - before; n != 1 {
			t.Errorf("%s: asked %d times", name, n)
		}
		p.fail = nil
		a.retry = time.Now()
		login(t, a)
	}
}
